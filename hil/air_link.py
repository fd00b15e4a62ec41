"""One link of two radios in memory: connection events, latency, loss, and cuts at a chosen message.

Runs on CPython.  A message that a side hands over waits for its latency and then for the next connection
event, keeps its place in its direction, and may be lost there: then it is sent again at the next event, as
the link layer does, until the supervision timeout has passed and both sides are told.  Source: Bluetooth
Core 5.4, volume 6, part B, section 4.5.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

INTERVAL_UNIT_MS = 1.25
PACKET_BYTES_MAX = 251
PACKET_MS, BYTE_MS = 0.46, 0.008
"""Time on the air at 1 Mbit/s: of what is around a packet (14 bytes less its payload's, the empty packet that
acknowledges it, two pauses of 150 us), and of a byte.  Source: sections 2.1 and 4.1."""
FASTEST_INTERVAL_MS = 7.5
"""Between two tries of a lost message, when messages do not wait for connection events."""
ERROR_TIMEOUT = 0x08
"""What both sides hear of a link that has gone silent.  Source: volume 1, part F, section 2.8."""
ERROR_LOCAL_HOST = 0x16
"""What the side that disconnects hears.  Source: volume 1, part F, section 2.22."""


@dataclass(slots=True)
class Conditions:
    """How the air is; may be changed at any time, for what is handed over from then on."""

    latency_ms: float = 1.0
    """How long a message needs, in each direction, before it may be sent at a connection event."""
    interval_ms: float | None = 0.0
    """Time between connection events; 0: messages do not wait for any; None: what each connection agreed."""
    loss: float = 0.0
    """Share of the messages that are lost at a connection event, 0 to 1."""
    supervision_ms: float | None = None
    """Silence after which a connection is given up; None: what each connection agreed."""


class Cut:
    """Ends a link when its N-th message from now has been delivered: the next one is lost with the link."""

    def __init__(self, after: int, direction: str = "both", silence_ms: float = 0.0) -> None:
        """after: messages that still pass.  direction: of those that count, `both`, `up` (to the central)
        or `down`.  silence_ms: until both sides notice; 0: at once."""
        if after < 0 or direction not in ("both", "up", "down"):
            raise ValueError("a cut comes after 0 or more messages of the direction both, up or down")
        self.left = after
        self.direction = direction
        self.silence_ms = silence_ms
        self.is_done = False
        """The message came, and the link has been cut."""

    def takes(self, direction: str) -> bool:
        """Whether this message is the one that is lost."""
        if self.is_done or self.direction not in ("both", direction):
            return False
        if self.left:
            self.left -= 1
            return False
        self.is_done = True
        return True


@dataclass(slots=True)
class LinkFigures:
    """What has happened on one link."""

    messages: int = 0
    """Delivered, in both directions: L2CAP frames, which is one for each ATT message."""
    lost: int = 0
    """Tries that failed."""
    events_used: int = 0
    """Connection events in which at least one message passed."""
    trace: list[tuple[float, str, bytes]] = field(default_factory=list)
    """The newest TRACE_MAX: (ms since the connection, direction, L2CAP frame)."""


TRACE_MAX = 1_024


@dataclass(slots=True)
class _Waiting:
    due: float
    """Loop time at which its latency is over."""
    deliver: Callable[[], None]
    frame: bytes | None
    """What counts as a message; None: a control message of the link layer."""


class Link:
    """Two sides that are connected.  `up` is towards the central, `down` towards the peripheral."""

    def __init__(
        self,
        central: str,
        peripheral: str,
        conditions: Conditions,
        chance: random.Random,
        lose: Callable[[Link], None],
        *,
        agreed_interval_ms: float,
        agreed_supervision_ms: float,
    ) -> None:
        """central, peripheral: addresses.  lose: tells both sides; called once, unless `close` came first."""
        self.central = central
        self.peripheral = peripheral
        self.agreed_interval_ms = agreed_interval_ms
        self.agreed_supervision_ms = agreed_supervision_ms
        self.figures = LinkFigures()
        self.cuts: list[Cut] = []
        self.is_open = True
        self._conditions = conditions
        self._chance = chance
        self._lose = lose
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._queues: dict[str, deque[_Waiting]] = {"up": deque(), "down": deque()}
        self._timers: dict[str, asyncio.TimerHandle | None] = {"up": None, "down": None}
        self._failing_since: float | None = None
        self._is_silent = False
        self._end: asyncio.TimerHandle | None = None
        self._last_event = -1

    @property
    def interval_ms(self) -> float:
        """Between connection events, now."""
        chosen = self._conditions.interval_ms
        return self.agreed_interval_ms if chosen is None else chosen

    @property
    def supervision_ms(self) -> float:
        """Silence after which both sides give up."""
        chosen = self._conditions.supervision_ms
        return self.agreed_supervision_ms if chosen is None else chosen

    @property
    def age_ms(self) -> float:
        """Since the connection."""
        return (self._loop.time() - self._began) * 1_000

    @property
    def events(self) -> int:
        """Connection events since the connection, of the agreed interval when none is set."""
        return int(self.age_ms / (self.interval_ms or self.agreed_interval_ms))

    def send(self, direction: str, deliver: Callable[[], None], frame: bytes | None = None) -> None:
        """`deliver` is called when the other side gets it; never, if the link ends before."""
        if not self.is_open:
            return
        due = self._loop.time() + self._conditions.latency_ms / 1_000
        self._queues[direction].append(_Waiting(due, deliver, frame))
        self._arm(direction)

    def waiting(self, direction: str) -> int:
        """How much has been handed over and not yet passed."""
        return len(self._queues[direction])

    def silence(self, silence_ms: float | None = None) -> None:
        """From now on nothing passes, and after `silence_ms` (the supervision timeout) both sides know."""
        if self.is_open and not self._is_silent:
            self._is_silent = True
            self._stop_timers()
            wait_ms = self.supervision_ms if silence_ms is None else silence_ms
            self._end = self._loop.call_later(wait_ms / 1_000, self.lose)

    def resume(self) -> None:
        """Undoes `silence`, if it comes in time."""
        if self.is_open and self._is_silent and self._end is not None:
            self._is_silent = False
            self._end.cancel()
            self._end = None
            for direction in self._queues:
                self._arm(direction)

    def lose(self) -> None:
        """The link is gone, and both sides know."""
        if self.is_open:
            self.close()
            self._lose(self)

    def close(self) -> None:
        """Nothing is delivered any more."""
        self.is_open = False
        self._stop_timers()
        if self._end is not None:
            self._end.cancel()
        for queue in self._queues.values():
            queue.clear()

    def _stop_timers(self) -> None:
        for direction, timer in self._timers.items():
            if timer is not None:
                timer.cancel()
            self._timers[direction] = None

    def _arm(self, direction: str, after: float | None = None) -> None:
        """Sets the timer for the head of a queue.  after: an event at which it was lost."""
        queue = self._queues[direction]
        if self._is_silent or not queue or self._timers[direction] is not None:
            return
        when = max(queue[0].due, self._loop.time())
        interval = self.interval_ms / 1_000
        if interval:
            event = -(-(when - self._began - 1e-9) // interval)
            when = self._began + event * interval
            if after is not None and when <= after:
                when = after + interval
        elif after is not None:
            when = after + FASTEST_INTERVAL_MS / 1_000
        self._timers[direction] = self._loop.call_at(when, self._event, direction, when)

    def _event(self, direction: str, when: float) -> None:
        """A place in a connection event, at which one message passes; the next follows when it is through."""
        self._timers[direction] = None
        queue = self._queues[direction]
        if self._conditions.loss and self._chance.random() < self._conditions.loss:
            self.figures.lost += 1
            if self._failing_since is None:
                self._failing_since = when
            elif (when - self._failing_since) * 1_000 >= self.supervision_ms:
                self.lose()
                return
            self._arm(direction, after=when)
            return
        self._failing_since = None
        waiting = queue.popleft()
        frame = waiting.frame
        if frame is not None:
            cut = next((cut for cut in self.cuts if cut.takes(direction)), None)
            if cut is not None:
                self._cut(cut)
                return
            self._count(direction, when, frame)
        waiting.deliver()
        if not self.is_open or not queue:
            return
        end = when + airtime_ms(frame or b"") / 1_000
        if queue[0].due <= end:
            self._timers[direction] = self._loop.call_at(end, self._event, direction, end)
        else:
            self._arm(direction)

    def _cut(self, cut: Cut) -> None:
        if cut.silence_ms:
            self.silence(cut.silence_ms)
        else:
            self.lose()

    def _count(self, direction: str, when: float, frame: bytes) -> None:
        figures = self.figures
        figures.messages += 1
        interval = (self.interval_ms or self.agreed_interval_ms) / 1_000
        event = int((when - self._began) / interval + 1e-6)
        if event != self._last_event:
            figures.events_used += 1
            self._last_event = event
        figures.trace.append((self.age_ms, direction, frame))
        if len(figures.trace) > TRACE_MAX:
            del figures.trace[0]


def airtime_ms(frame: bytes) -> float:
    """How long the radio is busy with a message."""
    packets = max(1, -(-len(frame) // PACKET_BYTES_MAX))
    return packets * PACKET_MS + len(frame) * BYTE_MS
