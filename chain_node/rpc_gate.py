"""The RPC port before aiohttp: who may connect, who is read more slowly, and who is dropped for not reading.

Runs on CPython with aiohttp, which has no such bounds of its own.  Connections of an address are counted and
come no faster than a rate, before anything is made for them (listener.py).  A `Gate` stays between socket and
aiohttp as long as a connection lives: it closes one that says nothing for FIRST_BYTE_MS, or that takes
nothing of its answer for STUCK_MS, and stops reading all connections of an address for as long as that is
told to wait: then whatever comes stays in the kernel, and costs nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

from aiohttp import web

from chain_node.rate_limit import RateLimit, owner_of

CONNECTIONS_MAX = 512
"""A process may have 1,024 files open on most machines, peers and the database among them."""
REMOTE_MAX = 32
"""Of one address of another machine; a browser opens six."""
LOCAL_MAX = 256
"""Of this machine."""
FIRST_BYTE_MS = 10_000
STUCK_MS = 30_000


class Doorman:
    """Counts connections.  refused: is told of each that was turned away."""

    def __init__(
        self, server: Callable[[], web.Server], connects: RateLimit, refused: Callable[[], None]
    ) -> None:
        self._server = server
        self._connects = connects
        self._refused = refused
        self._gates: dict[Gate, str] = {}
        """Each, and whose it is."""
        self._counts: Counter[str] = Counter()
        self._resting: dict[str, asyncio.TimerHandle] = {}
        """Owners whose connections are not read at present."""

    def welcomes(self, address: str) -> bool:
        """Whether a new connection of this address is worth anything."""
        owner, is_local = owner_of(address)
        is_full = len(self._gates) >= CONNECTIONS_MAX
        is_full |= self._counts[owner] >= (LOCAL_MAX if is_local else REMOTE_MAX)
        # Who has no room does not pay for having asked.
        if is_full or self._connects.take(address, 1):
            self._refused()
            return False
        return True

    def gate(self) -> "Gate":
        """The protocol of a new connection."""
        return Gate(self)

    def enter(self, gate: "Gate", address: str) -> bool:
        """A connection has begun; whether it is read at once."""
        owner = owner_of(address)[0]
        self._gates[gate] = owner
        self._counts[owner] += 1
        return owner not in self._resting

    def leave(self, gate: "Gate") -> None:
        """A connection has ended."""
        if owner := self._gates.pop(gate, None):
            self._counts[owner] -= 1
            if not self._counts[owner]:
                del self._counts[owner]

    def handler(self) -> asyncio.Protocol:
        """The protocol of aiohttp for one connection."""
        return self._server()()

    def rest(self, address: str, wait_ms: int) -> None:
        """Read no connection of this address's owner for so long."""
        owner = owner_of(address)[0]
        if timer := self._resting.pop(owner, None):
            timer.cancel()
        else:
            for gate in self._of(owner):
                gate.pause()
        loop = asyncio.get_running_loop()
        self._resting[owner] = loop.call_later(wait_ms / 1000, self._go_on, owner)

    def close(self) -> None:
        """Close those that have said nothing yet; the others are aiohttp's to close."""
        for timer in self._resting.values():
            timer.cancel()
        for gate in tuple(self._gates):
            if gate.is_waiting:
                gate.close()
            else:
                gate.go_on()

    def _go_on(self, owner: str) -> None:
        del self._resting[owner]
        for gate in self._of(owner):
            gate.go_on()

    def _of(self, owner: str) -> list["Gate"]:
        return [gate for gate, whose in self._gates.items() if whose == owner]


class Gate(asyncio.Protocol):
    """One connection, between its socket and aiohttp."""

    def __init__(self, doorman: Doorman) -> None:
        self._doorman = doorman
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._handler: asyncio.Protocol | None = None
        self._is_paused = False
        self._held = b""
        """What came though it is paused."""

    @property
    def is_waiting(self) -> bool:
        """Whether it has not said anything yet."""
        return self._handler is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first byte."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a TCP server makes no others
        self._transport = transport
        self._start_timer(FIRST_BYTE_MS)
        if not self._doorman.enter(self, address_of(transport)):
            self.pause()

    def data_received(self, data: bytes) -> None:
        """Hand it to aiohttp, unless it is to wait."""
        if self._is_paused:
            # aiohttp does not know, and lets the socket go on after a request: what that brings waits here.
            self._held += data
            self.pause()
            return
        if self._handler is None:
            if self._transport is None:
                return
            self._stop_timer()
            self._handler = self._doorman.handler()
            self._handler.connection_made(self._transport)
        self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        """The peer has said its last."""
        return self._handler.eof_received() if self._handler else None

    def pause_writing(self) -> None:
        """The peer reads more slowly than it is answered; it has STUCK_MS to go on."""
        self._start_timer(STUCK_MS)
        if self._handler:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._stop_timer()
        if self._handler:
            self._handler.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """It is over."""
        self._stop_timer()
        self._doorman.leave(self)
        if self._handler:
            self._handler.connection_lost(error)

    def pause(self) -> None:
        """Read nothing for a while."""
        self._is_paused = True
        if self._transport and not self._transport.is_closing():
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Read again.  aiohttp may have stopped as well; then it stops again at the next bytes."""
        self._is_paused = False
        held, self._held = self._held, b""
        if held:
            self.data_received(held)
        if self._transport and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """Nothing came or went in time, or the server stops."""
        if self._transport:
            self._transport.abort()

    def _start_timer(self, wait_ms: int) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(wait_ms / 1000, self.close)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None


def address_of(transport: asyncio.BaseTransport) -> str:
    """The peer's address, without its port."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else ""
