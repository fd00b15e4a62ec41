"""A simulated car and its driver: what they do from moment to moment.

Runs on CPython.  Pure and seeded: the same seed and steps give the same drive, bit for bit.  Not
physics for its own sake, but values that hang together: engine speed follows gear and road speed,
wheels differ in curves, coolant warms with load, fuel falls with torque.  SI units inside, the
usual ones of a dashboard outside, as the names say.
"""

from __future__ import annotations

import random

IDLE, ACCELERATE, CRUISE, BRAKE = "idle", "accelerate", "cruise", "brake"

NEXT_PHASES = {
    IDLE: (ACCELERATE,),
    ACCELERATE: (CRUISE,),
    CRUISE: (ACCELERATE, BRAKE, BRAKE),
    BRAKE: (CRUISE, ACCELERATE, IDLE, IDLE),
}
"""What may follow; more often where named twice.  IDLE follows BRAKE only once the car stands."""

SPEED_MAX_KMH = 130.0
IDLE_RPM = 780.0
_GEAR_RPM_PER_KMH = (0.0, 120.0, 68.0, 46.0, 34.0, 27.0, 22.5)
_SHIFT_UP_RPM, _SHIFT_DOWN_RPM = 2600.0, 1250.0
_GEARS = 6
_MASS_KG = 1450.0
_TRACK_M, _WHEEL_BASE_M, _STEERING_RATIO = 1.54, 2.63, 15.0
_AMBIENT_C = 17.5
_TANK_L = 50.0
_LITRE_PER_KJ = 1.0 / 9_000.0  # petrol at a third of its 32 MJ a litre, less friction


class Car:
    """State after the last `step`; every attribute is a value a sensor of a car would give."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.phase = IDLE
        self._phase_left_s = 2.0
        self._target_kmh = 0.0
        self._pedal = 0.0
        self._curve = 0.0
        self._curve_left_s = 0.0
        self.elapsed_s = 0.0
        self.speed_kmh = 0.0
        self.acceleration_ms2 = 0.0
        self.lateral_ms2 = 0.0
        self.yaw_rate_dps = 0.0
        self.steering_deg = 0.0
        self.steering_rate_dps = 0.0
        self.engine_rpm = IDLE_RPM
        self.throttle_percent = 0.0
        self.torque_nm = 20.0
        self.gear = 0
        self.brake_bar = 0.0
        self.coolant_c = _AMBIENT_C + 8.0
        self.oil_c = _AMBIENT_C + 5.0
        self.intake_c = _AMBIENT_C + 4.0
        self.ambient_c = _AMBIENT_C
        self.boost_kpa = 100.0
        self.fuel_l = self._random.uniform(22.0, 46.0)
        self.flow_lph = 0.7
        self.odometer_m = float(self._random.randrange(8_000_000, 160_000_000))
        self.trip_m = 0.0
        self.battery_v = 14.1
        self.battery_a = 6.0
        self.wheel_kmh = (0.0, 0.0, 0.0, 0.0)
        """Front left, front right, rear left, rear right."""
        self.tyre_kpa = tuple(self._random.uniform(228.0, 242.0) for _ in range(4))
        self.tyre_c = _AMBIENT_C

    @property
    def is_braking(self) -> bool:
        """The brake light is on."""
        return self.brake_bar > 0.5

    @property
    def turn_signal(self) -> int:
        """0 none, 1 left, 2 right: blinks in slow, tight curves."""
        is_lit = self.elapsed_s % 0.8 < 0.4
        if not is_lit or abs(self._curve) < 60.0:
            return 0
        return 1 if self._curve > 0 else 2

    @property
    def range_km(self) -> float:
        """How far the fuel goes at 6.2 l per 100 km."""
        return self.fuel_l / 0.062

    @property
    def fuel_percent(self) -> float:
        """Of a full tank."""
        return 100.0 * self.fuel_l / _TANK_L

    def step(self, dt_s: float) -> None:
        """Lets `dt_s` seconds pass; at most 0.1, or the integration becomes coarse."""
        self.elapsed_s += dt_s
        self._drive(dt_s)
        self._move(dt_s)
        self._shift()
        self._steer(dt_s)
        self._warm(dt_s)

    def _drive(self, dt_s: float) -> None:
        """The driver: chooses the phase, and moves the pedals towards what it wants."""
        self._phase_left_s -= dt_s
        reached = (self.phase == ACCELERATE and self.speed_kmh >= self._target_kmh) or (
            self.phase == BRAKE and self.speed_kmh <= max(self._target_kmh, 0.05)
        )
        if reached or (self.phase in (IDLE, CRUISE) and self._phase_left_s <= 0):
            self._choose_phase()
        if self.phase == ACCELERATE:
            wanted_throttle, wanted_brake = self._pedal, 0.0
        elif self.phase == CRUISE:
            # As much as holds the speed, and a little more or less to correct it.
            hold = 4.0 + self.speed_kmh**2 / 900.0
            wanted_throttle = min(max(hold + 2.5 * (self._target_kmh - self.speed_kmh), 0.0), 60.0)
            wanted_brake = 0.0
        elif self.phase == BRAKE:
            wanted_throttle, wanted_brake = 0.0, self._pedal
        else:
            wanted_throttle, wanted_brake = 0.0, 6.0
        self.throttle_percent += (wanted_throttle - self.throttle_percent) * min(dt_s * 5.0, 1.0)
        self.brake_bar += (wanted_brake - self.brake_bar) * min(dt_s * 6.0, 1.0)

    def _choose_phase(self) -> None:
        choice = self._random
        phase = choice.choice(NEXT_PHASES[self.phase])
        if self.phase == BRAKE and self.speed_kmh < 1.0:
            phase = IDLE
        elif self.phase == BRAKE and phase == IDLE:
            phase = CRUISE
        if phase == CRUISE and self.speed_kmh < 12.0:
            phase = ACCELERATE
        if phase == ACCELERATE and self.speed_kmh > SPEED_MAX_KMH - 25:
            phase = BRAKE
        self.phase = phase
        if phase == IDLE:
            self._phase_left_s = choice.uniform(2.0, 5.0)
        elif phase == ACCELERATE:
            self._target_kmh = min(self.speed_kmh + choice.uniform(25.0, 60.0), SPEED_MAX_KMH)
            self._pedal = choice.uniform(35.0, 85.0)
        elif phase == CRUISE:
            self._target_kmh = self.speed_kmh
            self._phase_left_s = choice.uniform(4.0, 11.0)
        else:
            is_stop = choice.random() < 0.6
            self._target_kmh = 0.0 if is_stop else self.speed_kmh * choice.uniform(0.3, 0.7)
            self._pedal = choice.uniform(12.0, 38.0)

    def _move(self, dt_s: float) -> None:
        """Forces along the road, and what the engine gives for them."""
        speed_ms = self.speed_kmh / 3.6
        power_kw = 0.95 * self.throttle_percent
        drive_n = min(power_kw * 1000.0 / max(speed_ms, 4.0), 6200.0)
        drag_n = 160.0 + 0.42 * speed_ms**2 if speed_ms > 0.05 else 0.0
        brake_n = 150.0 * self.brake_bar
        acceleration = (drive_n - drag_n - brake_n) / _MASS_KG
        new_ms = max(speed_ms + acceleration * dt_s, 0.0)
        self.acceleration_ms2 = (new_ms - speed_ms) / dt_s
        self.speed_kmh = new_ms * 3.6
        self.trip_m += new_ms * dt_s
        self.odometer_m += new_ms * dt_s
        self.torque_nm = 18.0 + min(power_kw * 9549.0 / max(self.engine_rpm, 900.0), 290.0)
        self.boost_kpa += (100.0 + 0.9 * self.throttle_percent - self.boost_kpa) * min(dt_s * 2.0, 1.0)
        burnt_l = (power_kw + 1.9 + self.engine_rpm / 2500.0) * dt_s * _LITRE_PER_KJ
        self.flow_lph = burnt_l / dt_s * 3600.0
        self.fuel_l = max(self.fuel_l - burnt_l, 0.5)
        wobble = self._random.uniform(-9.0, 9.0)
        wanted_rpm = max(IDLE_RPM, self.speed_kmh * _GEAR_RPM_PER_KMH[self.gear]) + wobble
        self.engine_rpm += (wanted_rpm - self.engine_rpm) * min(dt_s * 7.0, 1.0)

    def _shift(self) -> None:
        if self.speed_kmh < 0.5:
            self.gear = 0 if self.throttle_percent < 2.0 else 1
            return
        if self.gear == 0:
            self.gear = 1
        rpm = self.speed_kmh * _GEAR_RPM_PER_KMH[self.gear]
        if rpm > _SHIFT_UP_RPM + 12.0 * self.throttle_percent and self.gear < _GEARS:
            self.gear += 1
        elif rpm < _SHIFT_DOWN_RPM and self.gear > 1:
            self.gear -= 1

    def _steer(self, dt_s: float) -> None:
        """Curves now and then, tight ones only when slow; wheels and sideways forces follow."""
        self._curve_left_s -= dt_s
        if self._curve_left_s <= 0:
            tightest = 220.0 / (1.0 + (self.speed_kmh / 22.0) ** 2)
            is_straight = self._random.random() < 0.5
            self._curve = 0.0 if is_straight else self._random.uniform(-tightest, tightest)
            self._curve_left_s = self._random.uniform(2.0, 6.0)
        limit = 240.0 / (1.0 + (self.speed_kmh / 22.0) ** 2)
        wanted = min(max(self._curve, -limit), limit) + self._random.uniform(-0.8, 0.8)
        before = self.steering_deg
        if self.speed_kmh > 0.5:
            self.steering_deg += (wanted - before) * min(dt_s * 1.8, 1.0)
        self.steering_rate_dps = (self.steering_deg - before) / dt_s
        speed_ms = self.speed_kmh / 3.6
        # Small angles: a bicycle of this wheel base.
        yaw_rps = speed_ms * self.steering_deg / _STEERING_RATIO * 0.017453 / _WHEEL_BASE_M
        self.yaw_rate_dps = yaw_rps / 0.017453
        self.lateral_ms2 = yaw_rps * speed_ms
        across = yaw_rps * _TRACK_M / 2 * 3.6
        slip = self._random.uniform(-0.02, 0.02) if self.speed_kmh > 1 else 0.0
        left, right = max(self.speed_kmh - across, 0.0), max(self.speed_kmh + across, 0.0)
        self.wheel_kmh = (max(left + slip, 0.0), max(right - slip, 0.0), left, right)

    def _warm(self, dt_s: float) -> None:
        load = 0.4 + self.throttle_percent / 60.0
        self.coolant_c += (90.0 - self.coolant_c) * min(dt_s * load / 70.0, 1.0)
        self.oil_c += (self.coolant_c + 6.0 - self.oil_c) * min(dt_s / 90.0, 1.0)
        wanted_intake = self.ambient_c + 6.0 + 0.25 * self.throttle_percent
        self.intake_c += (wanted_intake - self.intake_c) * min(dt_s / 15.0, 1.0)
        self.tyre_c += (_AMBIENT_C + self.speed_kmh / 8.0 - self.tyre_c) * min(dt_s / 120.0, 1.0)
        lamps_a = 3.0 if self.is_braking else 0.0
        self.battery_a += (5.0 - lamps_a - self.battery_a) * min(dt_s * 2.0, 1.0)
        self.battery_v = 14.15 - 0.02 * lamps_a + self._random.uniform(-0.012, 0.012)
