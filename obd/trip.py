"""A plausible trip in closed form: what a car does at any moment of it.

Runs on CPython.  The same moment gives the same values, in whatever order one asks.  The trip repeats;
warming up, distance and fuel go on.  Used by the simulated car only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# Lasting so many ms, the speed goes evenly from the last one to this, km/h.
_LEGS = (
    (6_000, 0),
    (8_000, 50),
    (15_000, 50),
    (5_000, 20),
    (6_000, 52),
    (14_000, 48),
    (7_000, 0),
    (8_000, 0),
    (14_000, 100),
    (30_000, 104),
    (8_000, 125),
    (25_000, 125),
    (12_000, 80),
    (16_000, 80),
    (13_000, 0),
)
LAP_MS = sum(duration_ms for duration_ms, _ in _LEGS)
_GEAR_TOP_KMH = (16, 30, 46, 66, 92, 400)
_RPM_PER_KMH = (120.0, 68.0, 46.0, 34.0, 27.0, 22.0)
IDLE_RPM = 780.0
AMBIENT_C = 17.0
TANK_L = 50.0
_LITRE_PER_KM = 0.062


@dataclass(frozen=True, slots=True)
class Moment:
    """The car at one moment."""

    elapsed_ms: int
    speed_kmh: float
    engine_rpm: float
    gear: int
    """0 is neutral."""
    load_percent: float
    throttle_percent: float
    coolant_c: float
    intake_c: float
    intake_kpa: float
    air_flow_gps: float
    timing_deg: float
    fuel_percent: float
    fuel_rate_lph: float
    distance_m: float
    """Since the start."""
    battery_v: float


def at(elapsed_ms: int) -> Moment:
    """The trip so many ms after the engine was started."""
    elapsed_ms = max(elapsed_ms, 0)
    laps, in_lap_ms = divmod(elapsed_ms, LAP_MS)
    distance_m = laps * _LAP_M
    before_kmh = 0.0
    speed_kmh = acceleration = 0.0
    for duration_ms, after_kmh in _LEGS:
        if in_lap_ms < duration_ms:
            acceleration = (after_kmh - before_kmh) / duration_ms * 1000 / 3.6
            speed_kmh = before_kmh + (after_kmh - before_kmh) * in_lap_ms / duration_ms
            distance_m += (before_kmh + speed_kmh) / 2 / 3.6 * in_lap_ms / 1000
            break
        distance_m += (before_kmh + after_kmh) / 2 / 3.6 * duration_ms / 1000
        in_lap_ms -= duration_ms
        before_kmh = after_kmh
    gear = 0 if speed_kmh < 1 else next(n for n, top in enumerate(_GEAR_TOP_KMH, 1) if speed_kmh <= top)
    # Small waves that never fall in step, so that nothing stands quite still.
    wave = math.sin(elapsed_ms / 1_370) + math.sin(elapsed_ms / 530)
    rpm = max(IDLE_RPM, speed_kmh * _RPM_PER_KMH[max(gear, 1) - 1]) + 8 * wave
    power = max(acceleration * 22 + speed_kmh**2 / 700 + 2, 0.0)
    load = min(18 + 1.6 * power, 98.0) if power else 0.0
    warm = 1 - math.exp(-elapsed_ms / 240_000)
    air_flow = rpm * (0.25 + load / 110) / 165
    return Moment(
        elapsed_ms=elapsed_ms,
        speed_kmh=speed_kmh,
        engine_rpm=rpm,
        gear=gear,
        load_percent=load,
        throttle_percent=min(12 + 1.3 * power, 90.0),
        coolant_c=AMBIENT_C + (91 - AMBIENT_C) * warm,
        intake_c=AMBIENT_C + 6 + load / 8,
        intake_kpa=28 + load * 0.7,
        air_flow_gps=air_flow,
        timing_deg=8 + 18 * (1 - load / 100),
        fuel_percent=max(72 - distance_m / 1000 * _LITRE_PER_KM / TANK_L * 100, 2.0),
        fuel_rate_lph=0.7 + air_flow * 0.31,
        distance_m=distance_m,
        battery_v=14.1 + 0.03 * wave,
    )


_LAP_M = sum(
    (before + after) / 2 / 3.6 * duration_ms / 1000
    for (_, before), (duration_ms, after) in zip((_LEGS[-1], *_LEGS[:-1]), _LEGS, strict=True)
)
