"""An advertisement as a reading: what was sent, and the values in it where its format is known.

Runs on CPython.  A reading has

    address     `AA:BB:CC:DD:EE:FF`
    rssi_dbm    left out when unknown
    data        AD structures, as bytes
    format, device, packet, values    where a format is known; values are whole numbers, the unit last
    error       why there are no values: damaged, no key, altered, replayed
    flaw        what is wrong with the AD structures

The parsers are ours.  There are well-kept ones on PyPI (bthome-ble, xiaomi-ble, govee-ble, ruuvitag-ble and
others), but each depends on habluetooth, and that by bluetooth-auto-recovery on PyRIC, which is GPL-3 and
has no wheel; they are peers of the bench, in their own environment.  theengsdecoder is GPL-3 itself.
bleparser is MIT, but version 3.7.3 reads 87 of the 124 recorded events of the tests, fails with a bare
KeyError or the like on one damaged event in 26, and checks no counter.  ruuvitag-sensor reads only Ruuvi.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.sensors import ble_beacons, ble_bthome, ble_govee, ble_sensors, ble_xiaomi
from gateway.sensors.ble_ad import Advertisement, address_text
from gateway.sensors.ble_keys import BleError, Vault

Reading = dict[str, Any]
Parser = Callable[[Advertisement, bytes, Vault], Reading | None]
Guess = Callable[[Advertisement, int, bytes], Reading | None]

BY_SERVICE: dict[int, tuple[str, Parser]] = {
    ble_bthome.UUID_V2: ("BTHome V2", ble_bthome.decode_v2),
    ble_bthome.UUID_V1: ("BTHome V1", ble_bthome.decode_v1),
    ble_bthome.UUID_V1_ENCRYPTED: ("BTHome V1 (encrypted)", ble_bthome.decode_v1_encrypted),
    ble_xiaomi.UUID: ("Xiaomi", ble_xiaomi.decode),
    ble_sensors.ATC_UUID: ("ATC", ble_sensors.decode_atc),
    ble_beacons.EDDYSTONE_UUID: ("Eddystone", ble_beacons.decode_eddystone),
}
"""(name for messages, parser) by the UUID of the service data."""

BY_COMPANY: dict[int, tuple[str, Parser]] = {
    ble_sensors.RUUVI_COMPANY: ("Ruuvitag", ble_sensors.decode_ruuvi),
    ble_sensors.MICHELIN_COMPANY: ("TMS", ble_sensors.decode_michelin),
    ble_beacons.APPLE_COMPANY: ("iBeacon", ble_beacons.decode_apple),
}
"""The same by the company of the manufacturer data."""

GUESSES: tuple[tuple[str, Guess], ...] = (
    ("Govee", ble_govee.decode),
    ("Inkbird", ble_sensors.decode_inkbird),
    ("SensorPush", ble_sensors.decode_sensorpush),
    ("Thermopro", ble_sensors.decode_thermopro),
)
"""Makers that put what they like in the company's place; each knows its own by name, service and length."""

REMEMBERED_MAX = 4_096
"""Devices whose names and services are remembered."""


class Decoder:
    """Readings of advertisements, in the order in which they come.

    It remembers names and services, which some devices send in a scan response, apart from their values."""

    def __init__(self, vault: Vault | None = None) -> None:
        self.vault = vault if vault is not None else Vault()
        self._names: dict[bytes, str] = {}
        self._services: dict[bytes, tuple[list[int], list[bytes]]] = {}

    def reading(self, advertisement: Advertisement) -> Reading:
        """What a record of it holds."""
        reading: Reading = {"address": address_text(advertisement.address), "data": advertisement.data}
        if advertisement.rssi_dbm is not None:
            reading["rssi_dbm"] = advertisement.rssi_dbm
        if advertisement.flaw:
            reading["flaw"] = advertisement.flaw
        self._complete(advertisement)
        if advertisement.name:
            reading["name"] = advertisement.name
        self._decode(advertisement, reading)
        return reading

    def _complete(self, advertisement: Advertisement) -> None:
        """Remembers the name and the services, or adds those that are remembered."""
        address = advertisement.address
        if advertisement.name:
            _remember(self._names, address, advertisement.name)
        elif (name := self._names.get(address)) is not None:
            advertisement.name = name
        if advertisement.uuids16 or advertisement.uuids128:
            _remember(self._services, address, (advertisement.uuids16, advertisement.uuids128))
        elif (services := self._services.get(address)) is not None:
            advertisement.uuids16, advertisement.uuids128 = services

    def _decode(self, advertisement: Advertisement, reading: Reading) -> None:
        """Adds what the first format that fits makes of it."""
        name = ""
        try:
            for uuid, data in advertisement.service16:
                if (row := BY_SERVICE.get(uuid)) is not None:
                    name, parser = row
                    if (decoded := parser(advertisement, data, self.vault)) is not None:
                        reading |= decoded
                        return
            for company, data in advertisement.manufacturer:
                if (row := BY_COMPANY.get(company)) is not None:
                    name, parser = row
                    if (decoded := parser(advertisement, data, self.vault)) is not None:
                        reading |= decoded
                        return
                    continue
                for maker, guess in GUESSES:
                    name = maker
                    if (decoded := guess(advertisement, company, data)) is not None:
                        reading |= decoded
                        return
        except BleError as error:
            reading["format"] = name
            reading["error"] = str(error)


def _remember(memory: dict[bytes, Any], address: bytes, value: Any) -> None:
    """Keeps the newest of REMEMBERED_MAX devices."""
    if address not in memory and len(memory) >= REMEMBERED_MAX:
        # Addresses that are made up come by the thousand: the oldest goes.
        del memory[next(iter(memory))]
    memory[address] = value
