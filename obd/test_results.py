"""Service 06: results of the car's own tests, with limits and units.

Runs on CPython.  An answer on CAN is a list of nine-byte records: monitor, test, unit and scaling, value,
lowest and highest allowed value.  Source: SAE J1979 (2017), annexes D (monitors) and E (units, scaling).
"""

from __future__ import annotations

from dataclasses import dataclass

from obd.errors import ResponseError

RECORD_SIZE = 9


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test of one monitor."""

    monitor: int
    """OBDMID."""
    test: int
    """TID; from 80 up it is the manufacturer's."""
    value: float
    low: float
    high: float
    unit: str
    """Of all three; empty for a bare number, `?` when the scaling is not known and they are raw."""

    __test__ = False
    """For pytest, which takes a class of this name for one of its own."""

    @property
    def is_passed(self) -> bool:
        """The value is within its limits."""
        return self.low <= self.value <= self.high

    @property
    def name(self) -> str:
        """The monitor for a person."""
        return monitor_name(self.monitor)


UNITS: dict[int, tuple[float, float, str]] = {
    0x01: (1, 0, ""),
    0x02: (0.1, 0, ""),
    0x03: (0.01, 0, ""),
    0x04: (0.001, 0, ""),
    0x05: (0.0000305, 0, ""),
    0x06: (0.000305, 0, ""),
    0x07: (0.25, 0, "rpm"),
    0x08: (0.01, 0, "km/h"),
    0x09: (1, 0, "km/h"),
    0x0A: (0.122, 0, "mV"),
    0x0B: (0.001, 0, "V"),
    0x0C: (0.01, 0, "V"),
    0x0D: (0.00390625, 0, "mA"),
    0x0E: (0.001, 0, "A"),
    0x0F: (0.01, 0, "A"),
    0x10: (1, 0, "ms"),
    0x11: (100, 0, "ms"),
    0x12: (1, 0, "s"),
    0x13: (1, 0, "mΩ"),
    0x14: (1, 0, "Ω"),
    0x15: (1, 0, "kΩ"),
    0x16: (0.1, -40, "°C"),
    0x17: (0.01, 0, "kPa"),
    0x18: (0.0117, 0, "kPa"),
    0x19: (0.079, 0, "kPa"),
    0x1A: (1, 0, "kPa"),
    0x1B: (10, 0, "kPa"),
    0x1C: (0.01, 0, "°"),
    0x1D: (0.5, 0, "°"),
    0x1E: (0.0000305, 0, "lambda"),
    0x1F: (0.05, 0, "air/fuel"),
    0x20: (0.00390625, 0, ""),
    0x21: (1, 0, "mHz"),
    0x22: (1, 0, "Hz"),
    0x23: (1, 0, "kHz"),
    0x24: (1, 0, "counts"),
    0x25: (1, 0, "km"),
    0x26: (0.1, 0, "mV/ms"),
    0x27: (0.01, 0, "g/s"),
    0x28: (1, 0, "g/s"),
    0x29: (0.25, 0, "Pa/s"),
    0x2A: (0.001, 0, "kg/h"),
    0x2B: (1, 0, "switches"),
    0x2C: (0.01, 0, "g/cyl"),
    0x2D: (0.01, 0, "mg/stroke"),
    0x2E: (1, 0, "true"),
    0x2F: (0.01, 0, "%"),
    0x30: (0.001526, 0, "%"),
    0x31: (0.001, 0, "L"),
    0x32: (0.0007747, 0, "mm"),
    0x33: (0.00024414, 0, "lambda"),
    0x34: (1, 0, "min"),
    0x35: (10, 0, "ms"),
    0x36: (0.01, 0, "g"),
    0x37: (0.1, 0, "g"),
    0x38: (1, 0, "g"),
    0x39: (0.01, -327.68, "%"),
    0x3A: (1, 0, "mg"),
    0x3B: (0.1, 0, "mg"),
    0x3C: (0.1, 0, "µs"),
    0x3D: (0.01, 0, "mA"),
    0x3E: (0.00006103516, 0, "mm²"),
    0x3F: (0.01, 0, "L"),
    0x40: (1, 0, "ppm"),
    0x41: (0.01, 0, "µA"),
    0x42: (0.1, 0, "kJ"),
    0x43: (0.00024414, 0, "g/kWh"),
    0x81: (1, 0, ""),
    0x82: (0.1, 0, ""),
    0x83: (0.01, 0, ""),
    0x84: (0.001, 0, ""),
    0x85: (0.0000305, 0, ""),
    0x86: (0.000305, 0, ""),
    0x87: (1, 0, "ppm"),
    0x8A: (0.122, 0, "mV"),
    0x8B: (0.001, 0, "V"),
    0x8C: (0.01, 0, "V"),
    0x8D: (0.00390625, 0, "mA"),
    0x8E: (0.001, 0, "A"),
    0x8F: (1, 0, "µs"),
    0x90: (1, 0, "ms"),
    0x91: (100, 0, "ms"),
    0x92: (0.1, 0, "N·m"),
    0x96: (0.1, 0, "°C"),
    0x97: (0.01, 0, "°C"),
    0x98: (1, 0, "mg/stroke"),
    0x99: (0.1, 0, "kPa"),
    0x9C: (0.01, 0, "°"),
    0x9D: (0.5, 0, "°"),
    0xA8: (1, 0, "g/s"),
    0xA9: (0.25, 0, "Pa/s"),
    0xAD: (0.01, 0, "mg/stroke"),
    0xAE: (0.1, 0, "mg/stroke"),
    0xAF: (0.01, 0, "%"),
    0xB0: (0.003052, 0, "%"),
    0xB1: (2, 0, "mV/s"),
    0xFB: (10, 0, "kPa"),
    0xFC: (0.01, 0, "kPa"),
    0xFD: (0.001, 0, "kPa"),
    0xFE: (0.25, 0, "Pa"),
}
"""Scale, offset and unit by unit-and-scaling id; from 80 up the numbers are signed."""

_MONITORS: tuple[tuple[int, int, str], ...] = (
    (0x01, 0x10, "oxygen sensor, bank {bank4} sensor {place4}"),
    (0x11, 0x12, "oxygen sensor, bank {number} sensor 5"),
    (0x21, 0x24, "catalyst, bank {number}"),
    (0x31, 0x34, "EGR, bank {number}"),
    (0x35, 0x38, "variable valve timing, bank {number}"),
    (0x39, 0x39, "evaporative system, cap off or 3.8 mm leak"),
    (0x3A, 0x3A, "evaporative system, 2.3 mm leak"),
    (0x3B, 0x3B, "evaporative system, 1.0 mm leak"),
    (0x3C, 0x3C, "evaporative system, 0.5 mm leak"),
    (0x3D, 0x3D, "purge flow"),
    (0x41, 0x50, "oxygen sensor heater, bank {bank4} sensor {place4}"),
    (0x51, 0x52, "oxygen sensor heater, bank {number} sensor 5"),
    (0x61, 0x64, "heated catalyst, bank {number}"),
    (0x71, 0x74, "secondary air {number}"),
    (0x81, 0x84, "fuel system, bank {number}"),
    (0x85, 0x86, "boost pressure control, bank {number}"),
    (0x90, 0x91, "NOx adsorber, bank {number}"),
    (0x98, 0x99, "NOx catalyst, bank {number}"),
    (0xA1, 0xA1, "misfire, all cylinders"),
    (0xA2, 0xB1, "misfire, cylinder {number}"),
    (0xB2, 0xB3, "particulate filter, bank {number}"),
    (0xE1, 0xFF, "the manufacturer's own {number}"),
)


def monitor_name(monitor: int) -> str:
    """A monitor for a person."""
    for first, last, name in _MONITORS:
        if first <= monitor <= last:
            index = monitor - first
            return name.format(number=index + 1, bank4=index // 4 + 1, place4=index % 4 + 1)
    return f"monitor {monitor:02X}"


def parse_test_results(body: bytes) -> list[TestResult]:
    """An answer to service 06 without the service byte.  Raises ResponseError."""
    if len(body) % RECORD_SIZE:
        raise ResponseError(f"{len(body)} bytes of test results are no multiple of {RECORD_SIZE}")
    results = []
    for at in range(0, len(body), RECORD_SIZE):
        monitor, test, unit_id = body[at : at + 3]
        scale, offset, unit = UNITS.get(unit_id, (1, 0, "?"))
        numbers = [
            int.from_bytes(body[place : place + 2], "big", signed=unit_id >= 0x80)
            for place in range(at + 3, at + RECORD_SIZE, 2)
        ]
        value, low, high = (number * scale + offset for number in numbers)
        results.append(TestResult(monitor, test, value, low, high, unit))
    return results
