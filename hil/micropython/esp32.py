"""MicroPython's `esp32` for a simulated board: the temperature of the chip, and what may wake it.

Runs on MicroPython.
"""

import machine

WAKEUP_ALL_LOW, WAKEUP_ANY_HIGH = False, True


def mcu_temperature():
    """Degrees C of the die, a whole number."""
    answer = machine._world.ask("t")
    return 25 if answer is None else (int(answer) + 500) // 1000


def raw_temperature():
    """Degrees F of the die, as the first ESP32 has it."""
    return mcu_temperature() * 9 // 5 + 32


def wake_on_ext0(pin=None, level=None):
    """The rig wakes boards by their timer alone."""


def wake_on_ext1(pins=None, level=None):
    """The rig wakes boards by their timer alone."""
