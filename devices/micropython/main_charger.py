"""The firmware of a charging station.  Runs on MicroPython."""

import asyncio

from devices.micropython import compose, log_ring
from puf.notes import Notes


class Wifi:
    """Fetches updates by WiFi; a station on mains can afford that.  Its code is loaded for the first one."""

    def __init__(self, kit: compose.Kit) -> None:
        self._kit = kit
        self._fetcher: object = None
        self._task: object = None

    def begin(self, url: str, network: str, key: str) -> bool:
        """Begins to fetch; False when it cannot."""
        if self._fetcher is None:
            from network import STA_IF, WLAN

            from devices.micropython.ota_wifi import Fetcher, join

            kit, wlan = self._kit, WLAN(STA_IF)
            self._fetcher = Fetcher(
                lambda name, key: join(wlan, name, key),
                lambda: wlan.active(False),
                kit.clock,
                lambda text: kit.log.write(log_ring.INFO, text),
            )
            self._task = asyncio.create_task(self._fetcher.run(kit.receiver))
        return self._fetcher.begin(url, network, key)


def main() -> None:
    """Runs it; returns when a restart was asked for."""
    kit = compose.Kit("charger")
    from devices.micropython import role_charger

    kit.open_settings(role_charger.SETTINGS)
    notes = Notes(kit.flash.slots("energy"), kit.keys.settings_key(), "energy")
    kit.fetch = Wifi(kit).begin
    compose.run(kit, role_charger.Role(kit.data, kit.settings, kit.log, kit.keys.gateway, notes, kit.clock))
