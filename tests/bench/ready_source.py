"""`ready:NAME`: a source whose batches are in memory already, for benches of what comes after the bus.

Runs on CPython.  `with ready(batches) as url:` makes the scheme known to `open_source` and to the
configuration, as one more row of `SCHEMES`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager

from gateway.sensors.schemes import SCHEMES, Scheme
from gateway.sensors.source import Batch, Clock, Source, SourceUrl

SCHEME = "ready"


class ReadySource(Source):
    """Hands out batches that are there already."""

    kind = "can"

    def __init__(self, name: str, batches: Sequence[Batch], look: Callable[[Batch], None] | None) -> None:
        super().__init__(name)
        self._batches = batches
        self._look = look
        self._is_closed = False

    async def batches(self) -> AsyncIterator[Batch]:
        """Each of them."""
        for batch in self._batches:
            if self._is_closed:
                return
            # As a real source, it waits for nothing without letting others run.
            await asyncio.sleep(0)
            if self._look is not None:
                self._look(batch)
            self.stats.received += len(batch.values)
            yield batch

    async def close(self) -> None:
        """Ends `batches`."""
        self._is_closed = True


@contextmanager
def ready(batches: Sequence[Batch], look: Callable[[Batch], None] | None = None) -> Iterator[str]:
    """The URL of a source of `batches`.  look: called with each batch before it is handed out."""

    def opened(url: SourceUrl, name: str, clock: Clock) -> Source:
        return ReadySource(name, batches, look)

    SCHEMES[SCHEME] = Scheme(opened, f"{SCHEME}:frames")
    try:
        yield f"{SCHEME}:frames"
    finally:
        del SCHEMES[SCHEME]
