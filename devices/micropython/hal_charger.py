"""What hangs at the pins of a charging station: pilot, contactor, meter.  See hal.py.

Runs on MicroPython.
"""

import machine
from machine import PWM, Pin

from devices.micropython.hal import adc
from lock_controller.errors import ReadingError
from lock_controller.meter import answer, ask

PILOT_HZ = 1_000
MODBUS_EVERY_MS = 1_000
MODBUS_WAIT_MS = 400


class PilotPort:
    """The control pilot: a duty cycle out, levels in."""

    def __init__(self, data: "dict[str, int]") -> None:
        # Full on: a steady +12 V, nothing is offered.
        self._pwm = PWM(Pin(data["out"], Pin.OUT), freq=PILOT_HZ, duty_u16=65_535)
        self._duty = 65_535
        self._adc = adc(data["in"])
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
                if now_ms - self._asked_ms < MODBUS_WAIT_MS:
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
