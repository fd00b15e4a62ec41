"""What the numbers mean in PIDs that carry a choice instead of a quantity.

Runs on CPython and MicroPython.  Source: SAE J1979 (2017), annexes B and G; ISO 15031-5:2015, annex B.
"""

FUEL_SYSTEM = {
    0: "off",
    1: "open loop: not yet warm",
    2: "closed loop",
    4: "open loop: load or deceleration",
    8: "open loop: system fault",
    16: "closed loop with a fault: an oxygen sensor is not used",
    32: "open loop: not yet warm, bank 2",
    64: "open loop: load or deceleration, bank 2",
    128: "open loop: system fault, bank 2",
}
SECONDARY_AIR = {
    1: "upstream of the catalyst",
    2: "downstream of the catalyst",
    4: "atmosphere or off",
    8: "commanded on for diagnostics",
}
OBD_STANDARD = {
    1: "OBD-II (California)",
    2: "OBD (Federal, EPA)",
    3: "OBD and OBD-II",
    4: "OBD-I",
    5: "none",
    6: "EOBD",
    7: "EOBD and OBD-II",
    8: "EOBD and OBD",
    9: "EOBD, OBD and OBD-II",
    10: "JOBD",
    11: "JOBD and OBD-II",
    12: "JOBD and EOBD",
    13: "JOBD, EOBD and OBD-II",
    17: "EMD",
    18: "EMD+",
    19: "HD OBD-C",
    20: "HD OBD",
    21: "WWH OBD",
    23: "HD EOBD-I",
    24: "HD EOBD-I N",
    25: "HD EOBD-II",
    26: "HD EOBD-II N",
    28: "OBDBr-1",
    29: "OBDBr-2",
    30: "KOBD",
    31: "IOBD I",
    32: "IOBD II",
    33: "HD EOBD-VI",
    34: "OBD, OBD-II and HD OBD",
    35: "OBDBr-3",
}
FUEL_TYPE = {
    0: "none",
    1: "gasoline",
    2: "methanol",
    3: "ethanol",
    4: "diesel",
    5: "LPG",
    6: "CNG",
    7: "propane",
    8: "electric",
    9: "bifuel, running on gasoline",
    10: "bifuel, running on methanol",
    11: "bifuel, running on ethanol",
    12: "bifuel, running on LPG",
    13: "bifuel, running on CNG",
    14: "bifuel, running on propane",
    15: "bifuel, running on electricity",
    16: "bifuel, running on electricity and combustion engine",
    17: "hybrid, gasoline",
    18: "hybrid, ethanol",
    19: "hybrid, diesel",
    20: "hybrid, electric",
    21: "hybrid, electric and combustion engine",
    22: "hybrid, regenerative",
    23: "bifuel, running on diesel",
    24: "bifuel, running on natural gas",
    25: "bifuel, running on diesel",
    26: "natural gas",
    27: "diesel and CNG at once",
    28: "diesel and LNG at once",
    29: "hydrogen, fuel cell",
    30: "hydrogen, combustion engine",
    31: "kerosene",
    32: "heavy fuel oil",
}
EMISSION_STANDARD = {
    14: "heavy duty, Euro IV B1",
    15: "heavy duty, Euro V B2",
    16: "heavy duty, Euro EEV C",
    17: "heavy duty, Euro VI",
}
BOOST_CONTROL = {
    0: "not defined",
    1: "open loop, no fault",
    2: "closed loop, no fault",
    3: "fault, value unreliable",
}
MI_DISPLAY = {
    0: "not discriminatory",
    1: "discriminatory",
    3: "not required",
}
MI_MODE = {
    0: "off",
    1: "on demand",
    2: "short",
    3: "continuous",
    14: "error",
    15: "not required",
}
INDUCEMENT_LEVEL = {
    0: "inactive",
    1: "enabled",
    2: "active",
    3: "not supported",
}
HYBRID_MODE = {
    0: "keeping the charge",
    1: "depleting the charge",
    2: "increasing the charge",
}

CHOICES = {
    "=fuel_system": FUEL_SYSTEM,
    "=secondary_air": SECONDARY_AIR,
    "=obd_standard": OBD_STANDARD,
    "=fuel_type": FUEL_TYPE,
    "=emission_standard": EMISSION_STANDARD,
    "=boost_control": BOOST_CONTROL,
    "=mi_display": MI_DISPLAY,
    "=mi_mode": MI_MODE,
    "=inducement_level": INDUCEMENT_LEVEL,
    "=hybrid_mode": HYBRID_MODE,
}
"""By the name that stands as a unit in the rows; other names with = are taken apart in `obd/pids.py`."""

INDUCEMENT = (
    (0x01, "reagent level too low"),
    (0x02, "incorrect reagent"),
    (0x04, "deviation of reagent consumption"),
    (0x08, "NOx emissions too high"),
    (0x80, "inducement active"),
)
"""Bits of the unit =inducement, whose value is the list of what holds."""
