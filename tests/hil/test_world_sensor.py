"""A sensor's whole firmware: it is asked once, then sleeps deeply, and is read by a gateway's own parser."""

import asyncio

from bleak import BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData

from devices.micropython import bthome, commands
from gateway.sensors.ble_ad import Advertisement
from gateway.sensors.ble_bthome import decode_v2
from gateway.sensors.ble_keys import Vault
from hil.device import Board, Central
from hil.virtual import VirtualRig
from tests.hil.fleet import Gateway

UUID = "0000fcd2-0000-1000-8000-00805f9b34fb"
QUICK: "dict[str, int | str]" = {"every_ms": 1_500, "advert_ms": 600, "window_ms": 4_000, "window_each": 5}


async def heard(board: Board, central: Central, count: int) -> list[bytes]:
    """So many different measurements that this board has advertised."""
    found: list[bytes] = []
    enough = asyncio.Event()

    def hear(device: BLEDevice, said: AdvertisementData) -> None:
        data = said.service_data.get(UUID)
        if device.address == board.radio.address and data is not None and data not in found:
            found.append(data)
            if len(found) >= count:
                enough.set()

    async with BleakScanner(hear, **central.scanner), asyncio.timeout(200):
        await enough.wait()
    return found


def read(board: Board, data: bytes, vault: Vault) -> dict[str, object]:
    address = bytes.fromhex(board.radio.address.replace(":", ""))
    found: dict[str, object] = decode_v2(Advertisement(address, None, b""), data, vault)
    return found


async def test_a_sensor_that_sleeps_is_read_under_its_gateways_key(rig: VirtualRig) -> None:
    gateway = Gateway()
    device = gateway.enrol("sensor1", "sensor", settings=QUICK)
    board = rig.board("sensor1", "sensor", files={"provision.cbor": device.provision})
    await board.power.on()
    await rig.air.joined(board.radio.address)
    central = await rig.central("gateway")
    async with gateway.client(board, central) as client:
        _, key = await client.ask(commands.GRANT_KEY, 1)
    assert isinstance(key, bytes)
    world = rig.world.board("sensor1")
    world.car_arrives()
    world.battery(3_700)
    address = bytes.fromhex(board.radio.address.replace(":", ""))
    vault = Vault({address: bthome.beacon_key(key)})
    readings = [read(board, data, vault) for data in await heard(board, central, 4)]
    packets = [reading["packet"] for reading in readings]
    assert packets == [0, 1, 2, 3]
    for reading in readings:
        values = reading["values"]
        assert isinstance(values, dict)
        assert (values["occupancy"], values["battery_pct"]) == (True, 47)
        assert abs(values["distance_mm"] - 600) < 8
        assert abs(values["voltage_mv"] - 3_700) <= 1
        assert values["temperature_mdegc"] == 20_000
    process = rig.processes["sensor1"]
    assert process.starts[:4] == ["power_on", "deepsleep", "deepsleep", "deepsleep"]
    # Its keys came through the sleep: it can be met again in a later window.
    async with gateway.client(board, central) as client:
        (status,) = await client.ask(commands.STATUS)
        assert isinstance(status, dict)
        assert status["kind"] == "sensor"
    # After a power cut it goes on with later numbers.
    await board.power.off()
    await board.power.on()
    later = read(board, (await heard(board, central, 1))[0], vault)
    packet = later["packet"]
    assert isinstance(packet, int)
    assert packet >= bthome.BLOCK


async def test_a_sensor_on_mains_needs_no_key_to_be_read_by_anybody(rig: VirtualRig) -> None:
    gateway = Gateway()
    settings = {**QUICK, "window_ms": 1_000, "sleep": 0, "encrypt": 0}
    device = gateway.enrol("sensor1", "sensor", settings=settings)
    board = rig.board("sensor1", "sensor", files={"provision.cbor": device.provision})
    await board.power.on()
    found = [read(board, data, Vault()) for data in await heard(board, await rig.central("gateway"), 3)]
    assert [reading["packet"] for reading in found] == [1, 2, 3]
    assert rig.processes["sensor1"].starts == ["power_on"]
