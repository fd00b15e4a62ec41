"""A board with a small role, whole from its cells to its radio: `provision.cbor` and `notes/` in its folder.

Runs on MicroPython.  Arguments: seed of its chip, then the bytes of heap that it may use at most, or 0.  Prints
`heap WHEN BYTES` whenever it has used more than ever before, at a few places.
"""

import gc

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
from tests.devices.boards import Gate, Update

used_max = 0


def used(when):
    global used_max
    gc.collect()
    now = gc.mem_alloc()
    if now > used_max:
        used_max = now
        print("heap", when, now)


def readout(seed):
    chip = SimulatedChip(seed.encode(), 2040)
    chip.read_count = int.from_bytes(os.urandom(5), "big")
    return chip.read()


def uptime_ms():
    return time.ticks_diff(time.ticks_ms(), BEGAN)


BEGAN = time.ticks_ms()


def main():
    with open("provision.cbor", "rb") as file:
        given = provision.decode(file.read())
    flash = Flash("notes")
    keys = device_keys.open_device(readout(sys.argv[1]), given, flash, time.sleep_ms, os.urandom)
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
