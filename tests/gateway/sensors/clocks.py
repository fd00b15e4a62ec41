"""A clock for tests: nothing waits, and every wait is on record."""

import asyncio

from gateway.sensors.source import Clock

START_NS = 1_800_000_000 * 10**9


class FakeClock:
    """Time passes only while somebody sleeps, and as much more as `cost_ns` says."""

    def __init__(self, cost_ns: int = 0) -> None:
        self.elapsed_ns = 0
        self.cost_ns = cost_ns
        self.sleeps: list[float] = []
        self.clock = Clock(
            now_ns=lambda: START_NS + self.elapsed_ns, monotonic_ns=lambda: self.elapsed_ns, sleep=self.sleep
        )

    async def sleep(self, seconds: float) -> None:
        """Lets others run, and so much time pass."""
        self.sleeps.append(seconds)
        self.elapsed_ns += int(seconds * 1e9) + self.cost_ns
        await asyncio.sleep(0)
