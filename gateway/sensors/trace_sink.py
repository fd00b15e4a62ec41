"""Where trace parsers put what they read: frames, and what was damaged or lost between them.

Runs on CPython.  Parsers are pure: lines go in, `Batch`es come out of the sink.  Times are
nanoseconds as the file counts them, from its own zero or from 1970.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod

from gateway.sensors.source import Batch, Gap, SourceStats
from obd.can_frame import ERROR, CanFrame

UNTIMED_SPACING_NS = 100_000
"""Between two frames of a file without times: 0.1 ms, about a full bus of 1 Mbit/s."""

TIME_MAX_NS = 4 * 10**18
"""Later than this, the year 2096, is no time but damage; it also keeps times within 64 bits."""

NS_PER_S_DIGITS = {digits: 10 ** (9 - digits) for digits in range(10)}
"""Nanoseconds of one unit of the last digit, by the number of decimals of a time in seconds."""
NS_PER_MS_DIGITS = {digits: 10 ** (6 - digits) for digits in range(7)}
"""The same for a time in milliseconds."""

_CAN_ERR_BUSERROR = 0x80  # linux/can/error.h
RECORDED_ERROR = CanFrame(_CAN_ERR_BUSERROR, ERROR, bytes(8))
"""What stands for an error frame that a PC tool recorded: tools say too differently what it was."""

_HEX_RUN = re.compile(r"\b[0-9A-Fa-f]{2}[ .][0-9A-Fa-f]{2}[ .][0-9A-Fa-f]{2}\b")
CACHE_MAX = 4096
"""Fixed parts of lines that a parser remembers; garbage has endless ones."""


class _Hole:
    """A gap whose end is not known until the next frame is read."""

    __slots__ = ("count", "first", "from_ns", "index", "last", "lines", "reason")

    def __init__(self, index: int, reason: str, count: int, from_ns: int, line: str) -> None:
        self.index = index
        self.reason = reason
        self.count = count
        self.from_ns = from_ns
        self.first = self.last = line
        self.lines = 1


class TraceSink:
    """Collects what a parser reads until `take` makes a batch of it."""

    def __init__(self, stats: SourceStats) -> None:
        self.stats = stats
        self.taken: list[int] = []
        """Appended to by parsers, along with `frames`."""
        self.frames: list[CanFrame] = []
        self.last_ns: int | None = None
        """Time of the last frame of earlier batches."""
        self._holes: list[_Hole] = []

    def damaged(self, where: str, why: str) -> None:
        """A frame was here and cannot be read.  where: such as `line 17`."""
        self.stats.damaged += 1
        self.stats.note(f"damaged {where}: {why}")
        holes = self._holes
        # A run of damaged lines is one gap, so that a megabyte of garbage does not become a million.
        if holes and holes[-1].index == len(self.frames) and holes[-1].first:
            hole = holes[-1]
            hole.count += 1
            hole.lines += 1
            hole.last = where
            return
        holes.append(_Hole(len(self.frames), f"damaged {where}: {why}", 1, self._now_ns(), where))

    def lost(self, reason: str, count: int) -> None:
        """The recorder itself says that frames are missing here; count 0 when it does not say how many."""
        self.stats.dropped += count
        self.stats.note(reason)
        self._holes.append(_Hole(len(self.frames), reason, count, self._now_ns(), ""))

    def ignored(self) -> None:
        """A line that carries no frame."""
        self.stats.ignored += 1

    def take(self, *, is_last: bool = False) -> Batch:
        """What was collected since the last call.  is_last: nothing follows, so close all gaps."""
        taken, frames = self.taken, self.frames
        gaps: list[tuple[int, Gap]] = []
        kept: list[_Hole] = []
        for hole in self._holes:
            if hole.index < len(taken):
                to_ns = taken[hole.index]
            elif is_last:
                to_ns = taken[-1] if taken else (self.last_ns or 0)
            else:
                kept.append(hole)
                continue
            reason = hole.reason
            if hole.lines > 1:
                reason += f" (and {hole.lines - 1} more up to {hole.last})"
            # Before the very first frame there is no earlier time than that frame's.
            from_ns = to_ns if hole.from_ns < 0 else hole.from_ns
            gaps.append((hole.index, Gap(reason, hole.count, min(from_ns, to_ns), to_ns)))
        if taken:
            self.last_ns = taken[-1]
        for hole in kept:
            hole.index -= len(frames)
        self._holes = kept
        self.taken, self.frames = [], []
        self.stats.received += len(frames)
        return Batch(taken, frames, gaps)

    def _now_ns(self) -> int:
        if self.taken:
            return self.taken[-1]
        return -1 if self.last_ns is None else self.last_ns


class Channels:
    """Which of a trace's channels to read, and which there are."""

    def __init__(self, sink: TraceSink, only: str | None) -> None:
        self.seen: list[str] = []
        self._sink = sink
        self._only = only

    def wants(self, channel: str) -> bool:
        """Notes that `channel` occurs; False when it is not to be read."""
        if channel not in self.seen and len(self.seen) < 64:
            self.seen.append(channel)
            if self._only is None and len(self.seen) == 2:
                self._sink.stats.note(
                    f"channels {self.seen[0]} and {channel} (at least) are merged into one stream; "
                    f"choose one with channel={self.seen[0]}"
                )
        return self._only is None or channel == self._only


class LineParser(ABC):
    """One text format."""

    format_name: str
    """As shown to people."""
    is_absolute = False
    """Times count from 1970; known once the first frame was read."""

    def __init__(self, sink: TraceSink, channels: Channels) -> None:
        self.sink = sink
        self.channels = channels

    @classmethod
    @abstractmethod
    def score(cls, lines: list[str]) -> int:
        """How many of these lines, the first of a file, are surely of this format."""

    @abstractmethod
    def parse(self, line_number: int, lines: list[str]) -> None:
        """Reads whole lines into the sink; `line_number` is that of the first."""

    def parse_last(self, line_number: int, line: str) -> None:
        """Reads the last line, when it has no end and may be cut."""
        self.parse(line_number, [line])

    def probe(self, lines: list[str]) -> None:  # noqa: B027 - few formats must look ahead
        """Looks at the first lines of the file before `parse` gets them."""

    def add(self, taken_ns: int, frame: CanFrame) -> None:
        """Puts one frame into the sink."""
        self.sink.taken.append(taken_ns)
        self.sink.frames.append(frame)


def has_hex_run(line: str) -> bool:
    """Three bytes in hex stand in the line: it may be the rest of a torn frame."""
    return _HEX_RUN.search(line) is not None


def seconds_to_ns(text: str) -> int:
    """Exact nanoseconds of `12.345678`; at most 9 decimals.  Raises ValueError."""
    whole, _, decimals = text.partition(".")
    digits = whole + decimals
    if not digits.isdecimal() or len(decimals) > 9 or len(digits) > 24:
        raise ValueError(f"{text[:40]!r} is no time in seconds")
    return checked_time(int(digits) * NS_PER_S_DIGITS[len(decimals)])


def milliseconds_to_ns(text: str) -> int:
    """Exact nanoseconds of `12345.678`; at most 6 decimals.  Raises ValueError."""
    whole, _, decimals = text.partition(".")
    digits = whole + decimals
    if not digits.isdecimal() or len(decimals) > 6 or len(digits) > 24:
        raise ValueError(f"{text[:40]!r} is no time in milliseconds")
    return checked_time(int(digits) * NS_PER_MS_DIGITS[len(decimals)])


def checked_time(taken_ns: int) -> int:
    """`taken_ns` itself, when it is a time.  Raises ValueError."""
    if not 0 <= taken_ns <= TIME_MAX_NS:
        raise ValueError(f"{taken_ns} ns is not between the years 1970 and 2096")
    return taken_ns
