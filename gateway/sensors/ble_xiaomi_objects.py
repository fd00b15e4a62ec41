"""The objects in Xiaomi's advertisements: kind and bytes -> values.

Runs on CPython.  Pure.  An object that is not known, or has another length, is there as `object_xxxx` with
its bytes.  Source: Xiaomi's MiBeacon object definitions and miot-spec; what devices make of them in the
tests of ble_monitor and xiaomi-ble.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

Values = dict[str, Any]
Reader = Callable[[bytes, str], Values | None]
"""(bytes, model) -> values; None when they are not what the object must be."""


def read_object(kind: int, data: bytes, device: str) -> Values:
    """The values of one object."""
    reader = OBJECTS.get(kind)
    values = reader(data, device) if reader is not None else None
    return {f"object_{kind:04x}": data} if values is None else values


# Objects that are one number, or one claim


def _number(name: str, size: int, factor: int = 1, *, is_signed: bool = False) -> Reader:
    def read(data: bytes, device: str) -> Values | None:
        if len(data) != size:
            return None
        return {name: int.from_bytes(data, "little", signed=is_signed) * factor}

    return read


def _float(name: str, factor: int) -> Reader:
    def read(data: bytes, device: str) -> Values | None:
        if len(data) != 4:
            return None
        number = struct.unpack("<f", data)[0]
        return {name: round(number * factor)} if math.isfinite(number) else None

    return read


def _claim(name: str) -> Reader:
    def read(data: bytes, device: str) -> Values | None:
        return {name: data[0] != 0} if len(data) == 1 else None

    return read


def _word(name: str, words: dict[int, Values]) -> Reader:
    """One byte that stands for `words`; others are `name: code n`."""

    def read(data: bytes, device: str) -> Values | None:
        return words.get(data[0], {name: f"code {data[0]}"}) if data else None

    return read


def _temperature_humidity(data: bytes, device: str) -> Values | None:
    if len(data) != 4:
        return None
    temperature, humidity = struct.unpack("<hH", data)
    return {"temperature_mdegc": temperature * 100, "humidity_mpct": humidity * 100}


def _switch_temperature(data: bytes, device: str) -> Values | None:
    if len(data) != 2:
        return None
    return {"switch": data[0] != 0, "temperature_mdegc": data[1] * 1_000}


def _battery(data: bytes, device: str) -> Values | None:
    return {"battery_pct": data[0]} if len(data) == 1 else None


def _illuminance(data: bytes, device: str) -> Values | None:
    if len(data) != 3:
        return None
    number = int.from_bytes(data, "little")
    # Those two only tell light from dark.
    if device in ("MJYD02YL", "MCCGQ02HL"):
        return {"light": number == 100}
    return {"illuminance_mlx": number * 1_000}


def _motion_light(data: bytes, device: str) -> Values | None:
    if len(data) != 3:
        return None
    number = int.from_bytes(data, "little")
    if device == "CGPR1":
        return {"motion": True, "illuminance_mlx": number * 1_000}
    return {"motion": True, "light": number >= 100}


def _no_motion(size: int) -> Reader:
    def read(data: bytes, device: str) -> Values | None:
        if len(data) != size:
            return None
        number = int.from_bytes(data, "little")
        return {"motion": number == 0, "no_motion_ms": number * 1_000}

    return read


def _motion_illuminance(data: bytes, device: str) -> Values | None:
    if (values := _float("illuminance_mlx", 1_000)(data, device)) is None:
        return None
    return {"motion": True, **values}


def _body_temperature(data: bytes, device: str) -> Values | None:
    """Two thermistors; the formula fits what the maker's app shows between 36.5 and 37.8 degrees."""
    if len(data) != 5:
        return None
    first, second, battery = struct.unpack("<hhB", data)
    degrees = (
        3.71934e-11 * math.exp(0.69314 * first / 100) - 1.02801e-8 * math.exp(0.53871 * second / 100) + 36.413
    )
    # A thermistor that hangs in the air gives numbers of a hundred digits.
    if not -273 < degrees < 1_000:
        return {"battery_pct": battery}
    return {"temperature_mdegc": round(degrees * 1_000), "battery_pct": battery}


# Brushing, fingerprints, doors and locks


def _toothbrush(data: bytes, device: str) -> Values | None:
    if not 1 <= len(data) <= 2:
        return None
    values: Values = {"toothbrush": data[0] == 0}
    if len(data) == 2:
        values["counter" if data[0] == 0 else "score"] = data[1]
    return values


def _brushing(data: bytes, device: str) -> Values | None:
    if len(data) not in (5, 6) or data[0] > 1:
        return None
    moment_ms = int.from_bytes(data[1:5], "little") * 1_000
    values: Values = {
        "toothbrush": data[0] == 0,
        "started_ms" if data[0] == 0 else "ended_ms": moment_ms,
    }
    if len(data) == 6:
        values["score"] = data[5]
    return values


_MATCHES = {
    0: "match successful",
    1: "match failed",
    2: "timeout",
    3: "low quality",
    4: "insufficient area",
    5: "skin is too dry",
    6: "skin is too wet",
}
_DOORS = {
    0: (True, "open the door"),
    1: (False, "close the door"),
    2: (True, "timeout, not closed"),
    3: (False, "knock on the door"),
    4: (True, "pry the door"),
    5: (False, "door stuck"),
}
_LOCK_ACTIONS = {
    0x0: (True, "lock", "unlock outside the door"),
    0x1: (False, "lock", "lock"),
    0x2: (False, "antilock", "turn on anti-lock"),
    0x3: (True, "antilock", "turn off anti-lock"),
    0x4: (True, "lock", "unlock inside the door"),
    0x5: (False, "lock", "lock inside the door"),
    0x6: (False, "childlock", "turn on child lock"),
    0x7: (True, "childlock", "turn off child lock"),
    0x8: (False, "lock", "lock outside the door"),
    0xF: (True, "lock", "abnormal"),
}
"""(it is open, which of its locks, what was done)"""
_LOCK_METHODS = {
    0x0: "bluetooth",
    0x1: "password",
    0x2: "biometrics",
    0x3: "key",
    0x4: "turntable",
    0x5: "nfc",
    0x6: "one-time password",
    0x7: "two-step verification",
    0x8: "coercion",
    0x9: "homekit",
    0xA: "manual",
    0xB: "automatic",
    0xF: "abnormal",
}
_LOCK_ERRORS = {
    0xC0DE0000: "wrong passwords in a row",
    0xC0DE0001: "wrong fingerprints in a row",
    0xC0DE0002: "timeout",
    0xC0DE0003: "lock picking",
    0xC0DE0004: "reset button pressed",
    0xC0DE0005: "wrong keys in a row",
    0xC0DE0006: "foreign body in the keyhole",
    0xC0DE0007: "key left in the lock",
    0xC0DE0008: "wrong NFC tags in a row",
    0xC0DE0009: "not locked in time",
    0xC0DE000A: "several methods failed in a row",
    0xC0DE000B: "wrong faces in a row",
    0xC0DE000C: "wrong veins in a row",
    0xC0DE000D: "hijacking alarm",
    0xC0DE000E: "unlocked inside after arming",
    0xC0DE000F: "wrong palmprints in a row",
    0xC0DE0010: "the safe was moved",
    0xC0DE1000: "battery below 10 %",
    0xC0DE1001: "battery below 5 %",
    0xC0DE1002: "fingerprint sensor abnormal",
    0xC0DE1003: "accessory battery low",
    0xC0DE1004: "mechanical failure",
    0xC0DE1005: "lock sensor faulty",
}


def _fingerprint(data: bytes, device: str) -> Values | None:
    if len(data) != 5:
        return None
    key = {b"\0\0\0\0": "administrator", b"\xff\xff\xff\xff": "unknown operator"}.get(data[:4])
    return {
        "fingerprint": data[4] == 0,
        "result": _MATCHES.get(data[4], f"code {data[4]}"),
        "key_id": key or int.from_bytes(data[:4], "little"),
    }


def _door(data: bytes, device: str) -> Values | None:
    if not data or data[0] not in _DOORS:
        return None
    is_open, action = _DOORS[data[0]]
    values: Values = {"door": is_open, "door_action": action}
    if len(data) == 5:
        values["timestamp_ms"] = int.from_bytes(data[1:], "little") * 1_000
    return values


def _armed(data: bytes, device: str) -> Values | None:
    if len(data) not in (1, 5):
        return None
    values: Values = {"armed_away": data[0] == 0}
    if len(data) == 5:
        values["timestamp_ms"] = int.from_bytes(data[1:], "little") * 1_000
    return values


def _lock(data: bytes, device: str) -> Values | None:
    if len(data) != 9 or data[0] & 0xF not in _LOCK_ACTIONS or data[0] >> 4 not in _LOCK_METHODS:
        return None
    is_open, which, action = _LOCK_ACTIONS[data[0] & 0xF]
    method = data[0] >> 4
    key = int.from_bytes(data[1:5], "little")
    values: Values = {
        # Only this model tells its locks apart.
        which if device == "ZNMS17LM" else "lock": is_open,
        "action": action,
        "method": _LOCK_METHODS[method],
        "timestamp_ms": int.from_bytes(data[5:], "little") * 1_000,
    }
    if key in _LOCK_ERRORS:
        values["error"] = _LOCK_ERRORS[key]
    else:
        # All but Bluetooth have 65,536 keys; what is above says which kind.
        values["key_id"] = key & 0xFFFF if method else key
    return values


# Buttons

_PRESSES = {0: "single press", 1: "double press", 2: "long press"}
_SWITCH_PRESSES = {0: "single press", 1: "long press", 2: "double press"}
_REMOTES: dict[str, tuple[str, ...]] = {
    "YLYK01YL": ("on", "off", "sun", "+", "m", "-"),
    "YLYK01YL-FANCL": (
        "fan toggle",
        "light toggle",
        "wind speed",
        "color temperature",
        "wind mode",
        "brightness",
    ),
    "YLYK01YL-VENFAN": (
        "swing",
        "power toggle",
        "timer 60 minutes",
        "strong wind speed",
        "timer 30 minutes",
        "low wind speed",
    ),
    "YLYB01YL-BHFRC": (
        "stop",
        "air exchange",
        "fan",
        "speed +",
        "speed -",
        "dry",
        "light toggle",
        "swing",
        "heat",
    ),
    "XMMF01JQD": ("right", "left"),
    "K9B-1BTN": ("button 1",),
    "K9B-2BTN": ("left", "right", "left and right"),
    "K9B-3BTN": (
        "left",
        "middle",
        "right",
        "left and middle",
        "middle and right",
        "left and right",
        "all",
    ),
}
"""What the first byte of a button event means, by model."""


def _button(data: bytes, device: str) -> Values | None:
    if len(data) != 3:
        return None
    which, value, press = data
    if device == "YLKG07YL/YLKG08YL":
        return _dimmer(which, value, press)
    if device == "XMMF01JQD":
        return {"button": _REMOTES[device][which]} if which < 2 else None
    presses = _SWITCH_PRESSES if device.startswith("K9B") else _PRESSES
    values: Values = {"press": presses.get(press, f"code {press}")}
    names = _REMOTES.get(device)
    if names is not None:
        values["button"] = names[which] if which < len(names) else f"code {which}"
    return values


def _dimmer(which: int, value: int, press: int) -> Values | None:
    if press == 3 and which < 2:
        return {"dimmer": "long press" if which else "short press", "steps": value}
    if press == 4 and which == 0:
        return (
            {"dimmer": "rotate right", "steps": value}
            if value < 128
            else {"dimmer": "rotate left", "steps": 256 - value}
        )
    if press == 4:
        return (
            {"dimmer": "rotate right (pressed)", "steps": which}
            if which < 128
            else {"dimmer": "rotate left (pressed)", "steps": 256 - which}
        )
    return None


_CLICKED: dict[str, dict[int, Values]] = {
    "XMWXKG01YL": {1: {"button": "left"}, 2: {"button": "right"}, 3: {"button": "left and right"}},
    "KS1": {number: {"button": f"button {number}"} for number in range(1, 5)},
    "KS1BP": {number: {"button": f"button {number}"} for number in range(1, 5)},
}


def _clicked(press: str) -> Reader:
    """A click of a switch; which of its buttons, for models with several."""

    def read(data: bytes, device: str) -> Values | None:
        if device == "K9BB-1BTN" and data:
            press_of_all = {1: "single press", 8: "long press", 15: "double press"}.get(data[0])
            return {"press": press_of_all} if press_of_all else None
        buttons = _CLICKED.get(device)
        if buttons is None:
            return {"press": press}
        return {"press": press, **buttons[data[0]]} if data and data[0] in buttons else None

    return read


_OPENING: dict[int, Values] = {
    0: {"opening": True, "status": "opened"},
    1: {"opening": False, "status": "closed"},
    2: {"opening": True, "status": "closing timeout"},
    3: {"opening": True, "status": "device reset"},
}
_OPEN_1_CLOSED_2: dict[int, Values] = {1: {"opening": True}, 2: {"opening": False}}
_SLEEP: dict[int, Values] = {0: {"sleeping": False}, 1: {"sleeping": True}, 2: {"press": "double press"}}
_BED: dict[int, Values] = {
    1: {"bed_occupancy": True},
    2: {"bed_occupancy": False},
    3: {"press": "double press"},
}

# fmt: off
OBJECTS: dict[int, Reader] = {
    0x0003: _claim("motion"),
    0x0006: _fingerprint,
    0x0007: _door,
    0x0008: _armed,
    0x000A: _number("temperature_mdegc", 2, 10, is_signed=True),
    0x000B: _lock,
    0x000F: _motion_light,
    0x0010: _toothbrush,
    0x1001: _button,
    0x1004: _number("temperature_mdegc", 2, 100, is_signed=True),
    0x1005: _switch_temperature,
    0x1006: _number("humidity_mpct", 2, 100),
    0x1007: _illuminance,
    0x1008: _number("moisture_pct", 1),
    0x1009: _number("conductivity_us_per_cm", 2),
    0x100A: _battery,
    0x100D: _temperature_humidity,
    0x1010: _number("formaldehyde_ug_per_m3", 2, 10),
    0x1012: _claim("switch"),
    0x1013: _number("consumable_pct", 1),
    0x1014: _claim("moisture_detected"),
    0x1015: _claim("smoke"),
    0x1017: _no_motion(4),
    0x1018: _claim("light"),
    0x1019: _word("status", _OPENING),
    0x101B: _no_motion(4),
    0x2000: _body_temperature,
    0x3003: _brushing,
    0x4801: _float("temperature_mdegc", 1_000),
    0x4802: _number("humidity_mpct", 1, 1_000),
    0x4803: _battery,
    0x4804: _word("opening_state", _OPEN_1_CLOSED_2),
    0x4805: _float("illuminance_mlx", 1_000),
    0x4806: _claim("moisture_detected"),
    0x4808: _float("humidity_mpct", 1_000),
    0x4810: _word("sleep", _SLEEP),
    0x4811: _claim("snoring"),
    0x4818: _no_motion(2),
    0x483C: _claim("pressure_state"),
    0x483D: _number("pressure_present_ms", 4, 1_000),
    0x483E: _number("pressure_absent_ms", 4, 1_000),
    0x483F: _number("pressure_present_setting_ms", 4, 1_000),
    0x4840: _number("pressure_absent_setting_ms", 4, 1_000),
    0x484E: _word("occupancy", {0: {"occupancy": False}, 1: {"occupancy": True}, 2: {"occupancy": False}}),
    0x4A01: _claim("battery_low"),
    0x4A08: _motion_illuminance,
    0x4A0C: _clicked("single press"),
    0x4A0D: _clicked("double press"),
    0x4A0E: _clicked("long press"),
    0x4A0F: _word("forced", {1: {"opening": True, "status": "broken open"}}),
    0x4A12: _word("opening_state", _OPEN_1_CLOSED_2),
    0x4A13: _word("button", {1: {"press": "single press"}}),
    0x4A1A: _word("not_closed", {1: {"opening": True, "status": "not closed"}}),
    0x4A1C: _claim("reset"),
    0x4C01: _float("temperature_mdegc", 1_000),
    0x4C02: _number("humidity_mpct", 1, 1_000),
    0x4C03: _battery,
    0x4C08: _float("humidity_mpct", 1_000),
    0x4C14: _number("mode", 1),
    0x4E01: _claim("battery_low"),
    0x4E0C: _clicked("single press"),
    0x4E0D: _clicked("double press"),
    0x4E0E: _clicked("long press"),
    0x4E16: _word("bed", {1: {"bed_occupancy": True}}),
    0x4E17: _word("bed", {1: {"bed_occupancy": False}}),
    0x4E1C: _claim("reset"),
    0x5003: _battery,
    0x5010: _word("sleep", _SLEEP),
    0x5011: _claim("snoring"),
    0x5403: _battery,
    0x5414: _number("mode", 1),
    0x5601: _claim("battery_low"),
    0x560C: _clicked("single press"),
    0x560D: _clicked("double press"),
    0x560E: _clicked("long press"),
    0x5A16: _word("bed", _BED),
}
"""How each kind is read."""
# fmt: on
