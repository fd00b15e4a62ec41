"""A stand-in for BlueZ on a D-Bus of its own, and what a test makes its second adapter say.

The stand-in is PyPI's bluezoo, which is GPL: a process in an environment of its own, never imported.
"""

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio.message_bus import MessageBus
from dbus_fast.constants import PropertyAccess
from dbus_fast.errors import DBusError
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property

from tests import peers

WAIT_S = 30
"""Long enough for any machine; nothing waits for it unless it fails."""
HEARING, SPEAKING = "00:11:22:33:44:00", "00:11:22:33:44:01"
"""Addresses of hci0 and hci1."""
DATA_UUID = "0000fcd2-0000-1000-8000-00805f9b34fb"
SERVICE_UUID = "0000fff0-0000-1000-8000-00805f9b34fb"
CHARACTERISTIC_UUID = "0000fff1-0000-1000-8000-00805f9b34fb"
_CONFIG = """<busconfig><type>session</type><listen>{}</listen><policy context='default'>
<allow send_destination='*' eavesdrop='true'/><allow eavesdrop='true'/><allow own='*'/>
</policy></busconfig>"""


@contextlib.contextmanager
def stand_in(folder: Path) -> Iterator[None]:
    """Two adapters, hci0 and hci1, on what is the system bus for as long as it lasts; skips without them."""
    daemon = shutil.which("dbus-daemon")
    program = peers.program("bluezoo", "bluezoo")
    if daemon is None:
        pytest.skip("dbus-daemon is not here; on Debian: sudo apt install dbus")
    if program is None:
        pytest.skip(peers.missing("bluezoo", "foreign"))
    address = f"unix:path={folder / 'bus'}"
    config = folder / "bus.conf"
    config.write_text(_CONFIG.format(address))
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        bus = subprocess.Popen(
            [daemon, f"--config-file={config}", "--nofork", "--print-address=1"], stdout=subprocess.PIPE
        )
        stack.callback(_end, bus)
        assert bus.stdout is not None
        # It says where it listens once it does.
        bus.stdout.readline()
        adapters = ["--adapter", HEARING, "--adapter", SPEAKING]
        # It looks at once when a scan begins, and then every second.
        command = [str(program), "--auto-enable", "--scan-interval", "1", *adapters, "-qq"]
        stack.callback(_end, subprocess.Popen(command))
        asyncio.run(_adapters_have_power())
        yield


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(WAIT_S)
    if process.stdout is not None:
        process.stdout.close()


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[MessageBus]:
    """A connection to the system bus."""
    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    try:
        yield bus
    finally:
        bus.disconnect()


async def call(bus: MessageBus, path: str, interface: str, member: str, signature: str, *body: Any) -> Any:
    """Asks the stand-in.  Raises DBusError."""
    message = Message(
        destination="org.bluez",
        path=path,
        interface=interface,
        member=member,
        signature=signature,
        body=list(body),
    )
    reply = await bus.call(message)
    assert reply is not None
    if reply.message_type is not MessageType.METHOD_RETURN:
        raise DBusError(str(reply.error_name), str(reply.body))
    return reply.body[0] if reply.body else None


_PROPERTIES = "org.freedesktop.DBus.Properties"


async def is_powered(bus: MessageBus, adapter: str) -> bool:
    place = ("org.bluez.Adapter1", "Powered")
    return bool((await call(bus, f"/org/bluez/{adapter}", _PROPERTIES, "Get", "ss", *place)).value)


async def set_powered(bus: MessageBus, adapter: str, is_on: bool) -> None:
    place = ("org.bluez.Adapter1", "Powered", Variant("b", is_on))
    await call(bus, f"/org/bluez/{adapter}", _PROPERTIES, "Set", "ssv", *place)


async def _on_signals(bus: MessageBus, called: Callable[[Message], None]) -> None:
    """`called` with every signal on the bus."""

    def on_message(message: Message) -> None:
        if message.message_type is MessageType.SIGNAL:
            called(message)

    bus.add_message_handler(on_message)
    daemon = "org.freedesktop.DBus"
    rule = ["type='signal'"]
    await bus.call(Message(daemon, "/org/freedesktop/DBus", daemon, "AddMatch", signature="s", body=rule))


async def _adapters_have_power() -> None:
    """Returns when both have; looks whenever something happens on the bus."""
    async with asyncio.timeout(WAIT_S), connected() as bus:
        news = asyncio.Event()
        await _on_signals(bus, lambda _: news.set())
        while True:
            news.clear()
            with contextlib.suppress(DBusError):
                if await is_powered(bus, "hci0") and await is_powered(bus, "hci1"):
                    return
            await news.wait()


class Beacon(ServiceInterface):
    """What hci1 advertises: BTHome, with a packet id that counts, as devices do.

    The stand-in tells of a device only when it has changed, and bleak of none before it listens.
    """

    def __init__(self, objects: bytes) -> None:
        super().__init__("org.bluez.LEAdvertisement1")
        self._objects = objects
        self._packet = 0
        self._data = b"\x40" + objects

    def on_signal(self, signal: Message) -> None:
        """Says the next thing once somebody was told the last one."""
        said = str(signal.path) + str(signal.body)
        if "hci0/dev_" in said and DATA_UUID in said:
            self._packet = (self._packet + 1) % 256
            self._data = b"\x40\x00" + bytes((self._packet,)) + self._objects
            self.emit_properties_changed({"ServiceData": {DATA_UUID: Variant("ay", self._data)}})

    @dbus_method()
    def Release(self) -> None:
        """Nothing to release."""

    @dbus_property(access=PropertyAccess.READ)
    def Type(self) -> "s":  # type: ignore[name-defined]  # noqa: F821 - a D-Bus signature
        return "broadcast"

    @dbus_property(access=PropertyAccess.READ)
    def LocalName(self) -> "s":  # type: ignore[name-defined]  # noqa: F821 - a D-Bus signature
        return "tank"

    @dbus_property(access=PropertyAccess.READ)
    def Discoverable(self) -> "b":  # type: ignore[name-defined]  # noqa: F821 - a D-Bus signature
        return True

    @dbus_property(access=PropertyAccess.READ)
    def ServiceData(self) -> "a{sv}":  # type: ignore[valid-type]  # noqa: F722 - a D-Bus signature
        return {DATA_UUID: Variant("ay", self._data)}


class Service(ServiceInterface):
    """A GATT service of hci1."""

    def __init__(self) -> None:
        super().__init__("org.bluez.GattService1")

    @dbus_property(access=PropertyAccess.READ)
    def UUID(self) -> "s":  # type: ignore[name-defined]  # noqa: F821 - a D-Bus signature
        return SERVICE_UUID

    @dbus_property(access=PropertyAccess.READ)
    def Primary(self) -> "b":  # type: ignore[name-defined]  # noqa: F821 - a D-Bus signature
        return True


class Characteristic(ServiceInterface):
    """What hci1 notifies."""

    def __init__(self) -> None:
        super().__init__("org.bluez.GattCharacteristic1")
        self.listening = asyncio.Event()
        """Somebody wants to be notified."""

    def notify(self, data: bytes) -> None:
        self.emit_properties_changed({"Value": data})

    @dbus_property(access=PropertyAccess.READ)
    def UUID(self) -> "s":  # type: ignore[name-defined]  # noqa: F821 - a D-Bus signature
        return CHARACTERISTIC_UUID

    @dbus_property(access=PropertyAccess.READ)
    def Service(self) -> "o":  # type: ignore[name-defined]  # noqa: F821 - a D-Bus signature
        return "/device/service"

    @dbus_property(access=PropertyAccess.READ)
    def Flags(self) -> "as":  # type: ignore[valid-type]  # noqa: F722 - a D-Bus signature
        return ["notify"]

    @dbus_property(access=PropertyAccess.READ)
    def Value(self) -> "ay":  # type: ignore[name-defined]  # noqa: F821 - a D-Bus signature
        return b""

    @dbus_method()
    def StartNotify(self) -> None:
        self.listening.set()

    @dbus_method()
    def StopNotify(self) -> None:
        self.listening.clear()

    @dbus_method()
    def Confirm(self) -> None:
        """Indications only."""


@contextlib.asynccontextmanager
async def speaking(objects: bytes, characteristic: Characteristic | None = None) -> AsyncIterator[MessageBus]:
    """hci1 advertises the BTHome objects, and has the characteristic when it is connected."""
    async with connected() as bus:
        beacon = Beacon(objects)
        await _on_signals(bus, beacon.on_signal)
        bus.export("/beacon", beacon)
        manager = "org.bluez.LEAdvertisingManager1"
        await call(bus, "/org/bluez/hci1", manager, "RegisterAdvertisement", "oa{sv}", "/beacon", {})
        if characteristic is not None:
            bus.export("/device/service", Service())
            bus.export("/device/service/characteristic", characteristic)
            manager = "org.bluez.GattManager1"
            await call(bus, "/org/bluez/hci1", manager, "RegisterApplication", "oa{sv}", "/device", {})
        yield bus
