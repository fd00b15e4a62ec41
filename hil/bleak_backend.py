"""bleak on an air instead of an adapter: `BleakClient(..., backend=)` and `BleakScanner(backend=)`.

Runs on CPython; needs bleak and bumble.  What is tested is the code above bleak, unmodified:

    async with Adapter("127.0.0.1:7700") as adapter:
        device = await BleakScanner.find_device_by_name("lock", backend=adapter.scanner)
        async with BleakClient(device, backend=adapter.client) as client:
            await client.read_gatt_char(UUID)

Behaves as BlueZ does: connecting waits for an advertisement of the device, agrees on the largest MTU and
discovers everything; a lost link fails what is under way, and calls back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from bleak.args import SizedBuffer
from bleak.backends.characteristic import BleakGATTCharacteristic, CharacteristicPropertyName
from bleak.backends.client import BaseBleakClient, NotifyCallback
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakError, BleakGATTProtocolError
from bumble import att, core, gatt, hci
from bumble.device import Connection, Device
from bumble.transport.common import PacketParser

from hil.air_host import connect_command, make_device
from hil.bleak_advertisement import read_advertisement

MTU_MAX = 517
INTERVAL_MS = 30.0
SUPERVISION_MS = 420
"""Of a connection that Linux makes.  Source: net/bluetooth/hci_core.c, le_supv_timeout = 0x002a."""
CONNECT_MS = 2_000
"""From hearing a device to being connected to it; then it is waited for again."""
_PROPERTIES: tuple[tuple[int, CharacteristicPropertyName], ...] = (
    (0x01, "broadcast"),
    (0x02, "read"),
    (0x04, "write-without-response"),
    (0x08, "write"),
    (0x10, "notify"),
    (0x20, "indicate"),
    (0x40, "authenticated-signed-writes"),
    (0x80, "extended-properties"),
)

Heard = Callable[[str, int, int, bytes, bytes], None]
"""Called with address, type of the report, RSSI in dBm, data, scan response."""


class Adapter:
    """One radio of a host, on an air: `async with Adapter("host:port") as adapter`."""

    def __init__(self, air: str, address: str = "", *, supervision_ms: int = SUPERVISION_MS) -> None:
        """air: host:port.  address: random static one of this radio; made up when empty."""
        self.address = address or ":".join(f"{byte:02X}" for byte in (0xC0 | random.randrange(64), *random.randbytes(5)))
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

    async def __aenter__(self) -> Adapter:
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
        assert self._reading is not None
        assert self._writer is not None
        for connection in list(self.device.connections.values()):
            with _lost_links():
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
            raise BleakError("the adapter is off; use it as `async with Adapter(...) as adapter`")
        return self._device

    @property
    def scanner(self) -> type[BaseBleakScanner]:
        """For `BleakScanner(backend=)`."""
        return type("AirScanner", (_Scanner,), {"adapter": self})

    @property
    def client(self) -> type[BaseBleakClient]:
        """For `BleakClient(backend=)`."""
        return type("AirClient", (_Client,), {"adapter": self})

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
            with _lost_links():
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


class _Scanner(BaseBleakScanner):
    """bleak's scanner on an adapter of an air."""

    adapter: Adapter

    def __init__(
        self, detection_callback: Any, service_uuids: Any, scanning_mode: str = "active", **_: Any
    ) -> None:
        super().__init__(detection_callback, service_uuids)
        self._is_active = scanning_mode != "passive"
        self._number: int | None = None

    async def start(self) -> None:
        """Begins to call back."""
        if not self.adapter.is_on:
            raise BleakError("the air is gone, or the adapter was never on")
        self.seen_devices = {}
        self._number = await self.adapter.listen(self._hear, self._is_active)

    async def stop(self) -> None:
        """Ends it."""
        if self._number is not None:
            number, self._number = self._number, None
            await self.adapter.unlisten(number)

    def _hear(self, address: str, kind: int, rssi: int, data: bytes, response: bytes) -> None:
        said = read_advertisement(data + response, rssi)
        if not self.is_allowed_uuid(said.service_uuids):
            return
        name = said.local_name
        if name is None and address in self.seen_devices:
            name = self.seen_devices[address][0].name
        device = self.create_or_update_device(address, address, name, None, said)
        self.call_detection_callbacks(device, said)


class _Client(BaseBleakClient):
    """bleak's client on an adapter of an air."""

    adapter: Adapter

    def __init__(self, address_or_ble_device: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(address_or_ble_device, **{name: kwargs.get(name) for name in ("disconnected_callback", "timeout")})  # type: ignore[arg-type]
        self.address = self.address.upper()
        self._name = address_or_ble_device.name if isinstance(address_or_ble_device, BLEDevice) else None
        self._connection: Connection | None = None

    @property
    def name(self) -> str:
        """What the device called itself, else its address."""
        return self._name or self.address.replace(":", "-")

    @property
    def mtu_size(self) -> int:
        """The agreed MTU."""
        return self._connection.att_mtu if self._connection is not None else att.ATT_DEFAULT_MTU

    @property
    def is_connected(self) -> bool:
        """Whether there is a link."""
        return self._connection is not None

    async def connect(self, pair: bool, **kwargs: Any) -> None:
        """Raises TimeoutError when the device is not there in time, BleakError when it leaves at once."""
        if self._connection is not None:
            raise BleakError(f"{self.address} is already connected")
        async with asyncio.timeout(kwargs.get("timeout", self._timeout)):
            connection = await self.adapter.connect(self.address)
            self._connection = connection
            connection.on(Connection.EVENT_DISCONNECTION, lambda _reason: self._gone(connection))
            try:
                async with self._request():
                    await connection.gatt_client.request_mtu(MTU_MAX)
                    self.services = await self._discover(connection)
            except BaseException:
                # As bleak does: what is not whole is not connected.
                self._disconnected_callback, callback = None, self._disconnected_callback
                if self._connection is not None:
                    await asyncio.shield(self.disconnect())
                self._disconnected_callback = callback
                raise

    def _gone(self, connection: Connection) -> None:
        if self._connection is connection:
            self._connection = None
            self.services = None
            if self._disconnected_callback is not None:
                self._disconnected_callback()

    async def _discover(self, connection: Connection) -> BleakGATTServiceCollection:
        collection = BleakGATTServiceCollection()
        client = connection.gatt_client
        for found in await client.discover_services():
            service = BleakGATTService(found, found.handle, _text(found.uuid))
            collection.add_service(service)
            for one in await client.discover_characteristics((), found):
                characteristic = BleakGATTCharacteristic(
                    one,
                    one.handle,
                    _text(one.uuid),
                    [name for bit, name in _PROPERTIES if one.properties & bit],
                    lambda: connection.att_mtu - 3,
                    service,
                )
                collection.add_characteristic(characteristic)
                if one.end_group_handle <= one.handle:
                    continue
                for descriptor in await client.discover_descriptors(one):
                    collection.add_descriptor(
                        BleakGATTDescriptor(descriptor, descriptor.handle, _text(descriptor.type), characteristic)
                    )
        return collection

    async def disconnect(self) -> None:
        """Ends the link; none is well, too."""
        connection = self._connection
        if connection is not None:
            with _lost_links():
                await connection.disconnect()

    async def pair(self, *args: Any, **kwargs: Any) -> None:
        """By bumble, with what the device can do."""
        async with self._request() as connection:
            await connection.pair()

    async def unpair(self) -> None:
        """Nothing is kept, so nothing is to be forgotten."""

    async def read_gatt_char(
        self, characteristic: BleakGATTCharacteristic, *, use_cached: bool = False, **kwargs: Any
    ) -> bytearray:
        """The value."""
        return await self._read(characteristic.handle)

    async def read_gatt_descriptor(
        self, descriptor: BleakGATTDescriptor, *, use_cached: bool = False, **kwargs: Any
    ) -> bytearray:
        """The value."""
        return await self._read(descriptor.handle)

    async def _read(self, handle: int) -> bytearray:
        async with self._request() as connection:
            return bytearray(await connection.gatt_client.read_value(handle))

    async def write_gatt_char(
        self, characteristic: BleakGATTCharacteristic, data: SizedBuffer, response: bool
    ) -> None:
        """Sets the value; a long one in parts, if there is to be a response."""
        value = bytes(data)
        if not response and len(value) > self.mtu_size - 3:
            raise BleakError(f"{len(value)} bytes are more than the MTU lets through without a response")
        async with self._request() as connection:
            await connection.gatt_client.write_value(characteristic.handle, value, with_response=response)

    async def write_gatt_descriptor(self, descriptor: BleakGATTDescriptor, data: SizedBuffer) -> None:
        """Sets the value."""
        async with self._request() as connection:
            await connection.gatt_client.write_value(descriptor.handle, bytes(data), with_response=True)

    async def start_notify(
        self, characteristic: BleakGATTCharacteristic, callback: NotifyCallback, **kwargs: Any
    ) -> None:
        """Notifications where there are any, else indications."""
        cccd = characteristic.get_descriptor(_text(gatt.GATT_CLIENT_CHARACTERISTIC_CONFIGURATION_DESCRIPTOR))
        if cccd is None:
            raise BleakError(f"{characteristic.uuid} neither notifies nor indicates")
        is_notify = "notify" in characteristic.properties
        async with self._request() as connection:
            client = connection.gatt_client
            subscribers = client.notification_subscribers if is_notify else client.indication_subscribers
            subscribers[characteristic.handle] = {lambda data: callback(bytearray(data))}
            await client.write_value(cccd.handle, b"\1\0" if is_notify else b"\2\0", with_response=True)

    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        """No more of them."""
        cccd = characteristic.get_descriptor(_text(gatt.GATT_CLIENT_CHARACTERISTIC_CONFIGURATION_DESCRIPTOR))
        if cccd is None:
            return
        async with self._request() as connection:
            await connection.gatt_client.write_value(cccd.handle, b"\0\0", with_response=True)
            connection.gatt_client.notification_subscribers.pop(characteristic.handle, None)
            connection.gatt_client.indication_subscribers.pop(characteristic.handle, None)

    @asynccontextmanager
    async def _request(self) -> AsyncIterator[Any]:
        """Something that the peer answers.  Raises what bleak does."""
        connection = self._connection
        if connection is None:
            raise BleakError("Not connected")
        try:
            yield connection
        except att.ATT_Error as error:
            raise BleakGATTProtocolError(int(error.error_code)) from error
        except (core.BaseBumbleError, hci.HCI_Error) as error:
            raise BleakError(str(error)) from error
        except asyncio.CancelledError:
            # bumble cancels what waits for an answer when the link is lost; nobody has cancelled this task.
            task = asyncio.current_task()
            if self._connection is not connection and task is not None and not task.cancelling():
                raise BleakError("disconnected") from None
            raise
        if self._connection is not connection:
            raise BleakError("disconnected")


@contextmanager
def _lost_links() -> Iterator[None]:
    """Ending what has just ended by itself is no error."""
    try:
        yield
    except (core.BaseBumbleError, hci.HCI_Error):
        pass


def _text(uuid: core.UUID) -> str:
    """All 128 bits, as bleak writes them."""
    text = uuid.to_bytes(force_128=True)[::-1].hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
