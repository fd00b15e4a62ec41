"""Backends for unmodified bleak: an adapter and devices that do what a test tells them.

What bleak calls a backend is a class; a test gets one of its own, with its own air.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakError

SERVICE = "0000fff0-0000-1000-8000-00805f9b34fb"
CHARACTERISTIC = "0000fff1-0000-1000-8000-00805f9b34fb"
ADDRESS = "A4:C1:38:01:02:03"


def advertisement(
    name: str | None = None,
    manufacturer: dict[int, bytes] | None = None,
    services: dict[str, bytes] | None = None,
    rssi: int = -50,
) -> AdvertisementData:
    return AdvertisementData(name, manufacturer or {}, services or {}, [], None, rssi, ())


class Air:
    """What happens around the adapter."""

    def __init__(self) -> None:
        self.log: list[str] = []
        """start, stop, reset, connect, disconnect, in order."""
        self.start_errors: list[Exception] = []
        """Raised by the next starts, in turn."""
        self.stop_errors: list[Exception] = []
        self.is_deaf = False
        self.presents: list[tuple[str, AdvertisementData]] = []
        """Heard by each scanner that starts."""
        self.started = asyncio.Event()
        self.scanner: BaseBleakScanner | None = None
        self.clients: list[Any] = []
        self.connected = asyncio.Event()
        self.disconnects = asyncio.Semaphore(0)
        """One for each client that was disconnected."""
        self.connect_errors: list[Exception] = []

    def say(self, address: str, data: AdvertisementData) -> None:
        """A device speaks."""
        if self.scanner is not None and not self.is_deaf:
            device = self.scanner.create_or_update_device(address, address, data.local_name, None, data)
            self.scanner.call_detection_callbacks(device, data)

    def scanner_class(self) -> type[BaseBleakScanner]:
        air = self

        class Scanner(BaseBleakScanner):
            def __init__(
                self, callback: Any, service_uuids: Any, scanning_mode: str, *, bluez: Any, **kwargs: Any
            ) -> None:
                super().__init__(callback, service_uuids)
                air.log.append(f"{scanning_mode} {bluez.get('adapter')}")

            def register_detection_callback(self, callback: Any) -> Callable[[], None]:
                remove = super().register_detection_callback(callback)
                if air.scanner is self:
                    # bleak listens for a device after it has started.
                    for address, data in air.presents:
                        air.say(address, data)
                return remove

            async def start(self) -> None:
                await asyncio.sleep(0)
                if air.start_errors:
                    raise air.start_errors.pop(0)
                air.log.append("start")
                air.scanner = self
                for address, data in air.presents:
                    air.say(address, data)
                air.started.set()

            async def stop(self) -> None:
                await asyncio.sleep(0)
                air.log.append("stop")
                air.scanner = None
                air.started.clear()
                if air.stop_errors:
                    raise air.stop_errors.pop(0)

        return Scanner

    def client_class(self) -> type[BaseBleakClient]:
        air = self

        class Client(BaseBleakClient):
            is_on = False
            callback: Callable[[bytearray], None] | None = None

            @property
            def name(self) -> str:
                return "fake"

            @property
            def mtu_size(self) -> int:
                return 23

            @property
            def is_connected(self) -> bool:
                return self.is_on

            async def connect(self, pair: bool, **kwargs: Any) -> None:
                await asyncio.sleep(0)
                if air.connect_errors:
                    raise air.connect_errors.pop(0)
                self.services = BleakGATTServiceCollection()
                service = BleakGATTService(None, 1, SERVICE)
                self.services.add_service(service)
                self.services.add_characteristic(
                    BleakGATTCharacteristic(None, 2, CHARACTERISTIC, ["notify"], lambda: 20, service)
                )
                self.is_on = True
                air.clients.append(self)
                air.log.append("connect")

            async def disconnect(self) -> None:
                await asyncio.sleep(0)
                self.is_on = False
                air.log.append("disconnect")
                air.disconnects.release()

            async def start_notify(
                self, characteristic: BleakGATTCharacteristic, callback: Any, **kwargs: Any
            ) -> None:
                self.callback = callback
                air.connected.set()

            def notify(self, data: bytes) -> None:
                assert self.callback is not None
                self.callback(bytearray(data))

            def lose(self) -> None:
                self.is_on = False
                air.connected.clear()
                if self._disconnected_callback is not None:
                    self._disconnected_callback()

            async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
                raise BleakError("not here")

            async def pair(self, *args: Any, **kwargs: Any) -> None:
                raise BleakError("not here")

            async def unpair(self) -> None:
                raise BleakError("not here")

            async def read_gatt_char(self, *args: Any, **kwargs: Any) -> bytearray:
                raise BleakError("not here")

            async def read_gatt_descriptor(self, *args: Any, **kwargs: Any) -> bytearray:
                raise BleakError("not here")

            async def write_gatt_char(self, *args: Any, **kwargs: Any) -> None:
                raise BleakError("not here")

            async def write_gatt_descriptor(self, *args: Any, **kwargs: Any) -> None:
                raise BleakError("not here")

        return Client
