"""How tests open a Bluetooth source over a backend of their own, and read it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from gateway.sensors import ble_source
from gateway.sensors.ble_source import open_ble
from gateway.sensors.source import Batch, Clock, Source, SourceUrl
from tests.gateway.sensors.bleak_backends import Air
from tests.gateway.sensors.traces import join

WAIT_S = 20
OTHER = "A4:C1:38:0A:0B:0C"


def url(target: str = "hci0", **options: str) -> SourceUrl:
    return SourceUrl(f"ble:{target}", target, options)


class Reader:
    """Reads a source until something is there."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.batches: list[Batch] = []
        self._iterator: AsyncIterator[Batch] = source.batches()

    async def until(self, is_there: Callable[[Batch], bool]) -> Batch:
        async with asyncio.timeout(WAIT_S):
            while not is_there(join(self.batches)):
                self.batches.append(await anext(self._iterator))
        return join(self.batches)

    async def rest(self) -> Batch:
        await self.source.close()
        async with asyncio.timeout(WAIT_S):
            async for batch in self._iterator:
                self.batches.append(batch)
        return join(self.batches)


class WatchClock:
    """Naps end at once, and time passes with them, but only while `is_running`."""

    def __init__(self) -> None:
        self.monotonic_ns = 0
        self.running = asyncio.Event()
        self.stopped = asyncio.Event()
        """Somebody naps while time does not pass."""
        self.naps: list[float] = []
        self.clock = Clock(monotonic_ns=lambda: self.monotonic_ns, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        if seconds > ble_source.BATCH_MS / 1_000:
            if not self.running.is_set():
                self.stopped.set()
                await self.running.wait()
                self.stopped.clear()
            self.naps.append(seconds)
            self.monotonic_ns += int(seconds * 10**9) + 1
        await asyncio.sleep(0)


def run(story: Awaitable[None]) -> None:
    async def body() -> None:
        await story

    asyncio.run(body())


def reasons(batch: Batch) -> list[str]:
    return [gap.reason for _, gap in batch.gaps]


def opened(air: Air, clock: Clock | None = None, target: str = "hci0", **options: str) -> Source:
    """clock: one that is never silent, and waits for no batch, unless told otherwise."""
    return open_ble(
        url(target, **options),
        "ble",
        clock if clock is not None else WatchClock().clock,
        scanner_backend=air.scanner_class(),
        client_backend=air.client_class(),
    )
