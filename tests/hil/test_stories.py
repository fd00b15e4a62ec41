"""Stories of boards, gateways and cars in one air: many at once, lost links, power that goes, floods.

The firmware is what a board carries, on a real MicroPython; gateways are gateway/device_ble.py on bleak.
HIL_LONG=1 (make hil) tells each with every message, state and number; without it with some of them.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest

from devices.micropython import commands
from gateway.device_ble import DeviceClient
from gateway.errors import DeviceRefused
from hil.device import Board
from hil.virtual import VirtualRig
from puf.grant import CLOSE, OPEN
from tests.hil.fleet import Car, Gateway
from tests.hil.talk import Lost, connected

IS_LONG = bool(os.environ.get("HIL_LONG"))
HELD = 65
"""devices/micropython/role_lock.py: somebody else holds it."""


async def lock_of(rig: VirtualRig, gateway: Gateway, name: str = "lock1", role: str = "lock") -> Board:
    """A board that the gateway has enrolled, with power, in the air."""
    device = gateway.enrol(name, role)
    board = rig.board(name, role, files={"provision.cbor": device.provision})
    await board.power.on()
    await rig.air.joined(board.radio.address)
    return board


async def status(client: DeviceClient) -> dict[str, object]:
    (found,) = await client.ask(commands.STATUS)
    assert isinstance(found, dict)
    return found


async def test_ten_devices_and_three_gateways_at_once(rig: VirtualRig) -> None:
    gateways = [Gateway(f"gateway{number}") for number in range(3)]
    boards: list[tuple[Gateway, Board]] = []
    for number in range(10):
        gateway = gateways[number % 3]
        role = "charger" if number == 9 else "lock"
        boards.append((gateway, await lock_of(rig, gateway, f"{role}{number + 1}", role)))

    async def visit(gateway: Gateway, board: Board) -> tuple[str, str]:
        async with gateway.client(board, await rig.central(gateway.name)) as client:
            found = await status(client)
            (settings,) = await client.ask(commands.SETTINGS)
            assert isinstance(settings, dict)
            assert settings["board"] == "simulated"
            return board.name, str(found["kind"])

    for _ in range(2):
        visits = await asyncio.gather(*(visit(*both) for both in boards))
        assert visits == [(board.name, board.role) for _, board in boards]


async def test_a_connect_storm_leaves_the_lock_to_its_owner(rig: VirtualRig) -> None:
    gateway = Gateway()
    lock = await lock_of(rig, gateway)
    storms = 6 if IS_LONG else 3
    is_over = False

    async def storm(number: int) -> int:
        central, count = await rig.central(f"stranger{number}"), 0
        while not is_over:
            try:
                async with connected(lock, central):
                    count += 1
            except Lost:
                continue
        return count

    tasks = [asyncio.create_task(storm(number)) for number in range(storms)]
    async with gateway.client(lock, await rig.central("gateway")) as client:
        for _ in range(10):
            assert (await status(client))["kind"] == "lock"
            await client.close()
    is_over = True
    assert sum(await asyncio.gather(*tasks)) > 0
    assert rig.processes["lock1"].starts == ["power_on"]


async def test_a_flood_of_strangers_does_not_bar_the_owner(rig: VirtualRig) -> None:
    gateway = Gateway()
    lock = await lock_of(rig, gateway)
    is_over, heard = False, 0
    first_words = [
        bytes.fromhex("83015820") + bytes(32) + b"\x00",  # a fast path of somebody
        bytes.fromhex("03025820") + bytes(range(32)) + b"\x00",  # message_1 of EDHOC
        bytes(range(200)),
        b"\x83\x00",
    ]

    async def flood(number: int) -> None:
        nonlocal heard
        central = await rig.central(f"stranger{number}")
        while not is_over:
            try:
                async with connected(lock, central) as wire:
                    for word in first_words[number:] + first_words[:number]:
                        await wire.send(word)
                        await wire.receive(2_000)
                        heard += 1
            except (Lost, TimeoutError):
                continue

    tasks = [asyncio.create_task(flood(number)) for number in range(4 if IS_LONG else 2)]
    async with gateway.client(lock, await rig.central("gateway")) as client:
        for _ in range(5):
            assert (await status(client))["kind"] == "lock"
            await client.close()
    is_over = True
    await asyncio.gather(*tasks)
    assert heard > 0
    assert rig.processes["lock1"].starts == ["power_on"]


async def test_two_cars_for_one_lock(rig: VirtualRig) -> None:
    gateway = Gateway()
    lock = await lock_of(rig, gateway)
    async with gateway.client(lock, await rig.central("gateway")) as owner:
        key = await gateway.let_in(lock.name, owner)
    red, blue = Car("red"), Car("blue")
    device = gateway.devices[lock.name]

    async def come(car: Car, grant: bytes) -> int:
        async with car.client(lock, await rig.central(car.name), device) as client:
            try:
                await client.ask(commands.GRANT, OPEN, grant)
            except DeviceRefused as error:
                return error.reason
        return 0

    grants = {car.name: gateway.grant(lock.name, key, car.caller.name) for car in (red, blue)}
    reasons = await asyncio.gather(*(come(car, grants[car.name]) for car in (red, blue)))
    assert sorted(reasons) == [0, HELD]
    first, second = (red, blue) if reasons[0] == 0 else (blue, red)
    await wait_for(lambda: rig.world.board(lock.name).arm.is_low)
    # The one who holds it gives it back, and the same grant of the other is then good.
    async with first.client(lock, await rig.central(first.name), device) as client:
        await client.ask(commands.GRANT, CLOSE, gateway.grant(lock.name, key, first.caller.name))
    async with second.client(lock, await rig.central(second.name), device) as client:
        await client.ask(commands.GRANT, OPEN, grants[second.name])


async def wait_for(holds: Callable[[], bool], timeout_ms: int = 60_000) -> None:
    """Until something in the world is so, which tells nobody."""
    async with asyncio.timeout(timeout_ms / 1_000):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


Work = Callable[[Gateway, DeviceClient], Awaitable[None]]


async def _nothing(gateway: Gateway, client: DeviceClient) -> None:
    await client.connect()


async def _status(gateway: Gateway, client: DeviceClient) -> None:
    assert (await status(client))["kind"] == "lock"


async def _grant_key(gateway: Gateway, client: DeviceClient) -> None:
    epoch, key = await client.ask(commands.GRANT_KEY, 1)
    assert epoch == 1
    assert isinstance(key, bytes)


async def _settings(gateway: Gateway, client: DeviceClient) -> None:
    assert await client.ask(commands.SETTINGS, {"near_ms": 1_234})
    (kept,) = await client.ask(commands.SETTINGS)
    assert isinstance(kept, dict)
    assert kept["near_ms"] == 1_234


async def _log(gateway: Gateway, client: DeviceClient) -> None:
    _, text, _ = await client.ask(commands.LOG, 0)
    assert isinstance(text, bytes)
    assert b"lock1" in text


OWNERS: dict[str, tuple[Work, bool]] = {
    "fast path": (_nothing, False),
    "first meeting": (_nothing, True),
    "status": (_status, False),
    "settings": (_settings, False),
    "log": (_log, False),
    "grant key": (_grant_key, False),
}


async def messages_of(rig: VirtualRig, lock: Board, gateway: Gateway, work: Work, is_first: bool) -> int:
    """How many messages of the link the work takes when nothing is lost, the connection's own included."""
    async with gateway.client(lock, await rig.central("gateway"), is_first=is_first) as client:
        await work(gateway, client)
        (link,) = rig.air.links(lock.radio.address)
        return link.figures.messages


def cuts_of(count: int) -> list[int]:
    """After how many messages to cut.  Discovery comes first and is the same for all; the end is the work."""
    return list(range(count)) if IS_LONG else [count - 2, count - 5]


async def test_a_link_that_is_lost_at_any_message_is_made_good(rig: VirtualRig) -> None:
    gateway = Gateway()
    lock = await lock_of(rig, gateway)
    for what, (work, is_first) in OWNERS.items():
        count = await messages_of(rig, lock, gateway, work, is_first)
        cut_count = 0
        for after in cuts_of(count):
            cut = rig.air.cut(lock.radio.address, after)
            async with gateway.client(lock, await rig.central("gateway"), is_first=is_first) as client:
                await work(gateway, client)
            cut_count += cut.is_done
            rig.air.heal()
        # A cookie is asked for now and then only, so the last ones may not come.
        assert cut_count >= len(cuts_of(count)) // 2, what
    assert rig.processes["lock1"].starts == ["power_on"]


async def test_a_grant_whose_link_is_lost_at_any_message_opens_for_its_holder(rig: VirtualRig) -> None:
    gateway = Gateway()
    lock = await lock_of(rig, gateway)
    device, car = gateway.devices[lock.name], Car("red")
    async with gateway.client(lock, await rig.central("gateway")) as owner:
        key = await gateway.let_in(lock.name, owner)

    async def come(action: int) -> int:
        """Messages on the last link that it took."""
        grant = gateway.grant(lock.name, key, car.caller.name)
        async with car.client(lock, await rig.central(car.name), device) as client:
            await client.ask(commands.GRANT, action, grant)
            return rig.air.links(lock.radio.address)[-1].figures.messages

    await come(OPEN)
    count = await come(CLOSE)
    for after in cuts_of(count):
        cut = rig.air.cut(lock.radio.address, after)
        await come(OPEN)
        assert cut.is_done
        await wait_for(lambda: rig.world.board(lock.name).arm.is_low)
        await come(CLOSE)


async def test_power_that_goes_at_any_message_leaves_a_device_that_knows_its_owner(rig: VirtualRig) -> None:
    gateway = Gateway()
    lock = await lock_of(rig, gateway)

    async def pull_the_plug(after: int) -> None:
        async with asyncio.timeout(60):
            while not any(  # noqa: ASYNC110
                link.figures.messages >= after for link in rig.air.links(lock.radio.address)
            ):
                await asyncio.sleep(0)
        await lock.power.off()
        await lock.power.on()

    for what in ("first meeting", "settings"):
        work, is_first = OWNERS[what]
        count = await messages_of(rig, lock, gateway, work, is_first)
        for after in cuts_of(count):
            plug = asyncio.create_task(pull_the_plug(after))
            async with gateway.client(lock, await rig.central("gateway"), is_first=is_first) as client:
                await work(gateway, client)
            await plug
    starts = rig.processes["lock1"].starts
    assert starts == ["power_on"] * len(starts)
    assert len(starts) >= 5


@pytest.fixture
def rig(runner: asyncio.Runner, rig: object) -> VirtualRig:
    """These stories need faults of the air and chips that are known, so a real bench cannot tell them."""
    if not isinstance(rig, VirtualRig):
        pytest.skip("needs an air with faults and boards whose silicon is known: RIG=virtual")
    return rig
