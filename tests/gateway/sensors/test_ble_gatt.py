"""Notifications of one device, by unmodified bleak and bleak-retry-connector over a backend of our own."""

import asyncio

import pytest

pytest.importorskip("bleak", reason="bleak is not installed: pip install 'cpchain-edge[ble]'")

from bleak.exc import BleakError

from tests.gateway.sensors.ble_reading import OTHER, WAIT_S, Reader, opened, reasons, run
from tests.gateway.sensors.bleak_backends import ADDRESS, CHARACTERISTIC, Air, advertisement


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.sensors import ble_gatt

    monkeypatch.setattr(ble_gatt, "BACK_OFF_MS", (1,))
    monkeypatch.setattr(ble_gatt, "FIND_MS", 10)
    # They look for BlueZ's own list of connections, which is not part of the test.
    monkeypatch.setattr("bleak_retry_connector.IS_LINUX", False)


@pytest.mark.usefixtures("fast")
def test_notifications_become_readings_and_a_lost_device_is_found_again() -> None:
    async def story() -> None:
        air = Air()
        air.presents = [(OTHER, advertisement("y")), (ADDRESS, advertisement("x"))]
        source = opened(air, target=ADDRESS.lower(), characteristic="fff1")
        reader = Reader(source)
        waiting = asyncio.ensure_future(reader.until(lambda seen: len(seen.values) == 1))
        await asyncio.wait_for(air.connected.wait(), WAIT_S)
        air.clients[0].notify(b"one")
        batch = await waiting
        assert batch.values == [{"address": ADDRESS, "characteristic": CHARACTERISTIC, "data": b"one"}]
        assert batch.gaps == []
        air.presents = []
        air.clients[0].lose()
        await reader.until(lambda seen: len(seen.gaps) == 1)
        air.presents = [(ADDRESS, advertisement("x"))]
        waiting = asyncio.ensure_future(reader.until(lambda seen: len(seen.values) == 2))
        await asyncio.wait_for(air.connected.wait(), WAIT_S)
        air.clients[1].notify(b"two")
        batch = await waiting
        assert [place for place, _ in batch.gaps] == [1, 1]
        assert reasons(batch) == [f"ble:{ADDRESS} is gone: it disconnected", f"ble:{ADDRESS} is back"]
        assert batch.gaps[0][1].from_ns == batch.gaps[1][1].from_ns
        await reader.rest()
        assert air.log[-1] == "disconnect"

    run(story())


@pytest.mark.usefixtures("fast")
def test_a_device_that_cannot_be_connected_is_a_gap() -> None:
    async def story() -> None:
        air = Air()
        source = opened(air, target=ADDRESS, characteristic=CHARACTERISTIC)
        reader = Reader(source)
        batch = await reader.until(lambda seen: len(seen.gaps) == 1)
        assert reasons(batch)[0].startswith(f"ble:{ADDRESS} is not there: BleakError: not heard for")
        await reader.rest()

    run(story())


@pytest.mark.usefixtures("fast")
def test_a_device_without_the_characteristic_is_one_gap_however_often_it_is_tried() -> None:
    async def story() -> None:
        air = Air()
        air.presents = [(ADDRESS, advertisement("x"))]
        source = opened(air, target=ADDRESS, characteristic="fff2")
        reader = Reader(source)
        await reader.until(lambda seen: len(seen.gaps) == 1)
        for _ in range(4):
            await asyncio.wait_for(air.disconnects.acquire(), WAIT_S)
        batch = await reader.rest()
        (reason,) = reasons(batch)
        assert reason.startswith(f"ble:{ADDRESS} is gone: BleakCharacteristicNotFoundError: ")

    run(story())


@pytest.mark.usefixtures("fast")
def test_a_connection_that_fails_for_a_moment_is_made_again_without_a_gap() -> None:
    async def story() -> None:
        air = Air()
        air.presents = [(ADDRESS, advertisement("x"))]
        air.connect_errors = [BleakError("br-connection-canceled"), TimeoutError()]
        reader = Reader(opened(air, target=ADDRESS, characteristic=CHARACTERISTIC))
        waiting = asyncio.ensure_future(reader.until(lambda seen: len(seen.values) == 1))
        await asyncio.wait_for(air.connected.wait(), WAIT_S)
        air.clients[0].notify(b"one")
        batch = await waiting
        assert batch.gaps == []
        assert air.connect_errors == []
        await reader.rest()

    run(story())
