"""A device's side of one connection: from a stranger's first word to the last answer to whom it has proved.

Runs on CPython and MicroPython.  Pure: messages and the clock in, messages out; what must be kept is in flash
before the message that relies on it is returned.

                          +------------- done: the pairing is kept -------------+
                          v                                                     |
    connect -> FRESH --- message_1 of EDHOC, through the gate ------------> MEETING
                 |   `-- [1, name, ..] of the fast path --> VISITED -- [3, ..] --> PROVED -- sealed requests
                 |                                            |                      |
                 +---- garbage, out of turn, too slow --------+-- any error ---------+--> OVER

A message of FRESH is told by its first bytes: 83 01 begins the fast path, 03 EDHOC, 83 00 a message with a
cookie.  A first meeting costs seconds of a board's time, so it passes the gate (puf/cookie.py); the fast path
does not, so a flood of strangers never bars who is known.  After a first meeting the same connection goes on
with the fast path, by which every session begins.

Whoever is not the gateway shows its credential by value, and is whoever holds that key: its name here is that
key, 32 bytes.  It may do what its grant allows (answering.py).  What the device keeps of it is in
memory only, and beyond the session only once it has shown a grant: strangers wear out no flash, and push
nobody out.

Each state ends in time: FRESH_MS, MEETING_MS, the fast path's own 5 s, IDLE_MS.  At most SESSIONS_MAX are
open, and when all places are taken, who has not shown that it belongs here leaves earlier (CROWDED_MS).
"""

import sys

from devices.micropython import commands, log_ring, modules
from devices.micropython.channel import Channel
from devices.micropython.errors import SealError
from puf.cookie import ADMITTED, CHALLENGED, Cookies, Gate, TokenBucket
from puf.errors import EdhocError, FastPathError, KeyFormatError, PufError
from puf.fast_path import NONCE_BYTES, UNKNOWN, Responder
from puf.fast_path_keys import Pairing, Pairings

if sys.implementation.name != "micropython":
    # For their types; a board has loaded them, or does so below.
    from devices.micropython.answering import Visitor
    from devices.micropython.device_keys import Keys
    from devices.micropython.log_ring import Log
    from devices.micropython.settings import Settings

FRESH, MEETING, VISITED, PROVED, OVER = "fresh", "meeting", "visited", "proved", "over"

SESSIONS_MAX = 3
"""MicroPython's Bluetooth keeps 4 connections on an ESP32; one may be closing."""
VISITORS_MAX = 8
"""Visitors with a grant that the device remembers; the next pushes out the one that came longest ago."""
FRESH_MS = 10_000
"""Connecting, agreeing on sizes and finding the service take part of it, the more the more are on the air."""
MEETING_MS = 20_000
"""A board computes for seconds in between."""
IDLE_MS = 30_000
"""After the last request; for a visitor without a grant, after it has proved itself."""
CROWDED_MS = {FRESH: 2_000, VISITED: 2_000, PROVED: 5_000}
"""What is left of it for strangers when all places are taken."""
TRIES_MAX = 2
"""Fast paths that a stranger may try under names not known here, before it leaves."""
MEETING_EVERY_MS = 10_000
"""A first meeting may be begun so often, after a few at once: a flood gets a part of the board's time."""
UNASKED_BURST, TOTAL_BURST = 2, 4
"""First meetings at once without a cookie; and in all."""
_FAST_PATH, _EDHOC, _WITH_COOKIE = b"\x83\x01", 0x03, b"\x83\x00"


class Device:
    """What all sessions of a device share.  `ota`: takes updates, or None; `random(n)`: n random bytes.

    `answerer.is_ending`: a restart was asked for.  `role` may have `is_moving(now_ms)`: while it is true no
    first meeting begins, for the board would not look at its motor for seconds.
    """

    def __init__(
        self,
        keys: "Keys",
        role: object,
        ota: object,
        log: "Log",
        settings: "Settings",
        version: str,
        random: object,
        now_ms: int,
    ) -> None:
        from devices.micropython.answering import Answerer

        self.keys = keys
        self.role = role
        self.log = log
        self.random = random
        self.answerer = Answerer(keys, role, ota, log, settings, version, random)
        self.gate = Gate(
            Cookies(random(32), now_ms),  # type: ignore[operator]
            TokenBucket(UNASKED_BURST, MEETING_EVERY_MS, now_ms),
            TokenBucket(TOTAL_BURST, MEETING_EVERY_MS, now_ms),
        )
        self.owner = Pairings(1)
        self.owner.add(keys.pairing)
        self.visitors = Pairings(VISITORS_MAX)
        self.sessions: list[Session] = []

    def connect(self, sender: bytes, now_ms: int) -> "Session":
        """Somebody has connected.  `sender`: bytes, its address or handle."""
        session = Session(self, sender, now_ms)
        self.sessions.append(session)
        return session

    def disconnect(self, session: "Session") -> None:
        """A connection is gone; nothing of what was not finished remains."""
        was_meeting = session.state == MEETING
        session.leave()
        self.sessions = [other for other in self.sessions if other is not session]
        if was_meeting:
            self.forget_meetings()

    def has_visitor(self) -> bool:
        """Whether somebody who is not the gateway has proved itself and is connected."""
        return any(session.is_visited() for session in self.sessions)

    def forget_meetings(self) -> None:
        """Unloads what a first meeting needs, when none is going on."""
        for session in self.sessions:
            if session.state == MEETING:
                return
        modules.forget(modules.MEETING)

    def is_busy(self, now_ms: int) -> bool:
        """Whether the role cannot spare seconds."""
        role = self.role
        return hasattr(role, "is_moving") and role.is_moving(now_ms)


class _Known:
    """The pairings that a session may be begun with, as puf/fast_path.py wants them: in this order the
    gateway's, those of visitors with a grant, and that of this connection's own first meeting.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._own = Pairings(1)

    def _shelves(self) -> "tuple[Pairings, ...]":
        return self._device.owner, self._device.visitors, self._own

    def find(self, name: bytes) -> "Pairing | None":
        for shelf in self._shelves():
            found = shelf.find(name)
            if found is not None:
                return found
        return None

    def current(self, initiator: bytes) -> "Pairing | None":
        for shelf in self._shelves():
            found = shelf.current(initiator)
            if found is not None:
                return found
        return None

    def add(self, pairing: Pairing) -> None:
        """In place of the same initiator's, on its shelf; a new one is this connection's own."""
        for shelf in self._shelves():
            if shelf is self._own or shelf.current(pairing.initiator) is not None:
                shelf.add(pairing)
                return

    def remember(self, initiator: bytes) -> None:
        """This visitor has shown a grant, and is known from now on."""
        pairing = self._own.current(initiator)
        if pairing is not None:
            self._own.remove(initiator)
            self._device.visitors.add(pairing)


class Session:
    """One connection.  `state`; once it is OVER, send what was returned and hang up."""

    def __init__(self, device: Device, sender: bytes, now_ms: int) -> None:
        self._device = device
        self._sender = sender
        self._known = _Known(device)
        self._tries = 0
        self._responder: Responder | None = None
        self._endpoint: object = None
        self._channel: Channel | None = None
        self._visitor: Visitor | None = None
        self._enter(FRESH, now_ms, FRESH_MS)

    def _enter(self, state: str, now_ms: int, wait_ms: int) -> None:
        self.state = state
        self.began_ms = now_ms
        self.deadline_ms = now_ms + wait_ms

    def leave(self) -> None:
        """Ends the session, for good."""
        self.state = OVER
        self._responder = self._endpoint = self._channel = None

    def _refuse(self, why: int) -> bytes:
        self.leave()
        return commands.last_word(why)

    def tick(self, now_ms: int) -> bytes:
        """What to say because it is over now, for it took too long; empty while it does not."""
        if self.state == OVER or now_ms < self._deadline_ms():
            return b""
        return self._fail(commands.last_word(commands.TOO_SLOW), "a peer took too long")

    def _deadline_ms(self) -> int:
        if len(self._device.sessions) < SESSIONS_MAX or self._belongs():
            return self.deadline_ms
        return min(self.deadline_ms, self.began_ms + CROWDED_MS.get(self.state, MEETING_MS))

    def is_visited(self) -> bool:
        """Whether who is at the other end has proved itself, and is not the gateway."""
        return self.state == PROVED and self._visitor is not None and not self._visitor.is_owner

    def _belongs(self) -> bool:
        visitor = self._visitor
        return visitor is not None and (visitor.is_owner or visitor.is_granted)

    def receive(self, data: bytes, now_ms: int) -> bytes:
        """The answer to a message, empty for none.  Look at `state` afterwards."""
        if self.state == OVER:
            return b""
        try:
            if self.state == FRESH:
                return self._first(data, now_ms)
            if self.state == MEETING:
                return self._meet(data, now_ms)
            if self.state == VISITED:
                return self._prove(data, now_ms)
            return self._serve(data, now_ms)
        except SealError:
            return self._fail(commands.last_word(commands.NOT_SEALED), "a message did not open")
        except (FastPathError, EdhocError) as error:
            return self._fail(error.answer or commands.last_word(commands.OUT_OF_TURN), str(error))
        except (PufError, OSError, ValueError, MemoryError) as error:
            return self._fail(commands.last_word(commands.FAILED), repr(error))

    def _fail(self, said: bytes, why: str) -> bytes:
        self._device.log.write(log_ring.WARNING, f"when {self.state}: {why}")
        was_meeting = self.state == MEETING
        self.leave()
        if was_meeting:
            self._device.forget_meetings()
        return said

    def _first(self, data: bytes, now_ms: int) -> bytes:
        if data[:2] == _FAST_PATH:
            return self._visit(data, now_ms)
        if data[:1] != b"\x03" and data[:2] != _WITH_COOKIE:
            return self._refuse(commands.OUT_OF_TURN)
        device = self._device
        if not device.keys.device_ccs:
            return self._refuse(commands.NO_CURVES)
        if device.is_busy(now_ms):
            return self._refuse(commands.BUSY)
        verdict = device.gate.admit(self._sender, data, now_ms)
        if verdict.kind == CHALLENGED:
            return bytes(verdict.answer)
        if verdict.kind != ADMITTED or verdict.message[:1] != b"\x03":
            return self._refuse(commands.BUSY)
        self._endpoint = self._make_endpoint()
        self._enter(MEETING, now_ms, MEETING_MS)
        return self._endpoint.receive(verdict.message)  # type: ignore[attr-defined, no-any-return]

    def _visit(self, data: bytes, now_ms: int) -> bytes:
        nonce = self._device.random(NONCE_BYTES)  # type: ignore[operator]
        responder = Responder(self._known, nonce, now_ms)  # type: ignore[arg-type]
        try:
            step = responder.receive(data, now_ms)
        except FastPathError as error:
            self._tries += 1
            if error.reason != UNKNOWN or self._tries >= TRIES_MAX:
                raise
            # Who is not known may meet us in full, on the same connection.
            return error.answer
        self._keep(step.save)
        self._responder = responder
        self._enter(VISITED, now_ms, responder.deadline_ms - now_ms)
        return bytes(step.send)

    def _prove(self, data: bytes, now_ms: int) -> bytes:
        assert self._responder is not None  # noqa: S101  the state says so
        step = self._responder.receive(data, now_ms)
        self._keep(step.save)
        session = step.session
        self._responder = None
        self._channel = Channel(session.send_key, session.receive_key)
        self._visitor = self._device.answerer.visitor(
            session.initiator, session.initiator == self._device.keys.gateway
        )
        self._enter(PROVED, now_ms, IDLE_MS)
        return bytes(step.send)

    def _keep(self, pairing: "Pairing | None") -> None:
        """What stands in flash before anything relies on it: the gateway's.  A visitor's is in memory."""
        if pairing is not None and pairing.initiator == self._device.keys.gateway:
            self._device.keys.keep(pairing)

    def _serve(self, data: bytes, now_ms: int) -> bytes:
        channel, visitor = self._channel, self._visitor
        assert channel is not None and visitor is not None  # noqa: S101, PT018  the state says so
        answer = self._device.answerer.answer(visitor, channel.open(data), now_ms)
        if visitor.is_granted:
            self._known.remember(visitor.name)
        if self._belongs():
            self._enter(PROVED, now_ms, IDLE_MS)
        return channel.seal(answer)

    # The first meeting

    def _make_endpoint(self) -> object:
        """EDHOC's responder.  Its code is loaded for the meeting only."""
        from puf.edhoc import Identity
        from puf.edhoc import Responder as Endpoint
        from puf.edhoc_credential import parse

        keys = self._device.keys
        gateway = parse(keys.gateway_ccs)

        def peers(named: object) -> "tuple[object, ...]":
            """The gateway by its key id or by value; anybody else by value."""
            if named.ccs == gateway.ccs or named.kid == gateway.kid is not None:  # type: ignore[attr-defined]
                return (gateway,)
            if named.ccs is None:  # type: ignore[attr-defined]
                return ()
            return (parse(named.ccs),)  # type: ignore[attr-defined]

        identity = Identity(parse(keys.device_ccs), keys.static_key)
        ephemeral = self._device.random(32)  # type: ignore[operator]
        return Endpoint(identity, peers, b"\x00", ephemeral, has_message_4=True)

    def _meet(self, data: bytes, now_ms: int) -> bytes:
        from puf.edhoc import DONE
        from puf.edhoc_keys import RESUMPTION

        endpoint, keys = self._endpoint, self._device.keys
        answer = endpoint.receive(data)  # type: ignore[attr-defined]
        if endpoint.state == DONE:  # type: ignore[attr-defined]
            session = endpoint.session  # type: ignore[attr-defined]
            is_owner = session.peer.ccs == keys.gateway_ccs
            if not is_owner and session.peer.public in (keys.gateway, keys.me):
                raise KeyFormatError("a visitor's key is not a name on the chain")
            name = keys.gateway if is_owner else session.peer.public
            pairing = Pairing(name, keys.me, session.exporter(RESUMPTION))
            self._keep(pairing)
            self._known.add(pairing)
            self._endpoint = None
            self._enter(FRESH, now_ms, FRESH_MS)
            self._device.forget_meetings()
        return answer  # type: ignore[no-any-return]
