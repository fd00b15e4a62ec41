"""MicroPython's `network` for a simulated board, whose WLAN is the loopback of its computer.

Runs on MicroPython.  `connect` succeeds at once, for any name but that of HIL_NO_WLAN.
"""

import os

STA_IF, AP_IF = 0, 1
STAT_IDLE, STAT_CONNECTING, STAT_GOT_IP, STAT_NO_AP_FOUND = 1000, 1001, 1010, 201


class WLAN:
    """A station."""

    IF_STA, IF_AP = STA_IF, AP_IF

    # One station, however often it is asked for.
    _is_active = False
    _status = STAT_IDLE

    def __init__(self, interface_id=STA_IF):
        """interface_id: STA_IF."""

    def active(self, is_active=None):
        """Whether it is on, or switches it."""
        if is_active is not None:
            WLAN._is_active = bool(is_active)
            if not is_active:
                WLAN._status = STAT_IDLE
        return self._is_active

    def connect(self, ssid=None, key=None, *, bssid=None):
        """Joins a network."""
        if not self._is_active:
            raise OSError("Wifi Not Started")
        WLAN._status = STAT_NO_AP_FOUND if ssid == os.getenv("HIL_NO_WLAN") else STAT_GOT_IP

    def disconnect(self):
        """Leaves it."""
        WLAN._status = STAT_IDLE

    def isconnected(self):
        """Whether it has an address."""
        return self._status == STAT_GOT_IP

    def status(self, param=None):
        """How it stands."""
        return -50 if param == "rssi" else self._status

    def ifconfig(self, config=None):
        """Address, mask, gateway, name server."""
        address = "127.0.0.1" if self.isconnected() else "0.0.0.0"  # noqa: S104
        return (address, "255.0.0.0", address, address)

    def ipconfig(self, name):
        """One setting of the address."""
        return (self.ifconfig()[0], "255.0.0.0") if name == "addr4" else None

    def config(self, *names, **settings):
        """Settings are taken; the MAC address is asked for."""
        if names == ("mac",):
            import machine

            return machine.unique_id()
        return None
