"""Clocks that drift and a network that loses, doubles, delays and parts: all of it follows from a plan.

Runs on CPython.  True time is in microseconds and nobody's; each node has two clocks of its own.
"""

from random import Random

from tests.sim.plan import Plan


class Clock:
    """One machine's clocks.  The monotonic one begins anywhere, and again at each start."""

    def __init__(self, rng: Random, plan: Plan, start_ms: int) -> None:
        self._rng = rng
        self._start_ms = start_ms
        self._rate = 1_000_000 + rng.randint(-plan.drift_ppm, plan.drift_ppm)
        self._base_us = 0
        self._skew_ms = rng.randint(-plan.skew_ms, plan.skew_ms)
        self.jump_ms = 0
        """How far somebody has set the wall clock wrong."""
        self.restart()

    def restart(self) -> None:
        self._base_us = self._rng.randint(0, 1 << 40)

    def now_ms(self, time_us: int) -> int:
        return (self._base_us + time_us * self._rate // 1_000_000) // 1_000

    def wall_ms(self, time_us: int) -> int:
        # Somebody keeps it right but for its skew: only the monotonic clock drifts.
        return self._start_ms + time_us // 1_000 + self._skew_ms + self.jump_ms

    def time_us(self, now_ms: int) -> int:
        """The first moment at which the monotonic clock shows this."""
        return -((self._base_us - now_ms * 1_000) * 1_000_000 // self._rate)


class Network:
    """Says of each message when it arrives, if it does."""

    def __init__(self, plan: Plan, node_count: int) -> None:
        self._plan = plan
        self._random = Random(f"{plan.seed} network").random
        self._delay_us = plan.delay_us
        self._spread_us = plan.chaos_us - plan.delay_us
        self._tail = plan.tail
        self._loss, self._duplicates = plan.loss, plan.duplicates
        self._until_us = [[0] * node_count for _ in range(node_count)]
        """Until when a link is cut."""
        self.sent_count = self.lost_count = 0

    def arrivals(self, sender: int, receiver: int, time_us: int) -> tuple[int, ...]:
        """When a message that is sent now arrives: never, once or twice."""
        self.sent_count += 1
        random = self._random
        until_us = self._until_us[sender][receiver]
        if until_us > time_us:
            if not self._plan.is_held:
                self.lost_count += 1
                return ()
            time_us = until_us
        if self._loss and random() < self._loss:
            self.lost_count += 1
            return ()
        arrival_us = time_us + self._delay_us + int(self._spread_us * random() ** self._tail)
        if self._duplicates and random() < self._duplicates:
            return arrival_us, time_us + self._delay_us + int(self._spread_us * random())
        return (arrival_us,)

    def cut(self, links: list[tuple[int, int]], until_us: int) -> None:
        """These links, each from one node to another and not back, are cut until then."""
        for sender, receiver in links:
            self._until_us[sender][receiver] = max(self._until_us[sender][receiver], until_us)

    def heal(self) -> None:
        """From now on all arrives, in time."""
        self._spread_us, self._tail = self._plan.calm_us - self._plan.delay_us, 1
        self._loss = self._duplicates = 0
        for row in self._until_us:
            row[:] = [0] * len(row)
