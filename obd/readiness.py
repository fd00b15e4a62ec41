"""Readiness: which monitors of the emission system a car has, and which have finished (PIDs 01, 41).

Runs on CPython and MicroPython.  Source: SAE J1979 (2017), annex B, PID 01; ISO 15031-5:2015.
"""

from collections import namedtuple

from obd.errors import ResponseError

CONTINUOUS = ("misfire", "fuel_system", "components")
"""Bits 0 to 2 of byte B, and 4 to 6 for `not complete`."""
SPARK = (
    "catalyst",
    "heated_catalyst",
    "evaporative_system",
    "secondary_air",
    "gasoline_particulate_filter",
    "oxygen_sensor",
    "oxygen_sensor_heater",
    "egr_vvt",
)
"""Bits 0 to 7 of byte C (supported) and D (not complete) with spark ignition; bit 4 was once the air
conditioning's refrigerant."""
COMPRESSION = (
    "nmhc_catalyst",
    "nox_aftertreatment",
    "",
    "boost_pressure",
    "",
    "exhaust_gas_sensor",
    "particulate_filter",
    "egr_vvt",
)
"""The same with compression ignition; two bits are reserved."""


class Readiness(namedtuple("Readiness", ("is_mil_on", "dtc_count", "is_compression", "monitors"))):
    """monitors: list of (name, is_complete) of those that the car has, in the standard's order."""

    __slots__ = ()

    @property
    def is_ready(self) -> bool:
        """All monitors have finished."""
        return all([is_complete for _, is_complete in self.monitors])  # noqa: C419 - less heap than a generator


def parse_readiness(data: bytes) -> Readiness:
    """The four data bytes of PID 01 or 41.  Raises ResponseError."""
    if len(data) < 4:
        raise ResponseError(f"readiness has {len(data)} bytes instead of 4: {data.hex()}")
    a, b, c, d = data[:4]
    is_compression = bool(b & 0x08)
    monitors = []
    for bit, name in enumerate(CONTINUOUS):
        if b >> bit & 1:
            monitors.append((name, not b >> (bit + 4) & 1))
    for bit, name in enumerate(COMPRESSION if is_compression else SPARK):
        if name and c >> bit & 1:
            monitors.append((name, not d >> bit & 1))
    return Readiness(bool(a & 0x80), a & 0x7F, is_compression, monitors)
