"""A recording of readings, played as if it came in now: what `csv:` and `btsnoop:` share.

Runs on CPython.  `start=now` (the default) moves it so that its first reading is taken when playing begins,
every distance kept; `start=recorded` leaves the times as they are.  `speed` is a factor of real time, or
`max` for no waiting at all; it changes when readings come, never what time they carry.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Protocol

from gateway.sensors.can_replay import Pacer, shifted
from gateway.sensors.source import Batch, Clock, Source, SourceStats, SourceUnavailable, SourceUrl


class Recording(Protocol):
    """A file that was opened, and is read once."""

    @property
    def path(self) -> str:
        """Of the file."""

    @property
    def is_absolute(self) -> bool:
        """Its times count from 1970, not from its own beginning."""

    @property
    def bytes_done(self) -> int:
        """Of the file, read."""

    @property
    def bytes_total(self) -> int:
        """Of the file; 0 when unknown."""

    def batches(self) -> Iterator[Batch]:
        """All readings in order, with the times of the recording; no empty batch."""

    def close(self) -> None:
        """Closes the file; may be called twice."""


class RecordingSource(Source):
    """One file, once."""

    kind = "reading"

    def __init__(
        self,
        name: str,
        recording: Recording,
        stats: SourceStats,
        clock: Clock,
        *,
        speed: float | None = 1.0,
        is_recorded: bool = False,
    ) -> None:
        """stats: what `recording` counts in."""
        super().__init__(name)
        self.stats = stats
        self._recording = recording
        self._clock = clock
        self._is_recorded = is_recorded
        self._pacer = Pacer(clock, speed)
        self._is_playing = False
        if is_recorded and not recording.is_absolute:
            recording.close()
            raise SourceUnavailable(
                recording.path, "its times have no date, so start=recorded cannot be; use start=now"
            )

    def progress(self) -> tuple[int, int]:
        """Bytes read and to read."""
        return (self._recording.bytes_done, self._recording.bytes_total)

    async def close(self) -> None:
        """Ends `batches` and closes the file."""
        self._pacer.close()
        if not self._is_playing:
            self._recording.close()

    async def batches(self) -> AsyncIterator[Batch]:
        """All readings.  Raises SourceUnavailable when reading fails."""
        shift_ns: int | None = 0 if self._is_recorded else None
        self._is_playing = True
        try:
            for recorded in self._recording.batches():
                if shift_ns is None:
                    first_ns = recorded.taken_ns[0] if recorded.taken_ns else recorded.gaps[0][1].from_ns
                    shift_ns = self._clock.now_ns() - first_ns
                for part in self._pacer.parts(shifted(recorded, shift_ns)):
                    await self._pacer.wait_for(part)
                    if self._pacer.is_closed():
                        return
                    self.stats.received += len(part.values)
                    yield part
        finally:
            self._is_playing = False
            self._recording.close()


def play(
    url: SourceUrl, name: str, recording: Recording, stats: SourceStats, clock: Clock
) -> RecordingSource:
    """The source of an opened recording, with the options `start` and `speed` of its URL."""
    try:
        speed = url.speed("1")
        is_recorded = url.choice("start", ("now", "recorded"), "now") == "recorded"
    except BaseException:
        recording.close()
        raise
    return RecordingSource(name, recording, stats, clock, speed=speed, is_recorded=is_recorded)
