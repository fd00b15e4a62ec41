"""Things that hang at a board's pins: a barrier, a bay with a car in it, a socket with a car at it.

Runs on CPython.  Pure: each is told what the pins do and how much time has passed, and says what they see.
Lengths in mm, times in us, currents in mA, voltages in mV; where real things are not exact, these are not
either, but the same each time.
"""

import random

from lock_controller.ultrasonic import NO_ECHO_US, NO_LINE_US, echo_us_of

STROKE = 1_000
"""A barrier's way, from bottom (0) to top."""


class Arm:
    """A barrier: arm, motor and limit switches.  Test with `blocked_at`, `is_low_stuck`, `is_high_stuck`."""

    def __init__(self) -> None:
        self.position = 0.0
        """0 is down, STROKE is up."""
        self.direction = 0
        """What the motor is told: 1 up, -1 down."""
        self.travel_ms = 3_000
        """Time from end to end."""
        self.blocked_at: int | None = None
        """Something holds the arm here on its way up, and the motor stalls."""
        self.is_jammed = False
        """It moves nowhere."""
        self.run_ma, self.stall_ma = 1_200, 4_500
        self.is_low_stuck: bool | None = None
        """A switch that is broken: what it says whatever is."""
        self.is_high_stuck: bool | None = None
        self.lifted_mm = 0
        """How far it has gone up while a car stood over it, in 1,000ths of its way: never more than 0."""
        self.stalled_us = 0
        """How long its motor has been held in all."""
        self.starts_up = 0
        """How often it has begun to go up."""

    def drive(self, direction: int) -> None:
        """What the motor's pins say now."""
        if direction > 0 and self.direction <= 0:
            self.starts_up += 1
        self.direction = direction

    @property
    def is_stalled(self) -> bool:
        """Whether the motor pushes against something that does not give."""
        if self.direction == 0:
            return False
        if self.is_jammed:
            return True
        if self.direction > 0:
            return self.position >= (STROKE if self.blocked_at is None else min(STROKE, self.blocked_at))
        return self.position <= 0

    @property
    def current_ma(self) -> int:
        """What the motor takes."""
        return 0 if self.direction == 0 else self.stall_ma if self.is_stalled else self.run_ma

    @property
    def is_low(self) -> bool:
        """The switch at the bottom."""
        return self.position <= 5 if self.is_low_stuck is None else self.is_low_stuck

    @property
    def is_high(self) -> bool:
        """The switch at the top."""
        return self.position >= STROKE - 5 if self.is_high_stuck is None else self.is_high_stuck

    def advance(self, passed_us: int, is_car_above: bool) -> None:
        """So much time passes."""
        if self.is_stalled:
            self.stalled_us += passed_us
        elif self.direction:
            was = self.position
            way = self.direction * passed_us / self.travel_ms
            top = STROKE if self.blocked_at is None or self.direction < 0 else min(STROKE, self.blocked_at)
            # What is blocked below where the arm is does not pull it down.
            self.position = max(0.0, min(was + way, max(float(top), was)))
            if is_car_above and self.position > was:
                self.lifted_mm += max(1, round(self.position - was))


class Bay:
    """A place for a car, seen by ultrasonic sensors; `seen_us` is what one of them hears."""

    def __init__(self, empty_mm: tuple[int, ...]) -> None:
        self.empty_mm = empty_mm
        """What is behind the bay, for each sensor."""
        self.has_car = False
        self.car_mm = 600
        """How far a car is from the sensors."""
        self.temperature_mdegc = 20_000
        self.is_silent = [False] * len(empty_mm)
        """Sensors that get no echo: a slanted windscreen, snow."""
        self.is_cut = [False] * len(empty_mm)
        """Sensors whose cable is cut."""
        self.stuck_us: list[int | None] = [None] * len(empty_mm)
        """Sensors that always say this."""
        self._random = random.Random(1)

    def echo_us(self, number: int) -> int:
        """What the sensor's echo line does after a ping, as `machine.time_pulse_us` says it."""
        if self.is_cut[number]:
            return NO_LINE_US
        if self.is_silent[number]:
            return NO_ECHO_US
        stuck_us = self.stuck_us[number]
        if stuck_us is not None:
            return stuck_us
        distance_mm = self.car_mm if self.has_car else self.empty_mm[number]
        # The air is never the same twice.
        return echo_us_of(distance_mm, self.temperature_mdegc) + self._random.randint(-12, 12)


_CAR_MV = {"A": 12_000, "B": 9_000, "C": 6_000, "D": 3_000, "E": 0}


class Socket:
    """A charging socket: pilot, contactor, mains, meter, and a car that may hang at it."""

    def __init__(self, pulses_per_kwh: int) -> None:
        self.car = "A"
        """What the car says: A nothing plugged, B plugged, C charges, D charges with air, E short."""
        self.has_diode = True
        self.duty_u16 = 65_535
        self.is_closed = False
        """What the contactor is told."""
        self.is_welded = False
        """Its contacts have melted together."""
        self.is_broken = False
        """Its coil is burnt: it never closes."""
        self.closed_us = 0
        """How long it has been told to be closed in all."""
        self.opened_at_us: int | None = None
        """When it was told to open last."""
        self.draw_w = 7_000
        """What a charging car takes."""
        self.is_meter_dead = False
        self.is_meter_mad = False
        """It pulses hundredfold."""
        self.energy_uwh = 0
        """What has really passed, in millionths of a Wh."""
        self._pulse_uwh = 1_000_000_000 // pulses_per_kwh
        self._counted_uwh = 0
        self._conversion_us = 0

    @property
    def is_live(self) -> bool:
        """Mains behind the contactor."""
        return self.is_welded or (self.is_closed and not self.is_broken)

    @property
    def passing_w(self) -> int:
        """What flows."""
        return self.draw_w if self.is_live and self.car in "CD" else 0

    def advance(self, passed_us: int) -> None:
        """So much time passes."""
        self.energy_uwh += self.passing_w * passed_us // 3_600
        if self.is_closed:
            self.closed_us += passed_us

    def pulses(self) -> int:
        """Pulses of the meter since this was asked last."""
        if self.is_meter_dead:
            self._counted_uwh = self.energy_uwh
            return 0
        count = (self.energy_uwh - self._counted_uwh) // self._pulse_uwh
        self._counted_uwh += count * self._pulse_uwh
        return count * 100 if self.is_meter_mad else count

    def pilot_mv(self, now_us: int) -> int:
        """The pilot's level now; conversions that are asked for at once follow each other by 61 us."""
        self._conversion_us = self._conversion_us + 61 & 0xFFFF
        phase = (now_us + self._conversion_us) % 1_000
        if phase * 65_535 < self.duty_u16 * 1_000:
            return _CAR_MV[self.car]
        if self.car == "E":
            return 0
        return -12_000 if self.has_diode or self.car == "A" else -_CAR_MV[self.car]


class Battery:
    """A battery: `mv` at rest; under a motor it sags."""

    def __init__(self, mv: int) -> None:
        self.mv = mv
