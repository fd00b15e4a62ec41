"""What hangs at a board's pins, in units: a thin layer over `machine`, built from the board's data.

What every role has is here; hal_lock.py and hal_charger.py have the rest.

Runs on MicroPython.  A board is a file of boards/, or, for one's own wiring, board.json in the root of flash:

    motor     {up, down}                    pins of an H-bridge; the limit switches must also cut its current
    limits    {low, high, pressed}          pins with pull-ups, and their level when pressed
    current   {pin, ma_per_v}               ADC behind a shunt
    sonars    [{trigger, echo, empty_mm, margin_mm}, ..]
    battery   {pin, permille, full_mv, empty_mv}      ADC behind a divider of so many thousandths
    pilot     {out, in, zero_mv, mv_per_v, samples}   PWM, and ADC that sees zero_mv at 0 V
    contactor {out, live, is_live}          relay, and mains behind it
    meter     {kind: pulses, pin, per_kwh} or {kind: modbus, uart, tx, rx, baud, address, register, unit_wh}
    supply    pin                           switches the sensors' supply

Only ADC1 (GPIO32 to 39 of an ESP32) measures while the radio is on.
"""

import json
import time

import machine
from machine import ADC, Pin

from lock_controller.ultrasonic import NO_ECHO_US


class BoardError(Exception):
    """There is no data of this board, or none for this role; what to do is in the message."""


def find(root: str, slot: str, name: str) -> "dict[str, object]":
    """The data of the board: root/board.json, else the file of this name in the slot.  Raises BoardError."""
    for path in (root + "board.json", f"{root}{slot}/devices/micropython/boards/{name}.json"):
        try:
            with open(path) as file:
                return json.load(file)
        except OSError:
            continue
        except ValueError:
            raise BoardError(f"{path} is no JSON; copy it again") from None
    raise BoardError(f"no board {name!r}; set `board` to one of boards/, or copy board.json to the flash")


def part(data: "dict[str, object]", role: str) -> "dict[str, object]":
    """What the board has for a role.  Raises BoardError."""
    found = data.get(role)
    if not isinstance(found, dict):
        raise BoardError(f"board {data.get('name')} has no pins for a {role}; add them to its file")
    return found


def every(period_ms: int, callback: object) -> object:
    """Calls `callback(timer)` that often, also while the program computes.  `deinit()` ends it."""
    return machine.Timer(0, mode=machine.Timer.PERIODIC, period=period_ms, callback=callback)


def adc(pin: int) -> ADC:
    """A converter of the widest range."""
    return ADC(Pin(pin), atten=ADC.ATTN_11DB)


class Sonar:
    """An ultrasonic sensor with a trigger and an echo line."""

    def __init__(self, data: "dict[str, int]") -> None:
        self._trigger = Pin(data["trigger"], Pin.OUT, value=0)
        self._echo = Pin(data["echo"], Pin.IN)
        # Half as far again as the empty bay: what echoes later is not it.
        self._timeout_us = data["empty_mm"] * 9

    def ping(self) -> int:
        """Microseconds of the echo; NO_ECHO_US or NO_LINE_US.  Takes as long."""
        self._trigger.value(1)
        time.sleep_us(10)
        self._trigger.value(0)
        echo_us: int = machine.time_pulse_us(self._echo, 1, self._timeout_us)
        return echo_us if echo_us < self._timeout_us else NO_ECHO_US


class Battery:
    """A battery behind a divider."""

    def __init__(self, data: "dict[str, int]") -> None:
        self._adc = adc(data["pin"])
        self._permille = data["permille"]
        self._full_mv, self._empty_mv = data["full_mv"], data["empty_mv"]

    def mv(self) -> int:
        """Its voltage."""
        return self._adc.read_uv() * self._permille // 1_000_000

    def percent(self, mv: int) -> int:
        """How full it is at this voltage, roughly: on a line between empty and full."""
        return min(max((mv - self._empty_mv) * 100 // (self._full_mv - self._empty_mv), 0), 100)


def temperature_mdegc(heat_mdegc: int = 0) -> int:
    """About the air's: that of the chip, less what it heats itself by."""
    import esp32

    if hasattr(esp32, "mcu_temperature"):
        chip = esp32.mcu_temperature() * 1_000
    else:
        chip = (esp32.raw_temperature() - 32) * 5_000 // 9
    return min(max(chip - heat_mdegc, -40_000), 60_000)
