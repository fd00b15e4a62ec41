"""Bluetooth LE as a source: what all devices say, or what one device notifies.

    ble:hci0                                          all advertisements that an adapter hears
    ble:hci0?address=AA:BB:CC:DD:EE:FF&name=GVH       of some devices
    ble:AA:BB:CC:DD:EE:FF?characteristic=UUID         notifications of one device (ble_gatt.py)

Runs on CPython.  A reading of an advertisement is as ble_decode.py has it.  BlueZ hands over no bytes but
properties, so `data` is put together from those, in a fixed order and without the flags; several packets
that a device sends in turn are one to BlueZ, and it says the same things once when nothing has changed.

A scanner that has gone silent, as adapters do, is noticed by a clock that never jumps; it is stopped and
started, at the second time with the power of its adapter switched off and on.  The time since it last said
anything, up to when it scans again, is a gap.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

from gateway.sensors.ble_ad import Advertisement, build, parse_address
from gateway.sensors.ble_advice import say
from gateway.sensors.ble_decode import Decoder, Reading
from gateway.sensors.ble_keys import load_keys
from gateway.sensors.reading_queue import QUEUE_READINGS, ReadingQueue
from gateway.sensors.source import Batch, Clock, MissingExtra, Source, SourceUrl

BATCH_MS = 250
"""Advertisements that come within this time make one batch."""
SILENCE_MS = 60_000
"""Without any advertisement for so long, a scanner is taken for dead, unless told otherwise."""
PATIENCE_MAX = 10
"""After so many restarts in vain, silence is believed, and looked into only this many times later."""
START_TIMEOUT_MS = 30_000
BACK_OFF_MS = (1_000, 2_000, 5_000, 10_000, 30_000)
"""Waits between attempts to start a scanner; the last one for ever."""
WAS_SILENT, SCANS_AGAIN = "was silent, and was started anew", "scans again"
"""What the gap says that ends when the adapter scans again."""
DUPLICATE_MS = 60_000
"""What was dropped as a duplicate comes again after so long."""
DEVICES_MAX = 4_096
"""Devices whose newest bytes are remembered, when duplicates are dropped."""
_RSSI_UNKNOWN = -127

Heard = Callable[[Any, Any], None]
"""Called with bleak's BLEDevice and AdvertisementData."""
Reset = Callable[[], Awaitable[None]]
"""Switches the adapter off and on.  Raises OSError or what bleak raises."""


class Scanner(Protocol):
    """What of bleak's scanner is used."""

    async def start(self) -> None:
        """Begins to call back."""

    async def stop(self) -> None:
        """Ends it."""


ScannerMaker = Callable[[Heard], Scanner]


class Advertisements:
    """Turns what bleak calls back with into readings.  Pure, but for the queue it fills."""

    def __init__(
        self,
        decoder: Decoder,
        *,
        addresses: frozenset[bytes] = frozenset(),
        name: str = "",
        drops_duplicates: bool = False,
    ) -> None:
        """addresses, name: of the devices that are wanted; all when empty.  name: how it begins."""
        self._decoder = decoder
        self._addresses = addresses
        self._name = name
        self._drops_duplicates = drops_duplicates
        self._kept: dict[bytes, tuple[bytes, int]] = {}

    def reading(self, device: Any, data: Any, now_ns: int) -> Reading | None:
        """The reading; None when it is not wanted.  now_ns: of a clock that never jumps.

        Raises ValueError for an address or a UUID that is none."""
        address = parse_address(device.address)
        name = data.local_name or ""
        if self._addresses and address not in self._addresses:
            return None
        if self._name and not name.startswith(self._name):
            return None
        raw = build(name, data.manufacturer_data, data.service_data, data.service_uuids, data.tx_power)
        if self._drops_duplicates and self._is_duplicate(address, raw, now_ns):
            return None
        rssi = data.rssi
        advertisement = Advertisement(address, None if rssi == _RSSI_UNKNOWN else rssi, raw)
        return self._decoder.reading(advertisement)

    def _is_duplicate(self, address: bytes, raw: bytes, now_ns: int) -> bool:
        kept = self._kept.pop(address, None)
        if kept is not None and kept[0] == raw and now_ns - kept[1] < DUPLICATE_MS * 1_000_000:
            self._kept[address] = kept
            return True
        if len(self._kept) >= DEVICES_MAX:
            del self._kept[next(iter(self._kept))]
        self._kept[address] = (raw, now_ns)
        return False


class BleSource(Source):
    """All advertisements of one adapter."""

    kind = "reading"

    def __init__(
        self,
        name: str,
        label: str,
        make_scanner: ScannerMaker,
        reset: Reset,
        advertisements: Advertisements,
        clock: Clock,
        *,
        expected_errors: tuple[type[Exception], ...] = (OSError,),
        silence_ms: int = SILENCE_MS,
        queue_readings: int = QUEUE_READINGS,
    ) -> None:
        """label: how people call the adapter.  expected_errors: what its scanner may raise."""
        super().__init__(name)
        self.label = label
        self._make_scanner = make_scanner
        self._reset = reset
        self._advertisements = advertisements
        self._clock = clock
        self._errors: tuple[type[Exception], ...] = (*expected_errors, TimeoutError)
        self._silence_ns = silence_ms * 1_000_000
        self._queue_readings = queue_readings
        self._closing: asyncio.Event | None = None
        self._is_closed = False
        self._heard_ns = 0
        """Monotonic: when the scanner last said anything."""
        self._heard_wall_ns = 0
        self._down_ns = 0
        """Since when it has not scanned; 0: it does."""
        self._down_why = ""
        """What to say of that time when it scans again."""

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
        """Stops scanning; what had arrived can still be taken."""
        self._is_closed = True
        if self._closing is not None:
            self._closing.set()

    async def _run(self, queue: ReadingQueue, closing: asyncio.Event) -> None:
        """Scans until closed, whatever the adapter does."""
        try:
            attempt = silences = 0
            while not closing.is_set():
                scanner = self._make_scanner(lambda device, data: self._hear(queue, device, data))
                try:
                    async with asyncio.timeout(START_TIMEOUT_MS / 1_000):
                        await scanner.start()
                except self._errors as error:
                    await self._stop(scanner)
                    if self._down_why == SCANS_AGAIN:
                        self.stats.note(f"starting {self.label}: {say(error)}")
                    else:
                        now_ns = self._clock.now_ns()
                        queue.lost(f"{self.label} cannot scan: {say(error)}", 0, now_ns, now_ns)
                        self._down_ns, self._down_why = self._down_ns or now_ns, SCANS_AGAIN
                    if attempt % len(BACK_OFF_MS) == len(BACK_OFF_MS) - 1:
                        await self._power_cycle()
                    await self._wait(closing, BACK_OFF_MS[min(attempt, len(BACK_OFF_MS) - 1)])
                    attempt += 1
                    continue
                self._scans(queue)
                attempt = 0
                silences = await self._watch(closing, silences)
                await self._stop(scanner)
                if silences > 1 and not closing.is_set():
                    # Stopping and starting has not helped.
                    await self._power_cycle()
        finally:
            if self._down_ns:
                queue.lost(
                    f"{self.label} did not scan until it was closed", 0, self._down_ns, self._clock.now_ns()
                )
            queue.end()

    def _hear(self, queue: ReadingQueue, device: Any, data: Any) -> None:
        """Called by the scanner for each advertisement."""
        now_ns = self._heard_wall_ns = self._clock.now_ns()
        self._heard_ns = self._clock.monotonic_ns()
        # A scanner may say something before it has quite started.
        self._scans(queue)
        try:
            reading = self._advertisements.reading(device, data, self._heard_ns)
        except ValueError as error:
            queue.damaged(f"{self.label}: {error}", 1, now_ns)
            return
        if reading is None:
            self.stats.ignored += 1
            return
        if "error" in reading or "flaw" in reading:
            self.stats.damaged += 1
        queue.put(now_ns, [reading])

    def _scans(self, queue: ReadingQueue) -> None:
        """The scanner works."""
        if self._down_ns:
            queue.lost(f"{self.label} {self._down_why}", 0, self._down_ns, self._clock.now_ns())
            self._down_ns, self._down_why = 0, ""

    async def _watch(self, closing: asyncio.Event, silences: int) -> int:
        """Returns when the source is closed, or the scanner has been silent too long: how often in a row."""
        begin_ns = self._heard_ns = self._clock.monotonic_ns()
        self._heard_wall_ns = self._clock.now_ns()
        # A site may really be silent; then its adapter is not switched off and on for ever.
        patience_ns = self._silence_ns * (1 if silences < PATIENCE_MAX else PATIENCE_MAX)
        while not closing.is_set():
            left_ns = self._heard_ns + patience_ns - self._clock.monotonic_ns()
            if left_ns <= 0:
                self._down_ns, self._down_why = self._heard_wall_ns, WAS_SILENT
                return silences + 1 if self._heard_ns == begin_ns else 1
            # Rounded up, or the last look would come too early and again.
            await self._wait(closing, -(-left_ns // 1_000_000))
        return 0

    async def _stop(self, scanner: Scanner) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT_MS / 1_000):
                await scanner.stop()
        except self._errors as error:
            # An adapter that is stuck, or gone, cannot be stopped; a new scanner takes over.
            self.stats.note(f"stopping {self.label}: {say(error)}")

    async def _power_cycle(self) -> None:
        self.stats.note(f"{self.label}: its power is switched off and on")
        try:
            async with asyncio.timeout(START_TIMEOUT_MS / 1_000):
                await self._reset()
        except self._errors as error:
            self.stats.note(f"switching {self.label} off and on: {say(error)}")

    async def _wait(self, closing: asyncio.Event, wait_ms: int) -> None:
        """Sleeps, or wakes when closed."""
        nap = asyncio.ensure_future(self._clock.sleep(wait_ms / 1_000))
        closed = asyncio.ensure_future(closing.wait())
        await asyncio.wait((nap, closed), return_when=asyncio.FIRST_COMPLETED)
        nap.cancel()
        closed.cancel()
        await asyncio.gather(nap, closed, return_exceptions=True)


def open_ble(
    url: SourceUrl,
    name: str,
    clock: Clock,
    *,
    scanner_backend: Any = None,
    client_backend: Any = None,
) -> Source:
    """Opens `ble:ADAPTER`, and `ble:ADDRESS` with a characteristic.  Raises SourceError.

    The backends replace bleak's own; tests pass theirs."""
    try:
        import bleak
        import bleak.exc

        from gateway.sensors.ble_bluez import power_cycle, scanner_arguments
    except ImportError:
        raise MissingExtra("bleak", "ble") from None
    target = url.target
    is_device = ":" in target or target.count("-") == 5
    adapter = url.options.get("adapter", "hci0") if is_device or target in ("", "all") else target
    if not adapter.startswith("hci") or not adapter[3:].isdigit():
        raise url.bad(f"adapter {adapter!r}: it is called hci0 or hci1; list them with: bluetoothctl list")
    queue_readings = url.number("queue", QUEUE_READINGS, 1, 10**7)
    if is_device:
        try:
            from gateway.sensors.ble_gatt import open_gatt
        except ImportError:
            raise MissingExtra("bleak-retry-connector", "ble") from None
        return open_gatt(
            url,
            name,
            clock,
            adapter,
            queue_readings=queue_readings,
            scanner_backend=scanner_backend,
            client_backend=client_backend,
        )
    if "characteristic" in url.options:
        raise url.bad("characteristic= is for one device: ble:AA:BB:CC:DD:EE:FF?characteristic=UUID")
    is_active = url.choice("active", ("0", "1"), "1") == "1"
    keys = url.options.get("keys", "")
    advertisements = Advertisements(
        Decoder(load_keys(keys) if keys else None),
        addresses=_addresses(url),
        name=url.options.get("name", ""),
        drops_duplicates=url.choice("duplicates", ("keep", "drop"), "keep") == "drop",
    )

    def make_scanner(heard: Heard) -> Scanner:
        mode, bluez = scanner_arguments(adapter, is_active)
        return bleak.BleakScanner(heard, scanning_mode=mode, bluez=bluez, backend=scanner_backend)

    return BleSource(
        name,
        f"ble:{adapter}",
        make_scanner,
        lambda: power_cycle(adapter, clock),
        advertisements,
        clock,
        expected_errors=(OSError, bleak.exc.BleakError, EOFError),
        silence_ms=url.number("silence_ms", SILENCE_MS, 1_000, 86_400_000),
        queue_readings=queue_readings,
    )


def _addresses(url: SourceUrl) -> frozenset[bytes]:
    text = url.options.get("address", "")
    try:
        return frozenset(parse_address(part) for part in text.split(",") if part)
    except ValueError as error:
        raise url.bad(f"address={text}: {error}") from None
