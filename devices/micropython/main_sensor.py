"""The firmware of a sensor.  Runs on MicroPython.

    power-on -> connectable for window_ms -+-> measure -> advertise -> deep sleep -+
                         ^                 ^                                       | every_ms
                         |                 +---------------------------------------+
                         +------------------------- every window_each-th time -----+

A sensor on mains (`sleep` 0) advertises and can be connected to by turns.
"""

import asyncio

import machine

from devices.micropython import compose
from puf.notes import Notes


class Sensor:
    """A sensor's hours."""

    def __init__(self) -> None:
        self.kit = kit = compose.Kit("sensor")
        from devices.micropython import role_sensor

        kit.open_settings(role_sensor.SETTINGS)
        self.role = role_sensor.Role(kit.data, kit.settings, kit.clock, kit.wait)
        self._rest = kit.memory.rest()
        self._round = self._rest[0] << 8 | self._rest[1] if len(self._rest) > 1 else 0
        self._has_advertised = False
        self._key: bytes | None = None
        self._numbers: object = None

    def _open_key(self) -> None:
        from devices.micropython import bthome

        kit = self.kit
        epoch = kit.keys.grant_epoch
        self._key = self._numbers = None
        if kit.settings.get("encrypt") and epoch >= 0:
            self._key = bthome.beacon_key(kit.keys.grant_key(epoch))
            notes = Notes(kit.flash.slots("bthome"), kit.keys.settings_key(), "bthome")
            self._numbers = bthome.Numbers(notes, epoch, self._rest[2:])

    def _keep(self) -> None:
        kept = self._numbers.keep() if self._numbers is not None else b""
        self._rest = bytes((self._round >> 8, self._round & 0xFF)) + kept
        self.kit.memory.keep(self._rest)

    async def advertise(self) -> None:
        """Measures and says so."""
        kit = self.kit
        kit.feed()
        self.role.measure()
        self._open_key()
        if kit.settings.get("encrypt") and self._key is None:
            return
        kit.ble.active(True)
        address = bytes(kit.ble.config("mac")[1])
        data = self.role.payload(self._key, address, self._numbers)
        # A number is used once: it is gone before the first byte is on the air.
        self._keep()
        kit.ble.gap_advertise(100_000, data, connectable=False)
        await asyncio.sleep_ms(kit.settings.get("advert_ms"))
        kit.ble.gap_advertise(None)

    async def window(self) -> None:
        """Can be connected to for a while, and as long as somebody is at work."""
        # A waking without a window needs none of this.
        from devices.micropython.gatt import Server
        from devices.micropython.session import PROVED

        kit = self.kit
        device = kit.make_device(self.role)
        server = Server(kit.ble, device, kit.clock)
        serving = asyncio.create_task(server.run())
        end_ms = kit.clock() + kit.settings.get("window_ms")
        while not serving.done():
            kit.feed()
            is_visited = [1 for session in device.sessions if session.state == PROVED]
            if kit.clock() >= end_ms and not is_visited:
                serving.cancel()
                break
            await asyncio.sleep_ms(100)
        self._has_advertised = server.has_advertised
        try:
            await serving
        except asyncio.CancelledError:
            return
        # Only a restart that was asked for ends it.
        machine.reset()

    async def run(self) -> None:
        """Until the deep sleep, or for ever."""
        kit = self.kit
        if machine.reset_cause() != machine.DEEPSLEEP_RESET:
            self._round = 0
        while True:
            began_ms = kit.clock()
            if not self._round:
                self._round = int(kit.settings.get("window_each"))
                await self.window()
            self._round -= 1
            await self.advertise()
            if self._has_advertised:
                # Else nobody could bring it other firmware: after its last attempt it goes.
                kit.accept()
            left_ms = max(int(kit.settings.get("every_ms")) - (kit.clock() - began_ms), 1)
            if self.role.can_sleep(kit.clock()):
                self._keep()
                kit.ble.active(False)
                machine.deepsleep(left_ms)
            while left_ms > 0:
                kit.feed()
                await asyncio.sleep_ms(min(left_ms, compose.FEED_MS))
                left_ms -= compose.FEED_MS


def main() -> None:
    """Runs it; does not return."""
    asyncio.run(Sensor().run())
