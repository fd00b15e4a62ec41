"""Asking a car on its CAN bus: queries in, frames and outcomes out.

Runs on CPython and MicroPython.  A question to everybody is one frame; each ECU that answers gets its own
ISO-TP conversation.  Whether the car uses ids of 11 or 29 bits is found by asking both ways.
Source: ISO 15765-4:2016, sections 5 and 10; ISO 15031-5 (P2); ISO 14229-2 (P2*, response pending).

    IDLE --ask--> ASKING --all expected answers, or P2 passed--> IDLE, Done
                  ASKING --78 response pending--> ASKING, with P2* for that ECU
                  ASKING --P2 passed, nobody, width unknown--> ASKING with the other width
"""

from obd.action import Action
from obd.can_frame import EXTENDED, CanFrame
from obd.errors import MessageTooLong, NotReady
from obd.isotp import Failed, IsoTp, Received, Sent, Transmit
from obd.isotp_address import normal
from obd.query import (
    BUS_FAULT,
    DAMAGED,
    EVERYBODY_11_BIT,
    EVERYBODY_29_BIT,
    NO_DATA,
    NOT_UNDERSTOOD,
    Answer,
    Done,
    Outcome,
    Query,
    Target,
    belongs_to,
    is_pending,
    outcome_of,
    target_of,
)

IDLE, ASKING = "idle", "asking"
P2_US = 100_000
"""How long an ECU may take: 50 ms by the standard, and as much again for gateways on the way."""
P2_STAR_US = 5_000_000
"""How long after `response pending`."""
PENDING_MAX = 20
"""Promises in a row that are believed."""
PAD = 0x55


class CanClient:
    """One tester on one bus.  Call `receive` with every frame, `tick` at `deadline_us`."""

    def __init__(self, is_29_bit: "bool | None" = None, *, size_max: int = 4095) -> None:
        """is_29_bit: None finds out."""
        self.state = IDLE
        self.is_29_bit = is_29_bit
        """Which ids the car uses; None until it has answered."""
        self.failures: list[str] = []
        """ISO-TP results of the last query that were none to be glad of."""
        self._size_max = size_max
        self._query = Query(b"", None, 0, 0, 0)
        self._is_wide = False
        self._channels: list[IsoTp] = []
        self._answers: list[Answer] = []
        self._until_us = 0
        self._pending: list[tuple[int, int]] = []
        """(ECU, until when) of promises that are open."""
        self._promises = 0

    @property
    def deadline_us(self) -> "int | None":
        """When `tick` is to be called, or None."""
        if self.state != ASKING:
            return None
        # While a message is on its way, only its own timers end the query.
        dues = [] if self._is_busy() else [self._ends_us()]
        for channel in self._channels:
            if channel.deadline_us is not None:
                dues.append(channel.deadline_us)
        return min(dues)

    def _is_busy(self) -> bool:
        """A message in several frames has begun and not ended, in either direction."""
        return any(channel.rx_state != IDLE or channel.tx_state != IDLE for channel in self._channels)

    def ask(self, query: Query, now_us: int) -> list[Action]:
        """Asks the car.  Raises NotReady while another query is open."""
        if self.state != IDLE:
            raise NotReady("the last query is not answered yet")
        self._query = query
        self.failures = []
        target = query.target
        self._is_wide = (target.request_id > 0x7FF) if target is not None else bool(self.is_29_bit)
        return self._begin(now_us)

    def _begin(self, now_us: int) -> list[Action]:
        query = self._query
        target: Target | None = query.target
        self._channels = []
        self._answers = []
        self._pending = []
        self._promises = 0
        if target is None:
            everybody = EVERYBODY_29_BIT if self._is_wide else EVERYBODY_11_BIT
            address = normal(everybody, everybody, self._is_wide, is_functional=True)
        else:
            address = normal(target.request_id, target.response_id, self._is_wide)
        sender = IsoTp(address, padding=PAD, size_max=self._size_max)
        if target is not None:
            self._channels.append(sender)
        self._until_us = now_us + (query.timeout_ms * 1000 or P2_US)
        try:
            actions = sender.send(query.data, now_us)
        except MessageTooLong as error:
            return [Done(Outcome(NOT_UNDERSTOOD, [], f"{error}"))]
        self.state = ASKING
        return [action for action in actions if isinstance(action, Transmit)]

    def receive(self, frame: CanFrame, now_us: int) -> list[Action]:
        """What follows from a frame; those of others, and those that come late, are ignored."""
        if self.state != ASKING:
            return []
        channel = self._channel(frame)
        if channel is None:
            return []
        return self._follow(channel, channel.receive(frame, now_us), now_us)

    def tick(self, now_us: int) -> list[Action]:
        """What is due."""
        if self.state != ASKING:
            return []
        actions: list[Action] = []
        for channel in self._channels:
            actions += self._follow(channel, channel.tick(now_us), now_us)
            if self.state != ASKING:
                return actions
        if now_us < self._ends_us() or self._is_busy():
            return actions
        if not self._answers and self._query.target is None and self.is_29_bit is None and not self._is_wide:
            self._is_wide = True
            return actions + self._begin(now_us)
        return actions + self._finish()

    def bus_failed(self, reason: str) -> list[Action]:
        """The frames could not be sent: an open query is over."""
        if self.state != ASKING:
            return []
        self.state = IDLE
        return [Done(Outcome(BUS_FAULT, self._answers, reason))]

    def _channel(self, frame: CanFrame) -> "IsoTp | None":
        """The conversation that a frame belongs to; a new one when an ECU speaks up."""
        for channel in self._channels:
            if channel.address.accepts(frame):
                return channel
        if self._query.target is not None:
            return None
        ecu: int = frame.arbitration_id
        target = target_of(ecu)
        if target is None or bool(frame.flags & EXTENDED) != self._is_wide or (ecu > 0x7FF) != self._is_wide:
            return None
        channel = IsoTp(normal(target.request_id, ecu, self._is_wide), padding=PAD, size_max=self._size_max)
        self._channels.append(channel)
        return channel

    def _follow(self, channel: IsoTp, actions: list[Action], now_us: int) -> list[Action]:
        """Passes frames on, and keeps what they tell."""
        passed: list[Action] = []
        for action in actions:
            if isinstance(action, Transmit):
                passed.append(action)
            elif isinstance(action, Failed):
                self.failures.append(f"{action.result}: {action.detail}")
                if action.is_sending:
                    return passed + self._finish()
            elif isinstance(action, Sent):
                # The ECU's time begins when it has the whole question.
                self._until_us = now_us + (self._query.timeout_ms * 1000 or P2_US)
            elif isinstance(action, Received):
                self._keep(channel.address.rx_id, action.data, now_us)
        expected: int = self._query.answer_count or (1 if self._query.target is not None else 0)
        if expected and len(self._answers) >= expected and not self._is_busy():
            return passed + self._finish()
        return passed

    def _keep(self, ecu: int, data: bytes, now_us: int) -> None:
        if not belongs_to(data, self._query.data):
            return
        self._pending = [(other, until_us) for other, until_us in self._pending if other != ecu]
        if is_pending(data):
            self._promises += 1
            if self._promises <= PENDING_MAX:
                self._pending.append((ecu, now_us + P2_STAR_US))
                return
        self._answers.append(Answer(ecu, data))

    def _ends_us(self) -> int:
        ends_us = self._until_us
        for _, until_us in self._pending:
            ends_us = max(ends_us, until_us)
        return ends_us

    def _finish(self) -> list[Action]:
        self.state = IDLE
        answers = self._answers
        for ecu, _ in self._pending:
            answers.append(Answer(ecu, bytes((0x7F, self._query.data[0], 0x78))))
        detail = "; ".join(self.failures)
        outcome = outcome_of(answers, detail)
        if outcome.problem == NO_DATA and self.failures:
            outcome = Outcome(DAMAGED, [], detail)
        if answers and self._query.target is None:
            self.is_29_bit = self._is_wide
        return [Done(outcome)]
