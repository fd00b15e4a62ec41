"""MicroPython's `machine` for a board whose pins end in a simulated world (hil/world.py).

Runs on MicroPython.  The names, arguments and numbers of the ESP32 port, as far as firmware here uses them.
The environment says where the world is and what has happened:

    HIL_WORLD=host:port   HIL_BOARD=name   HIL_CHIP=seed of the silicon
    HIL_STATE=folder that lives as long as the power   HIL_CAUSE=power_on, deepsleep, hard, soft or wdt

A restart leaves the process by SystemExit, with `exit.json` in HIL_STATE that says why.  Memory is fresh
silicon after power-on and zeros otherwise.  Timers and pin interrupts come in waits of asyncio and when a pin
is read.  The watchdog is looked at whenever the world is spoken to; the world itself ends a board that hangs.
Source: docs/library/machine.* of MicroPython 1.26 and ports/esp32/modmachine.c.
"""

import json
import os
import time

PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 2, 3, 4, 5
PIN_WAKE, EXT0_WAKE, EXT1_WAKE, TIMER_WAKE, TOUCHPAD_WAKE, ULP_WAKE = 1, 2, 3, 4, 5, 6
_CAUSES = {
    "power_on": PWRON_RESET,
    "hard": HARD_RESET,
    "wdt": WDT_RESET,
    "deepsleep": DEEPSLEEP_RESET,
    "soft": SOFT_RESET,
}
_BURST_US = 5_000
_EXIT_RESET, _EXIT_SLEEP, _EXIT_WATCHDOG = 64, 65, 66
_cause = _CAUSES.get(os.getenv("HIL_CAUSE") or "power_on", PWRON_RESET)
_state = os.getenv("HIL_STATE")


class _World:
    """The line to the world; without one, pins are only remembered."""

    def __init__(self):
        self.irqs = {}
        self.fed_us = None
        self.timeout_us = 0
        self._rest = b""
        self._socket = None
        at = os.getenv("HIL_WORLD")
        if at:
            import usocket

            host, port = at.rsplit(":", 1)
            self._socket = usocket.socket()
            self._socket.connect(usocket.getaddrinfo(host, int(port))[0][-1])
            # TCP_NODELAY: each line by itself, at once.
            self._socket.setsockopt(6, 1, 1)
            self.ask("j", os.getenv("HIL_BOARD") or "board", os.getenv("HIL_CAUSE") or "power_on")

    def tell(self, *words):
        """Says something that has no answer."""
        now_us = time.ticks_us()
        if self.fed_us is not None and time.ticks_diff(now_us, self.fed_us) > self.timeout_us:
            self.fed_us = None
            _leave("wdt", _EXIT_WATCHDOG)
        if self._socket is not None:
            line = " ".join([words[0], str(now_us)] + [str(word) for word in words[1:]]) + "\n"
            self._socket.write(line.encode())

    def ask(self, *words):
        """The world's answer, text; None without a world."""
        self.tell(*words)
        if self._socket is None:
            return None
        while b"\n" not in self._rest:
            data = self._socket.recv(4096)
            if not data:
                raise SystemExit(129)
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        words = line.decode().split()
        # Edges of pins since the last answer: number:count.
        for word in words[1:]:
            number, count = word.split(":")
            pin = self.irqs.get(int(number))
            if pin is not None:
                for _ in range(int(count)):
                    pin[1](pin[0])
        return words[0] if words else ""


_world = _World()


def _leave(kind, status, duration_ms=None):
    if _state:
        now_ms = time.ticks_us() // 1000
        with open(_state + "/exit.json", "w") as file:
            why = {"kind": kind, "now_ms": now_ms}
            if duration_ms is not None:
                why["ms"] = duration_ms
            file.write(json.dumps(why))
    if _world.fed_us is not None:
        _world.fed_us = None
    _world.tell("b", kind)
    raise SystemExit(status)


def reset():
    """The board starts anew, as by its button."""
    _leave("hard", _EXIT_RESET)


def soft_reset():
    """The interpreter starts anew."""
    _leave("soft", _EXIT_RESET)


def deepsleep(time_ms=None):
    """All but RTC memory loses its power; the board starts anew after `time_ms`."""
    _leave("deepsleep", _EXIT_SLEEP, time_ms)


def lightsleep(time_ms=0):
    """Waits, in less current."""
    time.sleep_ms(time_ms or 0)


def idle():
    """Waits for whatever comes next."""
    time.sleep_us(100)


def reset_cause():
    """Why the board has started."""
    return _cause


def wake_reason():
    """What has ended its deep sleep."""
    return TIMER_WAKE if _cause == DEEPSLEEP_RESET else 0


def unique_id():
    """Six bytes, the same for each chip."""
    import hashlib

    return b"\x30" + hashlib.sha256(b"id" + _seed()).digest()[:5]


def freq(hz=None):
    """The clock of the processor, Hz."""
    return 160_000_000


def disable_irq():
    """What is interrupted here is interrupted in waits only."""
    return 0


def enable_irq(state=0):
    """See `disable_irq`."""


def _seed():
    return (os.getenv("HIL_CHIP") or os.getenv("HIL_BOARD") or "chip").encode()


class _Memory:
    """RTC slow memory, 2,040 bytes from 0x50000000, in words."""

    _BASE, _SIZE = 0x50000000, 2040

    def __init__(self):
        self._bytes = None

    def _at(self, address):
        at = address - self._BASE
        if not 0 <= at <= self._SIZE - 4 or at % 4:
            raise ValueError("the rig has memory from 0x50000000 on, 2,040 bytes in words")
        if self._bytes is None:
            if _cause == PWRON_RESET:
                import binascii

                chip = binascii.hexlify(_seed()).decode()
                self._bytes = bytearray(binascii.unhexlify(_world.ask("m", chip)))
            else:
                self._bytes = bytearray(self._SIZE)
        return at

    def __getitem__(self, address):
        at = self._at(address)
        return int.from_bytes(self._bytes[at : at + 4], "little")

    def __setitem__(self, address, value):
        at = self._at(address)
        self._bytes[at : at + 4] = (value & 0xFFFFFFFF).to_bytes(4, "little")


mem32 = _Memory()


class RTC:
    """Memory that a deep sleep and a restart leave alone, at most 2,048 bytes; no calendar."""

    def memory(self, data=None):
        """Its bytes, or replaces them."""
        path = (_state or ".") + "/rtc.bin"
        if data is None:
            try:
                with open(path, "rb") as file:
                    return file.read()
            except OSError:
                return b""
        if len(data) > 2048:
            raise ValueError("buffer too long")
        with open(path, "wb") as file:
            file.write(data)
        return None


class WDT:
    """Restarts the board unless it is fed within `timeout` ms."""

    def __init__(self, id=0, timeout=5000):  # noqa: A002
        _world.timeout_us = timeout * 1000
        _world.fed_us = time.ticks_us()
        # MicroPython does not tell its process id, /proc does.
        with open("/proc/self/stat") as file:
            pid = file.read().split(" ", 1)[0]
        _world.tell("g", timeout, pid, _state or "-")

    def feed(self):
        """Everything is well."""
        _world.tell("f")
        _world.fed_us = time.ticks_us()


class Pin:
    """A pin.  `mode`: IN or OUT; `pull`: PULL_UP or PULL_DOWN."""

    IN, OUT, OPEN_DRAIN = 1, 3, 7
    PULL_DOWN, PULL_UP = 1, 2
    IRQ_RISING, IRQ_FALLING = 1, 2

    def __init__(self, id, mode=-1, pull=-1, *, value=None, drive=None, hold=None):  # noqa: A002
        self.id = id
        self._value = 0
        self._mode = mode
        self.init(mode, pull, value=value)

    def init(self, mode=-1, pull=-1, *, value=None, drive=None, hold=None):
        """Sets it up anew."""
        if mode != -1:
            self._mode = mode
        if value is not None:
            self.value(value)

    def value(self, value=None):
        """Its level, or sets it."""
        if value is None:
            if self._mode == Pin.OUT:
                return self._value
            answer = _world.ask("i", self.id)
            return self._value if answer is None else int(answer)
        self._value = 1 if value else 0
        _world.tell("p", self.id, self._value)
        return None

    __call__ = value

    def on(self):
        """High."""
        self.value(1)

    def off(self):
        """Low."""
        self.value(0)

    def irq(self, handler=None, trigger=IRQ_FALLING, *, hard=False):
        """Calls `handler(pin)` for each edge: falling ones only."""
        if handler is None:
            _world.irqs.pop(self.id, None)
        else:
            _world.irqs[self.id] = (self, handler)
            _world.tell("q", self.id)


class PWM:
    """A duty cycle on a pin."""

    def __init__(self, dest, *, freq=1000, duty_u16=0):
        self._pin = dest
        self._freq = freq
        self._duty = duty_u16
        self._set()

    def _set(self):
        _world.tell("w", self._pin.id, self._freq, self._duty)

    def freq(self, value=None):
        """Hz."""
        if value is not None:
            self._freq = value
            self._set()
        return self._freq

    def duty_u16(self, value=None):
        """0 to 65535."""
        if value is not None:
            self._duty = min(max(value, 0), 65535)
            self._set()
        return self._duty

    def deinit(self):
        """Off."""
        _world.tell("w", self._pin.id, 0, 0)


class ADC:
    """A voltage."""

    ATTN_0DB, ATTN_2_5DB, ATTN_6DB, ATTN_11DB = 0, 1, 2, 3

    def __init__(self, pin, *, atten=ATTN_11DB):
        self._pin = pin
        self._burst = []
        self._burst_us = 0

    def atten(self, value):
        """The range; the world knows no other than the widest."""

    def read_uv(self):
        """Microvolts, 0 to 3,100,000."""
        # Conversions that follow each other at once come in one answer.
        if not self._burst or time.ticks_diff(time.ticks_us(), self._burst_us) > _BURST_US:
            self._burst = (_world.ask("a", self._pin.id) or "0").split(",")
            self._burst.reverse()
            self._burst_us = time.ticks_us()
        return min(max(int(self._burst.pop()), 0), 3_100_000)

    def read_u16(self):
        """0 to 65535 for 0 to 3.1 V."""
        return self.read_uv() * 65535 // 3_100_000


class UART:
    """A serial line: what is asked on it is answered by the world, at once."""

    def __init__(self, id, baudrate=9600, *, tx=None, rx=None, **settings):  # noqa: A002
        self._id = id
        self._got = b""

    def write(self, data):
        """Sends; returns how much."""
        import binascii

        answer = _world.ask("u", self._id, binascii.hexlify(data).decode())
        if answer and answer != "-":
            self._got += binascii.unhexlify(answer)
        return len(data)

    def any(self):
        """How much has come."""
        return len(self._got)

    def read(self, nbytes=-1):
        """What has come, None when that is nothing."""
        data = self._got if nbytes < 0 else self._got[:nbytes]
        self._got = self._got[len(data) :]
        return data or None


class Timer:
    """Calls a function from time to time, while the program waits in asyncio."""

    ONE_SHOT, PERIODIC = 0, 1

    def __init__(self, id=0, **settings):  # noqa: A002
        self._task = None
        if settings:
            self.init(**settings)

    def init(self, *, mode=PERIODIC, freq=-1, period=-1, callback=None):
        """Begins, with `period` ms, or `freq` Hz."""
        import asyncio

        self.deinit()
        period_ms = int(1000 / freq) if freq > 0 else period
        self._task = asyncio.create_task(self._run(mode, period_ms, callback))

    async def _run(self, mode, period_ms, callback):
        import asyncio

        due_ms = time.ticks_ms()
        while True:
            due_ms = time.ticks_add(due_ms, period_ms)
            left_ms = time.ticks_diff(due_ms, time.ticks_ms())
            if left_ms < 0:
                # What was missed is not made up for.
                due_ms = time.ticks_ms()
            await asyncio.sleep_ms(max(left_ms, 0))
            callback(self)
            if mode == Timer.ONE_SHOT or self._task is not asyncio.current_task():
                return

    def deinit(self):
        """Ends it, also from within its own function."""
        task, self._task = self._task, None
        if task is not None:
            import asyncio

            # A task cannot cancel itself; it sees after its function that it is no more.
            if task is not asyncio.current_task():
                task.cancel()


def time_pulse_us(pin, pulse_level, timeout_us=1000000):
    """How long a pulse takes; -1: it did not end in time; -2: it did not begin.  It takes as long here."""
    answer = _world.ask("e", pin.id, pulse_level, timeout_us)
    pulse_us = -2 if answer is None else int(answer)
    time.sleep_us(pulse_us if pulse_us > 0 else timeout_us)
    return pulse_us
