"""Recorded advertising events with the values they are said to carry, and what our names for them are.

The values come from ble_monitor's tests: other names, other units, and 0 for a probe that is not there.
The keys of the devices that encrypt are those of the same tests; they open nothing else.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "ble"

KEYS = {
    "atc.atc_custom_encrypted": "b9ea895fac7eea6d30532432a516f3a3",
    "bthome_v1.bthome_temperature_and_humidity_encrypted": "231d39c1d7cc1ab1aee224cd096db932",
    "bthome_v2.bthome_v2_temperature_and_humidity_encrypted": "231d39c1d7cc1ab1aee224cd096db932",
    "xiaomi.Linptech_M1SBB": "0fdcc30fe9289254876b5ef7c11ef1f0",
    "xiaomi.MJZNZ018H": "13f072b8c8469f54ac2c333ee746d771",
    "xiaomi.XMWXKG01LM": "c533a5ab361b0a24de4d21d1d9a3d8a1",
    "xiaomi.Xiaomi_CGDK2": "a3bfe9853dd85a620debe3620caaa351",
    "xiaomi.Xiaomi_JTYJGD03MI": "5b51a7c91cde6707c9ef18dfda143a58",
    "xiaomi.Xiaomi_LYWSD02MMC": "a115210eed7a88e50ad52662e732a9fb",
    "xiaomi.Xiaomi_LYWSD03MMC": "e9ea895fac7cca6d30532432a516f3a8",
    "xiaomi.Xiaomi_MJWSD06MMC": "4d8f1373fb4d3bab557d0ebd1c78f8c4",
    "xiaomi.Xiaomi_RS1BB": "33ede53321bc73c790a8daae4581f3d5",
    # A wrong one on purpose.
    "xiaomi.Xiaomi_RTCGQ02LM": "ffd8ce9c08ae7533a79bdaf0bb755e96",
    "xiaomi.Xiaomi_SJWS01LM": "255e6cabb39b2eddd0de992b9fee2bf2",
    "xiaomi.Xiaomi_SV40": "54d84797cb77f9538b224b305c877d1e",
    "xiaomi.Xiaomi_T700": "1330b99cded13258acc391627e9771f7",
    "xiaomi.Xiaomi_XMPIRO2SXS": "685d647dc5e7bc9bcfcf5a1357bd2114",
    "xiaomi.Xiaomi_XMZNMS08LM": "2c3795afa33019a8afdc17ba99e6f217",
    "xiaomi.Xiaomi_YLKG07YL": "b853075158487ca39a5b5ea9",
    "xiaomi.linptech_ES3": "b26295a7a08fbac306c8706ade7f0fe4",
    "xiaomi.linptech_HS1BB": "7475a4a77584401780ffc3ee62dd353c",
}
"""By the beginning of an event's name."""

NAMES: dict[str, tuple[tuple[str, int], ...]] = {
    "acceleration": (("acceleration_ug", 1_000),),
    "acceleration x": (("acceleration_x_mg", 1),),
    "acceleration y": (("acceleration_y_mg", 1),),
    "acceleration z": (("acceleration_z_mg", 1),),
    "battery": (("battery_pct", 1), ("battery_estimate_mpct", 1_000)),
    "button switch": (("press", 1),),
    "co2": (("co2_ppm", 1),),
    "current": (("current_ma", 1_000),),
    "cypress humidity": (("cypress_humidity_mpct", 1_000),),
    "cypress temperature": (("cypress_temperature_mdegc", 1_000),),
    "dewpoint": (("dew_point_mdegc", 1_000),),
    "distance": (("distance_mm", 1_000),),
    "distance mm": (("distance_mm", 1),),
    "duration": (("duration_ms", 1_000),),
    "energy": (("energy_wh", 1_000),),
    "gas": (("gas_l", 1_000),),
    "gravity": (("gravity_milli", 1_000),),
    "gyroscope": (("gyroscope_mdeg_per_s", 1_000),),
    "humidity": (("humidity_mpct", 1_000),),
    "illuminance": (("illuminance_mlx", 1_000),),
    "measured power": (("measured_power_dbm", 1),),
    "moisture": (("moisture_mpct", 1_000),),
    "no motion time": (("no_motion_ms", 1_000),),
    "pm10": (("pm10_ug_per_m3", 1),),
    "pm2.5": (("pm2_5_ug_per_m3", 1),),
    "power": (("power_mw", 1_000),),
    "pressure": (("pressure_pa", 100),),
    "speed": (("speed_mm_per_s", 1_000),),
    "temperature": (("temperature_2_mdegc", 1_000), ("temperature_mdegc", 1_000)),
    "text": (("text", 1), ("tyre", 1)),
    "tracker_id": (("uuid", 1),),
    "tvoc": (("tvoc_ug_per_m3", 1),),
    "voltage": (("voltage_mv", 1_000), ("voltage_estimate_mv", 1_000)),
    "volume": (("volume_ml", 1_000),),
    "volume flow rate": (("volume_flow_l_per_h", 1_000),),
    "water": (("water_ml", 1_000),),
    "weight": (("mass_g", 1_000),),
}
"""(our name, how many of our unit make one of theirs): the first that is there.  Others lack underscores."""


@cache
def events() -> list[dict[str, Any]]:
    """All of them; none where the data is not here."""
    path = DATA / "advertisements.json"
    loaded: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return loaded


def need_events() -> list[dict[str, Any]]:
    """All of them; skips the test where the data is not here."""
    if not events():
        pytest.skip("../shared/data/ble/advertisements.json is not here")
    return events()


def key_of(event: dict[str, Any]) -> bytes | None:
    """The key of the event's device."""
    for name, key in KEYS.items():
        if event["name"].startswith(name):
            return bytes.fromhex(key)
    return None


def differences(event: dict[str, Any], reading: dict[str, Any]) -> list[str]:
    """What of the event's values, by their names, the reading gives otherwise or not at all."""
    # They round what SensorPush sends to the hundredth.
    tolerance = 0.005 if event["name"].startswith("sensorpush") else 0.0005
    different = []
    for name, want in event["expect"].items():
        try:
            got = _about_the_device(name, reading) if name in _ABOUT_THE_DEVICE else ours(name, reading)
        except KeyError:
            different.append(f"{name} is not there")
            continue
        is_number = isinstance(want, int | float) and isinstance(got, int | float)
        if not (abs(got - want) <= tolerance if is_number else got == want):
            different.append(f"{name} is {got!r} instead of {want!r}")
    return different


_ABOUT_THE_DEVICE = ("data", "firmware", "mac", "packet", "rssi", "type")


def _about_the_device(name: str, reading: dict[str, Any]) -> Any:
    match name:
        case "data":
            return "values" in reading
        case "mac":
            return str(reading.get("sensor_address", reading["address"])).replace(":", "")
        case "packet":
            return reading.get("packet", "no packet id")
        case "rssi":
            return reading["rssi_dbm"]
    return reading[{"firmware": "format", "type": "device"}[name]]


def ours(name: str, reading: dict[str, Any]) -> Any:
    """Our value for their name, in their unit.  Raises KeyError."""
    values = reading["values"]
    match name:
        case "motion timer":
            name = "motion"
        case "one btn switch":
            # What they call every press of a switch.
            return "toggle" if "press" in values else None
        case "error":
            # None where a lock has none.
            return values.get("error")
        case "locktype":
            # Theirs is the name of ours.
            return next(kind for kind in ("lock", "childlock", "antilock") if kind in values)
    candidates = NAMES.get(name, ((name.replace(" ", "_"), 1),))
    if name.startswith(("temperature probe", "temperature alarm", "low temperature")):
        candidates = ((name.replace(" ", "_") + "_mdegc", 1_000),)
    for key, factor in candidates:
        if key in values:
            value = values[key]
            if value is None and "probe" in name:
                # They say 0 for a probe that is not there.
                return 0
            return value / factor if factor > 1 else value
    raise KeyError(name)
