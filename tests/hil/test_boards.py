"""What every board does, a simulated one and one on a desk: it starts, is in the air, and comes back.

A board of a bench has been flashed and provisioned before (make flash); a simulated one is here.
"""

from bleak import BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData

from devices.micropython import advert
from hil.device import Board
from hil.rig import Rig
from hil.virtual import VirtualRig
from tests.hil.fleet import Gateway

FIND_S = 30.0


async def lock_of(rig: Rig) -> Board:
    (lock,) = await rig.boards("lock")
    if isinstance(rig, VirtualRig):
        await lock.files.write("/provision.cbor", Gateway().enrol(lock.name, "lock").provision)
    return lock


async def said_by(rig: Rig, lock: Board) -> AdvertisementData:
    """The next advertisement of the board."""
    central = await rig.central()
    wanted = lock.radio.address
    found: list[AdvertisementData] = []

    def is_it(device: BLEDevice, said: AdvertisementData) -> bool:
        if device.address.upper() == wanted and advert.SERVICE in said.service_uuids:
            found.append(said)
        return bool(found)

    assert await BleakScanner.find_device_by_filter(is_it, FIND_S, **central.scanner) is not None
    return found[0]


async def test_a_board_with_power_is_in_the_air_and_names_nobody(rig: Rig) -> None:
    lock = await lock_of(rig)
    await lock.power.on()
    said = await said_by(rig, lock)
    assert said.local_name is None
    assert len(said.manufacturer_data[advert.COMPANY]) == advert.SALT_BYTES + advert.HINT_BYTES


async def test_a_board_comes_back_when_its_power_does(rig: Rig) -> None:
    lock = await lock_of(rig)
    await lock.power.on()
    before = await said_by(rig, lock)
    await lock.power.off()
    await lock.power.on()
    after = await said_by(rig, lock)
    # It cannot be linked to what it was before.
    assert before.manufacturer_data != after.manufacturer_data


async def test_a_board_comes_back_from_its_reset_button(rig: Rig) -> None:
    lock = await lock_of(rig)
    await lock.power.on()
    await said_by(rig, lock)
    await lock.power.reset()
    await said_by(rig, lock)


async def test_a_board_tells_its_console_what_it_is(rig: Rig) -> None:
    lock = await lock_of(rig)
    await lock.power.on()
    await lock.console.expect(r"^I \d+ lock \S+ firmware \d+ slot [ab]")
