"""Unmodified bleak against a stand-in for BlueZ on a D-Bus of its own: no radio, no system service.

One of the stand-in's adapters speaks, the other one hears it.  `make foreign` fetches it and runs this.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("bleak", reason="bleak is not installed: pip install 'cpchain-edge[ble]'")

from gateway.sensors.ble_advice import NO_ADAPTER, NO_BUS
from gateway.sensors.ble_bluez import OFF_MS, power_cycle
from gateway.sensors.ble_source import open_ble
from gateway.sensors.source import SYSTEM_CLOCK, Batch, Clock, Source, SourceUrl
from tests.gateway.sensors.bluez_stand_in import (
    CHARACTERISTIC_UUID,
    SPEAKING,
    WAIT_S,
    Characteristic,
    call,
    connected,
    is_powered,
    set_powered,
    speaking,
    stand_in,
)
from tests.gateway.sensors.traces import join


@pytest.fixture(scope="module")
def bluez(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with stand_in(tmp_path_factory.mktemp("dbus")):
        yield


async def read(source: Source, is_there: Callable[[Batch], bool]) -> Batch:
    """All batches until that is there; the source is then closed."""
    batches: list[Batch] = []
    async with asyncio.timeout(WAIT_S):
        async for batch in source.batches():
            batches.append(batch)
            if is_there(join(batches)):
                await source.close()
    return join(batches)


def opened(target: str = "hci0", clock: Clock = SYSTEM_CLOCK, **options: str) -> Source:
    return open_ble(SourceUrl(f"ble:{target}", target, options), "ble", clock)


@pytest.mark.usefixtures("bluez")
def test_an_advertisement_comes_all_the_way_from_one_adapter_to_the_other() -> None:
    async def story() -> Batch:
        async with speaking(bytes.fromhex("02ca0903bf13")):
            return await read(opened(), lambda seen: bool(seen.values))

    batch = asyncio.run(story())
    reading = batch.values[0]
    assert reading["address"] == SPEAKING
    assert reading["name"] == "tank"
    assert reading["values"] == {"temperature_mdegc": 25_060, "humidity_mpct": 50_550}
    assert batch.gaps == []


@pytest.mark.usefixtures("bluez")
def test_a_device_notifies_until_it_disconnects() -> None:
    async def story() -> Batch:
        characteristic = Characteristic()
        async with speaking(bytes.fromhex("0164"), characteristic) as bus:
            source = opened(SPEAKING, characteristic=CHARACTERISTIC_UUID)
            said = asyncio.Event()

            def is_there(seen: Batch) -> bool:
                if seen.values:
                    said.set()
                return bool(seen.gaps)

            reading = asyncio.ensure_future(read(source, is_there))
            await asyncio.wait_for(characteristic.listening.wait(), WAIT_S)
            characteristic.notify(b"one")
            await asyncio.wait_for(said.wait(), WAIT_S)
            # Of connections, the stand-in can do one in its life.
            device = "/org/bluez/hci0/dev_" + SPEAKING.replace(":", "_")
            await call(bus, device, "org.bluez.Device1", "Disconnect", "")
            return await reading

    batch = asyncio.run(story())
    reading = {"address": SPEAKING, "characteristic": CHARACTERISTIC_UUID, "data": b"one"}
    assert batch.values == [reading]
    assert [(place, gap.reason) for place, gap in batch.gaps] == [
        (1, f"ble:{SPEAKING} is gone: it disconnected")
    ]


@pytest.mark.usefixtures("bluez")
def test_the_power_of_an_adapter_is_switched_off_and_on() -> None:
    async def story() -> list[bool]:
        async with connected() as bus:
            seen = [await is_powered(bus, "hci0")]

            async def look(seconds: float) -> None:
                seen.append(await is_powered(bus, "hci0"))

            await power_cycle("hci0", Clock(sleep=look))
            seen.append(await is_powered(bus, "hci0"))
            return seen

    assert asyncio.run(story()) == [True, False, True]


@pytest.mark.usefixtures("bluez")
def test_an_adapter_that_is_not_there_says_so() -> None:
    async def story() -> Batch:
        with pytest.raises(OSError, match="hci9: BlueZ does not switch its power off"):
            await power_cycle("hci9", SYSTEM_CLOCK)
        return await read(opened("hci9"), lambda seen: bool(seen.gaps))

    batch = asyncio.run(story())
    assert batch.values == []
    assert batch.gaps[0][1].reason.startswith("ble:hci9 cannot scan: Bleak")
    assert batch.gaps[0][1].reason.endswith(NO_ADAPTER)


class SilenceClock:
    """Two silences pass, no more; shorter waits end at once."""

    def __init__(self, while_off: Callable[[], Awaitable[None]]) -> None:
        """while_off: done while the adapter that hears has no power."""
        self._monotonic_ns = 0
        self._silences = asyncio.Semaphore(2)
        self._while_off = while_off
        self.clock = Clock(monotonic_ns=lambda: self._monotonic_ns, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        if seconds > 10:
            await self._silences.acquire()
            self._monotonic_ns += int(seconds * 10**9) + 1
        elif seconds == OFF_MS / 1_000:
            await self._while_off()
        await asyncio.sleep(0)


@pytest.mark.usefixtures("bluez")
def test_a_scanner_that_hears_nothing_is_restarted_and_hears_again() -> None:
    async def story() -> Batch:
        async with speaking(bytes.fromhex("12e204")) as bus:
            powers = []

            async def speak_again() -> None:
                powers.append(await is_powered(bus, "hci0"))
                await set_powered(bus, "hci1", True)

            await set_powered(bus, "hci1", False)
            source = opened(clock=SilenceClock(speak_again).clock)
            batch = await read(source, lambda seen: bool(seen.values))
            assert powers == [False]
            assert await is_powered(bus, "hci0")
        return batch

    batch = asyncio.run(story())
    # Two that were not taken between are one.
    assert {(place, gap.reason) for place, gap in batch.gaps} == {
        (0, "ble:hci0 was silent, and was started anew")
    }
    assert batch.values[0]["values"] == {"co2_ppm": 1_250}


def test_no_bus_at_all_is_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path / 'none'}")
    batch = asyncio.run(read(opened(), lambda seen: bool(seen.gaps)))
    assert batch.gaps[0][1].reason == f"ble:hci0 cannot scan: {NO_BUS}"
