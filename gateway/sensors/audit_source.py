"""A source that the gateway itself feeds: what was commanded from afar, and what came of it.

Runs on CPython.  Its records are sealed and anchored like those of any sensor.  `record` returns when its
record is durable, so that a command can wait for its own trace before it is carried out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from gateway.sensors.source import Batch, Clock, Source


class AuditSource(Source):
    """Yields what `record` is given."""

    kind = "reading"

    def __init__(self, name: str, clock: Clock) -> None:
        super().__init__(name)
        self._clock = clock
        self._waiting: deque[tuple[int, Any, asyncio.Future[None]]] = deque()
        self._handed: list[tuple[Batch, list[asyncio.Future[None]]]] = []
        self._news = asyncio.Event()
        self._is_closed = False

    async def record(self, value: Any) -> None:
        """Returns when `value` is durable.  Cancelled, it may become so all the same."""
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((self._clock.now_ns(), value, durable))
        self._news.set()
        await durable

    async def batches(self) -> AsyncIterator[Batch]:
        """What was recorded, until closed."""
        while True:
            await self._news.wait()
            self._news.clear()
            if self._waiting:
                entries = list(self._waiting)
                self._waiting.clear()
                batch = Batch([taken_ns for taken_ns, _, _ in entries], [value for _, value, _ in entries])
                self._handed.append((batch, [durable for _, _, durable in entries]))
                self.stats.received += len(entries)
                yield batch
            if self._is_closed and not self._waiting:
                return

    def acknowledge(self, batch: Batch) -> None:
        """Wakes those whose records are durable now."""
        for place, (each, waiters) in enumerate(self._handed):
            if each is batch:
                del self._handed[place]
                for durable in waiters:
                    if not durable.done():
                        durable.set_result(None)
                return

    async def close(self) -> None:
        """Ends `batches` once all is taken."""
        self._is_closed = True
        self._news.set()
