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
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from bleak.args import SizedBuffer
from bleak.assigned_numbers import CharacteristicPropertyName
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient, NotifyCallback
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakError, BleakGATTProtocolError
from bumble import att, core, gatt
from bumble.device import Connection

from hil.bleak_advertisement import read_advertisement
from hil.bleak_radio import LINK_IS_GONE, MTU_MAX, HostRadio

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


class Adapter(HostRadio):
    """What bleak takes for one adapter of its machine."""

    @property
    def scanner(self) -> type[BaseBleakScanner]:
        """For `BleakScanner(backend=)`."""
        return type("AirScanner", (_Scanner,), {"adapter": self})

    @property
    def client(self) -> type[BaseBleakClient]:
        """For `BleakClient(backend=)`."""
        return type("AirClient", (_Client,), {"adapter": self})


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

    def __init__(
        self,
        address_or_ble_device: BLEDevice | str,
        *_: Any,
        disconnected_callback: Callable[[], None] | None = None,
        timeout: float = 10.0,
        **__: Any,
    ) -> None:
        """As bleak calls it; which services are wanted, and what is for BlueZ, changes nothing here."""
        super().__init__(address_or_ble_device, disconnected_callback=disconnected_callback, timeout=timeout)
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
                        BleakGATTDescriptor(
                            descriptor, descriptor.handle, _text(descriptor.type), characteristic
                        )
                    )
        return collection

    async def disconnect(self) -> None:
        """Ends the link; none is well, too."""
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(*LINK_IS_GONE):
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

    @contextlib.asynccontextmanager
    async def _request(self) -> AsyncIterator[Any]:
        """Something that the peer answers.  Raises what bleak does."""
        connection = self._connection
        if connection is None:
            raise BleakError("Not connected")
        try:
            yield connection
        except att.ATT_Error as error:
            raise BleakGATTProtocolError(int(error.error_code)) from error
        except LINK_IS_GONE as error:
            raise BleakError(str(error)) from error
        except asyncio.CancelledError:
            # bumble cancels what waits for an answer when the link is lost; nobody has cancelled this task.
            task = asyncio.current_task()
            if self._connection is not connection and task is not None and not task.cancelling():
                raise BleakError("disconnected") from None
            raise
        if self._connection is not connection:
            raise BleakError("disconnected")


def _text(uuid: core.UUID) -> str:
    """All 128 bits, as bleak writes them."""
    text = uuid.to_bytes(force_128=True)[::-1].hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
