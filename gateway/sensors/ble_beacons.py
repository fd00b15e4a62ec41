"""Beacons: iBeacon, Tilt's hydrometers, which pose as such, and Eddystone.

Runs on CPython.  Pure.  Source: Apple, Proximity Beacon Specification R1; tilthydrometer.com, Tilt's iBeacon
data format; github.com/google/eddystone, protocol-specification.md.
"""

from __future__ import annotations

import struct
from typing import Any

from gateway.sensors.ble_ad import Advertisement
from gateway.sensors.ble_keys import Malformed, Vault
from gateway.sensors.ble_sensors import decode_ruuvi_url

Values = dict[str, Any]

APPLE_COMPANY = 0x004C
EDDYSTONE_UUID = 0xFEAA

_TILT_UUID = "a495bb{}0c5b14b44b5121370f02d74de"
_TILTS = {
    _TILT_UUID.format(digit): color
    for digit, color in enumerate(("Red", "Green", "Black", "Purple", "Orange", "Blue", "Yellow", "Pink"), 1)
}
_SOLAR_BEACONS = ("e2c56db5dffb48d2b060d0f5a71096e0", "00050001000010008000" + "00805f9b0131")
"""UUIDs under which Cypress's solar beacons put two measurements into `minor`."""


def decode_apple(advertisement: Advertisement, data: bytes, vault: Vault) -> Values | None:
    """Manufacturer data of company 004C; None when it is none of the beacons.  Raises BleError."""
    if data[:1] != b"\x02":
        return None
    if len(data) < 23 or data[1] != 0x15:
        raise Malformed(f"{len(data)} bytes are no iBeacon")
    uuid = data[2:18].hex()
    major, minor, power = struct.unpack(">HHb", data[18:23])
    values: Values = {"uuid": uuid, "major": major, "minor": minor, "measured_power_dbm": power}
    if uuid in _TILTS:
        return _tilt(_TILTS[uuid], major, minor, values)
    if uuid in _SOLAR_BEACONS:
        # Eight bits each, by the formulas of the sensor's data sheet (Si7020).
        values["cypress_temperature_mdegc"] = round((minor & 0xFF) * 175_720 / 256 - 46_850)
        values["cypress_humidity_mpct"] = round((minor >> 8) * 125_000 / 256 - 6_000)
    return {"format": "iBeacon", "device": "iBeacon", "values": values}


def _tilt(color: str, major: int, minor: int, values: Values) -> Values:
    """Fahrenheit and specific gravity; a Tilt Pro has a digit more of both."""
    is_pro = minor >= 5_000
    tenths = major if is_pro else major * 10
    values["temperature_mdegc"] = round((tenths - 320) * 1_000 / 18)
    values["gravity_milli" if not is_pro else "gravity_e4"] = minor
    return {"format": "Tilt", "device": f"Tilt {'Pro ' if is_pro else ''}{color}", "values": values}


_SCHEMES = ("http://www.", "https://www.", "http://", "https://")
_ENDINGS = (
    *(".com/", ".org/", ".edu/", ".net/", ".info/", ".biz/", ".gov/"),
    *(".com", ".org", ".edu", ".net", ".info", ".biz", ".gov"),
)


def decode_eddystone(advertisement: Advertisement, data: bytes, vault: Vault) -> Values | None:
    """Service data of UUID FEAA.  Raises BleError."""
    if not data:
        raise Malformed("no frame type")
    values: Values = {}
    match data[0]:
        case 0x00:
            kind = "UID"
            _at_least(data, 18)
            values |= {"namespace": data[2:12].hex(), "instance": data[12:18].hex()}
            values["power_at_0_m_dbm"] = _signed(data[1])
        case 0x10:
            if (ruuvi := decode_ruuvi_url(data)) is not None:
                return ruuvi
            kind = "URL"
            _at_least(data, 3)
            values |= {"url": _url(data[2:]), "power_at_0_m_dbm": _signed(data[1])}
        case 0x20 if data[1:2] == b"\0":
            kind = "TLM"
            _at_least(data, 14)
            battery, temperature, count, uptime = struct.unpack(">HhII", data[2:14])
            # 0 and -128 degrees are what a beacon without such a sensor sends.
            values["voltage_mv"] = battery or None
            values["temperature_mdegc"] = None if temperature == -0x8000 else round(temperature * 1_000 / 256)
            values |= {"advertisements": count, "uptime_ms": uptime * 100}
        case 0x20:
            kind = "TLM (encrypted)"
            _at_least(data, 18)
            values["sealed"] = data[2:]
        case 0x30:
            kind = "EID"
            _at_least(data, 10)
            values |= {"ephemeral_id": data[2:10].hex(), "power_at_0_m_dbm": _signed(data[1])}
        case other:
            raise Malformed(f"frame type {other:02X} is unknown")
    return {"format": f"Eddystone {kind}", "device": "Eddystone", "values": values}


def _at_least(data: bytes, size: int) -> None:
    if len(data) < size:
        raise Malformed(f"{len(data)} bytes, this frame has {size}")


def _signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


def _url(data: bytes) -> str:
    if data[0] >= len(_SCHEMES):
        raise Malformed(f"URL scheme {data[0]:02X} is unknown")
    parts = [_SCHEMES[data[0]]]
    for byte in data[1:]:
        if byte < len(_ENDINGS):
            parts.append(_ENDINGS[byte])
        elif 0x20 < byte < 0x7F:
            parts.append(chr(byte))
        else:
            raise Malformed(f"character {byte:02X} in a URL")
    return "".join(parts)
