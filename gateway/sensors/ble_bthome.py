"""BTHome, versions 1 and 2, plain and encrypted.

Runs on CPython.  Pure.  Values are whole numbers, the unit last in their name.  Source: bthome.io/format,
/v1 and /encryption; a wrong tag, a replayed counter and plain data of a device with a key are refused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from gateway.sensors.ble_ad import Advertisement, address_text
from gateway.sensors.ble_keys import Malformed, NotAuthentic, Vault

UUID_V1, UUID_V1_ENCRYPTED, UUID_V2 = 0x181C, 0x181E, 0xFCD2

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Measure:
    """A kind of object that is a number."""

    name: str
    """What is measured."""
    unit: str
    """Of the value we give; empty for a bare number."""
    size: int
    """Bytes, in version 2."""
    factor: int = 1
    """By which the number sent is multiplied."""
    is_signed: bool = False


# fmt: off
MEASURES: dict[int, Measure] = {
    0x01: Measure("battery", "pct", 1),
    0x02: Measure("temperature", "mdegc", 2, 10, True),
    0x03: Measure("humidity", "mpct", 2, 10),
    0x04: Measure("pressure", "pa", 3),
    0x05: Measure("illuminance", "mlx", 3, 10),
    0x06: Measure("mass", "g", 2, 10),
    0x07: Measure("mass", "mlb", 2, 10),
    0x08: Measure("dew_point", "mdegc", 2, 10, True),
    0x09: Measure("count", "", 1),
    0x0A: Measure("energy", "wh", 3),
    0x0B: Measure("power", "mw", 3, 10),
    0x0C: Measure("voltage", "mv", 2),
    0x0D: Measure("pm2_5", "ug_per_m3", 2),
    0x0E: Measure("pm10", "ug_per_m3", 2),
    0x12: Measure("co2", "ppm", 2),
    0x13: Measure("tvoc", "ug_per_m3", 2),
    0x14: Measure("moisture", "mpct", 2, 10),
    0x2E: Measure("humidity", "mpct", 1, 1_000),
    0x2F: Measure("moisture", "mpct", 1, 1_000),
    0x3D: Measure("count", "", 2),
    0x3E: Measure("count", "", 4),
    0x3F: Measure("rotation", "mdeg", 2, 100, True),
    0x40: Measure("distance", "mm", 2),
    0x41: Measure("distance", "mm", 2, 100),
    0x42: Measure("duration", "ms", 3),
    0x43: Measure("current", "ma", 2),
    0x44: Measure("speed", "mm_per_s", 2, 10),
    0x45: Measure("temperature", "mdegc", 2, 100, True),
    0x46: Measure("uv_index", "milli", 1, 100),
    0x47: Measure("volume", "ml", 2, 100),
    0x48: Measure("volume", "ml", 2),
    0x49: Measure("volume_flow", "l_per_h", 2),
    0x4A: Measure("voltage", "mv", 2, 100),
    0x4B: Measure("gas", "l", 3),
    0x4C: Measure("gas", "l", 4),
    0x4D: Measure("energy", "wh", 4),
    0x4E: Measure("volume", "ml", 4),
    0x4F: Measure("water", "ml", 4),
    0x50: Measure("timestamp", "ms", 4, 1_000),
    0x51: Measure("acceleration", "mm_per_s2", 2),
    0x52: Measure("gyroscope", "mdeg_per_s", 2),
    0x55: Measure("volume_storage", "ml", 4),
    0x56: Measure("conductivity", "us_per_cm", 2),
    0x57: Measure("temperature", "mdegc", 1, 1_000, True),
    0x58: Measure("temperature", "mdegc", 1, 350, True),
    0x59: Measure("count", "", 1, 1, True),
    0x5A: Measure("count", "", 2, 1, True),
    0x5B: Measure("count", "", 4, 1, True),
    0x5C: Measure("power", "mw", 4, 10, True),
    0x5D: Measure("current", "ma", 2, 1, True),
    0x5E: Measure("direction", "mdeg", 2, 10),
    0x5F: Measure("precipitation", "um", 2, 100),
    0x60: Measure("channel", "", 1),
    0x61: Measure("rotational_speed", "rpm", 2),
    0x62: Measure("speed", "um_per_s", 4, 1, True),
    0x63: Measure("acceleration", "um_per_s2", 4, 1, True),
    0x64: Measure("light_level", "", 1),
    0x65: Measure("settings_revision", "", 1),
    0xF0: Measure("device_type", "", 2),
}
"""Numbers by object id."""

CLAIMS: dict[int, str] = {
    0x0F: "binary", 0x10: "switch", 0x11: "opening", 0x15: "battery_low", 0x16: "battery_charging",
    0x17: "carbon_monoxide", 0x18: "cold", 0x19: "connectivity", 0x1A: "door", 0x1B: "garage_door",
    0x1C: "gas_detected", 0x1D: "heat", 0x1E: "light", 0x1F: "lock", 0x20: "moisture_detected",
    0x21: "motion", 0x22: "moving", 0x23: "occupancy", 0x24: "plug", 0x25: "presence", 0x26: "problem",
    0x27: "running", 0x28: "safety", 0x29: "smoke", 0x2A: "sound", 0x2B: "tamper", 0x2C: "vibration",
    0x2D: "window",
}
"""What is true or not, by object id: one byte."""

BUTTONS = {
    0x00: "none", 0x01: "press", 0x02: "double press", 0x03: "triple press", 0x04: "long press",
    0x05: "long double press", 0x06: "long triple press", 0x80: "hold press", 0x81: "hold release",
}
DIMMERS = {0x00: "none", 0x01: "rotate left", 0x02: "rotate right"}
COMMANDS = {0x00: "off", 0x01: "on", 0x02: "toggle", 0x03: "step up", 0x04: "step down"}
# fmt: on

_PACKET, _BUTTON, _COMMAND, _DIMMER, _TEXT, _RAW, _FIRMWARE4, _FIRMWARE3 = (
    *(0x00, 0x3A, 0x3B, 0x3C, 0x53, 0x54, 0xF1, 0xF2),
)
_SIZES = (
    {kind: measure.size for kind, measure in MEASURES.items()}
    | dict.fromkeys(CLAIMS, 1)
    | {_PACKET: 1, _BUTTON: 1, _DIMMER: 2, _FIRMWARE4: 4, _FIRMWARE3: 3}
)
_FLOATS = {2: struct.Struct("<e"), 4: struct.Struct("<f"), 8: struct.Struct("<d")}


def decode_v2(advertisement: Advertisement, data: bytes, vault: Vault) -> Values:
    """Service data of UUID FCD2.  Raises BleError."""
    if not data:
        raise Malformed("no device information byte")
    info = data[0]
    if info >> 5 != 2:
        raise Malformed(f"version {info >> 5}, where only 2 is known")
    address, body = advertisement.address, data[1:]
    if info & 2:
        address, body = body[5::-1], body[6:]
    values: Values = {}
    result: Values = {"format": "BTHome V2", "device": "BTHome", "values": values}
    if info & 1:
        result["format"] = "BTHome V2 (encrypted)"
        if len(body) < 8:
            raise Malformed(f"{len(body)} encrypted bytes are too few")
        counter = body[-8:-4]
        nonce = address + b"\xd2\xfc" + data[:1] + counter
        body = vault.open(address, nonce, body[:-8] + body[-4:])
        vault.check_counter(address, int.from_bytes(counter, "little"))
        result["packet"] = int.from_bytes(counter, "little")
    elif address in vault:
        # Else anyone could speak for a device that is known to encrypt.
        raise NotAuthentic
    if info & 2:
        result["sensor_address"] = address_text(address)
    _read_v2(body, values)
    packet = values.pop("packet", None)
    if packet is not None and "packet" not in result:
        result["packet"] = packet
    return result


def decode_v1(advertisement: Advertisement, data: bytes, vault: Vault) -> Values:
    """Service data of UUID 181C.  Raises BleError."""
    if advertisement.address in vault:
        raise NotAuthentic
    values: Values = {}
    _read_v1(data, values)
    if not values:
        raise Malformed("no BTHome object")
    result: Values = {"format": "BTHome V1", "device": "BTHome", "values": values}
    if (packet := values.pop("packet", None)) is not None:
        result["packet"] = packet
    return result


def decode_v1_encrypted(advertisement: Advertisement, data: bytes, vault: Vault) -> Values:
    """Service data of UUID 181E.  Raises BleError."""
    if len(data) < 8:
        raise Malformed(f"{len(data)} encrypted bytes are too few")
    address, counter = advertisement.address, data[-8:-4]
    body = vault.open(address, address + b"\x1e\x18" + counter, data[:-8] + data[-4:], b"\x11")
    number = int.from_bytes(counter, "little")
    vault.check_counter(address, number)
    values: Values = {}
    _read_v1(body, values)
    values.pop("packet", None)
    return {"format": "BTHome V1 (encrypted)", "device": "BTHome", "packet": number, "values": values}


def _read_v2(body: bytes, values: Values) -> None:
    at, end = 0, len(body)
    while at < end:
        kind = body[at]
        at += 1
        size = _SIZES.get(kind)
        if size is None:
            if kind not in (_TEXT, _RAW, _COMMAND):
                # Nobody knows its length.  Newer objects come last, so that what is known can still be read.
                values[f"object_{kind:02x}"] = body[at:]
                return
            if at >= end:
                raise Malformed(f"object {kind:02X} without its length")
            # The length of a command counts what stands behind its code.
            size = (body[at] & 0x1F) + 1 if kind == _COMMAND else body[at]
            at += 1
        data = body[at : at + size]
        if len(data) < size:
            raise Malformed(f"object {kind:02X} has {len(data)} bytes instead of {size}")
        at += size
        measure = MEASURES.get(kind)
        if measure is not None:
            number = int.from_bytes(data, "little", signed=measure.is_signed)
            _put(values, measure.name, measure.unit, number * measure.factor)
        elif kind in CLAIMS:
            _put(values, CLAIMS[kind], "", data[0] != 0)
        else:
            _put_other(values, kind, data)


def _put_other(values: Values, kind: int, data: bytes) -> None:
    match kind:
        case 0x00:
            values["packet"] = data[0]
        case 0x3A:
            _put(values, "button", "", BUTTONS.get(data[0], f"code {data[0]}"))
        case 0x3B:
            _put(values, "command", "", COMMANDS.get(data[0], f"code {data[0]}"))
            if len(data) > 1:
                _put(values, "command_arguments", "", data[1:])
        case 0x3C:
            _put(values, "dimmer", "", DIMMERS.get(data[0], f"code {data[0]}"))
            _put(values, "dimmer", "steps", data[1])
        case 0x53:
            try:
                _put(values, "text", "", data.decode())
            except UnicodeDecodeError:
                _put(values, "text", "", data)
        case 0x54:
            _put(values, "raw", "", data)
        case 0xF1 | 0xF2:
            values["firmware"] = ".".join(str(part) for part in reversed(data))


def _read_v1(body: bytes, values: Values) -> None:
    """Each object: 3 bits format, 5 bits length of what follows, the kind, the value."""
    at, end = 0, len(body)
    while at < end:
        length, form = body[at] & 0x1F, body[at] >> 5
        data = body[at + 1 : at + 1 + length]
        if not length or len(data) < length:
            raise Malformed(f"object at byte {at} has {len(data)} bytes instead of {length or 'some'}")
        at += 1 + length
        kind, data = data[0], data[1:]
        measure = MEASURES.get(kind)
        if form > 2:
            # Text and addresses have no kind of their own.
            _put(values, "text" if form == 3 else "raw", "", data)
        elif form == 2 and (layout := _FLOATS.get(len(data))) is not None and measure is not None:
            number = layout.unpack(data)[0] * measure.factor
            if number != number or abs(number) > 1e15:
                raise Malformed(f"object {kind:02X} is no finite number")
            _put(values, measure.name, measure.unit, round(number))
        elif kind == _PACKET:
            values["packet"] = int.from_bytes(data, "little")
        elif measure is not None:
            number = int.from_bytes(data, "little", signed=form == 1)
            _put(values, measure.name, measure.unit, number * measure.factor)
        elif kind in CLAIMS:
            _put(values, CLAIMS[kind], "", any(data))
        else:
            _put(values, f"object_{kind:02x}", "", data)


def _put(values: Values, name: str, unit: str, value: Any) -> None:
    """The second of its name is `name_2_unit`."""
    key = f"{name}_{unit}" if unit else name
    number = 2
    while key in values:
        key = f"{name}_{number}_{unit}" if unit else f"{name}_{number}"
        number += 1
    values[key] = value
