"""What hangs at the pins of a lock: a motor, its limit switches, its current.  See hal.py.

Runs on MicroPython.
"""

from machine import Pin

from devices.micropython.hal import adc


class Motor:
    """A motor of a barrier."""

    def __init__(self, data: "dict[str, int]") -> None:
        self._up = Pin(data["up"], Pin.OUT, value=0)
        self._down = Pin(data["down"], Pin.OUT, value=0)
        self._direction = 0

    def drive(self, direction: int) -> None:
        """1 up, 0 still, -1 down."""
        if direction != self._direction:
            # Never both, not even for a moment.
            self._up.value(0)
            self._down.value(0)
            if direction:
                (self._up if direction > 0 else self._down).value(1)
            self._direction = direction


class Limits:
    """The switches at both ends."""

    def __init__(self, data: "dict[str, int]") -> None:
        self._low = Pin(data["low"], Pin.IN, Pin.PULL_UP)
        self._high = Pin(data["high"], Pin.IN, Pin.PULL_UP)
        self._pressed = data["pressed"]

    def read(self) -> "tuple[bool, bool]":
        """Whether it is at the bottom, and at the top."""
        return self._low.value() == self._pressed, self._high.value() == self._pressed


class Shunt:
    """The current of a motor."""

    def __init__(self, data: "dict[str, int]") -> None:
        self._adc = adc(data["pin"])
        self._ma_per_v = data["ma_per_v"]

    def current_ma(self) -> int:
        """The middle of three readings: a spark of the brushes is no stall."""
        read = self._adc.read_uv
        return sorted((read(), read(), read()))[1] * self._ma_per_v // 1_000_000
