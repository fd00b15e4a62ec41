"""The control pilot of a charging station: what a car says by a voltage, and is told by a duty cycle.

Runs on CPython and MicroPython.  Pure.  `tick` takes the two levels of the pilot and returns what the pilot
and the contactor do until the next tick.  Tick at least every TICK_MS_MAX.

    state of the car, by the upper level: 12 V A nothing plugged, 9 V B plugged, 6 V C charges, 3 V D charges
    and wants air, 0 V E short or no power, -12 V F our own word for "not available"

          plug               allow                 C (D)                  contactor
    IDLE -------> PLUGGED ---------> OFFERING -------------> CHARGING      closed in CHARGING and ENDING only
      ^              ^ |    <---------   |  <--------------    |
      | A for 1 s    | |      deny       |   not C: open       | deny: duty 100 %, open when it lets go,
      +--------------+-+-----------------+   within 100 ms     v        or after 6 s under load
      |                                                      ENDING
      +---- FAULT <----- E, no diode, weld, contactor, meter, from anywhere
             E and diode end with A; weld and contactor when the mains behind them is as it should be

**Loss of C** opens the contactor in the tick that sees it; in a tick that comes later than 100 ms after the
last, whatever it sees.  **Glitches**: a car counts as gone only after UNPLUG_MS of A, so B-A-B ends no
session; one reading between two bands changes nothing, a second in a row is a loss of C, and only SHORT_MS of
them, or of E, are a fault.
**Weld**: WELD_MS after the contactor has opened the mains behind it must be gone.
**Diode**: with the duty cycle on, the lower level is -12 V, for a car has a diode; a puddle has none.
Source: IEC 61851-1:2017, annex A: table A.4 (levels), A.7 and A.8 (duty), A.6 (times), clause 6.3 (states).
"""

from collections import namedtuple

from lock_controller.errors import LimitsError

A, B, C, D, E, F = 0, 1, 2, 3, 4, 5
"""States of the car."""
LETTERS = "ABCDEF"

IDLE, PLUGGED, OFFERING, CHARGING, ENDING, FAULT = 0, 1, 2, 3, 4, 5
"""States of the station."""
NAMES = ("idle", "plugged", "offering", "charging", "ending", "fault")

NO_FAULT, SHORT, DIODE, WELDED, NOT_CLOSED, METER, AIR = 0, 1, 2, 3, 4, 5, 6
"""Faults.  AIR: a car wants ventilation that is not there."""
FAULTS = ("", "short", "diode", "welded", "contactor", "meter", "ventilation")

# Events, in the order in which they are looked at.
BAD, GONE, MORE, LESS, DENIED, ALLOWED, DRAWS, RELEASES, TIRED, CURED = range(10)

NEXT = {
    (IDLE, MORE): PLUGGED,
    (PLUGGED, GONE): IDLE,
    (PLUGGED, ALLOWED): OFFERING,
    (OFFERING, GONE): IDLE,
    (OFFERING, DENIED): PLUGGED,
    (OFFERING, DRAWS): CHARGING,
    (CHARGING, LESS): OFFERING,
    (CHARGING, DENIED): ENDING,
    (ENDING, LESS): PLUGGED,
    (ENDING, TIRED): PLUGGED,
    (FAULT, CURED): PLUGGED,
}
"""(state, event) -> state.  BAD leads to FAULT from everywhere."""

DUTY_ON_PPM = 1_000_000
"""A steady +12 V: nothing is offered."""
DUTY_OFF_PPM = 0
"""A steady -12 V: state F."""
COMMUNICATION_PPM = 50_000
"""5 %: the current is agreed by digital communication (ISO 15118)."""
CURRENT_MA_MIN, CURRENT_MA_MAX = 6_000, 80_000

TICK_MS_MAX = 100
UNPLUG_MS = 1_000
"""So long A must last before the car counts as gone."""
WELD_MS = 500
"""A contactor has opened, or closed, by then."""
LET_GO_MS = 6_000
"""So long a car may take to stop charging once nothing is offered; then the contactor opens under load."""
SHORT_MS = 200
"""So long what is no state, or E, must last to be a fault."""
DIODE_MS = 200
"""So long the lower level must be wrong: a car that is being plugged in bounces."""
_LOWEST_MV, _HIGHEST_MV = -13_000, -11_000
_BANDS = ((11_000, 13_000), (8_000, 10_000), (5_000, 7_000), (2_000, 4_000), (-1_000, 1_000))


def duty_for(current_ma: int) -> int:
    """The duty cycle, parts in a million, that offers a current, or the next below that can be said.

    Less than 6 A cannot be offered: a steady +12 V.  51 to 52.5 A have no duty cycle of their own: 51 A.
    """
    if current_ma < CURRENT_MA_MIN:
        return DUTY_ON_PPM
    if current_ma <= 51_000:
        return current_ma * 100 // 6
    if current_ma <= 52_500:
        return 850_000
    return min(current_ma, CURRENT_MA_MAX) * 4 + 640_000


def current_at(duty_ppm: int) -> "int | None":
    """What a car may draw at a duty cycle; 0 for nothing, None where digital communication has to say."""
    if 30_000 <= duty_ppm <= 70_000:
        return None
    if duty_ppm < 80_000 or duty_ppm > 970_000:
        return 0
    if duty_ppm < 100_000:
        return CURRENT_MA_MIN
    if duty_ppm <= 850_000:
        return duty_ppm * 6 // 100
    if duty_ppm <= 960_000:
        return (duty_ppm - 640_000) // 4
    return CURRENT_MA_MAX


def letter_of(upper_mv: int) -> "int | None":
    """The state that a voltage says; None between the bands."""
    for letter, (low_mv, high_mv) in enumerate(_BANDS):
        if low_mv <= upper_mv <= high_mv:
            return letter
    return F if _LOWEST_MV <= upper_mv <= _HIGHEST_MV else None


class Levels(namedtuple("Levels", ("upper_mv", "lower_mv", "is_live", "is_meter_fine"))):
    """What is measured at a tick.

    `upper_mv`, `lower_mv`: the highest and the lowest of the pilot over more than a millisecond; `is_live`:
    mains behind the contactor, None where no board can tell; `is_meter_fine`: the meter can be billed by.
    """

    __slots__ = ()
    KIND = "levels"


class Drive(namedtuple("Drive", ("duty_ppm", "is_closed"))):
    """What the station does from now on: duty cycle of the pilot, contactor."""

    __slots__ = ()
    KIND = "drive"


class Pilot:
    """One socket.  At power-on nothing is offered and the contactor is open, whatever was before.

    `state`; `letter`: what the car says, debounced; `fault`; `offered_ma`: what is offered, 0 for nothing.
    `current_ma_max`: what the cable and the mains bear; `has_air`: whether the place is ventilated.
    Raises LimitsError for a current that no duty cycle says.
    """

    def __init__(self, current_ma_max: int, has_air: bool = False) -> None:
        if not CURRENT_MA_MIN <= current_ma_max <= CURRENT_MA_MAX:
            raise LimitsError(f"current_ma_max is {CURRENT_MA_MIN} to {CURRENT_MA_MAX}, not {current_ma_max}")
        self.state = IDLE
        self.letter = A
        self.fault = NO_FAULT
        self.offered_ma = 0
        self._current_ma_max = current_ma_max
        self._has_air = has_air
        self._is_allowed = False
        self._wanted_ma = 0
        self._entered_ms = 0
        self._ticked_ms: int | None = None
        self._a_ms: int | None = None
        self._odd_count = 0
        self._odd_ms: int | None = None
        self._diode_ms: int | None = None
        self._is_closed = False
        self._switched_ms: int | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the contactor is to be closed."""
        return self._is_closed

    @property
    def is_allowed(self) -> bool:
        """Whether a session is paid for; unplugging and faults end that."""
        return self._is_allowed

    @property
    def is_plugged(self) -> bool:
        """Whether a car counts as plugged in: short glitches do not end that."""
        return self.state != IDLE

    def allow(self, current_ma: int) -> int:
        """A session is paid for: offer this current, or what the cable bears.  What is offered, mA.

        Raises ValueError for less than 6 A, which cannot be said: `deny` instead.
        """
        if current_ma < CURRENT_MA_MIN:
            raise ValueError(f"no duty cycle says {current_ma} mA; the least is {CURRENT_MA_MIN}")
        self._is_allowed = True
        self._wanted_ma = min(current_ma, self._current_ma_max)
        return self._wanted_ma

    def deny(self) -> None:
        """The session is over: stop offering; the car lets go, or is let go of after 6 s."""
        self._is_allowed = False

    def tick(self, levels: Levels, now_ms: int) -> Drive:
        """What the pilot and the contactor do until the next tick."""
        gap_ms = 0 if self._ticked_ms is None else now_ms - self._ticked_ms
        self._ticked_ms = now_ms
        is_late = not 0 <= gap_ms <= TICK_MS_MAX
        self._read(levels, gap_ms, now_ms)
        fault = self._find_fault(levels, now_ms)
        if fault != NO_FAULT:
            self.fault = fault
            self._is_allowed = False
            self._enter(FAULT, now_ms)
        else:
            for event in range(GONE, CURED + 1):
                if (self.state, event) in NEXT and self._holds(event, levels, is_late, now_ms):
                    self._go(event, now_ms)
                    break
        return self._drive(now_ms)

    def _read(self, levels: Levels, gap_ms: int, now_ms: int) -> None:
        letter = letter_of(levels.upper_mv)
        if letter in (A, B, C, D):
            self.letter = letter
            self._odd_count = 0
            self._odd_ms = None
        elif self.state == FAULT and letter == F:
            # We said so ourselves, and nothing is known of the car.
            self._odd_ms = None
        else:
            if self._odd_ms is None:
                self._odd_ms = now_ms
            # Between two bands it may be on its way; what was not looked at for long counts for more.
            self._odd_count += 1 if letter is None and gap_ms <= TICK_MS_MAX // 2 else 2
            if now_ms - self._odd_ms >= SHORT_MS:
                self.letter = E
        if letter != A:
            self._a_ms = None
        elif self._a_ms is None:
            self._a_ms = now_ms

    def _find_fault(self, levels: Levels, now_ms: int) -> int:
        """What is wrong now."""
        settled = self._switched_ms is None or now_ms - self._switched_ms >= WELD_MS
        if levels.is_live is not None and settled and bool(levels.is_live) != self._is_closed:
            return NOT_CLOSED if self._is_closed else WELDED
        if self.letter == E:
            return SHORT
        has_pwm = self.state in (OFFERING, CHARGING)
        if has_pwm and self.letter in (B, C, D) and not _LOWEST_MV <= levels.lower_mv <= _HIGHEST_MV:
            if self._diode_ms is None:
                self._diode_ms = now_ms
            elif now_ms - self._diode_ms >= DIODE_MS:
                return DIODE
        else:
            self._diode_ms = None
        if self.state in (OFFERING, CHARGING, ENDING):
            if not levels.is_meter_fine:
                return METER
            if self.letter == D and not self._has_air:
                return AIR
        return NO_FAULT

    def _holds(self, event: int, levels: Levels, is_late: bool, now_ms: int) -> bool:
        since_ms = now_ms - self._entered_ms
        if event == GONE:
            return self._a_ms is not None and now_ms - self._a_ms >= UNPLUG_MS
        if event == MORE:
            return self.letter in (B, C, D)
        if event == LESS:
            return is_late or self._odd_count > 1 or self.letter not in (C, D)
        if event == DENIED:
            return not self._is_allowed
        if event == ALLOWED:
            return self._is_allowed and bool(levels.is_meter_fine)
        if event == DRAWS:
            # The diode has been looked at for a while before anything is switched on.
            is_sure = self.letter in (C, D) and not self._odd_count and not is_late
            return is_sure and self._diode_ms is None and since_ms >= DIODE_MS
        if event == TIRED:
            return since_ms >= LET_GO_MS
        return self._is_cured(levels, now_ms)

    def _is_cured(self, levels: Levels, now_ms: int) -> bool:
        """Whether a fault has gone.  What could hurt somebody ends only when the car is gone, too."""
        if self.fault in (WELDED, NOT_CLOSED):
            return now_ms - self._entered_ms >= WELD_MS
        if self.fault == METER:
            return bool(levels.is_meter_fine)
        return self._a_ms is not None and now_ms - self._a_ms >= UNPLUG_MS

    def _go(self, event: int, now_ms: int) -> None:
        if event == GONE:
            # Whoever plugs in next pays anew.
            self._is_allowed = False
        elif event == CURED:
            self.fault = NO_FAULT
            self._is_allowed = False
        self._enter(NEXT[self.state, event], now_ms)

    def _enter(self, state: int, now_ms: int) -> None:
        if state != self.state:
            self.state = state
            self._entered_ms = now_ms
            self._diode_ms = None

    def _drive(self, now_ms: int) -> Drive:
        is_closed = self.state in (CHARGING, ENDING)
        if is_closed != self._is_closed:
            self._is_closed = is_closed
            self._switched_ms = now_ms
        self.offered_ma = self._wanted_ma if self.state in (OFFERING, CHARGING) else 0
        if self.state == FAULT:
            # Only a steady +12 V shows whether the car is still there; F is for a station that is broken.
            return Drive(DUTY_OFF_PPM if self.fault in (WELDED, NOT_CLOSED) else DUTY_ON_PPM, False)
        return Drive(duty_for(self.offered_ma), is_closed)
