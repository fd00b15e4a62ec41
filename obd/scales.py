"""Scales that a car chooses itself: PIDs 4F and 50 say how far some other values reach.

Runs on CPython.  A diesel whose turbocharger goes beyond 255 kPa says so in PID 4F, and PID 0B then counts in
larger steps.  Zero, or no such PID, means the usual scale, which is the one in the rows.
Source: SAE J1979 (2017), annex B, PIDs 4F and 50.
"""

from __future__ import annotations

from obd.pids import Value

MAXIMA_PIDS = (0x4F, 0x50)
Scales = dict[int, tuple[float, ...]]
"""By PID: what each of its values is multiplied with."""

_VOLTAGE_PIDS = range(0x24, 0x2C)
_CURRENT_PIDS = range(0x34, 0x3C)
# What the formulas of the rows assume.
_RATIO, _VOLTAGE_V, _CURRENT_MA, _PRESSURE_KPA, _AIR_FLOW_GPS = 2, 8, 128, 255, 655.35


def scales_of(pid: int, data: bytes) -> Scales:
    """What the data of PID 4F or 50 changes; nothing for other PIDs, and for data that is too short."""
    scales: Scales = {}
    if pid == 0x4F and len(data) >= 4:
        ratio = data[0] / _RATIO if data[0] else 1.0
        voltage = data[1] / _VOLTAGE_V if data[1] else 1.0
        current = data[2] / _CURRENT_MA if data[2] else 1.0
        if data[0] or data[1]:
            scales.update(dict.fromkeys(_VOLTAGE_PIDS, (ratio, voltage)))
        if data[0] or data[2]:
            scales.update(dict.fromkeys(_CURRENT_PIDS, (ratio, current)))
        if data[0]:
            scales[0x44] = (ratio,)
        if data[3]:
            scales[0x0B] = (10 * data[3] / _PRESSURE_KPA,)
    elif pid == 0x50 and data and data[0]:
        scales[0x10] = (10 * data[0] / _AIR_FLOW_GPS,)
    return scales


def scaled(pid: int, values: list[Value], scales: Scales) -> list[Value]:
    """The values of a PID as the car means them."""
    factors = scales.get(pid)
    if factors is None:
        return values
    return [Value(value.field, value.value * factor) for value, factor in zip(values, factors, strict=True)]
