"""New firmware for a board by Bluetooth: it comes, it is tried, it stays or goes; whole roles in one air."""

from pathlib import Path

import pytest

from devices import firmware_build
from devices.firmware_build import compile_text
from devices.firmware_pack import pack
from devices.firmware_sender import Sender
from devices.micropython import commands, provision
from gateway.device_ble import DeviceClient
from hil.device import Board
from hil.errors import BoardEnded
from hil.virtual import VirtualRig
from puf.ed25519 import SigningKey
from tests.hil.fleet import Gateway

HEAP_KIB = 256
"""128 KiB of a board, whose pointers have half the size."""
PUBLISHER = SigningKey(b"publisher".ljust(32, b"."))
MAIN = "devices/micropython/main_lock.mpy"
ROLE = firmware_build.read_roles().roles["lock"]


async def lock_of(rig: VirtualRig, gateway: Gateway) -> Board:
    """A lock that takes updates."""
    device = gateway.enrol("lock1", "lock")
    given = provision.decode(device.provision)
    fields = dict(zip(type(given)._fields, given, strict=True)) | {"publisher": PUBLISHER.public}
    board = rig.board("lock1", "lock", files={"provision.cbor": provision.Provision(**fields).encode()})
    await board.power.on()
    await rig.air.joined(board.radio.address)
    return board


async def bring(client: DeviceClient, files: dict[str, bytes], version: int) -> Sender:
    """The update, and a restart."""
    sender = Sender(pack(files, PUBLISHER, "lock", version))
    body = sender.next(None)
    while body is not None:
        (answer,) = await client.ask(commands.OTA, body)
        assert isinstance(answer, bytes)
        body = sender.next(answer)
    await client.ask(commands.REBOOT)
    return sender


async def version_of(client: DeviceClient) -> str:
    (status,) = await client.ask(commands.STATUS)
    assert isinstance(status, dict)
    return str(status["version"])


async def until_confirmed(board: Board) -> None:
    """Its self-test takes five seconds."""
    await board.console.expect("confirmed", timeout_ms=60_000)


@pytest.mark.slow
async def test_an_update_is_brought_tried_and_kept_and_one_that_fails_goes(tmp_path: Path) -> None:
    async with VirtualRig(tmp_path, heap_kib=HEAP_KIB) as rig:
        try:
            await tell(rig)
        except BaseException:
            print(rig.processes["lock1"].console.tail(60))
            raise


async def tell(rig: VirtualRig) -> None:
    gateway = Gateway()
    board = await lock_of(rig, gateway)
    slot = firmware_build.slot_files(ROLE)
    async with gateway.client(board, await rig.central()) as client:
        assert await version_of(client) == "1"
        sender = await bring(client, slot | {"data/new.json": b"{}"}, 2)
        # The running slot has nearly all of it.
        assert sender.sent_size < 12_000
        await until_confirmed(board)
    async with gateway.client(board, await rig.central()) as client:
        assert await version_of(client) == "2"
        # One that cannot start: three attempts by the watchdog, and the second is back.
        broken = compile_text("def main():\n    raise ValueError('broken')\n", "main_lock.py")
        await bring(client, slot | {MAIN: broken}, 3)
    for _ in range(3):
        with pytest.raises(BoardEnded, match="ValueError: broken"):
            await board.console.expect("what never comes", timeout_ms=60_000)
        # As its watchdog would.
        await board.power.reset()
    await rig.air.joined(board.radio.address)
    async with gateway.client(board, await rig.central()) as client:
        assert await version_of(client) == "2"
