"""Who may connect to the RPC port, before a byte is read: so many at once, and so many of one address.

Runs on CPython with aiohttp, which has no such bound of its own.  A connection is held by a `Gate` until its
first byte, and closed when that takes longer than FIRST_BYTE_MS; then aiohttp has it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

from aiohttp import web

from chain_node.rate_limit import owner_of

CONNECTIONS_MAX = 512
"""A process may have 1,024 files open on most machines, peers and the database among them."""
REMOTE_MAX = 32
"""Of one address of another machine; a browser opens six."""
LOCAL_MAX = 256
"""Of this machine."""
FIRST_BYTE_MS = 10_000


class Doorman:
    """Counts connections.  refused: is told of each that was turned away."""

    def __init__(self, server: Callable[[], web.Server], refused: Callable[[], None]) -> None:
        self._server = server
        self._refused = refused
        self._waiting: dict[Gate, str] = {}

    def gate(self) -> "Gate":
        """The protocol of a new connection."""
        return Gate(self)

    def admits(self, gate: "Gate", address: str) -> bool:
        """Whether one more of this address is let in; it then waits."""
        owner, is_local = owner_of(address)
        counts = Counter(self._waiting.values())
        for handler in self._server().connections:
            if handler.transport is not None:
                counts[owner_of(address_of(handler.transport))[0]] += 1
        if counts.total() >= CONNECTIONS_MAX or counts[owner] >= (LOCAL_MAX if is_local else REMOTE_MAX):
            self._refused()
            return False
        self._waiting[gate] = owner
        return True

    def pass_on(self, gate: "Gate", transport: asyncio.Transport, data: bytes) -> None:
        """The first bytes are here: from now on the connection is aiohttp's."""
        del self._waiting[gate]
        handler = self._server()()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(data)

    def forget(self, gate: "Gate") -> None:
        """The connection has ended before its first byte."""
        self._waiting.pop(gate, None)

    def close(self) -> None:
        """Close those that wait."""
        for gate in tuple(self._waiting):
            gate.close()


class Gate(asyncio.Protocol):
    """A connection that has sent nothing yet."""

    def __init__(self, doorman: Doorman) -> None:
        self._doorman = doorman
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let it in, or close it at once."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a TCP server makes no others
        if not self._doorman.admits(self, address_of(transport)):
            transport.abort()
            return
        self._transport = transport
        self._timer = asyncio.get_running_loop().call_later(FIRST_BYTE_MS / 1000, self.close)

    def data_received(self, data: bytes) -> None:
        """Hand it to aiohttp."""
        if self._transport and self._timer:
            self._timer.cancel()
            self._doorman.pass_on(self, self._transport, data)

    def connection_lost(self, error: Exception | None) -> None:
        """It is over."""
        if self._timer:
            self._timer.cancel()
        self._doorman.forget(self)

    def close(self) -> None:
        """Nothing came in time, or the server stops."""
        if self._transport:
            self._transport.abort()


def address_of(transport: asyncio.BaseTransport) -> str:
    """The peer's address, without its port."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else ""
