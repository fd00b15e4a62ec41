"""Notifications of one Bluetooth LE device: `ble:AA:BB:CC:DD:EE:FF?characteristic=UUID`.

Runs on CPython; needs the extra `ble`.  A reading is `address`, `characteristic` and `data`, as the device
sent it.  A connection that is lost is made again and again, ever more slowly, and never given up: going and
coming back are gaps.  Connecting, with its many ways to fail for a moment, is bleak-retry-connector's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from bleak import BleakClient, BleakScanner
from bleak.args.bluez import BlueZClientArgs, BlueZScannerArgs
from bleak.exc import BleakError
from bleak_retry_connector import BleakClientWithServiceCache, establish_connection

from gateway.sensors.ble_ad import address_text, parse_address, uuid_bytes
from gateway.sensors.ble_advice import say
from gateway.sensors.reading_queue import QUEUE_READINGS, ReadingQueue
from gateway.sensors.source import Batch, Clock, Source, SourceUrl

BATCH_MS = 50
BACK_OFF_MS = (1_000, 2_000, 5_000, 10_000, 30_000)
"""Waits between attempts to find and connect a device; the last one for ever."""
FIND_MS = 20_000
"""How long a device is looked for at each attempt."""
_ERRORS = (BleakError, OSError, EOFError, TimeoutError)


class GattSource(Source):
    """One characteristic of one device."""

    kind = "reading"

    def __init__(
        self,
        name: str,
        address: str,
        characteristic: str,
        adapter: str,
        clock: Clock,
        *,
        queue_readings: int = QUEUE_READINGS,
        scanner_backend: Any = None,
        client_backend: Any = None,
    ) -> None:
        """address: as it is written.  characteristic: its whole UUID.  The backends replace bleak's own."""
        super().__init__(name)
        self.label = f"ble:{address}"
        self._address = address
        self._characteristic = characteristic
        self._adapter = adapter
        self._clock = clock
        self._queue_readings = queue_readings
        self._scanner_backend = scanner_backend
        self._client_backend = client_backend
        self._closing: asyncio.Event | None = None
        self._is_closed = False

    async def batches(self) -> AsyncIterator[Batch]:
        """Batches until the source is closed."""
        queue = ReadingQueue(self.stats, self._queue_readings, self.overrun)
        closing = self._closing = asyncio.Event()
        if self._is_closed:
            closing.set()
        task = asyncio.ensure_future(self._run(queue, closing))
        try:
            async for batch in queue.batches(self._clock, BATCH_MS, task):
                yield batch
        finally:
            await self.close()
            await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        """Disconnects; what had arrived can still be taken."""
        self._is_closed = True
        if self._closing is not None:
            self._closing.set()

    async def _run(self, queue: ReadingQueue, closing: asyncio.Event) -> None:
        """Connects and listens, in turn, until closed."""
        try:
            down_ns = attempt = 0
            while not closing.is_set():
                lost = asyncio.Event()
                try:
                    client = await _unless_closed(self._connect(lost), closing)
                except _ERRORS as error:
                    if down_ns:
                        self.stats.note(f"connecting {self.label}: {say(error)}")
                    else:
                        down_ns = self._clock.now_ns()
                        queue.lost(f"{self.label} is not there: {say(error)}", 0, down_ns, down_ns)
                    await self._wait(closing, BACK_OFF_MS[min(attempt, len(BACK_OFF_MS) - 1)])
                    attempt += 1
                    continue
                if client is None:
                    return
                try:
                    await client.start_notify(
                        self._characteristic, lambda _, data: self._notified(queue, data)
                    )
                    if down_ns:
                        queue.lost(f"{self.label} is back", 0, down_ns, self._clock.now_ns())
                        down_ns = 0
                    attempt = 0
                    await _first_of(lost, closing)
                    reason = "" if closing.is_set() else "it disconnected"
                except _ERRORS as error:
                    reason = say(error)
                await self._disconnect(client)
                if reason:
                    if down_ns:
                        self.stats.note(f"{self.label}: {reason}")
                    else:
                        down_ns = self._clock.now_ns()
                        queue.lost(f"{self.label} is gone: {reason}", 0, down_ns, down_ns)
                    await self._wait(closing, BACK_OFF_MS[min(attempt, len(BACK_OFF_MS) - 1)])
                    attempt += 1
        finally:
            queue.end()

    async def _connect(self, lost: asyncio.Event) -> BleakClient:
        """Finds the device and connects to it.  Raises what bleak does."""
        device = await BleakScanner.find_device_by_address(
            self._address,
            FIND_MS / 1_000,
            bluez=BlueZScannerArgs(adapter=self._adapter),
            backend=self._scanner_backend,
        )
        if device is None:
            raise BleakError(
                f"not heard for {FIND_MS // 1_000} s; is it near, awake, and not connected elsewhere?"
            )
        return await establish_connection(
            BleakClientWithServiceCache,
            device,
            self.label,
            disconnected_callback=lambda _: lost.set(),
            bluez=BlueZClientArgs(adapter=self._adapter),
            backend=self._client_backend,
        )

    def _notified(self, queue: ReadingQueue, data: bytearray) -> None:
        reading = {"address": self._address, "characteristic": self._characteristic, "data": bytes(data)}
        queue.put(self._clock.now_ns(), [reading])

    async def _disconnect(self, client: BleakClient) -> None:
        try:
            await client.disconnect()
        except _ERRORS as error:
            self.stats.note(f"disconnecting {self.label}: {say(error)}")

    async def _wait(self, closing: asyncio.Event, wait_ms: int) -> None:
        """Sleeps, or wakes when closed."""
        nap = asyncio.ensure_future(self._clock.sleep(wait_ms / 1_000))
        closed = asyncio.ensure_future(closing.wait())
        await asyncio.wait((nap, closed), return_when=asyncio.FIRST_COMPLETED)
        nap.cancel()
        closed.cancel()
        await asyncio.gather(nap, closed, return_exceptions=True)


async def _first_of(*events: asyncio.Event) -> None:
    """Returns when one of them is set."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _unless_closed(
    connecting: Coroutine[Any, Any, BleakClient], closing: asyncio.Event
) -> BleakClient | None:
    """What `connecting` gives; None, and no connection, when the source is closed before."""
    task = asyncio.ensure_future(connecting)
    closed = asyncio.ensure_future(closing.wait())
    try:
        await asyncio.wait((task, closed), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        closed.cancel()
        task.cancel()
        await asyncio.gather(task, closed, return_exceptions=True)


def open_gatt(
    url: SourceUrl,
    name: str,
    clock: Clock,
    adapter: str,
    *,
    queue_readings: int = QUEUE_READINGS,
    scanner_backend: Any = None,
    client_backend: Any = None,
) -> GattSource:
    """The source that `url` names.  Raises BadSourceUrl."""
    characteristic = url.options.get("characteristic", "")
    if not characteristic:
        raise url.bad("what shall it notify? ble:AA:BB:CC:DD:EE:FF?characteristic=UUID")
    for option in ("active", "address", "duplicates", "keys", "name", "silence_ms"):
        if option in url.options:
            raise url.bad(f"{option}= is for advertisements: ble:hci0?{option}=..")
    try:
        address = address_text(parse_address(url.target))
        uuid = uuid_bytes(characteristic)[::-1].hex()
    except ValueError as error:
        raise url.bad(str(error)) from None
    if len(uuid) == 4:
        whole = f"0000{uuid}-0000-1000-8000-00805f9b34fb"
    else:
        whole = f"{uuid[:8]}-{uuid[8:12]}-{uuid[12:16]}-{uuid[16:20]}-{uuid[20:]}"
    return GattSource(
        name,
        address,
        whole,
        adapter,
        clock,
        queue_readings=queue_readings,
        scanner_backend=scanner_backend,
        client_backend=client_backend,
    )
