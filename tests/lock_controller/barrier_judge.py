"""A barrier's judge: drives one through what happens, and says what it must never do.

It keeps its own account of what a car, the sensors and the clock were, apart from the machine's.
"""

import random
from types import ModuleType

from lock_controller import barrier as shipped
from lock_controller.ultrasonic import FREE, TAKEN, UNKNOWN

STALL_MA, RUN_MA = 3_000, 1_000
RAISE_MV, WEAK_MV = 11_400, 10_800
MOVE_MS = 4_000
LIMITS = (STALL_MA, MOVE_MS, 1_000, RAISE_MV, WEAK_MV)


class Broken(AssertionError):
    """It did what it must not."""


class Judge:
    """One barrier of `module`, with an arm that moves as it is driven, and its own account of everything."""

    def __init__(self, module: ModuleType = shipped, position_ms: int = 0) -> None:
        self.module = module
        self.machine = module.Barrier(module.Limits(*LIMITS))
        self.now_ms = 1_000
        self.position_ms = position_ms
        """How long it has gone up."""
        self.top_ms = 3_000
        self.motor = module.STILL
        self.blocked_at_ms: int | None = None
        self.is_jammed = False
        self.low: bool | None = None
        self.high: bool | None = None
        self.first = self.second = FREE
        self.near = False
        self.battery_mv: int | None = 12_500
        self.is_released = False
        self.free_since_ms: int | None = None
        self.raising_since_ms: int | None = None
        self.stalls_since_word = 0
        self.seen: list[int] = []

    def open(self) -> None:
        self.machine.open()
        self.is_released = False
        self.stalls_since_word = 0

    def release(self) -> None:
        self.machine.release()
        self.is_released = True
        self.stalls_since_word = 0
        self.free_since_ms = None

    def _is_stalled(self) -> bool:
        if self.motor == self.module.STILL:
            return False
        if self.is_jammed:
            return True
        top = self.top_ms if self.blocked_at_ms is None else min(self.top_ms, self.blocked_at_ms)
        return self.position_ms >= top if self.motor == self.module.LIFT else self.position_ms <= 0

    def step(self, passed_ms: int = 20, odd_ma: int | None = None) -> int:
        """Time passes, the barrier looks; raises Broken."""
        if not self._is_stalled():
            self.position_ms = min(max(self.position_ms + self.motor * passed_ms, 0), self.top_ms)
            if self.blocked_at_ms is not None and self.motor == self.module.LIFT:
                self.position_ms = min(self.position_ms, self.blocked_at_ms)
        self.now_ms += passed_ms
        is_low = self.position_ms <= 10 if self.low is None else self.low
        is_high = self.position_ms >= self.top_ms - 10 if self.high is None else self.high
        current_ma = 0
        if self.motor != self.module.STILL:
            current_ma = STALL_MA + 500 if self._is_stalled() else RUN_MA
        if odd_ma is not None:
            current_ma = odd_ma
        if self.first != FREE or self.second != FREE:
            self.free_since_ms = None
        elif self.free_since_ms is None or passed_ms > 1_500:
            self.free_since_ms = self.now_ms
        senses = self.module.Senses(
            is_low, is_high, current_ma, self.first, self.second, self.near, self.battery_mv
        )
        was = self.motor
        self.motor = self.machine.tick(senses, self.now_ms)
        self.seen.append(self.machine.state)
        if is_low and is_high:
            # What was to happen must be said anew once nobody knows where it is.
            self.is_released = False
        self._judge(was, passed_ms, is_low, is_high, current_ma)
        return int(self.motor)

    def _judge(self, was: int, passed_ms: int, is_low: bool, is_high: bool, current_ma: int) -> None:
        module = self.module
        if self.motor == module.LIFT:
            began = was != module.LIFT
            if began:
                self.raising_since_ms = self.now_ms
            assert self.raising_since_ms is not None
            up_ms = self.now_ms - self.raising_since_ms
            self._refuse(not self.is_released, "it rises for nobody")
            self._refuse(self.first != FREE or self.second != FREE, "it rises where it is not free")
            self._refuse(
                self.free_since_ms is None or self.now_ms - self.free_since_ms < 5_000, "not free for 5 s"
            )
            self._refuse(self.near, "a paired vehicle is near")
            self._refuse(is_low and is_high, "it does not know where it is")
            self._refuse(is_high, "it pushes against the top")
            low_battery = self.battery_mv is not None and self.battery_mv < RAISE_MV
            self._refuse(began and low_battery, "its battery may not bring it down again")
            self._refuse(self.stalls_since_word >= 3, "a fourth try")
            self._refuse(up_ms > MOVE_MS, "it rises for ever")
            self._refuse(up_ms > 1_000 and is_low, "it does not leave the bottom")
            if not began:
                self._refuse(passed_ms > 100, "it rose with nobody looking, and goes on")
                self._refuse(current_ma >= STALL_MA and up_ms >= 100, "it pushes against what holds it")
        elif was == module.LIFT:
            up_ms = self.now_ms - (self.raising_since_ms or 0)
            if not is_high and not (is_low and is_high):
                is_stall = current_ma >= STALL_MA and up_ms >= module.INRUSH_MS
                is_slow = up_ms > MOVE_MS or (up_ms > 1_000 and is_low)
                if is_stall or is_slow or passed_ms > 100:
                    self.stalls_since_word += 1
            elif is_high:
                self.stalls_since_word = 0
        if self.motor == module.SINK and was == module.LIFT:
            raise Broken("it turns back without a rest")
        if self.motor != module.STILL:
            self._refuse(is_low and is_high, "it moves and does not know where it is")

    @staticmethod
    def _refuse(is_bad: bool, why: str) -> None:
        if is_bad:
            raise Broken(why)


def random_life(module: ModuleType, seed: int, steps: int = 1_500) -> Judge:
    """A life that leads into every corner; raises Broken.  The same for the same seed."""
    chance = random.Random(seed)
    judge = Judge(module, position_ms=chance.choice((0, 0, 0, 1_500, 3_000)))
    judge.step()
    judge.release()
    for _ in range(steps):
        what = chance.random()
        if what < 0.004:
            judge.first = chance.choice((FREE, FREE, TAKEN, UNKNOWN))
        elif what < 0.008:
            judge.second = chance.choice((FREE, FREE, TAKEN, UNKNOWN))
        elif what < 0.011:
            judge.near = chance.random() < 0.3
        elif what < 0.014:
            judge.battery_mv = chance.choice((12_500, 12_500, 11_000, 10_000, None))
        elif what < 0.018:
            judge.blocked_at_ms = chance.choice((None, None, 0, 700, 2_000))
        elif what < 0.020:
            judge.is_jammed = chance.random() < 0.3
        elif what < 0.023:
            judge.low = chance.choice((None, None, None, True, False))
        elif what < 0.026:
            judge.high = chance.choice((None, None, None, True, False))
        elif what < 0.029:
            judge.open()
        elif what < 0.036:
            judge.release()
        elif what < 0.042:
            judge.first = judge.second = FREE
            judge.near, judge.low, judge.high, judge.battery_mv = False, None, None, 12_500
            judge.is_jammed = False
        is_still = judge.motor == module.STILL
        passed_ms = chance.choice((20, 20, 20, 60, 100)) if not is_still else chance.choice((20, 100, 500))
        if chance.random() < 0.004:
            passed_ms = chance.choice((101, 400, 1_400, 1_600, 6_000))
        judge.step(passed_ms)
    return judge
