"""What all roles do after boot.py: keys, settings, sessions, radio, the role's own work, the watchdog.

Runs on MicroPython.  A main_<role>.py brings its role; here it is put together with the rest and run.  The
firmware counts as good, and a trial of it is confirmed, when its keys came back, its notes could be read,
advertising began, and SELF_TEST_MS have passed with no error.
"""

import asyncio
import gc
import os
import sys
import time

import machine

from devices.micropython import boot_state, log_ring, provision
from devices.micropython.device_keys import MEMORY_BYTES, open_device
from devices.micropython.flash import Flash
from devices.micropython.log_ring import Log
from devices.micropython.uptime import Clock

LOG_BYTES = 2_048
SELF_TEST_MS = 5_000
SELF_TESTS_MAX = 12
"""A trial that is not on the air by then starts anew, and at last goes: nobody could bring it another."""
FEED_MS = 1_000
BOARD: "dict[str, tuple[int | str, int | None, int]]" = {"board": ("esp32-devkitc-v4", None, 32)}
"""The setting that every role has."""


class Memory:
    """RTC memory: the keys' own bytes at its beginning, and behind them what a role keeps."""

    def __init__(self) -> None:
        self._rtc = machine.RTC()

    def __call__(self, data: "bytes | None" = None) -> bytes:
        """All of it, or replaces the keys' part."""
        if data is not None:
            self._rtc.memory(data + self._rtc.memory()[MEMORY_BYTES:])
        return self._rtc.memory()

    def rest(self) -> bytes:
        """The role's part."""
        return self._rtc.memory()[MEMORY_BYTES:]

    def keep(self, data: bytes) -> None:
        """Replaces the role's part."""
        self._rtc.memory(self._rtc.memory()[:MEMORY_BYTES] + data)


class Kit:
    """What a role may need: `clock`, `log`, `memory`, `flash`, `keys`, `settings`, `data` of the board."""

    def __init__(self, role: str) -> None:
        """The keys first: what finds them needs the room that the rest takes afterwards."""
        self.role = role
        self.clock = Clock()
        self.log = Log(LOG_BYTES, self.clock)
        self.memory = Memory()
        root = boot_state.root
        with open(root + "provision.cbor", "rb") as file:
            self.provision = provision.decode(file.read())
        self.flash = Flash(root + "notes")
        self.keys = open_device(
            boot_state.readout, self.provision, self.flash, self.wait, os.urandom, self.memory
        )
        boot_state.readout = None
        gc.collect()
        self.device: object = None
        self.fetch: object = None
        """What begins to fetch an update by WiFi, where the role can."""

    def open_settings(self, fields: "dict[str, tuple[int | str, int | None, int]]") -> None:
        """The settings of the role, and with them the board's data and the radio.  Raises BoardError."""
        import bluetooth

        from devices.micropython import hal
        from devices.micropython.settings import Settings

        wanted = dict(BOARD)
        wanted.update(fields)
        self.settings = Settings(
            self.flash.slots("settings"), self.keys.settings_key(), wanted, self.provision.settings
        )
        self.board = str(self.settings.get("board"))
        self.data = hal.part(hal.find(boot_state.root, boot_state.slot, self.board), self.role)
        self.ble = bluetooth.BLE()
        self.log.write(
            log_ring.INFO,
            f"{self.role} {self.keys.name} firmware {boot_state.version} slot {boot_state.slot or 'none'} "
            f"start {machine.reset_cause()} heap {gc.mem_alloc()}",
        )

    def feed(self) -> None:
        """Tells the watchdog that all is well."""
        if boot_state.watchdog is not None:
            boot_state.watchdog.feed()

    def wait(self, wait_ms: int) -> None:
        """Waits, and feeds the watchdog meanwhile."""
        while wait_ms > 0:
            self.feed()
            time.sleep_ms(min(wait_ms, FEED_MS))
            wait_ms -= FEED_MS

    def is_near(self) -> bool:
        """Whether a vehicle that has proved itself is connected."""
        return self.device is not None and self.device.has_visitor()

    def make_device(self, role: object) -> object:
        """What sessions of this device share.  Their code is loaded here, once the keys' own is forgotten."""
        from devices.micropython.session import Device

        receiver = None
        if self.provision.publisher:
            from devices.micropython.ota import Receiver

            is_free = getattr(role, "is_moving", None)
            receiver = Receiver(
                boot_state.root,
                self.provision.publisher,
                role.KIND,
                self.board,
                (lambda: not is_free(self.clock())) if is_free else None,
                self.fetch,
            )
        self.receiver = receiver
        self.device = Device(
            self.keys, role, receiver, self.log, self.settings, str(boot_state.version), os.urandom,
            self.clock(),
        )  # fmt: skip
        return self.device

    async def confirm(self, server: object) -> None:
        """A trial of this firmware has gone well so far: it may stay once `server` is on the air."""
        for _ in range(SELF_TESTS_MAX):
            await asyncio.sleep_ms(SELF_TEST_MS)
            if server.has_advertised:
                self.accept()
                return
        if boot_state.is_trial:
            machine.reset()

    def accept(self) -> None:
        """Confirms a trial now."""
        if boot_state.is_trial:
            from devices.micropython import slots

            if slots.confirm():
                self.log.write(log_ring.INFO, f"firmware {boot_state.version} confirmed")


async def _work(kit: Kit, role: object) -> None:
    """The role's own work, and the watchdog's food: who hangs here is not fed."""
    try:
        while True:
            kit.feed()
            wait_ms = role.tick(kit.clock())
            await asyncio.sleep_ms(min(max(wait_ms, 1), FEED_MS))
    except Exception as error:
        # A role that cannot work is no good half; its pins let go of everything at a restart.
        kit.log.write(log_ring.ERROR, repr(error))
        sys.print_exception(error)
        machine.reset()


async def serve(kit: Kit, role: object) -> None:
    """Everything that runs beside each other, until one of them ends, which is when the device restarts."""
    from devices.micropython.gatt import Server

    server = Server(kit.ble, kit.make_device(role), kit.clock)
    working = asyncio.create_task(_work(kit, role))
    confirming = asyncio.create_task(kit.confirm(server))
    try:
        await server.run()
    finally:
        working.cancel()
        confirming.cancel()


def run(kit: Kit, role: object) -> None:
    """Runs a role that is always awake.  Returns when a restart was asked for."""
    try:
        asyncio.run(serve(kit, role))
    except Exception as error:
        # It shows on the console; the watchdog, which nobody feeds now, starts the board anew.
        kit.log.write(log_ring.ERROR, repr(error))
        sys.print_exception(error)
        raise
