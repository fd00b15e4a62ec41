"""The one string that opens a source: `scheme:target?option=value&..`.

Runs on CPython.  Kinds of sources are rows of `SCHEMES`; their modules load when first opened, because
the libraries of buses and radios take longer to load than the rest of the gateway.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from urllib.parse import parse_qsl

from gateway.sensors.source import SYSTEM_CLOCK, BadSourceUrl, Clock, Source, SourceUrl


@dataclass(frozen=True, slots=True)
class Scheme:
    """One kind of source: a row of `SCHEMES`."""

    opener: Callable[[SourceUrl, str, Clock], Source]
    """Called with the URL, the source's name and the clock."""
    example: str
    """A URL that opens one."""
    options: tuple[str, ...] = ()
    """Options it knows; others are refused before the opener is called."""


def _late(module: str, function: str) -> Callable[[SourceUrl, str, Clock], Source]:
    """The opener `function` of gateway.sensors.`module`, which is imported when it is first needed."""

    def opener(url: SourceUrl, name: str, clock: Clock) -> Source:
        source: Source = getattr(import_module(f"gateway.sensors.{module}"), function)(url, name, clock)
        return source

    return opener


_CAN_BUS = _late("can_bus", "open_can_bus")

SCHEMES: dict[str, Scheme] = {
    "can": Scheme(_CAN_BUS, "can:can0", ("bitrate", "fd", "queue", "wait")),
    "can+virtual": Scheme(_CAN_BUS, "can+virtual:bench", ("queue", "wait")),
    "can+udp": Scheme(
        _CAN_BUS, "can+udp:239.74.163.2?port=43113", ("fd", "hop_limit", "port", "queue", "wait")
    ),
    "replay": Scheme(
        _late("can_replay", "open_can_replay"),
        "replay:trip.trc?speed=max",
        ("channel", "loop", "speed", "start"),
    ),
    "sim": Scheme(
        _late("can_simulated", "open_can_simulated"),
        "sim:car?rate_hz=1000&seed=1",
        ("rate_hz", "seconds", "seed", "speed"),
    ),
}
"""Kinds of sources by the word before the colon."""


def parse_url(text: str) -> tuple[SourceUrl, Scheme]:
    """`text` taken apart, and the row of `SCHEMES` it names.  Raises BadSourceUrl."""
    word, colon, rest = text.partition(":")
    scheme = SCHEMES.get(word)
    if not colon or scheme is None:
        raise BadSourceUrl(
            text,
            f"unknown kind {word!r}; known are {', '.join(SCHEMES)}; for example: {SCHEMES['can'].example}",
        )
    # The last question mark, so that a file with one in its name can be written with one behind it.
    target, mark, query = rest.rpartition("?") if "?" in rest else (rest, "", "")
    if not target:
        raise BadSourceUrl(text, f"nothing behind {word}: ; for example: {scheme.example}")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if mark and query else []
    except ValueError:
        raise BadSourceUrl(
            text, f"options are written name=value, joined by &; for example: {scheme.example}"
        ) from None
    options: dict[str, str] = {}
    for option, value in pairs:
        if option not in scheme.options:
            raise BadSourceUrl(
                text,
                f"unknown option {option!r}; {word}: knows {', '.join(scheme.options) or 'none'}; "
                f"for example: {scheme.example}",
            )
        if option in options:
            raise BadSourceUrl(text, f"option {option!r} is given twice")
        options[option] = value
    return SourceUrl(text, target, options), scheme


def open_source(url: str, *, name: str, clock: Clock = SYSTEM_CLOCK) -> Source:
    """The source that `url` names.  Raises SourceError; the message lists what is allowed."""
    parsed, scheme = parse_url(url)
    return scheme.opener(parsed, name, clock)
