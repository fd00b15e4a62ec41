"""Radios in memory under bumble's own hosts, on a clock that jumps."""

import asyncio
from typing import Any

import pytest

pytest.importorskip("bumble", reason="bumble is not installed: pip install 'cpchain-edge[dev]'")

from bumble import att, gatt, hci
from bumble.core import PhysicalTransport
from bumble.device import AdvertisingType, Connection, Device
from bumble.transport.common import AsyncPipeSink

from hil.air_gatt import Client
from hil.air_host import connect_command, make_device
from hil.air_link import Conditions
from hil.air_radio import Medium, Radio
from tests.hil.virtual_time import pass_ms, run

CENTRAL, PERIPHERAL, OTHER = (f"C0:00:00:00:00:{number:02X}" for number in (1, 2, 3))
FLAGS, RESPONSE = b"\x02\x01\x06", b"\x05\x09lock"


class World:
    """Some hosts in earshot of each other."""

    def __init__(self, conditions: Conditions | None = None) -> None:
        self.medium = Medium(conditions or Conditions(), seed=1)
        self.radios: dict[str, Radio] = {}
        self.log: list[str] = []
        self.connections: dict[str, Connection] = {}

    async def join(self, address: str) -> Device:
        radio = Radio(address, self.medium)
        device = make_device("host", hci.Address(address), radio, AsyncPipeSink(radio))
        await device.power_on()
        self.radios[address] = radio

        def connected(connection: Connection) -> None:
            self.connections[address] = connection
            agreed = connection.parameters
            self.log.append(
                f"{address[-2:]} connected {agreed.connection_interval:g} {agreed.supervision_timeout:g}"
            )
            connection.on("disconnection", lambda reason: self.log.append(f"{address[-2:]} lost {reason:#x}"))

        device.on("connection", connected)
        device.on(
            "connection_failure",
            lambda error: self.log.append(f"{address[-2:]} failed {error.error_code:#x}"),
        )
        return device


async def advertise(device: Device, kind: AdvertisingType) -> None:
    await device.start_advertising(
        kind,
        advertising_data=FLAGS,
        scan_response_data=RESPONSE,
        advertising_interval_min=100,
        advertising_interval_max=100,
    )


async def reports(kind: AdvertisingType, *, is_active: bool, is_filtered: bool) -> list[tuple[int, bytes]]:
    world = World()
    advertiser, scanner = await world.join(PERIPHERAL), await world.join(CENTRAL)
    heard: list[tuple[int, bytes]] = []
    scanner.host.on(
        "advertising_report", lambda report: heard.append((int(report.event_type), bytes(report.data)))
    )
    await scanner.start_scanning(legacy=True, active=is_active, filter_duplicates=is_filtered)
    await advertise(advertiser, kind)
    await pass_ms(250)
    await scanner.stop_scanning(legacy=True)
    await pass_ms(500)
    return heard


@pytest.mark.parametrize(
    ("kind", "is_active", "is_filtered", "expected"),
    [
        (AdvertisingType.UNDIRECTED_CONNECTABLE_SCANNABLE, False, False, [(0, FLAGS)] * 3),
        (AdvertisingType.UNDIRECTED_CONNECTABLE_SCANNABLE, True, False, [(0, FLAGS), (4, RESPONSE)] * 3),
        (AdvertisingType.UNDIRECTED_CONNECTABLE_SCANNABLE, True, True, [(0, FLAGS), (4, RESPONSE)]),
        (AdvertisingType.UNDIRECTED_SCANNABLE, True, True, [(2, FLAGS), (4, RESPONSE)]),
        (AdvertisingType.UNDIRECTED, True, False, [(3, FLAGS)] * 3),
    ],
)
def test_a_scanner_hears_what_it_asked_for(
    kind: AdvertisingType, is_active: bool, is_filtered: bool, expected: list[tuple[int, bytes]]
) -> None:
    async def story() -> None:
        # Every 100 ms: at 0, 100 and 200 ms.
        assert await reports(kind, is_active=is_active, is_filtered=is_filtered) == expected

    run(story())


def test_each_scan_tells_each_device_anew() -> None:
    async def story() -> None:
        world = World()
        advertiser, scanner = await world.join(PERIPHERAL), await world.join(CENTRAL)
        heard: list[int] = []
        scanner.host.on("advertising_report", lambda report: heard.append(int(report.event_type)))
        await advertise(advertiser, AdvertisingType.UNDIRECTED)
        for count in (1, 2):
            await scanner.start_scanning(legacy=True, active=False, filter_duplicates=True)
            await pass_ms(250)
            await scanner.stop_scanning(legacy=True)
            assert heard == [3] * count

    run(story())


async def connected(
    world: World, interval_ms: float = 15.0, supervision_ms: int = 420
) -> tuple[Device, Device]:
    central, peripheral = await world.join(CENTRAL), await world.join(PERIPHERAL)
    await advertise(peripheral, AdvertisingType.UNDIRECTED_CONNECTABLE_SCANNABLE)
    await central.send_async_command(
        connect_command(hci.Address(PERIPHERAL), interval_ms, interval_ms, supervision_ms)
    )
    await pass_ms(150)
    return central, peripheral


def test_both_sides_know_what_was_agreed_and_who_ended_it() -> None:
    async def story() -> None:
        world = World()
        await connected(world)
        assert sorted(world.log) == ["01 connected 15 420", "02 connected 15 420"]
        (link,) = world.medium.links
        assert (link.central, link.peripheral) == (CENTRAL, PERIPHERAL)
        assert (link.agreed_interval_ms, link.agreed_supervision_ms) == (15.0, 420.0)
        await world.connections[CENTRAL].disconnect()
        await pass_ms(10)
        assert sorted(world.log[2:]) == ["01 lost 0x16", "02 lost 0x13"]
        assert world.medium.links == []
        assert world.medium.ended == [link]

    run(story())


def test_what_cannot_be_connected_is_not_and_trying_can_be_given_up() -> None:
    async def story() -> None:
        world = World()
        central, peripheral = await world.join(CENTRAL), await world.join(PERIPHERAL)
        await advertise(peripheral, AdvertisingType.UNDIRECTED_SCANNABLE)
        await central.send_async_command(connect_command(hci.Address(PERIPHERAL), 15, 15, 420))
        await pass_ms(500)
        assert world.log == []
        await central.send_sync_command(hci.HCI_LE_Create_Connection_Cancel_Command())
        await pass_ms(1)
        assert world.log == ["01 failed 0x2"]
        # It can try again, and somebody who is wanted is found.
        await central.send_async_command(connect_command(hci.Address(PERIPHERAL), 15, 15, 420))
        await advertise(peripheral, AdvertisingType.UNDIRECTED_CONNECTABLE_SCANNABLE)
        await pass_ms(200)
        assert sorted(world.log[1:]) == ["01 connected 15 420", "02 connected 15 420"]

    run(story())


def test_a_connected_peripheral_is_silent_until_it_advertises_again() -> None:
    async def story() -> None:
        world = World()
        _, peripheral = await connected(world)
        other = await world.join(OTHER)
        heard: list[Any] = []
        other.host.on("advertising_report", heard.append)
        await other.start_scanning(legacy=True, active=False)
        await pass_ms(1_000)
        assert heard == []
        await advertise(peripheral, AdvertisingType.UNDIRECTED_CONNECTABLE_SCANNABLE)
        await other.send_async_command(connect_command(hci.Address(PERIPHERAL), 50, 50, 420))
        await pass_ms(200)
        assert heard
        assert world.log[-2:] == ["03 connected 50 420", "02 connected 50 420"]
        assert len(world.medium.links) == 2

    run(story())


def test_what_was_said_before_goodbye_arrives_before_it() -> None:
    async def story() -> None:
        world = World(Conditions(latency_ms=20.0))
        _, peripheral = await connected(world)
        written: list[bytes] = []

        def write(_connection: Connection, data: bytes) -> None:
            written.append(data)
            world.log.append("02 written")

        characteristic: gatt.Characteristic[bytes] = gatt.Characteristic(
            "F000",
            gatt.Characteristic.Properties.WRITE,
            att.Attribute.WRITEABLE,
            att.AttributeValue(write=write),
        )
        peripheral.gatt_server.add_service(gatt.Service("F001", [characteristic]))
        connection = world.connections[CENTRAL]
        for number in range(3):
            await connection.gatt_client.write_value(characteristic.handle, bytes([number]))
        goodbye = asyncio.ensure_future(connection.disconnect())
        await pass_ms(10)
        assert world.log[2:] == []
        await goodbye
        await pass_ms(5)
        assert written == [b"\0", b"\1", b"\2"]
        assert world.log[2:5] == ["02 written"] * 3
        assert sorted(world.log[5:]) == ["01 lost 0x16", "02 lost 0x13"]

    run(story())


def test_what_comes_right_after_an_answer_is_told_after_it() -> None:
    async def story() -> None:
        world = World()
        await connected(world)
        connection = world.connections[CENTRAL]
        client = Client(connection, lambda event, *values: world.log.append(f"told {event} {values}"))
        connection.gatt_client = client

        async def read() -> None:
            world.log.append(f"answer {await client.read_value(3, no_long_read=True)!r}")

        reading = asyncio.ensure_future(read())
        await asyncio.sleep(0)
        # Both in one step, as when this process was busy for a while.
        for pdu in (b"\x0bvalue", b"\x1b\x05\x00news", b"\x1b\x06\x00more"):
            frame = len(pdu).to_bytes(2, "little") + b"\x04\x00" + pdu
            world.radios[CENTRAL].on_link_acl_data(hci.Address(PERIPHERAL), PhysicalTransport.LE, frame)
        await reading
        await pass_ms(1)
        assert world.log[2:] == ["answer b'value'", "told 18 (1, 5, b'news')", "told 18 (1, 6, b'more')"]

    run(story())


def test_a_power_cut_is_noticed_after_the_supervision_timeout() -> None:
    async def story() -> None:
        world = World()
        await connected(world)
        world.medium.remove_controller(world.radios[PERIPHERAL])
        await pass_ms(410)
        assert world.log[2:] == []
        await pass_ms(20)
        assert world.log[2:] == ["01 lost 0x8"]

    run(story())


def test_a_board_that_starts_anew_is_not_heard_on_its_old_link() -> None:
    async def story() -> None:
        world = World()
        central, _ = await connected(world)
        world.medium.remove_controller(world.radios[PERIPHERAL])
        again = await world.join(PERIPHERAL)
        await advertise(again, AdvertisingType.UNDIRECTED_CONNECTABLE_SCANNABLE)
        await central.send_async_command(connect_command(hci.Address(PERIPHERAL), 30, 30, 420))
        await pass_ms(350)
        # The controller still has a link to that address.
        assert world.log[2:] == []
        await pass_ms(200)
        assert world.log[2:] == ["01 lost 0x8", "01 connected 30 420", "02 connected 30 420"]

    run(story())
