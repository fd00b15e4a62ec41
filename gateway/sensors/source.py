"""What every source of records is, and the one string that opens it.

Runs on CPython.  A source yields batches of samples in the order they were taken; what it lost on
the way is a gap at its place in the batch, never silence.  Who reads it calls `acknowledge` once a
batch is durable.  Kinds of sources are rows of `SCHEMES`; their modules load when first opened.

    SourceError            everything a source raises
    |- BadSourceUrl        the string that should open it is wrong
    |- SourceUnavailable   file, bus or driver cannot be used now
    |- NotATrace           the file is readable but in no format we know
    |- MissingExtra        an optional package is not installed
    `- BadDbc              a DBC file that even the tolerant loader cannot take
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

NOTES_MAX = 100
"""Notes a source keeps; the rest is counted."""


class SourceError(Exception):
    """Root of what sources raise."""


class BadSourceUrl(SourceError):
    """The string that should open a source is wrong; the message lists what is allowed."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"source {url!r}: {reason}")
        self.url = url
        self.reason = reason


class SourceUnavailable(SourceError):
    """File, bus or driver cannot be used; the message says what to look at."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.what = what
        self.reason = reason


class NotATrace(SourceError):
    """The file can be read, but no known trace format fits it."""

    def __init__(self, path: str, offset: int, reason: str) -> None:
        super().__init__(f"{path}: no CAN trace, at byte {offset}: {reason}")
        self.path = path
        self.offset = offset
        self.reason = reason


class MissingExtra(SourceError):
    """An optional package is needed and absent."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: pip install 'cpchain-edge[{extra}]'")
        self.package = package
        self.extra = extra


class BadDbc(SourceError):
    """A DBC file that even the tolerant loader cannot take."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Clock:
    """Time as a source sees it; tests pass their own."""

    now_ns: Callable[[], int] = time.time_ns
    """Unix nanoseconds: what records are stamped with."""
    monotonic_ns: Callable[[], int] = time.monotonic_ns
    """Never jumps: what pacing and back-off go by."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    """Waits so many seconds."""


SYSTEM_CLOCK = Clock()


@dataclass(frozen=True, slots=True)
class Gap:
    """Samples that existed, or may have existed, and are not here."""

    reason: str
    """What happened, for a person to read."""
    count: int
    """How many samples are missing; 0 when nobody can know."""
    from_ns: int
    """Not before this moment, Unix nanoseconds."""
    to_ns: int
    """Not after this moment, Unix nanoseconds."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples in the order they were taken, and what is missing between them."""

    taken_ns: list[int]
    """When each was sampled, Unix nanoseconds; as long as `values`."""
    values: list[Any]
    """CanFrames from a source of kind `can`, else readings: anything that CBOR can say."""
    gaps: list[tuple[int, Gap]] = field(default_factory=list)
    """Index in `values` before which the gap lies (its length: after all), in rising order."""


@dataclass(slots=True)
class SourceStats:
    """What a source has counted since it was opened."""

    received: int = 0
    """Samples handed on in batches."""
    dropped: int = 0
    """Samples known to be lost: by the kernel, or by our own bounded queue."""
    damaged: int = 0
    """Samples that arrived but could not be read."""
    ignored: int = 0
    """Lines or frames that carry no sample, such as a prompt between two frames."""
    notes: list[str] = field(default_factory=list)
    """What a person should know, the first NOTES_MAX of it."""
    notes_dropped: int = 0
    """Notes beyond those kept."""

    def note(self, text: str) -> None:
        """Keeps `text` once, or counts it when there are NOTES_MAX already."""
        if len(self.notes) >= NOTES_MAX:
            self.notes_dropped += 1
        elif text not in self.notes:
            self.notes.append(text)


class Source(ABC):
    """Yields batches until it ends, for one reader."""

    kind: str = "reading"
    """`can`: values are CanFrames; `reading`: anything that CBOR can say."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stats = SourceStats()

    @abstractmethod
    def batches(self) -> AsyncIterator[Batch]:
        """Each batch, in order; ends when the source does (a live one never does).  To be called once.

        What is lost or damaged on the way is a gap, not an exception.  Raises SourceError when
        nothing more can come."""

    def acknowledge(self, batch: Batch) -> None:  # noqa: B027 - most sources have nobody to tell
        """Called when `batch` is durable: the spool has synced.  Batches are acknowledged in order."""

    def progress(self) -> tuple[int, int]:
        """(done, total) in the source's own units, for a progress bar; total 0 when it has no end."""
        return (0, 0)

    async def close(self) -> None:  # noqa: B027 - most sources hold nothing open
        """Releases what is held; `batches` then ends.  May be called twice."""


@dataclass(frozen=True, slots=True)
class SourceUrl:
    """`scheme:target?option=value&..`, taken apart and checked against its scheme."""

    text: str
    """As written."""
    target: str
    """Channel, group, file or model.  Taken literally: % escapes nothing in it."""
    options: Mapping[str, str]
    """What stands behind the last question mark."""

    def bad(self, reason: str) -> BadSourceUrl:
        """The error to raise for `reason`."""
        return BadSourceUrl(self.text, reason)

    def choice(self, option: str, allowed: tuple[str, ...], default: str) -> str:
        """The option's value, one of `allowed`."""
        value = self.options.get(option, default)
        if value not in allowed:
            raise self.bad(f"{option}={value}: allowed are {', '.join(allowed)}")
        return value

    def number(self, option: str, default: int, low: int, high: int) -> int:
        """The option's value, a whole number from `low` to `high`."""
        if option not in self.options:
            return default
        value = self.options[option]
        if not (value.isascii() and value.isdigit()) or len(value) > 18 or not low <= int(value) <= high:
            raise self.bad(f"{option}={value}: allowed is a whole number from {low} to {high}")
        return int(value)

    def speed(self, default: str) -> float | None:
        """The option `speed`: a factor of real time, or None for `max`."""
        value = self.options.get("speed", default)
        if value == "max":
            return None
        try:
            factor = float(value)
        except ValueError:
            factor = 0.0
        # Written this way round, because every comparison with nan is false.
        if not 0.001 <= factor <= 1_000_000:
            raise self.bad(
                f"speed={value}: allowed are max, or a factor from 0.001 to 1000000 (1 is real time)"
            )
        return factor


@dataclass(frozen=True, slots=True)
class Scheme:
    """One kind of source: a row of `SCHEMES`."""

    opener: Callable[[SourceUrl, str, Clock], Source]
    """Called with the URL, the source's name and the clock."""
    example: str
    """A URL that opens one."""
    options: tuple[str, ...] = ()
    """Options it knows; others are refused before the opener is called."""


# The openers import late: python-can takes longer to load than the rest of the gateway.
def _open_can_bus(url: SourceUrl, name: str, clock: Clock) -> Source:
    from gateway.sensors.can_bus import open_can_bus

    return open_can_bus(url, name, clock)


def _open_can_replay(url: SourceUrl, name: str, clock: Clock) -> Source:
    from gateway.sensors.can_replay import open_can_replay

    return open_can_replay(url, name, clock)


def _open_can_simulated(url: SourceUrl, name: str, clock: Clock) -> Source:
    from gateway.sensors.can_simulated import open_can_simulated

    return open_can_simulated(url, name, clock)


SCHEMES: dict[str, Scheme] = {
    "can": Scheme(_open_can_bus, "can:can0", ("bitrate", "fd", "queue", "wait")),
    "can+virtual": Scheme(_open_can_bus, "can+virtual:bench", ("queue", "wait")),
    "can+udp": Scheme(
        _open_can_bus, "can+udp:239.74.163.2?port=43113", ("fd", "hop_limit", "port", "queue", "wait")
    ),
    "replay": Scheme(_open_can_replay, "replay:trip.trc?speed=max", ("channel", "loop", "speed", "start")),
    "sim": Scheme(
        _open_can_simulated, "sim:car?rate_hz=1000&seed=1", ("rate_hz", "seconds", "seed", "speed")
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
