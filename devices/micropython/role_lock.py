"""The role of a parking lock: what a grant makes of its barrier.

Runs on MicroPython.  OPEN lets the barrier down for a holder and keeps it down.  CLOSE, by the holder or the
gateway, says that the session is settled; so does `hold_ms`, when nobody has said anything for so long.  Then
it goes up as soon as the interlock of lock_controller/barrier.py lets it.  After power-on nobody is known to
hold it: it stays as it is until OPEN, CLOSE or `hold_ms`.

Reasons of `act`: 64 the switches contradict each other, 65 somebody else holds it, 66 not yours to close.
"""

from devices.micropython import hal, hal_lock, log_ring
from lock_controller import barrier
from lock_controller.barrier import Barrier, Limits, Senses
from lock_controller.ultrasonic import Ranger, Span
from puf.grant import CLOSE, OPEN

CONFUSED, HELD, NOT_YOURS = 64, 65, 66
SETTINGS: "dict[str, tuple[int | str, int | None, int]]" = {
    "hold_ms": (86_400_000, 60_000, 604_800_000),
    "near_ms": (10_000, 0, 600_000),
}
"""How long a bay is held without a word; how long after a vehicle's connection it still counts as near."""
MOVING_MS, WAITING_MS, RESTING_MS = 20, 100, 1_000
"""Between two looks."""
PINGS_APART = 3
"""Looks between pings while the motor turns: the echo of one must have died before the next."""
SLOW_MS = 5_000
"""Between looks at what changes slowly: temperature, and the battery at rest."""
HEAT_MDEGC = 15_000
"""By so much a chip that never sleeps is warmer than the air."""


class Role:
    """A lock.  `data`: of the board, for a lock; `gateway`: bytes, who may close anything.

    `is_near()`: whether a paired vehicle is connected.
    """

    KIND = "lock"
    ACTIONS = OPEN | CLOSE

    def __init__(
        self, data: "dict[str, object]", settings: object, log: object, gateway: bytes, is_near: object,
        clock: object,
    ) -> None:  # fmt: skip
        self._motor = hal_lock.Motor(data["motor"])
        self._limits = hal_lock.Limits(data["limits"])
        self._shunt = hal_lock.Shunt(data["current"])
        self._battery = hal.Battery(data["battery"]) if "battery" in data else None
        sonars: list[dict[str, int]] = data["sonars"]
        self._sonars = [hal.Sonar(one) for one in sonars]
        self._rangers = [Ranger(Span(one["empty_mm"], one["margin_mm"])) for one in sonars]
        limits: dict[str, int] = data["barrier"]
        self._barrier = Barrier(
            Limits(
                limits["stall_ma"], limits["move_ms_max"], limits["leave_ms_max"], limits["raise_mv_min"],
                limits["weak_mv"],
            )
        )  # fmt: skip
        self._settings, self._log, self._gateway = settings, log, gateway
        self._is_near, self._clock = is_near, clock
        self._holder = b""
        self._held_ms: int | None = None
        # Until it is known who is near, somebody is.
        self._near_ms: int = clock()
        self._look = 0
        self._mdegc = 20_000
        self._slow_ms: int | None = None
        self._battery_mv: int | None = None
        self._timer: object = None
        self._is_busy = False
        self._said = -1, -1

    def act(self, action: int, holder: bytes, now_ms: int) -> int:
        """Does OPEN or CLOSE; 0, or why not."""
        if action == OPEN:
            if self._barrier.state == barrier.CONFUSED:
                return CONFUSED
            if self._holder and holder != self._holder:
                return HELD
            self._holder, self._held_ms = holder, now_ms
            self._barrier.open()
        elif action == CLOSE:
            if self._holder and holder not in (self._holder, self._gateway):
                return NOT_YOURS
            self._release()
        else:
            return NOT_YOURS
        self._step(now_ms)
        return 0

    def _release(self) -> None:
        self._holder = b""
        self._barrier.release()

    def status(self) -> "dict[str, object]":
        """What an operator wants to know."""
        first, second = self._rangers
        made: dict[str, object] = {
            "state": barrier.NAMES[self._barrier.state],
            "fault": barrier.FAULTS[self._barrier.fault],
            "waits": self._barrier.missing if self._barrier.is_released else 0,
            "tries": self._barrier.tries,
            "held": bool(self._holder),
            "distance_mm": first.distance_mm,
            "second_mm": second.distance_mm,
            "sonars": [first.trouble, second.trouble],
        }
        if self._battery_mv is not None:
            made["battery_mv"] = self._battery_mv
        return made

    def tick(self, now_ms: int) -> int:
        """Looks and acts; ms until the next look is due."""
        if self._held_ms is None:
            self._held_ms = now_ms
        elif not self._barrier.is_released and now_ms - self._held_ms >= self._settings.get("hold_ms"):
            self._log.write(log_ring.WARNING, "held for too long: released")
            self._release()
            self._held_ms = now_ms
        self._step(now_ms)
        if self._barrier.state in (barrier.RAISING, barrier.LOWERING, barrier.HALTED):
            return MOVING_MS
        if self._barrier.is_released and self._barrier.state != barrier.UP:
            return WAITING_MS
        return RESTING_MS

    def is_moving(self, now_ms: int) -> bool:
        """Whether the motor turns: no time for anything slow."""
        return self._barrier.is_moving

    def can_sleep(self, now_ms: int) -> bool:
        """A lock listens always."""
        return False

    def _step(self, now_ms: int) -> None:
        # The timer comes between any two steps of the program, and must not come into the middle of this one.
        if self._is_busy:
            return
        self._is_busy = True
        try:
            self._sense(now_ms)
        except Exception:
            # Whatever it is, nothing may go on by itself.
            self._motor.drive(0)
            raise
        finally:
            self._is_busy = False

    def _sense(self, now_ms: int) -> None:
        is_moving = self._barrier.is_moving
        self._look += 1
        if not is_moving:
            if self._slow_ms is None or now_ms - self._slow_ms >= SLOW_MS:
                self._slow_ms = now_ms
                self._mdegc = hal.temperature_mdegc(HEAT_MDEGC)
                if self._battery is not None:
                    self._battery_mv = self._battery.mv()
            for number in (0, 1):
                self._ping(number, now_ms)
        elif self._look % PINGS_APART == 0:
            self._ping(self._look // PINGS_APART % 2, now_ms)
        if self._is_near():
            self._near_ms = now_ms
        near_ms = self._settings.get("near_ms")
        # A ping takes its time: what the barrier is told must be of now.
        now_ms = self._clock()
        is_low, is_high = self._limits.read()
        senses = Senses(
            is_low,
            is_high,
            self._shunt.current_ma() if is_moving else 0,
            self._rangers[0].state(now_ms),
            self._rangers[1].state(now_ms),
            now_ms - self._near_ms <= near_ms,
            self._battery_mv,
        )
        self._motor.drive(self._barrier.tick(senses, now_ms))
        self._watch()

    def _ping(self, number: int, now_ms: int) -> None:
        self._rangers[number].feed(self._sonars[number].ping(), self._mdegc, now_ms)

    def _watch(self) -> None:
        """The timer looks while the motor turns; what has changed is logged."""
        if self._barrier.is_moving:
            if self._timer is None:
                self._timer = hal.every(MOVING_MS, self._wake)
        elif self._timer is not None:
            self._timer.deinit()
            self._timer = None
        said = self._barrier.state, self._barrier.fault
        if said != self._said:
            self._said = said
            fault = barrier.FAULTS[said[1]]
            level = log_ring.WARNING if fault else log_ring.INFO
            self._log.write(level, f"barrier {barrier.NAMES[said[0]]}" + (f": {fault}" if fault else ""))

    def _wake(self, timer: object) -> None:
        self._step(self._clock())
