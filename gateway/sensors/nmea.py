"""NMEA 0183 sentences of a GPS receiver, as whole numbers.

Runs on CPython.  `parse_sentence` takes one line and gives its fields: positions in 1e-7 degrees,
lengths in millimetres, times in milliseconds, angles and dilutions in thousandths; nothing goes
through a float.  A field that is empty is left out.  A sentence of a type not listed in PARSERS has
its fields as text.  Source: NMEA 0183 v4.11, section 6; u-blox M8 Receiver Description, section 31.

    NmeaError   the line is no sentence, its checksum is wrong, or a field is not what it must be

Why not pynmea2: nobody has maintained it since 2023, and it gives floats.
"""

from __future__ import annotations

from calendar import timegm
from collections.abc import Callable
from datetime import date
from typing import Any

SENTENCE_LENGTH_MAX = 1_024
"""The standard says 82; proprietary sentences do not keep to it."""

Fields = list[str]
Reading = dict[str, Any]


class NmeaError(ValueError):
    """The line is no sentence, is damaged, or a field of it is not what it must be."""


def read_sentence(line: str | bytes) -> Reading:
    """The sentence with its line as `raw`; where it is damaged, only that and why, as `error`."""
    try:
        reading = parse_sentence(line if isinstance(line, str) else line.decode("latin-1"))
    except NmeaError as error:
        return {"raw": line, "error": str(error)}
    reading["raw"] = line
    return reading


def parse_sentence(line: str) -> Reading:
    """The fields of one sentence, given without its line end.  Raises NmeaError."""
    head, *fields = _checked(line).split(",")
    if head.startswith("P"):
        return {"talker": "P", "type": head[1:], "fields": fields}
    reading: Reading = {"talker": head[:-3], "type": head[-3:]}
    parse = PARSERS.get(head[-3:])
    if parse is None:
        reading["fields"] = fields
    else:
        try:
            parse(fields, reading)
        except IndexError:
            raise NmeaError(f"{head} has only {len(fields)} fields") from None
    return reading


def checksum(body: str) -> int:
    """XOR of all characters between `$` and `*`, which must be ASCII."""
    # As one big number, folded in half again and again: seven steps instead of eighty.
    value = int.from_bytes(body.encode("ascii"), "big")
    bits = 8
    while value >> bits:
        bits *= 2
    while bits > 8:
        bits //= 2
        value = (value >> bits) ^ (value & ((1 << bits) - 1))
    return value


def _checked(line: str) -> str:
    """What stands between `$` and `*`.  Raises NmeaError."""
    if not line.startswith(("$", "!")):
        raise NmeaError("no sentence: it does not begin with $")
    if len(line) > SENTENCE_LENGTH_MAX:
        raise NmeaError(f"longer than {SENTENCE_LENGTH_MAX} characters")
    body, star, written = line[1:].rstrip().partition("*")
    if not (body.isascii() and body.isprintable()):
        raise NmeaError("characters that no sentence has")
    if not star:
        raise NmeaError("no checksum: cut off?")
    want = f"{checksum(body):02X}"
    if written.upper() != want:
        raise NmeaError(f"its checksum is {written[:4]!r}, that of what arrived is {want}")
    if len(body.partition(",")[0]) < 4:
        raise NmeaError("no talker and type")
    return body


# Values of one field.  All take text that is not empty.


def _rounded(number: int, divisor: int) -> int:
    """number / divisor, halves away from zero."""
    half = (2 * abs(number) + divisor) // (2 * divisor)
    return half if number >= 0 else -half


def _scaled(text: str, places: int) -> int:
    """Decimal `text` times 10 to the power of `places`."""
    digits = text[1:] if text[0] in "+-" else text
    whole, _, part = digits.partition(".")
    digits = whole + part
    # isdigit alone takes the digits of every script.
    if not (digits.isdigit() and len(digits) <= 30):
        raise NmeaError(f"{text[:20]!r} is no number")
    number = int(digits)
    if text[0] == "-":
        number = -number
    if len(part) <= places:
        return int(number * 10 ** (places - len(part)))
    return _rounded(number, 10 ** (len(part) - places))


def _whole(text: str) -> int:
    if not (text.isdigit() and len(text) <= 18):
        raise NmeaError(f"{text[:20]!r} is no whole number")
    return int(text)


def _time_ms(text: str) -> int:
    """hhmmss.sss -> milliseconds of the day."""
    whole = text.partition(".")[0]
    if len(whole) != 6:
        raise NmeaError(f"{text[:20]!r} is no time")
    hours, minutes, millis = _whole(text[:2]), _whole(text[2:4]), _scaled(text[4:], 3)
    # 60 is a leap second.
    if hours > 23 or minutes > 59 or millis >= 61_000:
        raise NmeaError(f"{text[:20]!r} is no time")
    return (hours * 60 + minutes) * 60_000 + millis


def _midnight_ms(year: int, month: int, day: int) -> int:
    """Unix milliseconds of the beginning of a day."""
    try:
        return timegm(date(year, month, day).timetuple()) * 1_000
    except ValueError:
        raise NmeaError(f"{year}-{month}-{day} is no date") from None


def _angle_e7(text: str, half: str, positive: str, negative: str, degrees_max: int) -> int:
    """dddmm.mmmm and its hemisphere -> 1e-7 degrees."""
    point = text.find(".")
    split = (len(text) if point < 0 else point) - 2
    # More digits than any receiver gives, so that only the division rounds.
    minutes_e12 = _scaled(text[split:], 12) if split >= 1 else -1
    degrees = _whole(text[:split]) if split >= 1 else 0
    angle = degrees * 10_000_000 + _rounded(minutes_e12, 60 * 10**5)
    if not 0 <= minutes_e12 < 60 * 10**12 or angle > degrees_max * 10_000_000:
        raise NmeaError(f"{text[:20]!r} is no angle of a position")
    if half not in (positive, negative):
        raise NmeaError(f"hemisphere {half[:5]!r}")
    return angle if half == positive else -angle


def _mm_per_s(text: str, unit_mm: int) -> int:
    """A speed in units of so many millimetres an hour."""
    return _rounded(_scaled(text, 6) * unit_mm, 3_600 * 1_000_000)


_KNOT_MM, _KM_MM = 1_852_000, 1_000_000


# Sentences.


def _put(reading: Reading, name: str, text: str, places: int = 0) -> None:
    if text:
        reading[name] = _scaled(text, places) if places else _whole(text)


def _put_position(reading: Reading, fields: Fields) -> None:
    """Latitude, N or S, longitude, E or W."""
    if fields[0] and fields[2]:
        reading["latitude_e7"] = _angle_e7(fields[0], fields[1], "N", "S", 90)
        reading["longitude_e7"] = _angle_e7(fields[2], fields[3], "E", "W", 180)


def _put_time(reading: Reading, text: str) -> None:
    if text:
        reading["time_of_day_ms"] = _time_ms(text)


def _put_height(reading: Reading, name: str, text: str, unit: str) -> None:
    if text:
        if unit not in ("M", ""):
            raise NmeaError(f"{name} in {unit[:5]!r} instead of metres")
        reading[name] = _scaled(text, 3)


def _gga(fields: Fields, reading: Reading) -> None:
    _put_time(reading, fields[0])
    _put_position(reading, fields[1:5])
    _put(reading, "quality", fields[5])
    _put(reading, "satellites_used", fields[6])
    _put(reading, "hdop_milli", fields[7], 3)
    _put_height(reading, "altitude_mm", fields[8], fields[9])
    _put_height(reading, "geoid_separation_mm", fields[10], fields[11])
    _put(reading, "correction_age_ms", fields[12], 3)
    if fields[13]:
        reading["station"] = fields[13]


def _rmc(fields: Fields, reading: Reading) -> None:
    _put_time(reading, fields[0])
    reading["is_valid"] = fields[1] == "A"
    _put_position(reading, fields[2:6])
    if fields[6]:
        reading["speed_mm_per_s"] = _mm_per_s(fields[6], _KNOT_MM)
    _put(reading, "course_mdeg", fields[7], 3)
    if day := fields[8]:
        if len(day) != 6:
            raise NmeaError(f"{day[:20]!r} is no date")
        year = _whole(day[4:])
        # GPS began in 1980.
        midnight_ms = _midnight_ms(year + (1900 if year >= 80 else 2000), _whole(day[2:4]), _whole(day[:2]))
        if fields[0]:
            reading["utc_ms"] = midnight_ms + reading["time_of_day_ms"]
    if fields[9]:
        variation = _scaled(fields[9], 3)
        reading["magnetic_variation_mdeg"] = -variation if fields[10] == "W" else variation
    if len(fields) > 11 and fields[11]:
        reading["mode"] = fields[11]


def _gll(fields: Fields, reading: Reading) -> None:
    _put_position(reading, fields[:4])
    _put_time(reading, fields[4])
    reading["is_valid"] = fields[5] == "A"


def _vtg(fields: Fields, reading: Reading) -> None:
    _put(reading, "course_mdeg", fields[0], 3)
    _put(reading, "course_magnetic_mdeg", fields[2], 3)
    # Knots are what the receiver measured; km/h is the same with fewer digits.
    if fields[4]:
        reading["speed_mm_per_s"] = _mm_per_s(fields[4], _KNOT_MM)
    elif fields[6]:
        reading["speed_mm_per_s"] = _mm_per_s(fields[6], _KM_MM)
    if len(fields) > 8 and fields[8]:
        reading["mode"] = fields[8]


def _gsa(fields: Fields, reading: Reading) -> None:
    reading["selection"] = fields[0]
    _put(reading, "fix", fields[1])
    reading["satellites"] = [_whole(text) for text in fields[2:14] if text]
    _put(reading, "pdop_milli", fields[14], 3)
    _put(reading, "hdop_milli", fields[15], 3)
    _put(reading, "vdop_milli", fields[16], 3)
    if len(fields) > 17:
        _put(reading, "system", fields[17])


def _gsv(fields: Fields, reading: Reading) -> None:
    _put(reading, "messages", fields[0])
    _put(reading, "message", fields[1])
    _put(reading, "satellites_in_view", fields[2])
    satellites = []
    for at in range(3, len(fields) - 3, 4):
        satellite: Reading = {}
        for name, text in zip(
            ("satellite", "elevation_deg", "azimuth_deg", "snr_db"), fields[at : at + 4], strict=True
        ):
            _put(satellite, name, text)
        satellites.append(satellite)
    reading["satellites"] = satellites


def _zda(fields: Fields, reading: Reading) -> None:
    _put_time(reading, fields[0])
    if all(fields[:4]):
        midnight_ms = _midnight_ms(_whole(fields[3]), _whole(fields[2]), _whole(fields[1]))
        reading["utc_ms"] = midnight_ms + reading["time_of_day_ms"]
    if fields[4]:
        minutes = abs(_scaled(fields[4], 0)) * 60 + (_whole(fields[5]) if fields[5] else 0)
        reading["zone_ms"] = (-minutes if fields[4].startswith("-") else minutes) * 60_000


PARSERS: dict[str, Callable[[Fields, Reading], None]] = {
    "GGA": _gga,
    "GLL": _gll,
    "GSA": _gsa,
    "GSV": _gsv,
    "RMC": _rmc,
    "VTG": _vtg,
    "ZDA": _zda,
}
"""Sentences whose fields are known, by type."""
