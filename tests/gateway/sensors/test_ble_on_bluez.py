"""Unmodified bleak against a stand-in for BlueZ on a D-Bus of its own: no radio, no system service.

The stand-in is PyPI's bluezoo, which is GPL: a process of its own, never imported.  One of its adapters
advertises, the other one hears it.
"""

import asyncio
import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bleak", reason="bleak is not installed: pip install 'cpchain-edge[ble]'")

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio.message_bus import MessageBus
from dbus_fast.constants import PropertyAccess
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property

from gateway.sensors.ble_bluez import power_cycle
from gateway.sensors.ble_source import open_ble
from gateway.sensors.source import SYSTEM_CLOCK, Batch, Clock, SourceUrl
from tests.gateway.sensors.traces import join

WAIT_S = 30
DATA_UUID = "0000fcd2-0000-1000-8000-00805f9b34fb"
HEARING, SPEAKING = "00:11:22:33:44:00", "00:11:22:33:44:01"


@pytest.fixture(scope="module")
def bluez(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a bus with two adapters, hci0 and hci1."""
    daemon = shutil.which("dbus-daemon")
    if daemon is None:
        pytest.skip("dbus-daemon is not here; on Debian: apt install dbus-daemon")
    if importlib.util.find_spec("bluezoo") is None:
        pytest.skip("bluezoo is not here; it comes with the development packages")
    folder = tmp_path_factory.mktemp("dbus")
    address = f"unix:path={folder / 'bus'}"
    config = folder / "bus.conf"
    config.write_text(
        "<busconfig><type>session</type><listen>"
        + address
        + "</listen><policy context='default'><allow send_destination='*' eavesdrop='true'/>"
        "<allow eavesdrop='true'/><allow own='*'/></policy></busconfig>"
    )
    bus = subprocess.Popen(
        [daemon, f"--config-file={config}", "--nofork", "--print-address=1"], stdout=subprocess.PIPE
    )
    assert bus.stdout is not None
    # It says where it listens once it does.
    bus.stdout.readline()
    environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": address}
    arguments = ["--auto-enable", "--scan-interval", "1", "--adapter", HEARING, "--adapter", SPEAKING]
    stand_in = subprocess.Popen(
        [sys.executable, "-c", "from bluezoo.bluezoo import main; main()", *arguments, "-qq"],
        env=environment,
    )
    before = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS")
    os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = address
    try:
        asyncio.run(_wait_for_adapters())
        yield address
    finally:
        if before is None:
            del os.environ["DBUS_SYSTEM_BUS_ADDRESS"]
        else:
            os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = before
        for process in (stand_in, bus):
            process.terminate()
            process.wait(WAIT_S)
        bus.stdout.close()


async def call(bus: MessageBus, path: str, interface: str, member: str, signature: str, *body: Any) -> Any:
    reply = await bus.call(
        Message(
            destination="org.bluez",
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(body),
        )
    )
    assert reply is not None
    assert reply.message_type is MessageType.METHOD_RETURN, f"{reply.error_name} {reply.body}"
    return reply.body[0] if reply.body else None


async def is_powered(bus: MessageBus, adapter: str) -> bool:
    value = await call(
        bus,
        f"/org/bluez/{adapter}",
        "org.freedesktop.DBus.Properties",
        "Get",
        "ss",
        "org.bluez.Adapter1",
        "Powered",
    )
    return bool(value.value)


async def set_powered(bus: MessageBus, adapter: str, is_on: bool) -> None:
    await call(
        bus,
        f"/org/bluez/{adapter}",
        "org.freedesktop.DBus.Properties",
        "Set",
        "ssv",
        "org.bluez.Adapter1",
        "Powered",
        Variant("b", is_on),
    )


async def _wait_for_adapters() -> None:
    """Returns when both adapters have power."""
    async with asyncio.timeout(WAIT_S):
        bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
        while True:
            try:
                if await is_powered(bus, "hci0") and await is_powered(bus, "hci1"):
                    break
            except AssertionError:
                pass
            await asyncio.sleep(0.05)
        bus.disconnect()


class Beacon(ServiceInterface):
    """What hci1 says."""

    def __init__(self, data: bytes) -> None:
        super().__init__("org.bluez.LEAdvertisement1")
        self._data = data
        self._body = data[1:]

    async def keep_changing(self) -> None:
        """Counts in its packet id, as devices do: the stand-in tells of a device only when it has changed."""
        for number in itertools.cycle(range(256)):
            self._data = b"\x40\x00" + bytes((number,)) + self._body
            self.emit_properties_changed({"ServiceData": {DATA_UUID: Variant("ay", self._data)}})
            await asyncio.sleep(0.1)

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


async def speak(beacon: Beacon) -> MessageBus:
    """hci1 advertises until the connection is closed."""
    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    bus.export("/beacon", beacon)
    await call(
        bus,
        "/org/bluez/hci1",
        "org.bluez.LEAdvertisingManager1",
        "RegisterAdvertisement",
        "oa{sv}",
        "/beacon",
        {},
    )
    return bus


def test_an_advertisement_comes_all_the_way_from_one_adapter_to_the_other(bluez: str) -> None:
    async def story() -> Batch:
        beacon = Beacon(bytes.fromhex("4002ca0903bf13"))
        bus = await speak(beacon)
        talking = asyncio.ensure_future(beacon.keep_changing())
        source = open_ble(SourceUrl("ble:hci0", "hci0", {}), "ble", SYSTEM_CLOCK)
        batches = []
        async with asyncio.timeout(WAIT_S):
            async for batch in source.batches():
                batches.append(batch)
                if batch.values:
                    await source.close()
        talking.cancel()
        bus.disconnect()
        return join(batches)

    batch = asyncio.run(story())
    reading = batch.values[0]
    assert reading["address"] == SPEAKING
    assert reading["name"] == "tank"
    assert reading["values"] == {"temperature_mdegc": 25_060, "humidity_mpct": 50_550}
    assert batch.gaps == []


def test_the_power_of_an_adapter_is_switched_off_and_on(bluez: str) -> None:
    async def story() -> list[bool]:
        bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
        seen = [await is_powered(bus, "hci0")]

        async def look(seconds: float) -> None:
            seen.append(await is_powered(bus, "hci0"))

        await power_cycle("hci0", Clock(sleep=look))
        seen.append(await is_powered(bus, "hci0"))
        bus.disconnect()
        return seen

    assert asyncio.run(story()) == [True, False, True]


def test_an_adapter_that_is_not_there_says_so(bluez: str) -> None:
    async def story() -> None:
        with pytest.raises(OSError, match="hci9: BlueZ does not switch its power off"):
            await power_cycle("hci9", SYSTEM_CLOCK)
        source = open_ble(SourceUrl("ble:hci9", "hci9", {}), "ble", SYSTEM_CLOCK)
        async with asyncio.timeout(WAIT_S):
            async for batch in source.batches():
                assert batch.values == []
                assert batch.gaps[0][1].reason.startswith("ble:hci9 cannot scan: Bleak")
                await source.close()

    asyncio.run(story())


def test_a_scanner_that_hears_nothing_is_restarted_and_hears_again(bluez: str) -> None:
    async def story() -> Batch:
        beacon = Beacon(bytes.fromhex("4012e204"))
        bus = await speak(beacon)
        talking = asyncio.ensure_future(beacon.keep_changing())
        await set_powered(bus, "hci1", False)
        source = open_ble(SourceUrl("ble:hci0", "hci0", {"silence_ms": "1000"}), "ble", SYSTEM_CLOCK)
        batches: list[Batch] = []
        async with asyncio.timeout(WAIT_S):
            async for batch in source.batches():
                batches.append(batch)
                if join(batches).gaps:
                    await set_powered(bus, "hci1", True)
                if batch.values:
                    await source.close()
        assert await is_powered(bus, "hci0")
        talking.cancel()
        bus.disconnect()
        return join(batches)

    batch = asyncio.run(story())
    assert batch.gaps[0][0] == 0
    assert batch.gaps[0][1].reason == "ble:hci0 was silent, and is started anew"
    assert batch.values[0]["values"] == {"co2_ppm": 1_250}


def test_no_bus_at_all_is_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path / 'none'}")

    async def story() -> None:
        source = open_ble(SourceUrl("ble:hci0", "hci0", {}), "ble", SYSTEM_CLOCK)
        async with asyncio.timeout(WAIT_S):
            async for batch in source.batches():
                assert batch.gaps[0][1].reason.startswith("ble:hci0 cannot scan: ")
                await source.close()

    asyncio.run(story())
