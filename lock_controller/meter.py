"""How much energy went through a socket: counted from a meter's pulses or read from its registers.

Runs on CPython and MicroPython.  Pure.  `energy_wh` never falls, whatever the meter says.  A meter that
cannot be billed by is faulted, and whoever charges by it must stop (lock_controller/pilot.py does):

    SILENT      registers: no good answer for SILENT_MS
    BACKWARDS   registers: less than before
    TOO_FAST    more energy than the socket can pass, or pulses nearer to each other than they can be
    LEAK        energy while the contactor is open, longer than it takes to open

A fault ends by itself when the meter has been good for GOOD_MS, except BACKWARDS: what a meter has lost is
not known, so this one needs `renew`, which goes on from where it stands, or a restart.

Registers are those of Modbus RTU meters: input registers, IEEE 754 floats, high word first.
Source: IEC 62053-31 (pulses, S0); Modbus over serial line 1.02, sections 2.5.1 and 6.2 (CRC); Modbus
application protocol 1.1b3, section 6.4 (read input registers).
"""

import struct

from lock_controller.errors import LimitsError, ReadingError

FINE, SILENT, BACKWARDS, TOO_FAST, LEAK = 0, 1, 2, 3, 4
"""What is wrong with a meter."""
FAULTS = ("", "silent", "backwards", "too fast", "leak")

SILENT_MS = 5_000
GOOD_MS = 10_000
OPENING_MS = 1_000
"""Energy so long after the contactor was told to open is its last."""
SLACK_WH = 2
"""What may come at once, beside one step of the meter: it was on its way."""
MARGIN_PERCENT = 20
"""By which more than the nominal power is still believed: the mains may stand high."""
_FUNCTION = 4


class Meter:
    """The energy of one socket.  `power_w_max`: what it can pass, nominally; `step_wh`: of the meter.

    `energy_wh`: since the count began; `fault`: FINE or why it cannot be billed by.
    Raises LimitsError for a socket that passes nothing.
    """

    def __init__(self, power_w_max: int, step_wh: int, energy_wh: int = 0) -> None:
        if power_w_max <= 0:
            raise LimitsError("power_w_max is what the socket can pass, and more than 0")
        self.energy_wh = energy_wh
        self.fault = FINE
        self._limit_w = power_w_max * (100 + MARGIN_PERCENT) // 100
        self._slack_wh = SLACK_WH + step_wh
        self._bad_ms = 0
        self._open_ms: int | None = None
        self._is_closed = False
        self._since_ms: int | None = None

    @property
    def is_fine(self) -> bool:
        """Whether it can be billed by."""
        return self.fault == FINE

    def watch(self, is_closed: bool, now_ms: int) -> None:
        """What the contactor is told, at every tick."""
        if self._is_closed and not is_closed:
            self._open_ms = now_ms
        elif is_closed and not self._is_closed:
            # Before, nothing can have passed.
            self._since_ms = now_ms
        self._is_closed = is_closed
        if self.fault in (SILENT, TOO_FAST, LEAK) and now_ms - self._bad_ms >= GOOD_MS:
            self.fault = FINE

    def _blame(self, fault: int, now_ms: int) -> None:
        # What is known to be lost is not forgotten over what is merely odd.
        if self.fault != BACKWARDS:
            self.fault = fault
        self._bad_ms = now_ms

    def _add(self, energy_wh: int, now_ms: int) -> None:
        """Energy that has come, more than nothing, if it can be."""
        since_ms = 0 if self._since_ms is None else now_ms - self._since_ms
        self._since_ms = now_ms
        if not self._is_closed:
            opened_ms = self._open_ms
            if opened_ms is None or now_ms - opened_ms > OPENING_MS:
                self._blame(LEAK, now_ms)
        if energy_wh > self._slack_wh + self._limit_w * since_ms // 3_600_000:
            # Noise is not billed.
            self._blame(TOO_FAST, now_ms)
            return
        self.energy_wh += energy_wh


class PulseMeter(Meter):
    """A meter that gives a pulse for each piece of energy.  `pulses_per_kwh`: on its plate; 1 to 10,000.

    The Wh that is begun is not yet counted, and never lost.
    """

    def __init__(self, power_w_max: int, pulses_per_kwh: int, energy_wh: int = 0) -> None:
        if not 1 <= pulses_per_kwh <= 10_000:
            raise LimitsError("pulses_per_kwh stands on the plate of the meter: 1 to 10,000")
        Meter.__init__(self, power_w_max, 1 + 999 // pulses_per_kwh, energy_wh)
        self._per_kwh = pulses_per_kwh
        self._rest = 0

    def count(self, pulses: int, now_ms: int) -> None:
        """So many pulses since the last time, at every tick; 0 is an answer, too."""
        whole = self._rest + pulses * 1_000
        self._rest = whole % self._per_kwh
        if whole >= self._per_kwh:
            self._add(whole // self._per_kwh, now_ms)


class RegisterMeter(Meter):
    """A meter with a register of energy, in steps of `step_wh`.  Silence is a fault."""

    def __init__(self, power_w_max: int, step_wh: int = 10, energy_wh: int = 0) -> None:
        Meter.__init__(self, power_w_max, step_wh, energy_wh)
        self._register_wh: int | None = None
        self._heard_ms: int | None = None

    def read(self, register_wh: "int | None", now_ms: int) -> None:
        """What its register says, in Wh; None when it did not answer well."""
        if self._heard_ms is None:
            self._heard_ms = now_ms
        if register_wh is None:
            if now_ms - self._heard_ms >= SILENT_MS:
                self._blame(SILENT, now_ms)
            return
        self._heard_ms = now_ms
        last_wh, self._register_wh = self._register_wh, register_wh
        if last_wh is None:
            self._since_ms = now_ms
        elif register_wh < last_wh:
            self._blame(BACKWARDS, now_ms)
        elif register_wh > last_wh:
            self._add(register_wh - last_wh, now_ms)

    def renew(self) -> None:
        """Somebody has looked at the meter: go on from where it stands."""
        self.fault = FINE
        self._register_wh = None
        self._since_ms = None


def crc16(data: bytes) -> int:
    """The check of Modbus RTU over `data`."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def ask(address: int, register: int) -> bytes:
    """The request for the two input registers of one float: 8 bytes."""
    request = struct.pack(">BBHH", address, _FUNCTION, register, 2)
    return request + struct.pack("<H", crc16(request))


def answer(data: bytes, address: int, unit_wh: int = 1_000) -> int:
    """The register, in Wh, that the answer to `ask` says; `unit_wh`: of one unit of it, 1,000 for kWh.

    Raises ReadingError for whatever is not that answer.
    """
    if len(data) != 9:
        raise ReadingError(f"an answer of the meter has 9 bytes, not {len(data)}")
    if crc16(data[:7]) != data[7] | data[8] << 8:
        raise ReadingError("the check of the meter's answer is wrong")
    if data[0] != address or data[1] != _FUNCTION or data[2] != 4:
        raise ReadingError("the meter answers something else, or another meter does")
    value = struct.unpack(">f", data[3:7])[0]
    # What is no number is not equal to itself; 2^24 kWh are where a float no longer counts Wh.
    if not 0 <= value <= 1e8:
        raise ReadingError("the meter's register is no amount of energy")
    return int(value * unit_wh + 0.5)
