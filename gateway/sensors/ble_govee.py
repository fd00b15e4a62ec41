"""Govee's thermometers, hygrometers and meat probes.

Runs on CPython.  Pure.  Govee has no company number and puts what it likes in its place; a model is told by
its name, its 16-bit service UUID, that number and the length together.  Source: what the devices send, as
collected by the users of ble_monitor and govee-ble.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.sensors.ble_ad import Advertisement, address_text
from gateway.sensors.ble_keys import Malformed

Values = dict[str, Any]

_TRAILER = b"INTELLI_ROCKS"
_TRAILER_BYTES = 25
_UNPLUGGED = -1
"""What a probe that is not there gives for its alarm."""


@dataclass(frozen=True, slots=True)
class Model:
    """How a model is told, and read."""

    name: str
    size: int
    """Bytes behind the company number."""
    uuids: tuple[int, ...]
    """16-bit service UUIDs that it announces: the digits of its name, their bytes the wrong way round."""
    companies: tuple[int, ...]
    """Numbers it puts in the company's place."""
    names: tuple[str, ...]
    """Parts of its name, of which one suffices."""
    read: Callable[[bytes, Values], None]


def decode(advertisement: Advertisement, company: int, data: bytes) -> Values | None:
    """Manufacturer data of what may be a Govee; None when it is not.  Raises BleError."""
    if len(data) > _TRAILER_BYTES and _TRAILER in data:
        data = data[:-_TRAILER_BYTES]
    for model in MODELS_BY_SIZE.get(len(data), ()):
        if (
            any(uuid in model.uuids for uuid in advertisement.uuids16)
            or any(part in advertisement.name for part in model.names)
            or (company in model.companies and not _is_other(advertisement, company))
        ):
            values: Values = {}
            model.read(data, values)
            result: Values = {"format": "Govee", "device": model.name, "values": values}
            if model.name == "H5178" and values["sensor_id"] == 1:
                # The outdoor half speaks through the indoor one, as a device of its own.
                result["device"] = "H5178-outdoor"
                own = int.from_bytes(advertisement.address, "big") + 1 & 0xFFFF_FFFF_FFFF
                result["sensor_address"] = address_text(own.to_bytes(6, "big"))
            return result
    return None


def _is_other(advertisement: Advertisement, company: int) -> bool:
    """0001 is Nokia's number by right; it is Govee's only beside a name or a UUID of theirs."""
    return company == 0x0001 and not (
        0xEC88 in advertisement.uuids16 or advertisement.name.startswith(("Govee", "GV", "B51", "GBK"))
    )


def _climate(packed: int, values: Values) -> None:
    """Temperature in 0.1 degrees times 1000 plus humidity in 0.1 %; the top bit is the sign."""
    magnitude = packed & 0x7F_FFFF
    degrees = magnitude // 1_000
    values["temperature_mdegc"] = -degrees * 100 if packed & 0x80_0000 else degrees * 100
    values["humidity_mpct"] = magnitude % 1_000 * 100


def _battery(byte: int, values: Values) -> None:
    values["battery_pct"] = byte & 0x7F
    if byte & 0x80:
        # The sensor itself says that it cannot measure.
        values["sensor_error"] = True


def _packed(climate_at: int, battery_at: int) -> Callable[[bytes, Values], None]:
    def read(data: bytes, values: Values) -> None:
        _climate(int.from_bytes(data[climate_at : climate_at + 3], "big"), values)
        _battery(data[battery_at], values)

    return read


def _plain(at: int) -> Callable[[bytes, Values], None]:
    def read(data: bytes, values: Values) -> None:
        temperature, humidity, battery = struct.unpack_from("<hHB", data, at)
        values["temperature_mdegc"] = temperature * 10
        values["humidity_mpct"] = humidity * 10
        values["battery_pct"] = battery

    return read


def _h5178(data: bytes, values: Values) -> None:
    values["sensor_id"] = data[2]
    _packed(3, 6)(data, values)


def _h5106(data: bytes, values: Values) -> None:
    packed = int.from_bytes(data[2:6], "big")
    magnitude = packed & 0x7FFF_FFFF
    degrees = magnitude // 1_000_000
    values["temperature_mdegc"] = -degrees * 100 if packed >> 31 else degrees * 100
    values["humidity_mpct"] = magnitude // 1_000 % 1_000 * 100
    values["pm2_5_ug_per_m3"] = magnitude % 1_000


# Probes: a name ends in its probe's number, then its unit.


def _probe(values: Values, number: int, temperature: int, alarm: int, low_alarm: int | None = None) -> None:
    """In 0.01 degrees; -1 is what no probe, and no alarm, gives."""
    for name, hundredths in (
        ("temperature_probe", temperature),
        ("temperature_alarm_probe", alarm),
        ("low_temperature_alarm_probe", low_alarm),
    ):
        if hundredths is not None:
            values[f"{name}_{number}_mdegc"] = None if hundredths == _UNPLUGGED else hundredths * 10


def _one_probe(data: bytes, values: Values) -> None:
    _probe(values, 1, *struct.unpack_from(">hh", data, 8))


def _two_probes(data: bytes, values: Values, first: int = 1) -> None:
    one, one_alarm, _, two, two_alarm = struct.unpack_from(">hhbhh", data, 8)
    _probe(values, first, one, one_alarm)
    _probe(values, first + 1, two, two_alarm)


_FOUR = {0x01: 1, 0x41: 1, 0x81: 1, 0xC1: 1, 0x02: 3, 0x42: 3, 0x82: 3, 0xC2: 3}
"""First of the two probes in an advertisement, by the byte that tells."""


def _first_of(byte: int) -> int:
    if byte not in _FOUR:
        raise Malformed(f"probes {byte:02X} are unknown")
    return _FOUR[byte]


def _h5184(data: bytes, values: Values) -> None:
    _two_probes(data, values, _first_of(data[6]))


def _h5185(data: bytes, values: Values) -> None:
    one, one_alarm, _, two, two_alarm = struct.unpack_from(">hhhhh", data, 8)
    _probe(values, 1, one, one_alarm)
    _probe(values, 2, two, two_alarm)


def _h5191(data: bytes, values: Values) -> None:
    one, one_alarm, _, ambient = struct.unpack_from(">hhhh", data, 8)
    _probe(values, 1, one, one_alarm)
    values["temperature_mdegc"] = ambient * 10


def _h5198(data: bytes, values: Values) -> None:
    first = _first_of(data[6])
    one, one_alarm, one_low, two, two_alarm, two_low = struct.unpack_from(">hhhhhh", data, 8)
    _probe(values, first, one, one_alarm, one_low)
    _probe(values, first + 1, two, two_alarm, two_low)


def _h5055(data: bytes, values: Values) -> None:
    """Whole degrees; two of six probes in an advertisement, bits 6 and 7 of byte 3 say which."""
    first = (data[3] >> 6) * 2 + 1
    if first > 5:
        raise Malformed(f"probes {data[3]:02X} are unknown")
    values["battery_pct"] = data[2] & 0x7F
    one, one_low, one_high, two, two_low, two_high = struct.unpack_from("<hhhxhhh", data, 5)
    for number, degrees in (
        (first, (one, one_high, one_low)),
        (first + 1, (two, two_high, two_low)),
    ):
        _probe(values, number, *(_UNPLUGGED if degree < 0 else degree * 100 for degree in degrees))


# fmt: off
MODELS: tuple[Model, ...] = (
    Model("H5106", 6, (), (), ("H5106",), _h5106),
    Model("H5072/H5075", 6, (0x7550,), (0xEC88,), ("H5072", "H5075", "H5129"), _packed(1, 4)),
    Model("H5101/H5102/H5177", 6, (0x0151, 0x0251, 0x7751), (0x0001,),
          ("H5100", "H5101", "H5102", "H5103", "H5104", "H5105", "H5110", "H5174", "H5177", "GV5179"),
          _packed(2, 5)),
    Model("H5074", 7, (0x7450,), (0xEC88,), ("H5074",), _plain(1)),
    Model("H5108", 8, (), (), ("H5108",), _packed(2, 5)),
    Model("H5071", 9, (0x7150,), (), ("H5071",), _plain(1)),
    Model("H5052", 9, (0x5250,), (), ("H5052",), _plain(1)),
    Model("H5051", 9, (0x5150,), (0xEC88,), ("H5051",), _plain(1)),
    Model("H5178", 9, (0x7851,), (0x0001,), ("H5178", "B5178"), _h5178),
    Model("H5179", 9, (), (0x8801,), ("H5179",), _plain(4)),
    Model("H5181", 14, (0x8151,), (0xF861, 0x388A, 0xEA42, 0xAAA2, 0xD14B), ("H5181",), _one_probe),
    Model("H5183", 14, (0x8351,), (0x67DD, 0xE02F, 0xF79F), ("H5183",), _one_probe),
    Model("H5182", 17, (0x8251,), (0x2730,), ("H5182",), _two_probes),
    Model("H5184", 17, (0x8451,), (0x1B36,), ("H5184",), _h5184),
    Model("H5185", 20, (0x8551,), (0x4A32, 0x0332, 0x4C32), ("H5185",), _h5185),
    Model("H5191", 20, (0x9151,), (0xAC63,), ("H5191",), _h5191),
    Model("H5198", 20, (0x9851,), (0x3022,), ("H5198",), _h5198),
    Model("H5055", 20, (0x5550,), (0xEA1C,), ("H5055",), _h5055),
)
"""In the order in which they are tried."""
# fmt: on
MODELS_BY_SIZE: dict[int, list[Model]] = {}
for _model in MODELS:
    MODELS_BY_SIZE.setdefault(_model.size, []).append(_model)
