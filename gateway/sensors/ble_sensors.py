"""Thermometers and other small sensors: Ruuvi, ATC, Inkbird, SensorPush, ThermoPro, Michelin's tyres.

Runs on CPython.  Pure.  Values are whole numbers, the unit last in their name; what a device says it does
not know is None.  Sources: docs.ruuvi.com (formats 2 to 6 and E1); github.com/pvvx/ATC_MiThermometer; for the
others what the devices send, as collected by the users of ble_monitor.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from typing import Any

from gateway.sensors.ble_ad import Advertisement
from gateway.sensors.ble_keys import Malformed, NotAuthentic, Vault

Values = dict[str, Any]

RUUVI_COMPANY = 0x0499
ATC_UUID = 0x181A
MICHELIN_COMPANY = 0x0828


def _unless(value: int, unknown: int, result: int) -> int | None:
    return None if value == unknown else result


# Ruuvi


def decode_ruuvi(advertisement: Advertisement, data: bytes, vault: Vault) -> Values:
    """Manufacturer data of company 0499.  Raises BleError."""
    if not data:
        raise Malformed("no data format byte")
    version = data[0]
    size, read = _RUUVI.get(version, (0, None))
    if read is None:
        raise Malformed(f"data format {version:X} is unknown")
    if len(data) < size:
        raise Malformed(f"{len(data)} bytes, data format {version:X} has {size}")
    values: Values = {}
    result: Values = {"format": f"Ruuvitag V{version:X}", "device": "Ruuvitag", "values": values}
    packet = read(data[:size], values)
    if packet is not None:
        result["packet"] = packet
    return result


def _ruuvi_3(data: bytes, values: Values) -> None:
    _, humidity, whole, hundredths, pressure, x, y, z, battery = struct.unpack(">BBBBHhhhH", data)
    magnitude = (whole & 0x7F) * 1_000 + hundredths * 10
    values["temperature_mdegc"] = -magnitude if whole & 0x80 else magnitude
    values["humidity_mpct"] = humidity * 500
    values["pressure_pa"] = pressure + 50_000
    _acceleration(values, x, y, z)
    values["voltage_mv"] = battery
    values["battery_estimate_mpct"] = _coin_cell_mpct(battery)


def _ruuvi_5(data: bytes, values: Values) -> int | None:
    _, temperature, humidity, pressure, x, y, z, power, moves, number = struct.unpack(">BhHHhhhHBH", data)
    _climate(values, temperature, humidity, pressure)
    if -0x8000 in (x, y, z):
        values |= dict.fromkeys(("acceleration_x_mg", "acceleration_y_mg", "acceleration_z_mg"))
    else:
        _acceleration(values, x, y, z)
    values["voltage_mv"] = _unless(power >> 5, 0x7FF, (power >> 5) + 1_600)
    values["tx_power_dbm"] = _unless(power & 0x1F, 0x1F, (power & 0x1F) * 2 - 40)
    values["movements"] = _unless(moves, 0xFF, moves)
    return _unless(number, 0xFFFF, number)


def _ruuvi_6(data: bytes, values: Values) -> int:
    _, temperature, humidity, pressure, pm, co2, voc, nox, light, _, number, flags = struct.unpack(
        ">BhHHHHBBBBBB", data
    )
    _climate(values, temperature, humidity, pressure)
    values["pm2_5_ng_per_m3"] = _unless(pm, 0xFFFF, pm * 100)
    _gases(values, co2, voc, nox, flags)
    # Logarithmic: 254 steps up to 65,535 lux.
    lux = math.exp(light * math.log(65_536) / 254) - 1
    values["illuminance_mlx"] = _unless(light, 0xFF, round(lux * 1_000))
    return int(number)


def _ruuvi_e1(data: bytes, values: Values) -> int | None:
    _, temperature, humidity, pressure, *dust, co2, voc, nox, light, number, flags = struct.unpack(
        ">BhHHHHHHHBB3s3x3sB11x", data
    )
    _climate(values, temperature, humidity, pressure)
    for size, pm in zip(("1_0", "2_5", "4_0", "10"), dust, strict=True):
        values[f"pm{size}_ng_per_m3"] = _unless(pm, 0xFFFF, pm * 100)
    _gases(values, co2, voc, nox, flags)
    centilux = int.from_bytes(light, "big")
    values["illuminance_mlx"] = _unless(centilux, 0xFF_FFFF, centilux * 10)
    count = int.from_bytes(number, "big")
    return _unless(count, 0xFF_FFFF, count)


def _climate(values: Values, temperature: int, humidity: int, pressure: int) -> None:
    values["temperature_mdegc"] = _unless(temperature, -0x8000, temperature * 5)
    # 0.0025 % each: rounded to the thousandth.
    values["humidity_mpct"] = _unless(humidity, 0xFFFF, (humidity * 5 + 1) // 2)
    values["pressure_pa"] = _unless(pressure, 0xFFFF, pressure + 50_000)


def _gases(values: Values, co2: int, voc: int, nox: int, flags: int) -> None:
    values["co2_ppm"] = _unless(co2, 0xFFFF, co2)
    for name, high, bit in (("voc_index", voc, 6), ("nox_index", nox, 7)):
        index = high << 1 | flags >> bit & 1
        values[name] = _unless(index, 0x1FF, index)
    # Of the indexes; they say little before that is done.
    values["is_calibrating"] = bool(flags & 1)


_RUUVI: dict[int, tuple[int, Any]] = {
    0x03: (14, _ruuvi_3),
    0x05: (18, _ruuvi_5),
    0x06: (17, _ruuvi_6),
    0xE1: (40, _ruuvi_e1),
}
"""(bytes, reader) by data format."""


def decode_ruuvi_url(data: bytes) -> Values | None:
    """Formats 2 and 4, in the fragment of an Eddystone URL; None when it is another URL."""
    if len(data) < 3 or not data[3:].startswith(b"ruu.vi/#"):
        return None
    text = data[11:]
    if len(text) < 8:
        raise Malformed(f"{len(text)} characters of Ruuvi data, there must be 8")
    try:
        decoded = base64.b64decode(text[:8], b"-_", validate=True)
        _, humidity, whole, hundredths, pressure = struct.unpack(">BBBBH", decoded)
    except (binascii.Error, struct.error):
        raise Malformed("Ruuvi data is no base64") from None
    magnitude = (whole & 0x7F) * 1_000 + hundredths * 10
    return {
        # Format 4 has a character more: part of its id.
        "format": f"Ruuvitag V{2 if len(text) == 8 else 4}",
        "device": "Ruuvitag",
        "values": {
            "temperature_mdegc": -magnitude if whole & 0x80 else magnitude,
            "humidity_mpct": humidity * 500,
            "pressure_pa": pressure + 50_000,
        },
    }


def _acceleration(values: Values, x: int, y: int, z: int) -> None:
    values["acceleration_x_mg"] = x
    values["acceleration_y_mg"] = y
    values["acceleration_z_mg"] = z
    values["acceleration_ug"] = round(math.hypot(x, y, z) * 1_000)


def _coin_cell_mpct(voltage_mv: int) -> int:
    """What is left in a CR2477, by its voltage, between points that Ruuvi's users have measured."""
    for low_mv, low_mpct, slope in ((2_600, 60_000, 100), (2_500, 40_000, 200), (2_450, 20_000, 400)):
        if voltage_mv >= low_mv:
            return min(low_mpct + (voltage_mv - low_mv) * slope, 100_000)
    return 0


# ATC_MiThermometer and pvvx, for Xiaomi's thermometers


def decode_atc(advertisement: Advertisement, data: bytes, vault: Vault) -> Values | None:
    """Service data of UUID 181A; None when it is no such thermometer's.  Raises BleError.

    The encrypted forms have a counter of one byte, which says nothing of replays."""
    address = advertisement.address
    values: Values = {}
    result: Values = {"device": "ATC", "values": values}
    if len(data) in (13, 15) and address in vault:
        # Else anyone could speak for a device that is known to encrypt.
        raise NotAuthentic
    match len(data):
        case 15 if data[5::-1] == address:
            result["format"] = "ATC (Custom)"
            temperature, humidity, voltage, battery, packet, trigger = struct.unpack("<hHHBBB", data[6:])
            values |= {"temperature_mdegc": temperature * 10, "humidity_mpct": humidity * 10}
            values |= {"voltage_mv": voltage, "battery_pct": battery}
            values |= _triggers(trigger)
        case 13 if data[:6] == address:
            result["format"] = "ATC (Atc1441)"
            temperature, humidity, battery, voltage, packet = struct.unpack(">hBBHB", data[6:])
            values |= {"temperature_mdegc": temperature * 100, "humidity_mpct": humidity * 1_000}
            values |= {"voltage_mv": voltage, "battery_pct": battery}
        case 11:
            result["format"] = "ATC (Custom encrypted)"
            packet = data[0]
            body = _open_atc(advertisement, data, vault)
            temperature, humidity, battery, trigger = struct.unpack("<hHBB", body)
            values |= {"temperature_mdegc": temperature * 10, "humidity_mpct": humidity * 10}
            values |= _estimated(battery) | _triggers(trigger)
        case 8:
            result["format"] = "ATC (Atc1441 encrypted)"
            packet = data[0]
            body = _open_atc(advertisement, data, vault)
            values |= {"temperature_mdegc": body[0] * 500 - 40_000, "humidity_mpct": body[1] * 500}
            values |= _estimated(body[2] & 0x7F) | {"switch": body[2] >= 0x80}
        case _:
            return None
    result["packet"] = packet
    return result


def _open_atc(advertisement: Advertisement, data: bytes, vault: Vault) -> bytes:
    """The nonce takes in the structure's own head: its length, its type and the UUID."""
    head = bytes((len(data) + 3, 0x16)) + ATC_UUID.to_bytes(2, "little")
    return vault.open(advertisement.address, advertisement.address[::-1] + head + data[:1], data[1:], b"\x11")


def _triggers(byte: int) -> Values:
    return {"switch": bool(byte & 2), "opening": not byte & 1}


def _estimated(battery_pct: int) -> Values:
    """A CR2032 has 2.2 V when empty and 3.1 V when full."""
    battery_pct = min(battery_pct, 100)
    return {"battery_pct": battery_pct, "voltage_estimate_mv": 2_200 + battery_pct * 9}


# Inkbird


def decode_inkbird(advertisement: Advertisement, company: int, data: bytes) -> Values | None:
    """Manufacturer data of what may be an Inkbird, which has its first value in the company's place."""
    values: Values = {}
    result: Values = {"format": "Inkbird", "values": values}
    if advertisement.name in ("sps", "tps") and len(data) == 7:
        temperature = company - 0x10000 if company & 0x8000 else company
        humidity, probe, _, battery, _ = struct.unpack("<HBHBB", data)
        if probe not in (0, 1, 3):
            raise Malformed(f"probe {probe} is unknown")
        values["temperature_probe_1_mdegc" if probe else "temperature_mdegc"] = temperature * 10
        values["battery_pct"] = battery
        result["device"] = "IBS-TH" if advertisement.name == "sps" else "IBS-TH2/P01B"
        if advertisement.name == "sps":
            values["humidity_mpct"] = humidity * 10
        return result
    count = (len(data) - 8) // 2
    if 0xFFF0 in advertisement.uuids16 and len(data) in (10, 12, 16, 20):
        if advertisement.address not in (data[2:8], data[7:1:-1]):
            return None
        result["device"] = f"iBBQ-{count}"
        for number, tenths in enumerate(struct.unpack(f"<{count}h", data[8:]), 1):
            # A probe that is not plugged in gives -1.0 degrees.
            values[f"temperature_probe_{number}_mdegc"] = _unless(tenths, -10, tenths * 100)
        return result
    return None


# SensorPush

_SENSORPUSH_UUID = bytes.fromhex("b00a09ecd79db893ba42d611000009ef")
"""EF090000-11D6-42BA-93B8-9DD7EC090AB0, as sent."""
_SENSORPUSH: dict[int, tuple[str, tuple[tuple[str, int, int, int, int], ...]]] = {
    # (name, unit per step as numerator and denominator, offset, steps)
    64: (
        "HTP.xw",
        (
            ("temperature_mdegc", 5, 2, -40_000, 72_001),
            ("humidity_mpct", 5, 2, 0, 40_001),
            ("pressure_pa", 1, 1, 30_000, 95_001),
        ),
    ),
    65: ("HT.w", (("temperature_mdegc", 5, 2, -40_000, 66_001), ("humidity_mpct", 5, 2, 0, 40_001))),
    66: ("TC.x", (("temperature_mdegc", 125, 2, -200_000, 32_001),)),
}


def decode_sensorpush(advertisement: Advertisement, company: int, data: bytes) -> Values | None:
    """Manufacturer data beside SensorPush's service; all values are digits of one number of mixed radix."""
    if _SENSORPUSH_UUID not in advertisement.uuids128:
        return None
    whole = company.to_bytes(2, "little") + data
    if whole[0] & 3:
        return None
    model = _SENSORPUSH.get(64 + (whole[0] >> 2))
    if model is None:
        raise Malformed(f"model {64 + (whole[0] >> 2)} is unknown")
    packed = int.from_bytes(whole[1:], "little")
    values: Values = {}
    for name, numerator, denominator, offset, steps in model[1]:
        packed, step = divmod(packed, steps)
        values[name] = offset + (step * numerator * 2 + denominator) // (2 * denominator)
    return {"format": "SensorPush", "device": model[0], "values": values}


# ThermoPro


def decode_thermopro(advertisement: Advertisement, company: int, data: bytes) -> Values | None:
    """Manufacturer data of a TP35x or TP39x, which has its first value in the company's place."""
    name = advertisement.name
    if not name.startswith(("TP35", "TP39")):
        return None
    whole = company.to_bytes(2, "little") + data
    if len(whole) < 5:
        raise Malformed(f"{len(whole)} bytes are too few")
    temperature, humidity = struct.unpack("<hB", whole[1:4])
    values: Values = {"temperature_mdegc": temperature * 100, "humidity_mpct": humidity * 1_000}
    model = name.partition(" ")[0]
    if model == "TP357":
        values["battery_low"] = whole[4] & 3 == 0
    return {"format": "Thermopro", "device": model, "values": values}


# Michelin


def decode_michelin(advertisement: Advertisement, data: bytes, vault: Vault) -> Values:
    """Manufacturer data of company 0828: a tyre's pressure, which is absolute.  Raises BleError."""
    if len(data) != 14 or data[1] not in (3, 4):
        raise Malformed(f"{len(data)} bytes are no known frame of a tyre sensor")
    temperature, voltage, pressure, tyre, steps, count = struct.unpack("<BBH3sBL", data[2:])
    return {
        "format": "TMS",
        "device": "TMS",
        "values": {
            "temperature_mdegc": (temperature - 60) * 1_000,
            "voltage_mv": voltage * 10 + 1_000,
            "pressure_pa": pressure * 100,
            "tyre": tyre.decode("ascii", "replace"),
            "steps": steps,
            "count": count,
        },
    }
