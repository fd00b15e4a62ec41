"""A board with a small role, whole from its cells to its radio: `provision.cbor` and `notes/` in its folder.

Runs on MicroPython.  Argument: seed of its chip.  Prints `heap WHEN BYTES` whenever it has used more than
ever before, at a few places.
"""

import gc

if hasattr(gc, "threshold"):
    # Code stays where it is loaded, as a board's boot file has it.
    gc.threshold(4096)

import asyncio
import os
import sys
import time

import bluetooth

from devices.micropython import device_keys, provision
from devices.micropython.flash import Flash
from devices.micropython.gatt import Server
from devices.micropython.log_ring import Log
from devices.micropython.session import Device
from devices.micropython.settings import Settings
from puf.puf_simulator import SimulatedChip
from tests.devices.small_role import Gate, Update

used_max = 0


def used(when: str) -> None:
    global used_max
    gc.collect()
    now: int = gc.mem_alloc()  # type: ignore[attr-defined]
    if now > used_max:
        used_max = now
        print("heap", when, now)


def readout(seed: str) -> bytes:
    chip = SimulatedChip(seed.encode(), 2040)
    chip.read_count = int.from_bytes(os.urandom(5), "big")
    return chip.read()


def wait(wait_ms: int) -> None:
    time.sleep_ms(wait_ms)  # type: ignore[attr-defined]


def uptime_ms() -> int:
    passed: int = time.ticks_diff(time.ticks_ms(), BEGAN)  # type: ignore[attr-defined]
    return passed


BEGAN = time.ticks_ms()  # type: ignore[attr-defined]


def main() -> None:
    with open("provision.cbor", "rb") as file:
        given = provision.decode(file.read())
    flash = Flash("notes")
    keys = device_keys.open_device(readout(sys.argv[1]), given, flash, wait, os.urandom)
    used("keys")
    settings = Settings(flash.slots("settings"), keys.settings_key(), Gate.SETTINGS, given.settings)
    log = Log(2048, uptime_ms)
    role, update = Gate(), Update()
    del given
    device = Device(keys, role, update, log, settings, "test", os.urandom, uptime_ms())
    server = Server(bluetooth.BLE(), device, uptime_ms, lambda: used("served"))
    used("ready")
    asyncio.run(server.run())
    print("left")


main()
