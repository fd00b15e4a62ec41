"""Readings that wait for the pipeline: bounded, and with a gap for whatever did not fit.

Runs on CPython.  For sources that live in the event loop; nothing here waits for a lock.  When the
queue is full the newest are dropped and counted: those before them are already promised.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any

from gateway.sensors.source import Batch, Clock, Gap, SourceStats

QUEUE_READINGS = 1 << 16
"""Readings that may wait unless told otherwise."""
BATCH_READINGS = 1_000
"""Most readings of one batch: a block holds 1,024."""
FULL = "our queue was full: storing is slower than the source"


class ReadingQueue:
    """Readings from callbacks of an event loop to one reader in it."""

    def __init__(self, stats: SourceStats, readings_max: int = QUEUE_READINGS) -> None:
        self._stats = stats
        self._readings_max = readings_max
        self._taken: deque[int] = deque()
        self._values: deque[Any] = deque()
        self._gaps: deque[tuple[int, Gap]] = deque()
        self._accepted = 0
        """Readings ever put in; gaps are placed by it."""
        self._delivered = 0
        self._last_ns = 0
        self._is_ended = False
        self._news = asyncio.Event()
        self._plenty = asyncio.Event()
        """A whole batch waits, or nothing more will come."""

    def __len__(self) -> int:
        return len(self._values)

    @property
    def is_ended(self) -> bool:
        """Nothing more will come."""
        return self._is_ended

    def put(self, taken_ns: int, values: Sequence[Any]) -> None:
        """Readings that were all taken at that moment, in order."""
        if not values:
            return
        room = self._readings_max - len(self._values)
        kept = len(values) if len(values) <= room else room
        self._taken.extend([taken_ns] * kept)
        self._values.extend(values if kept == len(values) else values[:kept])
        self._accepted += kept
        if kept < len(values):
            self.lost(FULL, len(values) - kept, taken_ns, taken_ns)
        self._last_ns = taken_ns
        self._news.set()
        if len(self._values) >= min(BATCH_READINGS, self._readings_max):
            self._plenty.set()

    def lost(self, reason: str, count: int, from_ns: int, to_ns: int) -> None:
        """So many readings are missing here; 0 when nobody can know how many."""
        self._stats.dropped += count
        self._gap(Gap(reason, count, min(from_ns, to_ns), to_ns))

    def damaged(self, reason: str, count: int, now_ns: int) -> None:
        """So many readings have come since the last one and could not be read."""
        self._stats.damaged += count
        self._gap(Gap(reason, count, min(self._last_ns or now_ns, now_ns), now_ns))

    def end(self) -> None:
        """Nothing more will come; what waits can still be taken."""
        self._is_ended = True
        self._news.set()
        self._plenty.set()

    async def wait(self) -> None:
        """Returns when there is something to take, or nothing will ever be."""
        while not self._values and not self._gaps and not self._is_ended:
            self._news.clear()
            await self._news.wait()

    async def batches(self, clock: Clock, batch_ms: int, filler: Awaitable[object]) -> AsyncIterator[Batch]:
        """Batches until the queue is ended.  filler: the task that fills it; raises what that has raised."""
        while True:
            await self.wait_for_batch(clock, batch_ms)
            batch = self.take()
            if batch is None:
                # A bug in the task must reach whoever reads.
                await filler
                return
            if batch.values or batch.gaps:
                yield batch

    async def wait_for_batch(self, clock: Clock, wait_ms: int) -> None:
        """Returns when there is something to take, and either so much later or when a whole batch waits."""
        await self.wait()
        if self._plenty.is_set():
            # Lets other tasks run between batches, however many wait.
            await asyncio.sleep(0)
            return
        nap = asyncio.ensure_future(clock.sleep(wait_ms / 1_000))
        plenty = asyncio.ensure_future(self._plenty.wait())
        try:
            await asyncio.wait((nap, plenty), return_when=asyncio.FIRST_COMPLETED)
        finally:
            nap.cancel()
            plenty.cancel()
            await asyncio.gather(nap, plenty, return_exceptions=True)

    def take(self, readings_max: int = BATCH_READINGS) -> Batch | None:
        """Up to so many readings; None once everything is taken and the end was reached."""
        count = min(readings_max, len(self._values))
        if count == len(self._values):
            taken_ns, values = list(self._taken), list(self._values)
            self._taken.clear()
            self._values.clear()
        else:
            taken_ns = [self._taken.popleft() for _ in range(count)]
            values = [self._values.popleft() for _ in range(count)]
        batch = Batch(taken_ns, values)
        if len(self._values) < min(BATCH_READINGS, self._readings_max) and not self._is_ended:
            self._plenty.clear()
        first, self._delivered = self._delivered, self._delivered + count
        # A gap behind the last reading goes with it only when no reading waits behind the gap.
        end = self._delivered + (0 if self._values else 1)
        while self._gaps and self._gaps[0][0] < end:
            place, gap = self._gaps.popleft()
            batch.gaps.append((place - first, gap))
        self._stats.received += count
        if not count and not batch.gaps and self._is_ended:
            return None
        return batch

    def _gap(self, gap: Gap) -> None:
        """Adds a gap, or lengthens the last one when nothing came between and the reason is the same."""
        if self._gaps:
            place, before = self._gaps[-1]
            if place == self._accepted and before.reason == gap.reason:
                count = before.count + gap.count if before.count and gap.count else 0
                self._gaps[-1] = (
                    place,
                    Gap(gap.reason, count, min(before.from_ns, gap.from_ns), max(before.to_ns, gap.to_ns)),
                )
                self._news.set()
                return
        self._stats.note(gap.reason)
        self._gaps.append((self._accepted, gap))
        self._news.set()
