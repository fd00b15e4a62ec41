"""What every source of records is.

Runs on CPython.  A source yields batches of samples in the order they were taken; what it lost on
the way is a gap at its place in the batch, never silence.  Who reads it calls `acknowledge` once a
batch is durable.  The one string that opens a source is in `gateway.sensors.schemes`.

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

NOTES_MAX = 100
"""Notes a source keeps; the rest is counted."""
BLOCK = "block"
DROP_OLDEST = "drop-oldest"
DROP_NEWEST = "drop-newest"
OVERRUNS = (BLOCK, DROP_OLDEST, DROP_NEWEST)
"""What becomes of samples that come faster than they can be stored: they wait where their source can, or the
oldest or the newest go, and a gap record counts them."""


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
        self.overrun = DROP_NEWEST
        """What becomes of samples that do not fit into the source's queue; set before `batches` is called."""

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
