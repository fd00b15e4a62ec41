"""Readings that wait for the pipeline: bounded, and with a gap for whatever did not fit.

Runs on CPython.  For sources that live in the event loop; nothing here waits for a lock.  When the
queue is full, the newest or the oldest are dropped and counted, as the stream's loss policy has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any

from gateway.sensors.backlog import Backlog
from gateway.sensors.source import DROP_NEWEST, Batch, Clock, SourceStats

QUEUE_READINGS = 1 << 16
"""Readings that may wait unless told otherwise."""
BATCH_READINGS = 1_000
"""Most readings of one batch: a block holds 1,024."""
FULL = "our queue was full: storing is slower than the source"


class ReadingQueue:
    """Readings from callbacks of an event loop to one reader in it."""

    def __init__(
        self, stats: SourceStats, readings_max: int = QUEUE_READINGS, overrun: str = DROP_NEWEST
    ) -> None:
        """overrun: what goes when there is no room; see gateway.sensors.backlog."""
        self._stats = stats
        self._readings_max = readings_max
        self._backlog = Backlog(stats, readings_max, overrun, FULL)
        self._last_ns = 0
        self._is_ended = False
        self._news = asyncio.Event()
        self._plenty = asyncio.Event()
        """A whole batch waits, or nothing more will come."""

    def __len__(self) -> int:
        return len(self._backlog)

    @property
    def is_ended(self) -> bool:
        """Nothing more will come."""
        return self._is_ended

    def put(self, taken_ns: int, values: Sequence[Any]) -> None:
        """Readings that were all taken at that moment, in order."""
        if not values:
            return
        self._backlog.put([taken_ns] * len(values), values)
        self._last_ns = taken_ns
        self._news.set()
        if len(self._backlog) >= min(BATCH_READINGS, self._readings_max):
            self._plenty.set()

    def lost(self, reason: str, count: int, from_ns: int, to_ns: int) -> None:
        """So many readings are missing here; 0 when nobody can know how many."""
        self._stats.dropped += count
        self._backlog.gap(reason, count, from_ns, to_ns)
        self._news.set()

    def damaged(self, reason: str, count: int, now_ns: int) -> None:
        """So many readings have come since the last one and could not be read."""
        self._stats.damaged += count
        self._backlog.gap(reason, count, self._last_ns or now_ns, now_ns)
        self._news.set()

    def end(self) -> None:
        """Nothing more will come; what waits can still be taken."""
        self._is_ended = True
        self._news.set()
        self._plenty.set()

    async def wait(self) -> None:
        """Returns when there is something to take, or nothing will ever be."""
        while not len(self._backlog) and not self._backlog.has_gaps and not self._is_ended:
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
        batch = self._backlog.take(readings_max)
        if len(self._backlog) < min(BATCH_READINGS, self._readings_max) and not self._is_ended:
            self._plenty.clear()
        if not batch.values and not batch.gaps and self._is_ended:
            return None
        return batch
