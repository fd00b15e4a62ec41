"""A socket and the peer behind it: bytes up, bytes down, no faster than either side reads.

Runs on CPython, in an asyncio loop.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Protocol

from chain_node.errors import PeerError
from chain_node.lbft_states import Fate
from chain_node.messages import Message
from chain_node.peer import Peer, PeerDropped, PeerMisbehaved
from chain_node.peer_address import Address
from chain_node.peer_frame import Hello
from chain_node.rate_limit import owner_of

WRITE_SIZE_MAX = 1 << 18
"""Bytes in the socket's buffer beyond which nothing more is handed to it, so that it can be overtaken."""

UNPROVEN_SIZE_MAX = 1 << 16
"""Bytes that a peer may send before it has said who it is."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """A peer, for people."""

    public: bytes
    role: str
    """"validator", "proposer", "validator+proposer" or "plain"."""
    address: str
    is_dialled: bool
    """Whether we have dialled it."""
    height: int
    """Of its head, as it says."""
    latency_ms: int | None
    """Of a ping; None before the first answer."""
    score: int
    """What is held against it; it is dropped at 100."""
    lost_count: int
    """Messages that it was too slow to take, or that were too many."""
    program: str


class Host(Protocol):
    """The network, as its connections see it."""

    def steady_ms(self) -> int:
        """Milliseconds of a clock that never goes back."""

    def new_peer(self, *, is_client: bool) -> Peer:
        """The sans-IO half of a new connection."""

    def bytes_owed_ms(self, host: str, size: int) -> int:
        """A plain node has sent so many bytes; how long it should not be read now."""

    def admit(self, connection: "Connection") -> bool:
        """Whether it may try to say who it is."""

    def opened(self, connection: "Connection", hello: Hello) -> None:
        """It has.  Raises PeerDropped."""

    def received(self, connection: "Connection", item: Message | int) -> None:
        """It has sent a message, or spoken of a height."""

    def lost(self, connection: "Connection", why: PeerError | None) -> None:
        """It has ended."""


class Connection(asyncio.Protocol):
    """One connection.  dialled: the address, if we have; None: it has come to us."""

    def __init__(self, host: Host, dialled: Address | None) -> None:
        self.dialled = dialled
        self.host = ""
        """The peer's address, without its port."""
        self.owner = ""
        """Whose address that is; see `rate_limit.owner_of`."""
        self.since_ms = host.steady_ms()
        self.is_open = False
        """Whether the network has let it in."""
        self._is_ended = False
        self.index: int | None = None
        """The peer's place in the committee."""
        self.shown_height = 0
        """The highest final block that we have shown it."""
        self.closed: asyncio.Future[PeerError | None] = asyncio.get_running_loop().create_future()
        """Done when it has ended; why, if that is known."""
        self._network = host
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._port = 0
        self._received_size = 0
        self._peer: Peer | None = None
        self._is_paused = self._is_flush_due = False
        self._why: PeerError | None = None

    def __str__(self) -> str:
        public = self._peer.public if self._peer else None
        return f"{public.hex()[:12] if public else 'somebody'}.. at {Address(self.host, self._port)}"

    @property
    def peer(self) -> Peer:
        """The sans-IO half."""
        assert self._peer, "made with the connection"  # noqa: S101 - see connection_made
        return self._peer

    @property
    def public(self) -> bytes:
        """The peer's key; only once it has said hello."""
        assert self.peer.public, "proven before the hello"  # noqa: S101 - TLS comes first
        return self.peer.public

    @property
    def links(self) -> frozenset[int]:
        """The members that it is connected with."""
        return self.peer.links

    def is_ended(self) -> bool:
        """Whether it is dropped, or about to be gone."""
        return self._is_ended

    def status(self, role: str) -> PeerStatus:
        """For people."""
        peer = self.peer
        assert peer.hello, "only of those that have said hello"  # noqa: S101 - the network asks for no others
        return PeerStatus(
            public=self.public,
            role=role,
            address=str(Address(self.host, self._port)),
            is_dialled=self.dialled is not None,
            height=peer.height,
            latency_ms=peer.latency_ms,
            score=peer.score,
            lost_count=peer.lost_count,
            program=peer.hello.program,
        )

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A socket is there."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - only streams are opened
        self._transport = transport
        name = transport.get_extra_info("peername")
        # A peer that has gone already has no name.
        self.host, self._port = (name[0], name[1]) if name else ("", 0)
        self.owner = owner_of(self.host)[0]
        if not self._network.admit(self):
            self._is_ended = True
            transport.abort()
            return
        transport.set_write_buffer_limits(high=WRITE_SIZE_MAX)
        self._peer = self._network.new_peer(is_client=self.dialled is not None)
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Bytes came.  While they are worked on no more are read, so nobody is faster than we are."""
        if self.is_ended():
            return
        try:
            if not self.is_open and self._received_size > UNPROVEN_SIZE_MAX:
                raise PeerMisbehaved("it says too much before it says who it is")
            self._received_size += len(data)
            for item in self.peer.feed(data, self._network.steady_ms()):
                if isinstance(item, Hello):
                    self._network.opened(self, item)
                else:
                    self._network.received(self, item)
                if self.is_ended():
                    return
        except PeerError as error:
            # Who is only not wanted is told who we are, and so learns why.
            self.drop(
                error, is_polite=isinstance(error, PeerDropped) and not isinstance(error, PeerMisbehaved)
            )
        else:
            self.flush()
            self._slow_down(len(data))

    def pause_writing(self) -> None:
        """The peer reads more slowly than we write."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self._is_paused = False
        self.flush()

    def eof_received(self) -> bool:
        """The peer has said its last; nothing is left to be said to it."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        self._is_ended = True
        if self._peer:
            self._network.lost(self, self._why)
        if not self.closed.done():
            self.closed.set_result(self._why)

    # For the network

    def send(self, kind: int, data: bytes) -> None:
        """Queue a message's frame; all that is queued in one turn goes out together."""
        if not self.is_ended():
            self.peer.send(kind, data)
            self._flush_soon()

    def tell_links(self, indexes: list[int]) -> None:
        """Tell it which members we are connected with."""
        if not self.is_ended():
            self.peer.tell_links(indexes)
            self._flush_soon()

    def tick(self, height: int, now_ms: int) -> None:
        """Time passes.  height: of our head."""
        if self.is_ended():
            return
        try:
            self.peer.tick(height, now_ms)
        except PeerError as error:
            self.drop(error)
        else:
            self.flush()

    def blame_for(self, fate: Fate) -> None:
        """Hold the fate of a message against the peer."""
        if self.is_ended():
            return
        try:
            self.peer.blame_for(fate)
        except PeerError as error:
            self.drop(error)

    def flush(self) -> None:
        """Write what waits, as long as the socket takes it."""
        self._is_flush_due = False
        try:
            while self._transport and not self._is_paused and not self.is_ended():
                wire = self.peer.take(self._network.steady_ms())
                if not wire:
                    return
                self._transport.write(wire)
        except PeerError as error:
            self.drop(error)

    def drop(self, why: PeerError, *, is_polite: bool = False) -> None:
        """End it at once.  is_polite: say so in TLS, to a peer that has done nothing wrong."""
        if self.is_ended():
            return
        log.debug("drops %s: %s", self, why)
        self._why = why
        if is_polite:
            self.close()
        else:
            self._is_ended = True
            if self._transport:
                self._transport.abort()

    def close(self) -> None:
        """Hang up in order."""
        self._why = self._why or PeerDropped("this node hangs up")
        self._is_ended = True
        if self._transport:
            if not self._is_paused:
                self._transport.write(self.peer.close())
                self._transport.close()
            else:
                self._transport.abort()

    def _slow_down(self, size: int) -> None:
        """Read a plain node that has come to us no faster than all of them together may cost."""
        if self.index is not None or self.dialled or not self.is_open or self.is_ended():
            return
        wait_ms = self._network.bytes_owed_ms(self.host, size)
        if wait_ms and self._transport:
            self._transport.pause_reading()
            self._loop.call_later(wait_ms / 1000, self._read_on)

    def _read_on(self) -> None:
        if self._transport and not self.is_ended():
            self._transport.resume_reading()

    def _flush_soon(self) -> None:
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self.flush)
