"""What a value of the configuration may be: one small checker for each kind, used by `gateway.config`.

Runs on CPython; pure.  A checker takes the raw TOML value and its key, and returns the value to keep or
raises Refused with what is wrong and what to write instead.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.config_units import UNIT_NAMES, unit_of, whole_number
from gateway.sensors.schemes import parse_url
from gateway.sensors.source import BadSourceUrl

Checker = Callable[[Any, str], Any]
"""(raw value, key) -> value to keep; raises Refused."""

_NAME = re.compile(r"[a-z0-9_-]{1,32}")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,40}")
_SHOWN_MAX = 60


class Refused(Exception):
    """A value cannot be used; `problem` follows "key = value", `hint` follows "; "."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem, hint)
        self.problem = problem
        self.hint = hint


def shown(value: object) -> str:
    """`value` as TOML writes it, shortened for a message."""
    match value:
        case bool():
            return str(value).lower()
        case int() if abs(value) >= 1 << 63:
            return "a number beyond 64 bits"
        case str():
            return f'"{_printable(value)}"'
        case dict():
            return "a table"
        case list():
            return "a list"
        case _:
            return str(value)


def key_shown(key: str) -> str:
    """`key` for a message: quoted when it is not a bare key, and shortened."""
    return key if _BARE_KEY.fullmatch(key) else f'"{_printable(key)}"'


def _printable(text: str) -> str:
    short = text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 3] + "..."
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in short
    )


def whole(low: int, high: int, why_low: str, why_high: str, example: int) -> Checker:
    """A whole number from `low` to `high`; the reasons say what is wrong outside."""

    def check(value: Any, key: str) -> int:
        unit = unit_of(key)
        if isinstance(value, bool) or not isinstance(value, int):
            meant = whole_number(value, unit)
            write = meant if meant is not None and low <= meant <= high else example
            kind = f"a whole number of {UNIT_NAMES[unit]}" if unit else "a whole number"
            raise Refused(
                f"is not {kind}", f"write {write}" if write == meant else f"write for example {write}"
            )
        if value < low:
            raise Refused(f"is too small: {why_low}", f"write at least {low}")
        if value > high:
            raise Refused(f"is too large: {why_high}", f"write at most {high}")
        return value

    return check


def name(value: Any, key: str) -> str:
    """A name that is safe in a file name, a URL and a record's name."""
    text = a_text(value, f'{key} = "can0"')
    if _NAME.fullmatch(text) is None:
        usable = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-")[:32] or "can0"
        raise Refused("is no name: 1 to 32 of a-z, 0-9, _ and - are", f'write for example "{usable}"')
    return text


def path(value: Any, key: str) -> str:
    """A path of a file or a folder."""
    text = a_text(value, f'{key} = "{key}"' if key != "dbc" else 'dbc = ["car.dbc"]')
    # The system's own word on what it cannot open is worse than ours.
    if "\0" in text:
        raise Refused("holds a NUL character, which no path can", "remove it")
    if text.startswith("~"):
        raise Refused("starts with ~, which only a shell understands", f'write "{Path.home()}/.." in full')
    return text


def paths(value: Any, key: str) -> tuple[str, ...]:
    """A list of paths."""
    if isinstance(value, str):
        raise Refused("is one text where a list belongs", f"write {key} = [{shown(value)}]")
    if not isinstance(value, list):
        raise Refused("is not a list of files", f'write {key} = ["file"]')
    for item in value:
        try:
            path(item, key)
        except Refused as refused:
            raise Refused(f"whose item {shown(item)} {refused.problem}", refused.hint) from None
    return tuple(value)


def http_url(value: Any, key: str) -> str:
    """The address of a node: http or https, host, perhaps a port."""
    example = '"http://127.0.0.1:7545"'
    text = a_text(value, f"{key} = {example}")
    try:
        parts = urlsplit(text)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise Refused(f"is no address: {error}", f"write for example {example}") from None
    if not is_usable or any(character.isspace() for character in text):
        raise Refused("is no http or https address", f"write for example {example}")
    return text


def source(value: Any, key: str) -> str:
    """The string that opens a source of records."""
    text = a_text(value, f'{key} = "can:can0"')
    try:
        parse_url(text)
    except BadSourceUrl as error:
        raise Refused("opens no source", error.reason) from None
    return text


def a_text(value: Any, example: str) -> str:
    """A text that is not empty.  example: what to write instead."""
    if not isinstance(value, str):
        raise Refused("is not a text", f"write {example}")
    if not value.strip():
        raise Refused("is empty", f"write {example}")
    return value


def choice(allowed: tuple[str, ...]) -> Checker:
    """One of these texts."""

    def check(value: Any, key: str) -> str:
        text = a_text(value, f'{key} = "{allowed[0]}"')
        if text not in allowed:
            raise Refused("is not known", "write one of " + ", ".join(f'"{each}"' for each in allowed))
        return text

    return check


def empty_or(checker: Checker) -> Checker:
    """What `checker` takes, or an empty text."""

    def check(value: Any, key: str) -> Any:
        return "" if value == "" else checker(value, key)

    return check
