"""bleak on an air, and the gateway's own Bluetooth code on top of it, with MicroPython boards in reach."""

import asyncio
from contextlib import AsyncExitStack

import pytest

pytest.importorskip("bumble", reason="bumble is not installed: pip install 'cpchain-edge[dev]'")
pytest.importorskip("bleak", reason="bleak is not installed: pip install 'cpchain-edge[ble]'")
pytest.importorskip("bleak_retry_connector", reason="pip install 'cpchain-edge[ble]'")

from bleak import BleakClient, BleakScanner
from bleak.exc import BleakError
from hypothesis import given
from hypothesis import strategies as st

from gateway.sensors.ble_source import open_ble
from gateway.sensors.source import Batch, Clock, SourceUrl
from hil.air import Air
from hil.air_link import Conditions
from hil.bleak_advertisement import read_advertisement
from hil.bleak_backend import Adapter
from tests.gateway.sensors.ble_reading import Reader
from tests.hil.air_boards import BOARD, HEAD, IN, OTHER_BOARD, OUT, PERIPHERAL, SERVICE, board

SERVE = PERIPHERAL + "\nasyncio.run(main(lambda event, data: None))"
BEACON = (
    HEAD
    + """
ble.active(True)
said = bytes.fromhex("020106" "0e16d2fc40" "0001" "015d" "02ca09" "03bf13")
ble.gap_advertise(20_000, said, connectable=False)
while True:
    time.sleep_ms(100)
"""
)
COUNTER = (
    PERIPHERAL
    + """
def act(event, data):
    pass
async def count():
    number = 0
    while True:
        await asyncio.sleep_ms(5)
        number += 1
        ble.gatts_write(h_out, str(number), True)
async def both():
    asyncio.create_task(count())
    await main(act)
asyncio.run(both())
"""
)


# What an advertisement says


def test_an_advertisement_is_read_as_bleak_hands_it_over() -> None:
    uuid = bytes(range(16))
    said = read_advertisement(
        b"\x02\x01\x06"
        b"\x05\x09lock"
        b"\x05\x03\x0f\x18\x0a\x18"
        b"\x11\x07" + uuid + b"\x05\x16\xd2\xfc\x40\x01"
        b"\x05\xff\x59\x00hi"
        b"\x02\x0a\xf4"
        b"\x09\x08cut",
        -50,
    )
    assert said.local_name == "lock"
    assert said.service_uuids == [
        "0000180f-0000-1000-8000-00805f9b34fb",
        "0000180a-0000-1000-8000-00805f9b34fb",
        "0f0e0d0c-0b0a-0908-0706-050403020100",
    ]
    assert said.service_data == {"0000fcd2-0000-1000-8000-00805f9b34fb": b"\x40\x01"}
    assert said.manufacturer_data == {0x59: b"hi"}
    assert (said.tx_power, said.rssi) == (-12, -50)


@given(st.binary(max_size=62))
def test_no_advertisement_is_too_broken_to_be_read(data: bytes) -> None:
    said = read_advertisement(data, -1)
    assert sum(map(len, said.manufacturer_data.values())) + len(said.local_name or "") <= len(data)


# bleak


async def test_a_scanner_hears_boards_by_name_service_and_address() -> None:
    serve = SERVE.replace("\\x05\\x09lock", "\\x03\\x03\\x00\\xf1\\x05\\x09lock")
    async with Air() as air, board(air.address, serve), board(air.address, BEACON, OTHER_BOARD):
        await air.joined(BOARD)
        await air.joined(OTHER_BOARD)
        async with Adapter(air.address) as adapter:
            lock = await BleakScanner.find_device_by_name("lock", backend=adapter.scanner)
            assert lock is not None
            assert lock.address == BOARD
            beacon = await BleakScanner.find_device_by_address(OTHER_BOARD, backend=adapter.scanner)
            assert beacon is not None
            assert beacon.name is None
            async with BleakScanner(service_uuids=[SERVICE], backend=adapter.scanner) as scanner:
                device, said = await anext(scanner.advertisement_data())
            assert device.address == BOARD
            # From the answer to its active scan.
            assert said.manufacturer_data == {0xFFFF: b"hi"}
            async with BleakScanner(
                service_uuids=[SERVICE], scanning_mode="passive", backend=adapter.scanner
            ) as scanner:
                _, said = await anext(scanner.advertisement_data())
            assert said.manufacturer_data == {}


async def test_one_adapter_has_several_links_at_once_and_keeps_them_apart() -> None:
    async with Air() as air, Adapter(air.address) as adapter, AsyncExitStack() as boards:
        for address in (BOARD, OTHER_BOARD):
            await boards.enter_async_context(board(air.address, SERVE, address))
        clients = [BleakClient(address, backend=adapter.client) for address in (BOARD, OTHER_BOARD)]
        await asyncio.gather(*(client.connect() for client in clients))
        values = await asyncio.gather(*(client.read_gatt_char(OUT) for client in clients))
        assert values == [b"hello", b"hello"]
        air.drop(OTHER_BOARD)
        with pytest.raises(BleakError):
            await clients[1].read_gatt_char(OUT)
        assert await clients[0].read_gatt_char(OUT) == b"hello"
        assert [client.is_connected for client in clients] == [True, False]
        await clients[0].disconnect()
        assert air.links() == []


async def test_a_device_that_is_not_there_is_waited_for_and_then_given_up() -> None:
    async with Air() as air, Adapter(air.address) as adapter:
        with pytest.raises(TimeoutError):
            await BleakClient(BOARD, backend=adapter.client, timeout=0.2).connect()
        client = BleakClient(BOARD, backend=adapter.client, timeout=30)
        late = asyncio.ensure_future(client.connect())
        async with board(air.address, SERVE):
            await late
            assert len(air.links(BOARD)) == 1
            with pytest.raises(BleakError, match="MTU"):
                await client.write_gatt_char(IN, bytes(300), response=False)


async def test_a_board_without_power_is_missed_after_the_supervision_timeout() -> None:
    async with (
        Air() as air,
        board(air.address, SERVE) as lock,
        Adapter(air.address, supervision_ms=100) as adapter,
    ):
        gone = asyncio.Event()
        client = BleakClient(BOARD, backend=adapter.client, disconnected_callback=lambda _: gone.set())
        await client.connect()
        assert air.links()[0].supervision_ms == 100.0
        lock.cut_power()
        await gone.wait()
        assert not client.is_connected


async def test_an_air_that_goes_takes_its_links_with_it() -> None:
    gone = asyncio.Event()
    async with AsyncExitStack() as stack:
        air = await stack.enter_async_context(Air())
        async with board(air.address, SERVE), Adapter(air.address) as adapter:
            client = BleakClient(BOARD, backend=adapter.client, disconnected_callback=lambda _: gone.set())
            await client.connect()
            await stack.aclose()
            await gone.wait()
            with pytest.raises(BleakError, match="Service Discovery has not been performed"):
                await client.write_gatt_char(7, b"x", response=True)
            with pytest.raises(BleakError, match="the air is gone"):
                await BleakScanner(backend=adapter.scanner).start()


# The gateway


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.sensors import ble_gatt

    monkeypatch.setattr(ble_gatt, "BACK_OFF_MS", (1,))
    # They look for BlueZ's own list of connections, which is not here.
    monkeypatch.setattr("bleak_retry_connector.IS_LINUX", False)


def source_url(target: str, **options: str) -> SourceUrl:
    return SourceUrl(f"ble:{target}", target, options)


@pytest.mark.usefixtures("fast")
async def test_the_gateway_takes_a_board_s_notifications_and_finds_it_again_after_each_loss() -> None:
    async with Air(Conditions(latency_ms=2.0)) as air, Adapter(air.address) as adapter:
        source = open_ble(
            source_url(BOARD, characteristic="f102"),
            "counter",
            Clock(),
            scanner_backend=adapter.scanner,
            client_backend=adapter.client,
        )
        reader = Reader(source)
        async with board(air.address, COUNTER):
            await reader.until(lambda seen: len(seen.values) >= 5)
            air.drop(BOARD)
            after = len((await reader.until(lambda seen: len(seen.gaps) >= 2)).values)
            await reader.until(lambda seen: len(seen.values) >= after + 5)
        batch = await reader.rest()
    reasons = [gap.reason for _, gap in batch.gaps]
    assert reasons[:2] == [f"ble:{BOARD} is gone: it disconnected", f"ble:{BOARD} is back"]
    numbers = [numbered(batch, place) for place in range(len(batch.values))]
    before = batch.gaps[0][0]
    # Nothing is missing but in the gap.
    assert numbers[:before] == list(range(numbers[0], numbers[0] + before))
    assert numbers[before:] == list(range(numbers[before], numbers[before] + len(numbers) - before))
    assert numbers[before] > numbers[before - 1]


def numbered(batch: Batch, place: int) -> int:
    value = batch.values[place]
    assert isinstance(value, dict)
    assert (value["address"], value["characteristic"]) == (BOARD, OUT)
    return int(value["data"])


async def test_the_gateway_reads_a_board_s_advertisements() -> None:
    async with Air() as air, Adapter(air.address) as adapter, board(air.address, BEACON):
        source = open_ble(source_url("hci0", address=BOARD), "all", Clock(), scanner_backend=adapter.scanner)
        reader = Reader(source)
        batch = await reader.until(lambda seen: len(seen.values) >= 2)
        await reader.rest()
    value = batch.values[0]
    assert isinstance(value, dict)
    assert value["address"] == BOARD
    assert value["rssi_dbm"] == -50
    # BTHome v2: packet 1, 93 %, 25.06 degrees, 50.55 %.  Source: bthome.io, format.
    assert value["values"] == {"battery_pct": 93, "temperature_mdegc": 25_060, "humidity_mpct": 50_550}
