"""A device over Bluetooth LE: found on the air, connected to, proved, asked; and again when the link is lost.

Runs on CPython; needs the extra `ble`.  What is said is gateway/device_link.py's; the service is described in
devices/micropython/GATT.md.

A gateway finds its device among others by the hint in its advertisement (devices/micropython/advert.py).  One
that has forgotten its pairing gives no hint that is known, so devices with unknown hints are tried, the
nearest first, when no other is heard; they prove themselves or are left alone.  A visitor tries the nearest.

Connecting, with its many ways to fail for a moment, is bleak-retry-connector's.  A link that is lost later,
at any message, is made anew, and the request asked again: every request may be asked twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from bleak import BleakClient, BleakScanner
from bleak.args.bluez import BlueZClientArgs, BlueZScannerArgs
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakError
from bleak_retry_connector import BleakClientWithServiceCache, establish_connection

from devices.micropython import advert
from devices.micropython.errors import FrameError
from devices.micropython.link_frame import FRAME_BYTES_MIN, Joiner, Splitter
from gateway.device_link import PROVED, Callee, Caller, DeviceLink, PairingStore
from gateway.errors import DeviceLinkError, DeviceNotFound, DeviceRefused, DeviceUnproven
from gateway.sensors.ble_advice import say

FIND_MS = 15_000
"""How long a device is looked for."""
HINT_MS = 4_000
"""How long a known hint is waited for, before a device with an unknown one is tried."""
NEAREST_MS = 1_000
"""How long a visitor, to whom no hint says anything, listens before it tries the nearest."""
ATTEMPTS = 5
"""Connections that are made for one request."""
BACK_OFF_MS = (200, 1_000, 3_000, 6_000)
"""Waits between them."""
Result = TypeVar("Result")
_ERRORS = (BleakError, OSError, EOFError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Radio:
    """With what to look and connect."""

    adapter: str = "hci0"
    """The name of the adapter, where the system has several."""
    scanner_backend: Any = None
    """In place of bleak's own."""
    client_backend: Any = None


class _Connection:
    """One connection, whole messages in and out."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[bytes | DeviceLinkError] = asyncio.Queue()
        self._joiner = Joiner()
        self._splitter = Splitter()
        self._client: BleakClient | None = None
        self._frame_bytes = FRAME_BYTES_MIN
        self.is_lost = False

    async def open(self, radio: Radio, device: BLEDevice, name: str) -> None:
        """Raises what bleak does."""
        self._client = await establish_connection(
            BleakClientWithServiceCache,
            device,
            name,
            disconnected_callback=lambda _: self._lost(),
            bluez=BlueZClientArgs(adapter=radio.adapter),
            backend=radio.client_backend,
        )
        characteristic = self._client.services.get_characteristic(advert.IN)
        if characteristic is None:
            raise BleakError("it has no characteristic to write to; is it a device of ours?")
        self._frame_bytes = max(FRAME_BYTES_MIN, characteristic.max_write_without_response_size)
        await self._client.start_notify(advert.OUT, lambda _, data: self._notified(bytes(data)))

    def _lost(self) -> None:
        self.is_lost = True
        self.messages.put_nowait(DeviceLinkError("the link was lost; go nearer, and try again"))

    def _notified(self, frame: bytes) -> None:
        try:
            message = self._joiner.join(frame)
        except FrameError as error:
            self.messages.put_nowait(DeviceLinkError(f"the device's bytes came garbled: {error}"))
        else:
            if message is not None:
                self.messages.put_nowait(message)

    async def send(self, message: bytes) -> None:
        """Raises what bleak does."""
        assert self._client is not None  # noqa: S101 - it was opened
        frames = self._splitter.split(message, self._frame_bytes)
        for frame in frames:
            # A long message must not outrun the device, so each part waits for its answer.
            await self._client.write_gatt_char(advert.IN, frame, response=len(frames) > 1)

    async def close(self) -> None:
        """Never raises what bleak does."""
        if self._client is not None:
            client, self._client = self._client, None
            try:
                await client.disconnect()
            except _ERRORS:
                # It is gone, which is all that was wanted.
                return


class DeviceClient:
    """One device, as its gateway or a visitor asks it.  Use as `async with`; connects at the first request.

    `link`: the last connection's DeviceLink; `connect_count`: connections that were proved so far.
    """

    def __init__(
        self,
        radio: Radio,
        caller: Caller,
        callee: Callee,
        store: PairingStore,
        random: Callable[[int], bytes],
        *,
        label: str = "the device",
        address: str = "",
        is_first: bool = False,
        is_visitor: bool = False,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        """label: what messages call the device.  address: where it is, when that is known.

        is_first: meet in full at the first connection.  is_visitor: hints of devices are not for the caller.
        note: told of each link that is lost and made anew.
        """
        self.link: DeviceLink | None = None
        self.connect_count = 0
        self.found_ms = 0
        self.proved_ms = 0
        self._radio = radio
        self._caller = caller
        self._callee = callee
        self._store = store
        self._random = random
        self._label = label
        self._address = address
        self._is_first = is_first
        self._is_visitor = is_visitor
        self._note = note
        self._connection: _Connection | None = None
        self._strangers: set[str] = set()

    async def __aenter__(self) -> DeviceClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Hangs up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def connect(self) -> None:
        """Finds the device, connects, and both prove themselves; nothing if that is so already.

        Raises DeviceNotFound, DeviceUnproven, DeviceLinkError.
        """
        await self._repeat(self._connect)

    async def ask(self, command: int, *arguments: object) -> list[object]:
        """The results of a request of devices/micropython/commands.py.

        Raises DeviceRefused, after which the session goes on, and what `connect` raises.
        """

        async def ask() -> list[object]:
            await self._connect()
            assert self.link is not None and self._connection is not None  # noqa: S101, PT018
            await self._connection.send(self.link.ask(_now_ms(), command, *arguments))
            return self.link.answer(await self._receive(), _now_ms())

        return await self._repeat(ask)

    async def _repeat(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """What `work` gives, over a new connection as often as the one before fails."""
        for attempt in range(ATTEMPTS):
            try:
                return await work()
            except DeviceRefused:
                raise
            except (DeviceLinkError, *_ERRORS) as error:
                await self.close()
                is_hopeless = isinstance(error, DeviceNotFound) or (
                    isinstance(error, DeviceUnproven) and bool(self._address)
                )
                if is_hopeless or attempt == ATTEMPTS - 1:
                    if isinstance(error, DeviceLinkError):
                        raise
                    raise DeviceLinkError(f"{self._label}: {say(error)}") from error
                self._note(f"{self._label}: {error if isinstance(error, DeviceLinkError) else say(error)}")
                await asyncio.sleep(BACK_OFF_MS[min(attempt, len(BACK_OFF_MS) - 1)] / 1_000)
            except BaseException:
                await self.close()
                raise
        raise AssertionError("the last attempt returns or raises")

    async def _connect(self) -> None:
        if self._connection is not None and not self._connection.is_lost:
            return
        await self.close()
        began_ms = _now_ms()
        device = await self._find()
        self.found_ms = _now_ms() - began_ms
        connection = self._connection = _Connection()
        await connection.open(self._radio, device, self._label)
        self.link = DeviceLink(
            self._caller, self._callee, self._store.load(), self._random, is_first=self._is_first
        )
        message = self.link.start(_now_ms())
        try:
            while message:
                await connection.send(message)
                if self.link.state == PROVED:
                    break
                step = self.link.receive(await self._receive(), _now_ms())
                if step.save is not None:
                    self._store.keep(step.save)
                message = step.send
        except DeviceUnproven:
            # Whoever it was: it is not asked again by this client.
            self._strangers.add(device.address)
            raise
        self._is_first = False
        self.connect_count += 1
        self.proved_ms = _now_ms() - began_ms

    async def _receive(self) -> bytes:
        assert self.link is not None and self._connection is not None  # noqa: S101, PT018
        while True:
            wait_ms = max(self.link.deadline_ms - _now_ms(), 0)
            try:
                async with asyncio.timeout(wait_ms / 1_000):
                    message = await self._connection.messages.get()
            except TimeoutError:
                # Raises, for the deadline is over; a clock that is a little behind waits again.
                self.link.tick(_now_ms())
                continue
            if isinstance(message, DeviceLinkError):
                raise message
            return message

    # ------------------------------------------------------------------ on the air

    async def _find(self) -> BLEDevice:
        """The device to try next.  Raises DeviceNotFound."""
        pairing = None if self._is_visitor else self._store.load()
        known: asyncio.Future[BLEDevice] = asyncio.get_running_loop().create_future()
        others: dict[str, tuple[bool, int, BLEDevice]] = {}

        def heard(device: BLEDevice, said: AdvertisementData) -> None:
            hint = said.manufacturer_data.get(advert.COMPANY, b"")
            if self._address:
                is_wanted = self._address.upper() == device.address.upper()
            else:
                is_wanted = pairing is not None and advert.is_of(pairing, hint)
            if is_wanted and device.address not in self._strangers:
                if not known.done():
                    known.set_result(device)
            elif is_wanted or (not self._address and device.address not in self._strangers):
                # Anybody can repeat an advertisement: who has not proved itself is tried again last of all.
                others[device.address] = not is_wanted, said.rssi, device

        scanner = BleakScanner(
            heard,
            service_uuids=[advert.SERVICE],
            bluez=BlueZScannerArgs(adapter=self._radio.adapter),
            backend=self._radio.scanner_backend,
        )
        async with scanner:
            first_ms = NEAREST_MS if self._is_visitor else HINT_MS
            for wait_ms in (first_ms, FIND_MS - first_ms):
                done, _ = await asyncio.wait((known,), timeout=wait_ms / 1_000)
                if done:
                    return known.result()
                # Only who could meet it in full has a use for a device that does not know it.
                usable = [each for each in others.values() if not each[0] or self._callee.credential]
                if usable:
                    return max(usable, key=lambda each: each[:2])[2]
        known.cancel()
        where = f"at {self._address}" if self._address else "among the devices here"
        raise DeviceNotFound(
            f"{self._label} was not heard {where} within {FIND_MS // 1_000} s; is it near, on, and not "
            "connected to others?"
        )


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
