"""What runs on a simulated board in tests of roles: the role with its real hal, and orders from a file.

Runs on MicroPython.  Each line of the file `orders` is a number of an action and a holder; it is done and
answered on the console, as is `status`.
"""

import asyncio
import gc
import json
import os

# Before the imports, as boot.py does.
gc.threshold(4096)

from devices.micropython import hal  # noqa: E402
from devices.micropython.flash import Flash  # noqa: E402
from devices.micropython.log_ring import Log  # noqa: E402
from devices.micropython.settings import Settings  # noqa: E402
from devices.micropython.uptime import Clock  # noqa: E402
from puf.notes import Notes  # noqa: E402

KEY = b"k" * 32
GATEWAY = b"G"


def make(role, clock, log):
    data = hal.part(hal.find("", "", ""), role)
    flash = Flash("notes")
    module = __import__("devices.micropython.role_" + role, None, None, ("Role",))
    with open("settings.json") as file:
        settings = Settings(flash.slots("settings"), KEY, module.SETTINGS, json.load(file))
    if role == "lock":
        made = module.Role(data, settings, log, GATEWAY, lambda: "near" in os.listdir(), clock)
    elif role == "charger":
        notes = Notes(flash.slots("energy"), KEY, "energy")
        made = module.Role(data, settings, log, GATEWAY, notes, clock)
    else:
        made = module.Role(data, settings, clock, __import__("time").sleep_ms)
    return made


def orders(role, clock):
    if "orders" in os.listdir():
        with open("orders") as file:
            lines = file.read().split("\n")
        os.remove("orders")
        for line in lines:
            words = line.split()
            if words:
                print("act", line, role.act(int(words[0]), words[1].encode(), clock()))
    if "overtake" in os.listdir():
        os.remove("overtake")
        # The timer comes between the program's look at the clock and what it does by it.
        now_ms = clock()
        __import__("time").sleep_ms(2)
        role._wake(None)
        role.tick(now_ms)
        print("overtaken")
    if "status" in os.listdir():
        os.remove("status")
        print("status", json.dumps(role.status()))


async def main():
    clock = Clock()
    log = Log(2048, clock)
    role = make(os.getenv("HIL_BOARD").rstrip("0123456789"), clock, log)
    gc.collect()
    print("ready", gc.mem_alloc())
    most = 0
    while True:
        orders(role, clock)
        wait_ms = role.tick(clock())
        most = max(most, gc.mem_alloc())
        await asyncio.sleep_ms(max(wait_ms, 1))


asyncio.run(main())
