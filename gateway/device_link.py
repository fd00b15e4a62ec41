"""The gateway's side of one connection to a device, or a visitor's: proves both, then asks.

Runs on CPython.  Pure: messages and the clock in, messages out.  The other end is
devices/micropython/session.py.

    IDLE -- start --> VISITING (fast path) ------------------ both proved --> PROVED -- ask, answer --+
      |                  ^  |                                                    ^                    |
      |                  |  `-- no such name, and curves are done --> MEETING    `--------------------+
      `-- no pairing --> MEETING (EDHOC, perhaps with a cookie) -- the pairing is kept --> VISITING
    any error --> OVER

What a step asks to be kept must be kept before its message is sent: puf/fast_path.py says why.  A connection
that ends at any message is made good by the next one: a lost message 3 is found by the device under the next
name, a lost message 4 by the name that it does not know, upon which both meet in full again.
"""

from collections.abc import Callable
from dataclasses import dataclass

from devices.micropython import commands
from devices.micropython.channel import Channel
from devices.micropython.errors import SealError
from gateway.errors import DeviceLinkError, DeviceRefused, DeviceUnproven
from puf.cookie import Knock
from puf.edhoc import DONE as MET
from puf.edhoc import Identity, Initiator, known
from puf.edhoc_credential import Credential
from puf.edhoc_keys import RESUMPTION
from puf.errors import CookieError, DecodeError, EdhocError, FastPathError
from puf.fast_path import NONCE_BYTES, UNKNOWN
from puf.fast_path import Initiator as Visit
from puf.fast_path_keys import Pairing, Session

IDLE, MEETING, VISITING, PROVED, OVER = "idle", "meeting", "visiting", "proved", "over"

MEETING_MS = 30_000
"""From message_1 to the end: a board computes for seconds, and the air may be bad."""
VISIT_MS = 10_000
ANSWER_MS = 15_000
"""For an answer: a lock may have to look twice, an update to check a signature."""

LAST_WORDS = {
    commands.BUSY: "it is busy: others are there, or it moves; try again in some seconds",
    commands.FRAME_WRONG: "the link garbled a message; try again",
    commands.OUT_OF_TURN: "it did not expect this message; try again",
    commands.NOT_SEALED: "a message was altered on its way; try again",
    commands.TOO_SLOW: "it waited too long for us; go nearer, and try again",
    commands.NO_CURVES: "it does no curves, so only the gateway that enrolled it can meet it",
    commands.FAILED: "something in it failed; try again, and look at its log: cpc device log",
}
REASONS = {
    1: "that was no grant, and no word on the time",
    2: "the grant was revoked; issue a new one: cpc device grant",
    3: "the grant was made with a key that the device does not know; issue a new one: cpc device grant",
    4: "the grant, or the word on the time, was not made by the gateway that enrolled the device",
    5: "the grant is for another device",
    6: "the grant is somebody else's",
    7: "the grant does not allow this action",
    8: "the device does not know the time; let its gateway tell it: cpc device state",
    9: "the grant has not begun",
    10: "the grant has ended; issue a new one: cpc device grant",
    11: "the grant was used, or is too old to tell; issue a new one: cpc device grant",
    12: "the word on the time came too late; ask again",
    commands.FORMAT_WRONG: "the device cannot read this request; update the one that is older",
    commands.COMMAND_UNKNOWN: "the device knows no such request; update its firmware",
    commands.NOT_YOURS: "only the gateway that enrolled the device may ask this, or who has shown it a grant",
    commands.NOT_HERE: "the device has no such part, does no such thing, or was given no key for grants yet: "
    "cpc device state gives it one",
    commands.SETTING_REFUSED: "it has no such setting, or not with this value; its log says which",
    commands.FAULT: "something in the device failed; look at its log: cpc device log",
}
"""What to say for a reason of commands.py; those from ROLE_REASON_MIN on are the role's own."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who connects."""

    name: bytes
    """Who it is to the device: the gateway's name on the chain, or a visitor's public key; 32 bytes."""
    identity: Identity | None
    """Its key for a first meeting; None where the device does no curves."""


@dataclass(frozen=True, slots=True)
class Callee:
    """Whom it connects to."""

    name: bytes
    """The device's name on the chain, 32 bytes."""
    credential: Credential | None
    """The device's key, from its document; None for one that does no curves."""


@dataclass(frozen=True, slots=True)
class PairingStore:
    """Where the caller keeps what it shares with this device between meetings."""

    load: Callable[[], Pairing | None]
    keep: Callable[[Pairing], None]
    """Synced when it returns."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a message leads to, in this order."""

    save: Pairing | None
    """Keep this, synced, in place of the pairing before; only then send."""
    send: bytes
    """For the device; empty for nothing."""


class DeviceLink:
    """One connection.  `state`; `meetings`: whether there was a first meeting; `session` once PROVED.

    Methods raise DeviceUnproven, DeviceRefused, DeviceLinkError; the connection is over then, except
    that after DeviceRefused of an answer the session goes on.
    """

    def __init__(
        self,
        caller: Caller,
        callee: Callee,
        pairing: Pairing | None,
        random: Callable[[int], bytes],
        *,
        is_first: bool = False,
    ) -> None:
        """pairing: kept of the last meeting, or None.  is_first: meet in full, whatever is kept."""
        self.state = IDLE
        self.has_met = False
        self.session: Session | None = None
        self.deadline_ms = 0
        self.sizes: list[int] = []
        """Bytes of each message until both were proved."""
        self._caller = caller
        self._callee = callee
        self._pairing = pairing
        self._random = random
        self._is_first = is_first
        self._endpoint: Initiator | None = None
        self._knock: Knock | None = None
        self._visit: Visit | None = None
        self._channel: Channel | None = None
        self._asked = 0

    def start(self, now_ms: int) -> bytes:
        """The first message."""
        if self._pairing is None or self._is_first:
            return self._meet(now_ms)
        return self._begin_visit(self._pairing, now_ms)

    def receive(self, data: bytes, now_ms: int) -> Step:
        """What follows from a message that came before both were proved."""
        self.sizes.append(len(data))
        self.tick(now_ms)
        self._look_for_last_word(data)
        try:
            if self.state == MEETING:
                step = self._met(data, now_ms)
            elif self.state == VISITING:
                step = self._visited(data, now_ms)
            else:
                raise self._over(DeviceLinkError(f"a message came when all was {self.state}; try again"))
        except FastPathError as error:
            raise self._over(DeviceUnproven(f"the device did not prove itself: {error}")) from error
        except (EdhocError, CookieError) as error:
            raise self._over(DeviceUnproven(f"the first meeting failed: {error}")) from error
        if step.send:
            self.sizes.append(len(step.send))
        return step

    def tick(self, now_ms: int) -> None:
        """Raises DeviceLinkError once the device has been silent for too long."""
        if self.state not in (IDLE, OVER) and self.deadline_ms and now_ms >= self.deadline_ms:
            state = self.state
            raise self._over(
                DeviceLinkError(f"the device was silent for too long when {state}; go nearer, and try again")
            )

    # ------------------------------------------------------------------ both prove themselves

    def _meet(self, now_ms: int) -> bytes:
        identity, credential = self._caller.identity, self._callee.credential
        if identity is None or credential is None:
            raise self._over(
                DeviceUnproven(
                    "device and gateway share no key any more, and the device does no curves; enrol it anew: "
                    "cpc device re-enroll"
                )
            )
        self._endpoint = Initiator(identity, known(credential), b"\x00", self._random(32), has_message_4=True)
        self.state, self.deadline_ms = MEETING, now_ms + MEETING_MS
        self.has_met = True
        message = self._endpoint.start()
        self._knock = Knock(message)
        self.sizes = [len(message)]
        return message

    def _met(self, data: bytes, now_ms: int) -> Step:
        assert self._endpoint is not None  # noqa: S101 - the state says so
        if self._knock is not None:
            again = self._knock.again(data)
            if again is not None:
                return Step(None, again)
            self._knock = None
        answer = self._endpoint.receive(data)
        if self._endpoint.state != MET:
            return Step(None, answer)
        assert self._endpoint.session is not None  # noqa: S101 - it is done
        secret = self._endpoint.session.exporter(RESUMPTION)
        pairing = Pairing(self._caller.name, self._callee.name, secret)
        self._endpoint = None
        return Step(pairing, self._begin_visit(pairing, now_ms))

    def _begin_visit(self, pairing: Pairing, now_ms: int) -> bytes:
        self._visit = Visit(pairing, self._random(NONCE_BYTES), now_ms, VISIT_MS)
        self.state, self.deadline_ms = VISITING, now_ms + VISIT_MS
        message: bytes = self._visit.start(now_ms).send
        if not self.has_met:
            self.sizes = [len(message)]
        return message

    def _visited(self, data: bytes, now_ms: int) -> Step:
        assert self._visit is not None  # noqa: S101 - the state says so
        try:
            step = self._visit.receive(data, now_ms)
        except FastPathError as error:
            if error.reason != UNKNOWN or self.has_met:
                raise
            return Step(None, self._meet(now_ms))
        assert step.session is not None  # noqa: S101 - message 2 gives one
        self.session = step.session
        self._visit = None
        self._channel = Channel(step.session.send_key, step.session.receive_key)
        self.state, self.deadline_ms = PROVED, 0
        return Step(step.save, step.send)

    # ------------------------------------------------------------------ requests

    def ask(self, now_ms: int, command: int, *arguments: object) -> bytes:
        """A request, sealed; the answer to the one before must have come."""
        if self._channel is None or self._asked:
            raise DeviceLinkError(
                f"nothing can be asked now: the link is {self.state}, or waits for an answer"
            )
        self._asked, self.deadline_ms = command, now_ms + ANSWER_MS
        return self._channel.seal(commands.request(command, *arguments))

    def answer(self, data: bytes, now_ms: int) -> list[object]:
        """The results in the answer.  Raises DeviceRefused when the device says no, with its reason."""
        if self._channel is None or not self._asked:
            raise self._over(DeviceLinkError("an answer came, and nothing was asked; connect anew"))
        self.tick(now_ms)
        command, self._asked, self.deadline_ms = self._asked, 0, 0
        try:
            reason, results = commands.parse_answer(self._channel.open(data), command)
        except SealError as error:
            self._look_for_last_word(data)
            raise self._over(DeviceLinkError(str(error))) from error
        except DecodeError as error:
            raise self._over(DeviceLinkError(f"the device answers what was not asked: {error}")) from error
        if reason != commands.DONE:
            raise DeviceRefused(reason, _why(reason))
        return results

    def _look_for_last_word(self, data: bytes) -> None:
        why = commands.parse_last_word(data)
        if why is not None:
            raise self._over(DeviceLinkError(f"the device hung up: {LAST_WORDS[why]}"))

    def _over(self, error: DeviceLinkError) -> DeviceLinkError:
        self.state = OVER
        self._endpoint = self._visit = self._channel = None
        return error


def _why(reason: int) -> str:
    if reason >= commands.ROLE_REASON_MIN:
        return f"the device refused, for a reason of its role: {reason}"
    return REASONS.get(reason, f"the device refused, for a reason not known here: {reason}")
