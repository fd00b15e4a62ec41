"""Plays a recorded trace as if its car were here: `replay:trip.trc?speed=1`.

Runs on CPython.  `start=now` (the default) moves the recording so that its first frame is taken
when playing begins, every distance kept to the nanosecond; `start=recorded` leaves the times as
they are.  `speed` is a factor of real time, or `max` for no waiting at all; it changes when frames
come, never what time they carry.  `loop=3` plays three times, `loop=0` for ever: each pass begins
one mean distance after the last.  `channel=can0` reads one channel of several.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator

from gateway.sensors.source import Batch, Clock, Gap, Source, SourceUnavailable, SourceUrl
from gateway.sensors.trace import TraceReader

WINDOW_NS = 50_000_000
"""Frames that are due within this time come in one batch, so that a slow trace is not one by one."""
FRAMES_MAX = 500
"""Most frames of one paced batch."""
_NAP_S = 0.5


class Pacer:
    """Holds batches back until their frames are due; late ones do not push later ones back."""

    def __init__(self, clock: Clock, speed: float | None) -> None:
        self._clock = clock
        self._speed = speed
        self._first: tuple[int, int] | None = None
        """Time of the first frame, and when it came on the monotonic clock."""
        self._is_closed = False

    def is_closed(self) -> bool:
        """Nothing more is wanted."""
        return self._is_closed

    def close(self) -> None:
        """Ends waiting, within half a second."""
        self._is_closed = True

    def parts(self, batch: Batch) -> Iterator[Batch]:
        """The batch cut into what comes together."""
        return iter([batch]) if self._speed is None else split(batch, int(WINDOW_NS * self._speed))

    async def wait_for(self, batch: Batch) -> None:
        """Returns when the last frame of `batch` is due."""
        # Lets other tasks run between batches, even when nobody ever waits.
        await self._clock.sleep(0)
        if self._speed is None or not batch.taken_ns:
            return
        if self._first is None:
            self._first = (batch.taken_ns[0], self._clock.monotonic_ns())
        # From the first frame on, never from the one before: errors must not add up.
        due_ns = self._first[1] + int((batch.taken_ns[-1] - self._first[0]) / self._speed)
        while not self._is_closed and (left_ns := due_ns - self._clock.monotonic_ns()) > 0:
            # Short naps, so that closing does not wait for the end of a long silence.
            await self._clock.sleep(min(left_ns / 1e9, _NAP_S))


def split(batch: Batch, window_ns: int) -> Iterator[Batch]:
    """The batch in parts of at most `window_ns` and FRAMES_MAX; gaps stay at their places."""
    taken = batch.taken_ns
    begin, gaps = 0, iter(batch.gaps)
    gap = next(gaps, None)
    while True:
        end = (
            bisect_right(taken, taken[begin] + window_ns, begin, min(len(taken), begin + FRAMES_MAX))
            if taken
            else 0
        )
        end = max(end, min(begin + 1, len(taken)))
        is_last = end == len(taken)
        part_gaps: list[tuple[int, Gap]] = []
        while gap is not None and (gap[0] < end or is_last):
            part_gaps.append((gap[0] - begin, gap[1]))
            gap = next(gaps, None)
        yield Batch(taken[begin:end], batch.values[begin:end], part_gaps)
        if is_last:
            return
        begin = end


class ReplaySource(Source):
    """One trace file, once or again and again."""

    kind = "can"

    def __init__(
        self,
        name: str,
        path: str,
        clock: Clock,
        *,
        speed: float | None = 1.0,
        loops: int = 1,
        is_recorded: bool = False,
        channel: str | None = None,
    ) -> None:
        super().__init__(name)
        self._path = path
        self._clock = clock
        self._loops = loops
        self._is_recorded = is_recorded
        self._channel = channel
        self._pacer = Pacer(clock, speed)
        self._is_playing = False
        self._passes_done = 0
        self._shift_ns: int | None = None
        """None until the first batch of a pass."""
        self._first_ns = self._last_ns = self._count = 0
        """Of all frames so far, as played."""
        # Opened here, so that a wrong file is told to whoever opens the source.
        self._reader = TraceReader(path, channel=channel, stats=self.stats)

    @property
    def format_name(self) -> str:
        """The trace's format as shown to people."""
        return self._reader.format_name

    def progress(self) -> tuple[int, int]:
        """Bytes read and to read, over all passes; total 0 when there is no end."""
        total = self._reader.bytes_total
        done = min(self._passes_done * total + self._reader.bytes_done, total * (self._loops or 1 << 62))
        return (done, total * self._loops)

    async def close(self) -> None:
        """Ends `batches` and closes the file."""
        self._pacer.close()
        if not self._is_playing:
            self._reader.close()

    async def batches(self) -> AsyncIterator[Batch]:
        """All frames of all passes.  Raises SourceUnavailable when reading fails."""
        self._is_playing = True
        try:
            while not self._pacer.is_closed():
                for recorded in self._reader.batches():
                    for part in self._pacer.parts(shifted(recorded, self._shift_for(recorded))):
                        await self._pacer.wait_for(part)
                        if self._pacer.is_closed():
                            return
                        yield part
                        if self._pacer.is_closed():
                            return
                self._passes_done += 1
                if not self._count:
                    self.stats.note(f"{self._path}: {self.format_name} without a frame")
                    return
                if self._passes_done == self._loops:
                    return
                self._reader.close()
                self._reader = TraceReader(self._path, channel=self._channel, stats=self.stats)
                self._shift_ns = None
        finally:
            self._is_playing = False
            self._reader.close()

    def _shift_for(self, batch: Batch) -> int:
        """What to add to the recorded times of this pass."""
        taken = batch.taken_ns
        if self._shift_ns is None:
            first_ns = taken[0] if taken else batch.gaps[0][1].from_ns
            if self._count:
                spacing_ns = (self._last_ns - self._first_ns) // max(self._count - 1, 1)
                self._shift_ns = self._last_ns + max(spacing_ns, 1000) - first_ns
            elif not self._is_recorded:
                self._shift_ns = self._clock.now_ns() - first_ns
            elif self._reader.is_absolute or not taken:
                self._shift_ns = 0
            else:
                raise SourceUnavailable(
                    self._path, "the recording has no date, so start=recorded cannot be; use start=now"
                )
        if taken:
            if not self._count:
                self._first_ns = taken[0] + self._shift_ns
            self._last_ns = taken[-1] + self._shift_ns
            self._count += len(taken)
        return self._shift_ns


def shifted(batch: Batch, shift_ns: int) -> Batch:
    """The batch, taken so much later."""
    if not shift_ns:
        return batch
    gaps = [
        (index, Gap(gap.reason, gap.count, gap.from_ns + shift_ns, gap.to_ns + shift_ns))
        for index, gap in batch.gaps
    ]
    return Batch([taken_ns + shift_ns for taken_ns in batch.taken_ns], batch.values, gaps)


def open_can_replay(url: SourceUrl, name: str, clock: Clock) -> ReplaySource:
    """Opens `replay:FILE`.  Raises SourceError."""
    return ReplaySource(
        name,
        url.target,
        clock,
        speed=url.speed("1"),
        loops=url.number("loop", 1, 0, 1_000_000),
        is_recorded=url.choice("start", ("now", "recorded"), "now") == "recorded",
        channel=url.options.get("channel"),
    )
