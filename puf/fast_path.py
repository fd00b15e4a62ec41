"""The fast path: two parties who have met before prove themselves to each other in three short messages.

Runs on CPython and MicroPython.  Pure: bytes and the clock in, bytes out.  No curve is touched.

    initiator (vehicle, phone, gateway)                     responder (lock, charger)
    FRESH                                                   FRESH
      |  1: [1, name, nonce]                28 bytes  ------>  |   who knows no such name answers [4]
    WAITING                                                 WAITING
      |  2: [2, nonce, tag]                 36 bytes  <------  |
    DONE                                                       |
      |  3: [3, tag]                        19 bytes  ------>  |
                                                             DONE

`name` stands for the pairing and is another one after each meeting (puf/fast_path_keys.py), so two meetings
cannot be linked by who listens.  Tries that fail share a name: who keeps answers back can link those.
Nonces are 16 bytes of fresh randomness of each side.  Each tag is HMAC-SHA-256 with the pairing's key, cut to
16 bytes, over CBOR:

    tag of 2: ["cpc/fast-path", 1, "responder", initiator, responder, epoch, message 1, nonce of 2]
    tag of 3: ["cpc/fast-path", 1, "initiator", initiator, responder, epoch, message 1, message 2]

so neither side's tag passes for the other's, nor for that of another pair, epoch, meeting or protocol.  The
session's keys rest on the hash of the second, which both have said.

A message may get lost, and the power may fail, anywhere.  The initiator steps to the next epoch before it
sends 3; the responder when it has 3, or when it is called by the name of the next epoch, which only one that
has stepped can know.  So they always find each other again, within one epoch.  If the initiator is done
and message 3 was lost, its first sealed word goes unanswered; it comes again under the next name.

There is a way out of every state: each ends with its deadline or with any error, and then for good.
Reasons of FastPathError:

    FORMAT    the bytes are no such message           UNKNOWN  no such pairing: meet by the full handshake
    TAG       the peer does not have the key          STALE    the pairing moved on meanwhile, elsewhere
    ORDER     a message that is not due, or too late  TIMEOUT  the peer was silent

Source: three-pass mutual authentication of ISO/IEC 9798-4; SIGMA's rule to MAC both identities.
"""

from collections import namedtuple

from puf import cbor
from puf.errors import DecodeError, FastPathError
from puf.fast_path_keys import EPOCH_MAX, NAME_BYTES, Pairing, Pairings, Session
from puf.hkdf import hmac_sha256, is_equal, sha256
from puf.keys import derive

NONCE_BYTES = 16
TAG_BYTES = 16
"""Forging takes 2^128 guesses, each of them a whole meeting."""
MESSAGE_BYTES_MAX = 64
"""Longer than any message; more is not looked at."""
TIMEOUT_MS = 5_000
"""From a party's first step to its last, unless the caller says otherwise."""

FORMAT, TAG, ORDER, UNKNOWN, STALE, TIMEOUT = "format", "tag", "order", "unknown", "stale", "timeout"

FRESH, WAITING, DONE, ENDED = "fresh", "waiting", "done", "ended"
START, FAULT = "start", "fault"
MESSAGE_1, MESSAGE_2, MESSAGE_3, NO_SUCH_NAME = 1, 2, 3, 4

INITIATOR_NEXT: "dict[tuple[str, str | int], str]" = {
    (FRESH, START): WAITING,
    (FRESH, FAULT): ENDED,
    (FRESH, TIMEOUT): ENDED,
    (WAITING, MESSAGE_2): DONE,
    (WAITING, NO_SUCH_NAME): ENDED,
    (WAITING, FAULT): ENDED,
    (WAITING, TIMEOUT): ENDED,
}
"""(state, event) -> state.  DONE and ENDED are left by nothing: make a new one for the next meeting."""
RESPONDER_NEXT: "dict[tuple[str, str | int], str]" = {
    (FRESH, MESSAGE_1): WAITING,
    (FRESH, FAULT): ENDED,
    (FRESH, TIMEOUT): ENDED,
    (WAITING, MESSAGE_3): DONE,
    (WAITING, FAULT): ENDED,
    (WAITING, TIMEOUT): ENDED,
}
"""(state, event) -> state, as above."""

# What follows the kind in each message: lengths of byte strings.
_PARTS = {1: (NAME_BYTES, NONCE_BYTES), 2: (NONCE_BYTES, TAG_BYTES), 3: (TAG_BYTES,), 4: ()}
_NO_SUCH_NAME = b"\x81\x04"


class Step(namedtuple("Step", ("save", "send", "session"))):
    """What a message leads to, in this order.

    `save`: Pairing or None; write and sync it in place of the one before, BEFORE anything is sent or the
    session is used: who forgets a step may use a key twice.
    `send`: bytes for the peer, empty for none.  `session`: Session or None; the peer has proved itself.
    """

    __slots__ = ()
    KIND = "step"


def _parse(data: bytes) -> "tuple[int, list[bytes]]":
    """Kind and parts of a message."""
    try:
        message = cbor.decode(data, MESSAGE_BYTES_MAX, 1)
    except DecodeError as error:
        raise FastPathError(FORMAT, f"not a message of the fast path: {error}") from None
    if not isinstance(message, list) or not message:
        raise FastPathError(FORMAT, "a message of the fast path is an array")
    kind, parts = message[0], message[1:]
    if not isinstance(kind, int) or isinstance(kind, bool) or kind not in _PARTS:
        raise FastPathError(FORMAT, "a message of the fast path is of kind 1 to 4")
    sizes = _PARTS[kind]
    if len(parts) != len(sizes):
        raise FastPathError(FORMAT, f"message {kind} has {len(sizes)} parts, not {len(parts)}")
    for part, size in zip(parts, sizes):  # noqa: B905  MicroPython has no strict; lengths are equal
        if not isinstance(part, bytes) or len(part) != size:
            raise FastPathError(FORMAT, f"a part of message {kind} is not {size} bytes")
    return kind, parts


def _said(role: str, pairing: Pairing, message_1: bytes, answer: bytes) -> bytes:
    """What a tag covers: see the head of this file."""
    return cbor.encode(
        ["cpc/fast-path", 1, role, pairing.initiator, pairing.responder, pairing.epoch, message_1, answer]
    )


def _tag(mac_key: bytes, said: bytes) -> bytes:
    return hmac_sha256(mac_key, said)[:TAG_BYTES]


def _mac_key(pairing: Pairing) -> bytes:
    return derive(pairing.key, "fast path mac")


class _Party:
    """The part that both machines have: a state, a deadline, and an end."""

    def __init__(
        self, table: "dict[tuple[str, str | int], str]", nonce: bytes, now_ms: int, timeout_ms: int
    ) -> None:
        if len(nonce) != NONCE_BYTES:
            raise ValueError(f"a nonce is {NONCE_BYTES} fresh random bytes, not {len(nonce)}")
        self.state = FRESH
        self.deadline_ms = now_ms + timeout_ms
        """When `tick` ends what is not done by then."""
        self._table = table
        self._nonce = nonce
        self._mac_key = b""
        self._message_1 = b""

    def tick(self, now_ms: int) -> None:
        """Raises FastPathError (TIMEOUT) when the deadline has passed before the end was reached."""
        if self.state in (FRESH, WAITING) and now_ms >= self.deadline_ms:
            self._move(TIMEOUT)
            raise FastPathError(TIMEOUT, "the peer was silent for too long; begin anew")

    def _move(self, event: "str | int") -> None:
        """Takes the table's step.  What is not due ends an open machine, and cannot touch a closed one."""
        after = self._table.get((self.state, event))
        if after is None:
            state = self.state
            if state in (FRESH, WAITING):
                self._end()
            raise FastPathError(ORDER, f"{event} is not due when {state}; begin anew")
        self.state = after
        if after == ENDED:
            self._end()

    def _end(self) -> None:
        self.state = ENDED
        self._mac_key = b""

    def _open(self, data: bytes, now_ms: int) -> "tuple[int, list[bytes]]":
        """Kind and parts of a message that comes in time; what is no message ends the machine."""
        self.tick(now_ms)
        if self.state in (DONE, ENDED):
            raise FastPathError(ORDER, f"a message came when all was {self.state}; begin anew")
        try:
            return _parse(data)
        except FastPathError:
            self._move(FAULT)
            raise

    def _check(self, tag: bytes, said: bytes) -> None:
        if not is_equal(tag, _tag(self._mac_key, said)):
            self._move(FAULT)
            raise FastPathError(TAG, "the peer does not have the key of this pairing")


class Initiator(_Party):
    """The party that comes.  `nonce`: bytes, 16, fresh and random, for this meeting only.

    `start` once, then `receive` what the peer says, and `tick` while it is silent.  Each of them may raise
    FastPathError, which ends this meeting; `pairing` then is still the one to come back with, except that
    after UNKNOWN the full handshake is due.
    """

    def __init__(self, pairing: Pairing, nonce: bytes, now_ms: int, timeout_ms: int = TIMEOUT_MS) -> None:
        super().__init__(INITIATOR_NEXT, nonce, now_ms, timeout_ms)
        self.pairing = pairing
        pairing.following()  # Raises after the last epoch, before anything was sent.

    def start(self, now_ms: int) -> Step:
        """Message 1."""
        self.tick(now_ms)
        self._move(START)
        self._message_1 = cbor.encode([1, self.pairing.name, self._nonce])
        return Step(None, self._message_1, None)

    def receive(self, data: bytes, now_ms: int) -> Step:
        """Message 3 and a session for message 2.  Raises FastPathError for all else."""
        kind, parts = self._open(data, now_ms)
        if kind == NO_SUCH_NAME:
            self._move(NO_SUCH_NAME)
            raise FastPathError(UNKNOWN, "the responder has no such pairing; meet by the full handshake")
        if kind != MESSAGE_2 or self.state != WAITING:
            self._move(kind)
        pairing = self.pairing
        self._mac_key = _mac_key(pairing)
        self._check(parts[1], _said("responder", pairing, self._message_1, parts[0]))
        said = _said("initiator", pairing, self._message_1, data)
        send = cbor.encode([3, _tag(self._mac_key, said)])
        session = Session(pairing, sha256(said), True)
        self.pairing = pairing.following()
        self._move(MESSAGE_2)
        self._mac_key = b""
        return Step(self.pairing, send, session)


class Responder(_Party):
    """The party that is visited, for one connection.  `nonce`: bytes, 16, fresh and random.

    `pairings` are those it knows; it keeps them in step.  `receive` what comes and `tick` meanwhile; each may
    raise FastPathError, which ends this meeting and nothing else: send its `answer`, if any, and hang up.
    """

    def __init__(self, pairings: Pairings, nonce: bytes, now_ms: int, timeout_ms: int = TIMEOUT_MS) -> None:
        super().__init__(RESPONDER_NEXT, nonce, now_ms, timeout_ms)
        self._pairings = pairings
        self._pairing: Pairing | None = None
        self._said = b""

    def receive(self, data: bytes, now_ms: int) -> Step:
        """Message 2 for message 1, a session for message 3.  Raises FastPathError for all else."""
        kind, parts = self._open(data, now_ms)
        if kind == MESSAGE_1 and self.state == FRESH:
            return self._answer(data, parts[0])
        if kind != MESSAGE_3 or self._pairing is None:
            self._move(kind)
            raise AssertionError("the table has no other message")
        return self._finish(self._pairing, parts[0])

    def _answer(self, data: bytes, name: bytes) -> Step:
        pairing = self._pairings.find(name)
        if pairing is None or pairing.epoch == EPOCH_MAX:
            self._move(FAULT)
            raise FastPathError(UNKNOWN, "no pairing has this name; the full handshake is due", _NO_SUCH_NAME)
        save = None
        if self._pairings.current(pairing.initiator) is not pairing:
            # Only an initiator that has stepped knows this name, and it never steps back.
            self._pairings.add(pairing)
            save = pairing
        self._move(MESSAGE_1)
        self._pairing = pairing
        self._mac_key = _mac_key(pairing)
        tag = _tag(self._mac_key, _said("responder", pairing, data, self._nonce))
        send = cbor.encode([2, self._nonce, tag])
        self._said = _said("initiator", pairing, data, send)
        return Step(save, send, None)

    def _finish(self, pairing: Pairing, tag: bytes) -> Step:
        if self._pairings.current(pairing.initiator) is not pairing:
            self._move(FAULT)
            raise FastPathError(STALE, "this pairing was used or replaced meanwhile; begin anew")
        self._check(tag, self._said)
        session = Session(pairing, sha256(self._said), False)
        save = pairing.following()
        self._pairings.add(save)
        self._move(MESSAGE_3)
        self._pairing = None
        self._mac_key = b""
        return Step(save, b"", session)
