"""A validator's shutter: in a flood it closes to all but the committee, and opens again by itself.

Runs on CPython; pure: the clock is handed in.

             more than `high` of a load, on average over WINDOW
        OPEN ----------------------------------------------------> SHUT
             <----------------------------------------------------
             at most `low` of every load in each of the last CALM seconds, and shut long enough

What strangers cost is bounded for each address and for all of them (peer_admission.py, peer.py,
rate_limit.py), so one attacker alone hardly gets here; many together do, and what they may cost together is
then better spent on blocks.  Proposers stay open and take transactions in: only who votes and does not
propose may shut.

It stays open for OPEN_MIN_MS at least, and shut for SHUT_MIN_MS, twice as long each time within FORGOTTEN_MS:
so it never shuts twice within OPEN_MIN_MS + SHUT_MIN_MS.
"""

from dataclasses import dataclass
from enum import Enum

WINDOW = 5
CALM = 20
"""Seconds of the picture above."""
OPEN_MIN_MS = 10_000
SHUT_MIN_MS = 30_000
DOUBLINGS_MAX = 5
FORGOTTEN_MS = 600_000
"""Who has been open for so long begins with the shortest time again."""


class Load(Enum):
    """What strangers make a node do; the value is for people."""

    HANDSHAKES = "connections of strangers"
    """That are worth a handshake by what is known of their address, whether they get one or not."""
    POINTS = "points against strangers"
    """For addresses that came into disgrace: 100 each."""
    BYTES = "bytes of strangers"
    """From plain nodes that have come to us."""
    REFUSALS = "refused requests"
    """Over JSON-RPC, transactions above all."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """Of one load, a second."""

    high: int
    low: int


THRESHOLDS = {
    Load.HANDSHAKES: Threshold(60, 15),
    Load.POINTS: Threshold(200, 50),
    Load.BYTES: Threshold(7 << 19, 1 << 20),
    Load.REFUSALS: Threshold(250, 60),
}
"""High is near what all strangers together may cost, and above what one address may, for nobody is to shut a
node alone; what honest ones do stays far below low."""


class Shutter:
    """Whether a validator is shut.  `note` what strangers do, and `tick` about once a second."""

    def __init__(self, now_ms: int) -> None:
        self.is_shut = False
        self.cause: Load | None = None
        """Of the present or last time."""
        self.rate = 0
        """Of that load a second, when it shut."""
        self.shut_count = 0
        """Times since the start."""
        self.changed_ms = now_ms
        """When it shut or opened; at first: when it began."""
        self._second = now_ms // 1000
        self._counts = {load: [0] * (CALM + 1) for load in Load}
        """By second, the present one first."""
        self._doublings = -1

    @property
    def words(self) -> str:
        """Why it is shut, for people; empty when it is open."""
        if not self.is_shut or self.cause is None:
            return ""
        return f"closed to all but the committee: {self.rate} {self.cause.value} a second"

    def note(self, load: Load, count: int, now_ms: int) -> None:
        """Strangers have cost so much."""
        self._move_to(now_ms // 1000)
        self._counts[load][0] += count

    def tick(self, now_ms: int) -> bool:
        """Time passes; whether it has shut or opened just now."""
        self._move_to(now_ms // 1000)
        age_ms = now_ms - self.changed_ms
        if self.is_shut:
            is_due = age_ms >= SHUT_MIN_MS << self._doublings and self._is_calm()
        else:
            is_due = age_ms >= OPEN_MIN_MS and self._is_flooded()
        if is_due:
            if not self.is_shut:
                self._doublings = min(self._doublings + 1, DOUBLINGS_MAX) if age_ms < FORGOTTEN_MS else 0
                self.shut_count += 1
            self.is_shut = not self.is_shut
            self.changed_ms = now_ms
        return is_due

    def wait_ms(self, now_ms: int) -> int:
        """The least time until it may open; at least a second."""
        return max(self.changed_ms + (SHUT_MIN_MS << max(self._doublings, 0)) - now_ms, 1_000)

    def _is_flooded(self) -> bool:
        for load, counts in self._counts.items():
            # Whole seconds only: the present one has just begun.
            rate = sum(counts[1 : 1 + WINDOW]) // WINDOW
            if rate > THRESHOLDS[load].high:
                self.cause, self.rate = load, rate
                return True
        return False

    def _is_calm(self) -> bool:
        return all(max(counts[1:]) <= THRESHOLDS[load].low for load, counts in self._counts.items())

    def _move_to(self, second: int) -> None:
        passed = min(second - self._second, CALM + 1)
        if passed > 0:
            self._second = second
            for counts in self._counts.values():
                counts[:] = [0] * passed + counts[: CALM + 1 - passed]
