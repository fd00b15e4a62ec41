"""A parking lock's barrier: a motor between two limit switches that never rises under a car.

Runs on CPython and MicroPython.  Pure.  `tick` takes what the senses say and the time, and returns what the
motor does until the next tick: LIFT, STILL or SINK.  Tick at least every TICK_MS_MAX while it moves.

                     release + interlock
        +------ DOWN ------------------------> RAISING -------> UP
        |        ^  ^                           |   at the top   |
        | moved  |  | at the bottom             | stall, late,   | open, battery
        | by     |  |                           | not clear, open| almost empty
        | force  |  +------- LOWERING <---- HALTED <-+           |
        v        |            ^   | stall, late   ^              |
      LOST ------+            |   +---------------+              |
        |   open              +----------------------------------+
        +------> LOWERING          HALTED, stalled three times while lowering -> JAMMED
      both switches at once, from anywhere -> CONFUSED -> as the switches say, once they make sense

The interlock, in the device and nowhere else, for the whole of the way up (`missing` says what it lacks):

    RELEASE   the session is settled or has expired: `release` was called, and no `open` since
    FREE      both sensors say FREE, and have for 5 s since the release, from when on they are asked often;
              UNKNOWN is not FREE, nor is a gap in time
    VEHICLE   no paired vehicle is near
    BATTERY   it has what a way up and down takes
    TRIES     fewer than three tries have stalled since the release

**Stall while raising**: the motor stops in the tick that sees it, and in a tick that comes later than 100 ms
after the last, whatever it sees: so within 100 ms.  Then it goes down, and after 5 s tries again, three times
in all; then it stays down and `fault` says so.
**Power-on**: the state is what the switches say; between them it is LOST, and nothing moves until somebody
with the right to says `open` or `release`.  **Every state has a way out**: `open` leaves each but CONFUSED
for DOWN (JAMMED tries anew), and CONFUSED ends when the switches do not contradict each other any more.
Source of the interlock: the design of this project, section 9.
"""

from collections import namedtuple

from lock_controller.errors import LimitsError
from lock_controller.ultrasonic import FREE

LIFT, STILL, SINK = 1, 0, -1
"""What the motor does."""

LOST, DOWN, RAISING, UP, HALTED, LOWERING, JAMMED, CONFUSED = 0, 1, 2, 3, 4, 5, 6, 7
"""States."""
NAMES = ("lost", "down", "raising", "up", "halted", "lowering", "jammed", "confused")

RELEASE, NOT_FREE, VEHICLE, BATTERY, TRIES = 1, 2, 4, 8, 16
"""Bits of `missing`: what the interlock waits for."""

NO_FAULT, STALLED, TOO_SLOW, LATE, FORCED, SWITCHES, WEAK = 0, 1, 2, 3, 4, 5, 6
"""What went wrong last: the motor was blocked, took too long, was not watched, the arm was moved by force,
the switches contradict each other, the battery is almost empty."""
FAULTS = ("", "stalled", "too slow", "late", "forced", "switches", "battery")

# What happens, in the order in which it is looked at: the first that holds is the event of the tick.
(BOTH, AT_TOP, AT_BOTTOM, BLIND, BLOCKED, OVERDUE, UNCLEAR, CALLED, WANTED, RESTED, BETWEEN, SANE) = range(12)

NEXT = {
    (LOST, AT_TOP): UP,
    (LOST, AT_BOTTOM): DOWN,
    (LOST, CALLED): LOWERING,
    (LOST, WANTED): RAISING,
    (DOWN, AT_TOP): UP,
    (DOWN, WANTED): RAISING,
    (DOWN, BETWEEN): LOST,
    (RAISING, AT_TOP): UP,
    (RAISING, BLIND): HALTED,
    (RAISING, BLOCKED): HALTED,
    (RAISING, OVERDUE): HALTED,
    (RAISING, UNCLEAR): HALTED,
    (UP, AT_BOTTOM): DOWN,
    (UP, CALLED): LOWERING,
    (UP, BETWEEN): LOST,
    (HALTED, RESTED): LOWERING,
    (LOWERING, AT_BOTTOM): DOWN,
    (LOWERING, BLIND): HALTED,
    (LOWERING, BLOCKED): HALTED,
    (LOWERING, OVERDUE): HALTED,
    (JAMMED, AT_BOTTOM): DOWN,
    (JAMMED, CALLED): LOWERING,
    (CONFUSED, SANE): LOST,
}
"""(state, event) -> state.  BOTH leads to CONFUSED from everywhere; three stalls while LOWERING to JAMMED."""

TRIES_MAX = 3
FREE_MS_MIN = 5_000
"""So long both sensors must have said FREE."""
GAP_MS_MAX = 1_500
"""A longer time without a tick is not time during which the bay was free."""
TICK_MS_MAX = 100
"""A longer time without a tick while the motor turns: nobody watched, so it stops."""
INRUSH_MS = 60
"""A motor that starts takes the current of one that is blocked."""
PAUSE_MS = 300
"""Rest before the motor turns back."""
SETTLE_MS = 500
"""So long neither switch must be on before the arm counts as moved: they bounce."""
SANE_MS = 1_000
"""So long the switches must make sense before they are believed again."""


class Limits(namedtuple("Limits", ("stall_ma", "move_ms_max", "leave_ms_max", "raise_mv_min", "weak_mv"))):
    """What one barrier can do, from the board's data.

    `stall_ma`: current of a blocked motor; `move_ms_max`: the longest way from end to end; `leave_ms_max`:
    until then it must have left the switch it started from; `raise_mv_min`: below, nothing is raised;
    `weak_mv`: below, what is up goes down while it still can.
    """

    __slots__ = ()
    KIND = "limits"


class Senses(
    namedtuple(
        "Senses", ("is_low", "is_high", "current_ma", "first", "second", "is_vehicle_near", "battery_mv")
    )
):
    """What is known at a tick.

    `is_low`, `is_high`: the limit switches; `current_ma`: of the motor; `first`, `second`: the bay as two
    sensors see it, of lock_controller/ultrasonic.py; `is_vehicle_near`: a paired vehicle is, or may be;
    `battery_mv`: at rest, or None on mains.
    """

    __slots__ = ()
    KIND = "senses"


class Barrier:
    """The machine.  Everything it knows at power-on it learns from the senses of the first tick.

    `state`; `missing`: bits of what the interlock lacked at the last tick; `fault`: what went wrong last,
    until the next `open` or `release`; `tries`: ways up that stalled since the release.
    Raises LimitsError for limits that contradict themselves.
    """

    def __init__(self, limits: Limits) -> None:
        if limits.stall_ma <= 0 or not 0 < limits.leave_ms_max < limits.move_ms_max:
            raise LimitsError("stall_ma is more than 0, and leave_ms_max less than move_ms_max")
        if not 0 <= limits.weak_mv <= limits.raise_mv_min:
            raise LimitsError("weak_mv is not above raise_mv_min: it would rise and sink for ever")
        self.state = LOST
        self.missing = RELEASE | NOT_FREE
        self.fault = NO_FAULT
        self.tries = 0
        self._limits = limits
        self._is_released = False
        self._is_called = False
        self._sinks = 0
        self._entered_ms = 0
        self._ticked_ms: int | None = None
        self._free_ms: int | None = None
        self._between_ms: int | None = None
        self._sane_ms: int | None = None

    @property
    def is_moving(self) -> bool:
        """Whether the motor turns."""
        return self.state in (RAISING, LOWERING)

    @property
    def is_released(self) -> bool:
        """Whether it is to go up as soon as the interlock lets it."""
        return self._is_released

    def open(self) -> None:
        """Down, and stay there: somebody may come in.  Also the way out of every fault."""
        self._is_released = False
        self._is_called = True
        self._renew()

    def release(self) -> None:
        """The session is settled or has expired: up, once the interlock lets it."""
        self._is_released = True
        self._is_called = False
        # What a sensor that was asked seldom has said so far may be of before a car came.
        self._free_ms = None
        self._renew()

    def _renew(self) -> None:
        self.tries = self._sinks = 0
        self.fault = NO_FAULT

    def tick(self, senses: Senses, now_ms: int) -> int:
        """What the motor does from now on: LIFT, STILL or SINK."""
        last_ms = self._ticked_ms
        self._ticked_ms = now_ms
        gap_ms = 0 if last_ms is None else now_ms - last_ms
        self._look(senses, gap_ms, now_ms)
        event = self._event(senses, gap_ms, now_ms)
        if event == BOTH:
            self._enter(CONFUSED, now_ms)
            self._is_released = False
            self.fault = SWITCHES
        elif event is not None:
            self._go(event, now_ms)
        if self.state == RAISING:
            return LIFT
        return SINK if self.state == LOWERING else STILL

    def _look(self, senses: Senses, gap_ms: int, now_ms: int) -> None:
        """What the interlock lacks now, and since when the bay is free."""
        if senses.first != FREE or senses.second != FREE:
            self._free_ms = None
        elif self._free_ms is None or not 0 <= gap_ms <= GAP_MS_MAX:
            self._free_ms = now_ms
        missing = 0
        if not self._is_released:
            missing |= RELEASE
        if self._free_ms is None or now_ms - self._free_ms < FREE_MS_MIN:
            missing |= NOT_FREE
        if senses.is_vehicle_near:
            missing |= VEHICLE
        battery_mv = senses.battery_mv
        # On the way the voltage sags under the motor, and says nothing about the battery.
        if battery_mv is not None and battery_mv < self._limits.raise_mv_min and self.state != RAISING:
            missing |= BATTERY
        if self.tries >= TRIES_MAX:
            missing |= TRIES
        self.missing = missing

    def _event(self, senses: Senses, gap_ms: int, now_ms: int) -> "int | None":
        """What happened, if it leads anywhere from here."""
        for event in range(SANE + 1):
            if (event == BOTH or (self.state, event) in NEXT) and self._holds(event, senses, gap_ms, now_ms):
                return event
        return None

    def _holds(self, event: int, senses: Senses, gap_ms: int, now_ms: int) -> bool:
        limits, since_ms = self._limits, now_ms - self._entered_ms
        if event == BOTH:
            return bool(senses.is_low and senses.is_high)
        if event == BLIND:
            return not 0 <= gap_ms <= TICK_MS_MAX
        if event == BLOCKED:
            return bool(senses.current_ma >= limits.stall_ma and since_ms >= INRUSH_MS)
        if event == AT_TOP:
            return bool(senses.is_high)
        if event == AT_BOTTOM:
            return bool(senses.is_low)
        if event == OVERDUE:
            is_behind = senses.is_low if self.state == RAISING else senses.is_high
            return bool(since_ms > (limits.leave_ms_max if is_behind else limits.move_ms_max))
        if event == UNCLEAR:
            return bool(self.missing)
        if event == CALLED:
            return self._is_called or (self.state == UP and self._is_weak(senses))
        if event == WANTED:
            return self.missing == 0
        if event == RESTED:
            return since_ms >= PAUSE_MS
        if event == BETWEEN:
            if senses.is_low or senses.is_high:
                self._between_ms = None
            elif self._between_ms is None:
                self._between_ms = now_ms
            return self._between_ms is not None and now_ms - self._between_ms >= SETTLE_MS
        if self._sane_ms is None:
            self._sane_ms = now_ms
        return now_ms - self._sane_ms >= SANE_MS

    def _is_weak(self, senses: Senses) -> bool:
        return senses.battery_mv is not None and senses.battery_mv < self._limits.weak_mv

    def _go(self, event: int, now_ms: int) -> None:
        was = self.state
        state = NEXT[was, event]
        if event in (BLIND, BLOCKED, OVERDUE):
            self.fault = LATE if event == BLIND else STALLED if event == BLOCKED else TOO_SLOW
            if was == RAISING:
                self.tries += 1
            else:
                self._sinks += 1
                if self._sinks >= TRIES_MAX:
                    state = JAMMED
                    # Nothing but a new word moves it again.
                    self._is_called = False
        elif event == BETWEEN:
            self.fault = FORCED
        elif event == CALLED and not self._is_called:
            self.fault = WEAK
        elif state == UP:
            self.tries = 0
        if was == RAISING and state == HALTED:
            # What stopped it may be where no sensor looks: another 5 s before the next try.
            self._free_ms = None
        elif state == DOWN:
            self._sinks = 0
        self._enter(state, now_ms)

    def _enter(self, state: int, now_ms: int) -> None:
        if state != self.state:
            self.state = state
            self._entered_ms = now_ms
            self._between_ms = self._sane_ms = None
