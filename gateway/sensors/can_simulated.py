"""`sim:car`: a simulated driving car on a CAN bus, for demos and benches without hardware.

Runs on CPython.  Its natural rate is 546 frames a second; `rate_hz` stretches all periods alike.
The same seed gives the same drive, however it is paced: `speed` works as for a replay.  What the
frames mean stands in `car.dbc`.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

from gateway.sensors.can_replay import WINDOW_NS, Pacer, shifted
from gateway.sensors.car_messages import DBC_PATH, MESSAGES, Packer
from gateway.sensors.car_model import Car
from gateway.sensors.source import Batch, Clock, Source, SourceUrl
from obd.can_frame import CanFrame

__all__ = ["DBC_PATH", "SimulatedBus", "SimulatedSource", "open_can_simulated"]

TICK_NS = 10_000_000
"""Natural step of the schedule: the shortest period."""
RATE_HZ_MAX = 100_000
FRAMES_PER_TICK = sum(1 / message.period_ticks for message in MESSAGES)
_BATCH_FRAMES = 500
_FRAME_ON_BUS_NS = 230_000
"""An 8-byte frame at 500 kbit/s, stuffing included."""


class SimulatedBus:
    """What is on the car's bus, tick by tick.  Pure: the same arguments give the same frames."""

    def __init__(self, seed: int, rate_hz: int | None = None) -> None:
        self.car = Car(seed)
        self._jitter = random.Random(seed + 1)
        self.tick_ns = TICK_NS if rate_hz is None else max(round(FRAMES_PER_TICK * 10**9 / rate_hz), 1)
        self._ticks = 0
        # Spread over the ticks, so that slow messages do not all come at once.
        self._schedule = [
            (Packer(message), message.period_ticks, index % message.period_ticks)
            for index, message in enumerate(MESSAGES)
        ]
        self._on_bus_ns = min(_FRAME_ON_BUS_NS, self.tick_ns // (len(MESSAGES) + 1))

    @property
    def elapsed_ns(self) -> int:
        """Simulated time since the start."""
        return self._ticks * self.tick_ns

    def tick(self, taken_ns: list[int], frames: list[CanFrame]) -> None:
        """Appends the frames of the next tick; times count from the start of the drive."""
        self.car.step(self.tick_ns / 1e9)
        now_ns = self.elapsed_ns + self._jitter.randrange(self._on_bus_ns // 4 + 1)
        for packer, period, phase in self._schedule:
            if self._ticks % period == phase:
                taken_ns.append(now_ns)
                frames.append(packer.pack(self.car))
                now_ns += self._on_bus_ns
        self._ticks += 1


class SimulatedSource(Source):
    """The simulated bus as a source."""

    kind = "can"

    def __init__(
        self,
        name: str,
        clock: Clock,
        *,
        seed: int = 1,
        rate_hz: int | None = None,
        duration_ms: int = 0,
        speed: float | None = 1.0,
    ) -> None:
        super().__init__(name)
        self._clock = clock
        self._bus = SimulatedBus(seed, rate_hz)
        self._duration_ns = duration_ms * 10**6
        self._pacer = Pacer(clock, speed)

    def progress(self) -> tuple[int, int]:
        """Simulated milliseconds, and how many there will be; 0 for no end."""
        return (self._bus.elapsed_ns // 10**6, self._duration_ns // 10**6)

    async def close(self) -> None:
        """Ends `batches`."""
        self._pacer.close()

    async def batches(self) -> AsyncIterator[Batch]:
        """The drive, from now on."""
        start_ns = self._clock.now_ns()
        bus = self._bus
        while not self._duration_ns or bus.elapsed_ns < self._duration_ns:
            taken: list[int] = []
            frames: list[CanFrame] = []
            until_ns = bus.elapsed_ns + WINDOW_NS
            while bus.elapsed_ns < until_ns and len(frames) < _BATCH_FRAMES:
                bus.tick(taken, frames)
            for part in self._pacer.parts(shifted(Batch(taken, frames), start_ns)):
                await self._pacer.wait_for(part)
                if self._pacer.is_closed():
                    return
                self.stats.received += len(part.values)
                yield part


def open_can_simulated(url: SourceUrl, name: str, clock: Clock) -> SimulatedSource:
    """Opens `sim:car`.  Raises BadSourceUrl."""
    if url.target != "car":
        raise url.bad(f"unknown model {url.target!r}; known is car; for example: sim:car?seed=1")
    rate_hz = url.number("rate_hz", 0, 10, RATE_HZ_MAX)
    return SimulatedSource(
        name,
        clock,
        seed=url.number("seed", 1, 0, 2**32 - 1),
        rate_hz=rate_hz or None,
        duration_ms=url.number("seconds", 0, 0, 10**9) * 1000,
        speed=url.speed("1"),
    )
