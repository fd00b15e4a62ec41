"""What the commands of `cpc` share: exit codes, output for people and machines, moments, progress.

Runs on CPython.  People read text on standard output and progress on standard error; with `--json`
standard output carries one JSON value a line and nothing else.
"""

import json
import re
import shutil
import sys
import textwrap
import time
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from tqdm import tqdm

from gateway.errors import GatewayError

EXIT_OK = 0
EXIT_FAILED = 1
"""Something could not be done; the message says what to do."""
EXIT_USAGE = 2
"""The command line or the configuration is wrong."""
EXIT_NOT_PROVEN = 3
"""The evidence does not hold, or data is damaged."""
EXIT_INTERRUPTED = 130

PROGRESS_DELAY_MS = 2_000
"""A bar appears only for work that takes longer."""

NS_PER_S = 1_000_000_000
_UNIT_NS = {
    "ms": NS_PER_S // 1000,
    "s": NS_PER_S,
    "min": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
    "d": 86_400 * NS_PER_S,
}
_OFFSET = re.compile(r"(start|end|now)?(?:([+-])(\d{1,9}(?:\.\d{1,9})?)(ms|s|min|h|d))?")
_LONG = re.compile(r"\b[0-9a-f]{32,}\b|\bdid:key:z[1-9A-HJ-NP-Za-km-z]{40,}")
MOMENT_HELP = (
    "a moment: 2026-05-01T12:00:00Z, start, end or now, "
    "with an offset if wanted: start+5s, now-10min, end-500ms"
)


class UsageError(GatewayError):
    """The command line asks for something that cannot be."""


def parse_moment(text: str, start_ns: int, end_ns: int) -> int:
    """The moment that `text` names, Unix ns; see MOMENT_HELP.  Raises UsageError."""
    match = _OFFSET.fullmatch(text)
    if match is not None and text:
        base, sign, amount, unit = match.groups()
        moment_ns = {"start": start_ns, "end": end_ns}.get(base or "now", time.time_ns())
        if amount:
            # By digits, since a float has not the 19 that nanoseconds need.
            whole, _, fraction = amount.partition(".")
            offset_ns = (
                int(whole) * _UNIT_NS[unit] + int(fraction.ljust(9, "0") or 0) * _UNIT_NS[unit] // 10**9
            )
            moment_ns += -offset_ns if sign == "-" else offset_ns
        return moment_ns
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not {MOMENT_HELP}") from error
    if moment.tzinfo is None:
        raise UsageError(f"{text!r} names no time zone; write {text}Z for UTC")
    # A difference of two aware moments needs no conversion, which the first and last year would overflow.
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * NS_PER_S + since.microseconds * 1000


def moment_text(moment_ns: int) -> str:
    """A moment for a person to read: UTC, to the millisecond."""
    seconds, rest_ns = divmod(moment_ns, NS_PER_S)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest_ns // 1_000_000:03d}Z"


def whole_number(text: str) -> int:
    """The type of options that count something."""
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise ArgumentTypeError(f"{text!r} is not a whole number, such as 60")
    return int(text)


def short(text: str) -> str:
    """`text` with long hashes and keys cut down to what a person compares."""
    return _LONG.sub(lambda match: match[0][: 20 if match[0].startswith("did:") else 12] + "..", text)


def columns() -> int | None:
    """Width of the terminal that standard output goes to; None when it goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def wrapped(text: str, indent: int) -> str:
    """`text` in lines that fit the terminal, all but the first indented."""
    width = columns()
    if width is None or len(text) <= width or width < 2 * indent:
        return text
    return textwrap.fill(text, width, subsequent_indent=" " * indent)


def clipped(text: str) -> str:
    """`text` cut to one line of the terminal."""
    width = columns()
    return text if width is None or len(text) <= width else text[: max(width - 2, 0)] + ".."


def printable(text: str) -> str:
    """`text` with what could steer a terminal made visible: names and values are other people's."""
    return "".join(
        character if character.isprintable() or character == "\n" else repr(character)[1:-1]
        for character in text
    )


def json_text(value: Any) -> str:
    """One line of JSON, in ASCII: any terminal and any file can take it."""
    return json.dumps(value, separators=(",", ":"))


class Output:
    """Where a command writes its result."""

    def __init__(self, args: Namespace) -> None:
        self.is_json: bool = getattr(args, "json", False)

    def line(self, text: str = "") -> None:
        """A line for a person; nothing with --json."""
        if not self.is_json:
            print(printable(text), flush=True)

    def value(self, value: Any, text: str | None = None) -> None:
        """A result: JSON for machines, `text` for people (None: nothing)."""
        if self.is_json:
            print(json_text(value), flush=True)
        elif text is not None:
            print(printable(text), flush=True)

    def problem(self, name: str, message: str) -> None:
        """Something that could not be done, while the rest could; for machines as an error is."""
        if self.is_json:
            self.value({"error": name, "message": message})
        else:
            self.note(message)

    @staticmethod
    def note(text: str) -> None:
        """A remark beside the result, on standard error."""
        print(printable(text), file=sys.stderr, flush=True)

    @contextmanager
    def progress(self, what: str, unit: str = "") -> Iterator[Callable[[int, int], None]]:
        """A function to be called with (done, total); a bar appears once the work takes two seconds."""
        with tqdm(
            desc=what,
            unit=unit,
            unit_scale=True,
            delay=PROGRESS_DELAY_MS / 1000,
            leave=False,
            file=sys.stderr,
            disable=self.is_json or not sys.stderr.isatty(),
        ) as bar:

            def show(done: int, total: int) -> None:
                bar.total = total or None
                bar.update(done - bar.n)

            yield show
