"""In-use performance: how often each monitor has run, beside how often it could have (service 09, 08 and 0B).

Runs on CPython and MicroPython.  Source: SAE J1979 (2017), annex G, InfoTypes 08 and 0B.
"""

from collections import namedtuple

from obd.errors import ResponseError

SPARK, COMPRESSION = 0x08, 0x0B
"""InfoTypes."""
_MONITORS = {
    SPARK: (
        "catalyst_1",
        "catalyst_2",
        "oxygen_sensor_1",
        "oxygen_sensor_2",
        "egr_vvt",
        "secondary_air",
        "evaporative_system",
        "secondary_oxygen_sensor_1",
        "secondary_oxygen_sensor_2",
    ),
    COMPRESSION: (
        "nmhc_catalyst",
        "nox_catalyst",
        "nox_adsorber",
        "particulate_filter",
        "exhaust_gas_sensor",
        "egr_vvt",
        "boost_pressure",
        "fuel_system",
    ),
}
"""In the order of the answer; a number is a bank."""


class Performance(namedtuple("Performance", ("condition_count", "ignition_count", "monitors"))):
    """condition_count: times that the standard's driving conditions were met; ignition_count: engine starts.
    monitors: list of (name, times run, times it could have)."""

    __slots__ = ()


def parse_performance(info_type: int, data: bytes) -> Performance:
    """Data behind InfoType and count.  Older cars send fewer monitors.  Raises ResponseError."""
    names = _MONITORS.get(info_type)
    if names is None:
        raise ResponseError(f"InfoType {info_type:02X} is no in-use performance")
    if len(data) < 4 or len(data) % 4:
        raise ResponseError(f"in-use performance of {len(data)} bytes: {data.hex()}")
    counts = [data[at] << 8 | data[at + 1] for at in range(0, len(data), 2)]
    monitors = []
    for index, name in enumerate(names):
        if 2 * index + 3 < len(counts):
            monitors.append((name, counts[2 * index + 2], counts[2 * index + 3]))
    return Performance(counts[0], counts[1], monitors)
