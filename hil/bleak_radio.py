"""A radio of a gateway or a phone on an air: one bumble host, shared by all that scan and connect with it.

Runs on CPython; needs bleak, for its errors, and bumble.  Connecting is as Linux does it: a device is waited
for until it advertises, and one after the other is connected.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any, Self

from bleak.exc import BleakError
from bumble import core, hci
from bumble.device import Connection, Device
from bumble.transport.common import PacketParser

from hil.air_host import connect_command, make_device

MTU_MAX = 517
INTERVAL_MS = 30.0
SUPERVISION_MS = 420
"""Of a connection that Linux makes.  Source: net/bluetooth/hci_core.c, le_supv_timeout = 0x002a."""
CONNECT_MS = 2_000
"""From hearing a device to being connected to it; then it is waited for again."""
LINK_IS_GONE = (core.BaseBumbleError, hci.HCI_Error)
"""What bumble raises when a link ends under what is being done with it."""

Heard = Callable[[str, int, int, bytes, bytes], None]
"""Called with address, type of the report, RSSI in dBm, data, scan response."""


class HostRadio:
    """One radio of a host, on an air: `async with HostRadio("host:port") as radio`."""

    def __init__(self, air: str, address: str = "", *, supervision_ms: int = SUPERVISION_MS) -> None:
        """air: host:port.  address: random static one of this radio; made up when empty."""
        self.address = address.upper() or ":".join(
            f"{byte:02X}" for byte in (0xC0 | random.randrange(64), *random.randbytes(5))
        )
        self.supervision_ms = supervision_ms
        self._air = air
        self._device: Device | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._listeners: dict[int, tuple[Heard, bool]] = {}
        self._count = 0
        self._scan_lock = asyncio.Lock()
        self._is_scanning_actively: bool | None = None
        self._connect_lock = asyncio.Lock()
        self._heard: dict[str, tuple[bytes, bytes]] = {}
        self.is_on = False

    async def __aenter__(self) -> Self:
        host, _, port = self._air.rpartition(":")
        reader, self._writer = await asyncio.open_connection(host, int(port))
        self._writer.write(f"hci {self.address}\n".encode())
        parser = PacketParser()
        device = make_device("host", hci.Address(self.address), parser, _Sink(self._writer))
        self._device = device
        device.gatt_server.max_mtu = MTU_MAX
        self._reading = asyncio.ensure_future(self._read(reader, parser, device))
        await device.power_on()
        device.host.on("advertising_report", self._advertised)
        self.is_on = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_on = False
        if self._reading is None or self._writer is None:
            return
        for connection in list(self.device.connections.values()):
            with contextlib.suppress(*LINK_IS_GONE):
                await connection.disconnect()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._writer.close()

    async def _read(self, reader: asyncio.StreamReader, parser: PacketParser, device: Device) -> None:
        try:
            while data := await reader.read(4096):
                parser.feed_data(data)
        except ConnectionError:
            pass
        # The air is gone, and all links with it.
        self.is_on = False
        for handle in list(device.connections):
            device.on_disconnection(handle, hci.HCI_CONNECTION_TIMEOUT_ERROR)

    @property
    def device(self) -> Device:
        """bumble's host.  Raises BleakError before the adapter is on."""
        if self._device is None:
            raise BleakError("the adapter is off; use it as `async with ... as adapter`")
        return self._device

    # Scanning, shared by all who listen

    async def listen(self, heard: Heard, is_active: bool) -> int:
        """Begins to call `heard`; returns what `unlisten` takes."""
        self._count += 1
        number = self._count
        self._listeners[number] = (heard, is_active)
        await self._rescan()
        return number

    async def unlisten(self, number: int) -> None:
        """Ends it."""
        self._listeners.pop(number, None)
        if self.is_on:
            with contextlib.suppress(*LINK_IS_GONE):
                await self._rescan()

    async def _rescan(self) -> None:
        async with self._scan_lock:
            wanted = any(active for _, active in self._listeners.values()) if self._listeners else None
            if wanted == self._is_scanning_actively:
                return
            if self._is_scanning_actively is not None:
                await self.device.stop_scanning(legacy=True)
            self._heard.clear()
            self._is_scanning_actively = wanted
            if wanted is not None:
                await self.device.start_scanning(legacy=True, active=wanted)

    def _advertised(self, report: Any) -> None:
        address = str(report.address).partition("/")[0]
        kind = int(report.event_type)
        data, response = self._heard.get(address, (b"", b""))
        if kind == 4:
            response = report.data
        else:
            data = report.data
        self._heard[address] = (data, response)
        # What can be asked for more is told of with the answer.
        if kind in (0, 2) and self._is_scanning_actively:
            return
        for heard, _ in list(self._listeners.values()):
            heard(address, kind, report.rssi, data, response)

    # Connecting

    async def connect(self, address: str) -> Connection:
        """Waits for an advertisement, then connects; again and again until cancelled."""
        while True:
            await self._wait_for(address)
            async with self._connect_lock:
                if connection := await self._try_to_connect(address):
                    return connection

    async def _wait_for(self, address: str) -> None:
        is_there = asyncio.Event()

        def heard(who: str, *_: object) -> None:
            if who == address:
                is_there.set()

        number = await self.listen(heard, False)
        try:
            await is_there.wait()
        finally:
            await self.unlisten(number)

    async def _try_to_connect(self, address: str) -> Connection | None:
        device = self.device
        peer = hci.Address(address)
        future: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()

        def connected(connection: Connection) -> None:
            if connection.role == hci.Role.CENTRAL and not future.done():
                future.set_result(connection)

        def failed(_error: object) -> None:
            if not future.done():
                future.set_result(None)

        device.on(Device.EVENT_CONNECTION, connected)
        device.on(Device.EVENT_CONNECTION_FAILURE, failed)
        try:
            await device.send_async_command(
                connect_command(peer, INTERVAL_MS, INTERVAL_MS, self.supervision_ms)
            )
            try:
                async with asyncio.timeout(CONNECT_MS / 1_000):
                    return await asyncio.shield(future)
            except (TimeoutError, asyncio.CancelledError) as error:
                await device.send_sync_command(hci.HCI_LE_Create_Connection_Cancel_Command())
                connection = await future
                if isinstance(error, TimeoutError) or connection is None:
                    if isinstance(error, asyncio.CancelledError):
                        raise
                    return connection
                # It came just before it was given up.
                await connection.disconnect()
                raise
        except core.BaseBumbleError as error:
            raise BleakError(f"connecting {address}: {error}") from error
        finally:
            device.remove_listener(Device.EVENT_CONNECTION, connected)
            device.remove_listener(Device.EVENT_CONNECTION_FAILURE, failed)


class _Sink:
    """Where HCI packets go."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def on_packet(self, packet: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(packet)
