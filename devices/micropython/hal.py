"""What hangs at a board's pins, in units: a thin layer over `machine`, built from the board's data.

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
from machine import ADC, PWM, Pin

from lock_controller.errors import ReadingError
from lock_controller.meter import answer, ask
from lock_controller.ultrasonic import NO_ECHO_US

PILOT_HZ = 1_000
MODBUS_EVERY_MS = 1_000
MODBUS_WAIT_MS = 400


class BoardError(Exception):
    """There is no data of this board, or none for this role; what to do is in the message."""


def find(root: str, slot: str, name: str) -> "dict[str, object]":
    """The data of the board: root/board.json, else the file of this name in the slot.  Raises BoardError."""
    for path in (root + "board.json", f"{root}{slot}/devices/micropython/boards/{name}.json"):
        try:
            with open(path) as file:
                return json.load(file)  # type: ignore[no-any-return]
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


class Clock:
    """Milliseconds since power-on that do not wrap; look at it at least once in six days."""

    def __init__(self) -> None:
        self._last = time.ticks_ms()
        self._now_ms = 0

    def __call__(self) -> int:
        """Now."""
        ticks = time.ticks_ms()
        self._now_ms += time.ticks_diff(ticks, self._last)
        self._last = ticks
        return self._now_ms


def every(period_ms: int, callback: object) -> object:
    """Calls `callback(timer)` that often, also while the program computes.  `deinit()` ends it."""
    return machine.Timer(0, mode=machine.Timer.PERIODIC, period=period_ms, callback=callback)


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


def _adc(pin: int) -> ADC:
    return ADC(Pin(pin), atten=ADC.ATTN_11DB)


class Shunt:
    """The current of a motor."""

    def __init__(self, data: "dict[str, int]") -> None:
        self._adc = _adc(data["pin"])
        self._ma_per_v = data["ma_per_v"]

    def current_ma(self) -> int:
        """The middle of three readings: a spark of the brushes is no stall."""
        read = self._adc.read_uv
        return sorted((read(), read(), read()))[1] * self._ma_per_v // 1_000_000


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
        self._adc = _adc(data["pin"])
        self._permille = data["permille"]
        self._full_mv, self._empty_mv = data["full_mv"], data["empty_mv"]

    def mv(self) -> int:
        """Its voltage."""
        return self._adc.read_uv() * self._permille // 1_000_000

    def percent(self, mv: int) -> int:
        """How full it is at this voltage, roughly: on a line between empty and full."""
        return min(max((mv - self._empty_mv) * 100 // (self._full_mv - self._empty_mv), 0), 100)


class PilotPort:
    """The control pilot: a duty cycle out, levels in."""

    def __init__(self, data: "dict[str, int]") -> None:
        # Full on: a steady +12 V, nothing is offered.
        self._pwm = PWM(Pin(data["out"], Pin.OUT), freq=PILOT_HZ, duty_u16=65_535)
        self._duty = 65_535
        self._adc = _adc(data["in"])
        self._zero_mv, self._mv_per_v, self._samples = data["zero_mv"], data["mv_per_v"], data["samples"]

    def levels(self) -> "tuple[int, int]":
        """The highest and the lowest, mV, over more than a period: samples lie about 60 us apart."""
        read = self._adc.read_uv
        high = low = read()
        for _ in range(self._samples - 1):
            value = read()
            if value > high:
                high = value
            elif value < low:
                low = value
        zero, scale = self._zero_mv * 1_000, self._mv_per_v
        return (high - zero) // scale, (low - zero) // scale

    def set_duty(self, duty_ppm: int) -> None:
        """The duty cycle, rounded down: a car must never be offered more."""
        duty = duty_ppm * 65_535 // 1_000_000
        if duty != self._duty:
            self._pwm.duty_u16(duty)
            self._duty = duty


class Contactor:
    """The contactor and, where the board has it, what is behind it."""

    def __init__(self, data: "dict[str, int]") -> None:
        self._out = Pin(data["out"], Pin.OUT, value=0)
        self._live = Pin(data["live"], Pin.IN, Pin.PULL_UP) if "live" in data else None
        self._is_live = data.get("is_live", 1)
        self._is_closed = False

    def close(self, is_closed: bool) -> None:
        """Closes or opens it."""
        if is_closed != self._is_closed:
            self._out.value(1 if is_closed else 0)
            self._is_closed = is_closed

    def is_live(self) -> "bool | None":
        """Whether there is mains behind it; None: no board can tell."""
        return None if self._live is None else self._live.value() == self._is_live


class Pulses:
    """Pulses of a meter, counted by interrupts."""

    def __init__(self, data: "dict[str, int]") -> None:
        self._count = 0
        self._taken = 0
        self._pin = Pin(data["pin"], Pin.IN, Pin.PULL_UP)
        self._pin.irq(self._edge, Pin.IRQ_FALLING)

    def _edge(self, pin: object) -> None:
        self._count += 1

    def take(self) -> int:
        """How many since the last time."""
        count = self._count
        taken, self._taken = count - self._taken, count
        return taken


class Modbus:
    """A meter on RS-485: it is asked once in a second, and never waited for."""

    def __init__(self, data: "dict[str, int]") -> None:
        self._uart = machine.UART(data["uart"], data["baud"], tx=data["tx"], rx=data["rx"])
        self._address, self._unit_wh = data["address"], data["unit_wh"]
        self._request = ask(data["address"], data["register"])
        self._asked_ms: int | None = None
        self._is_waiting = False

    def poll(self, now_ms: int) -> "tuple[bool, int | None]":
        """(whether there is news, the register in Wh or None: no good answer)."""
        if self._is_waiting:
            if self._uart.any() < 9:
                if now_ms - self._asked_ms < MODBUS_WAIT_MS:  # type: ignore[operator]
                    return False, None
                self._is_waiting = False
                return True, None
            self._is_waiting = False
            try:
                return True, answer(self._uart.read(), self._address, self._unit_wh)
            except ReadingError:
                return True, None
        if self._asked_ms is None or now_ms - self._asked_ms >= MODBUS_EVERY_MS:
            self._asked_ms = now_ms
            self._is_waiting = True
            # What came late would be taken for the next answer.
            self._uart.read()
            self._uart.write(self._request)
        return False, None


def temperature_mdegc(heat_mdegc: int = 0) -> int:
    """About the air's: that of the chip, less what it heats itself by."""
    import esp32

    if hasattr(esp32, "mcu_temperature"):
        chip = esp32.mcu_temperature() * 1_000
    else:
        chip = (esp32.raw_temperature() - 32) * 5_000 // 9
    return min(max(chip - heat_mdegc, -40_000), 60_000)
