"""One connection to a peer, whole but for its socket: TLS, hello, frames, limits and what it has deserved.

Runs on CPython; pure: bytes and a clock in, messages and bytes out.

    peer = Peer(context, hello, desk, is_client=..., now_ms=...)
    for item in peer.feed(data, now_ms): ...       # raises PeerError: drop it, and say why
    peer.send(kind, frame)                         # queued by urgency, bounded
    wire = peer.take(now_ms)                       # as often as the socket takes more
    peer.tick(head_height, now_ms)                 # once a second

What a peer may cost is bounded before it is spent: bytes by its frames, verifications by a bucket of
tokens and by a glance at what vouches for a block, memory by the length of its queue.  A peer that does
not read loses first what is not urgent.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from chain_node import messages
from chain_node.block import Certificate, Header, Vote
from chain_node.errors import PeerError, WireError
from chain_node.lbft_states import Fate
from chain_node.messages import (
    Ballot,
    Changes,
    Links,
    Message,
    Proposal,
    Relay,
    StateNodes,
    Validate,
    WantBlock,
    WantChain,
    WantChanges,
    WantLinks,
    WantNodes,
)
from chain_node.peer_frame import (
    HELLO,
    LINKS,
    PING,
    PONG,
    PROTOCOL_OLDEST,
    PROTOCOL_VERSION,
    Framer,
    Hello,
    decode_beat,
    decode_links,
    encode_beat,
    encode_links,
    frame,
)
from chain_node.peer_tls import TlsChannel, TlsContext
from chain_node.transaction import Known

HANDSHAKE_MS = 5_000
"""How long a peer may take to say who it is."""
PING_MS = 15_000
"""How often a peer is asked whether it is there, and how high its chain is."""
NEWS_MS = 2_000
"""How soon it is told that our chain has grown."""
SILENCE_MS = 45_000
"""After so long a silence it is gone: a link may be dead in one direction only."""
QUEUE_SIZE_MAX = 48 << 20
"""Bytes that wait for a peer that does not read: two of the longest blocks, and then some."""
BUSY_SIZE = 1 << 20
"""A peer for which so much waits is not answered when it asks for blocks or states; it asks again."""
WIRE_SIZE = 1 << 18
"""Bytes that are handed to TLS at a time, so that what is urgent can overtake."""
SCORE_MAX = 100
"""A peer with so much against it is dropped."""
FORGIVEN_MS = 600
"""One point is forgiven in so long a time."""
BLAME = {Fate.FORGED: 25, Fate.FOREIGN: 5, Fate.UNASKED: 1}
"""Points by the fate of what it sent.  Honest peers are late and repeat themselves; they forge nothing."""
BLAME_RELAY = 25
"""For transactions that nobody may have taken in: whoever hands on has verified them."""
BLAME_EXCESS = 5

Read = TypeVar("Read")


class PeerDropped(PeerError):
    """The peer is dropped; the message says why."""


class PeerMisbehaved(PeerDropped):
    """It has done what no honest peer does, or too much; keep away from it for a while."""


class OtherChain(PeerDropped):
    """It is of another chain, or no version of the protocol is common; do not dial it again soon."""


class Desk(Protocol):
    """Who a peer's messages are for."""

    @property
    def known(self) -> Known:
        """Transactions that need not be verified again."""

    def glance(self, sender: bytes, header: Header, proof: Vote | Certificate | None) -> Fate:
        """What a block is worth, before it is read; see `Core.glance`."""

    def has_room(self, kind: int, count: int, now_ms: int) -> bool:
        """Whether plain nodes together may still cost so much; see COSTS_SHARED."""


@dataclass(frozen=True, slots=True)
class Cost:
    """How full a bucket gets, and how fast."""

    rate: int
    """Tokens a second."""
    burst: int


COSTS = {
    Proposal.KIND: Cost(20, 60),
    Ballot.KIND: Cost(2_000, 8_000),
    Validate.KIND: Cost(200, 1_000),
    WantBlock.KIND: Cost(20, 100),
    WantChain.KIND: Cost(20, 100),
    Relay.KIND: Cost(30, 200),
    WantNodes.KIND: Cost(20, 60),
    StateNodes.KIND: Cost(50, 100),
    WantLinks.KIND: Cost(10, 30),
    Links.KIND: Cost(20, 60),
    WantChanges.KIND: Cost(10, 30),
    Changes.KIND: Cost(20, 60),
    PING: Cost(2, 10),
    PONG: Cost(2, 10),
    LINKS: Cost(20, 200),
}
"""Messages that a peer may send, of Relay KiB: some five transactions each."""
COST_BYTES = Cost(4 << 20, 8 << 20)
"""Bytes that all plain nodes together may make us decrypt; beyond, they are read no faster."""
COSTS_SHARED = {
    Proposal.KIND: Cost(20, 100),
    Ballot.KIND: Cost(400, 2_000),
    Validate.KIND: Cost(200, 1_000),
    StateNodes.KIND: Cost(50, 100),
    Links.KIND: Cost(20, 60),
    Relay.KIND: Cost(50, 300),
    WantBlock.KIND: Cost(20, 60),
    WantChain.KIND: Cost(10, 40),
    WantNodes.KIND: Cost(20, 60),
    WantLinks.KIND: Cost(10, 30),
    WantChanges.KIND: Cost(10, 30),
    Changes.KIND: Cost(20, 60),
}
"""What all plain nodes together may cost: keys are made in no time, so limits for each alone stop nobody."""
COST_RELAY_TRUSTED = Cost(1_000, 5_000)
"""What a member of the committee, or a node that we dial, may hand on: as much as a chain takes."""
URGENCY = {
    Ballot.KIND: 0,
    WantBlock.KIND: 0,
    WantChain.KIND: 0,
    Proposal.KIND: 1,
    Validate.KIND: 2,
    Relay.KIND: 3,
    WantNodes.KIND: 3,
    StateNodes.KIND: 3,
    WantLinks.KIND: 3,
    Links.KIND: 3,
    WantChanges.KIND: 3,
    Changes.KIND: 3,
}
"""What goes first; the last is dropped first when a peer does not read."""


class Bucket:
    """Tokens that come back with time."""

    def __init__(self, cost: Cost, now_ms: int) -> None:
        self._cost = cost
        self._millitokens = cost.burst * 1_000
        self._at_ms = now_ms

    def take(self, count: int, now_ms: int) -> bool:
        """Take `count` tokens; False when there are not so many."""
        self._millitokens = min(
            self._millitokens + (now_ms - self._at_ms) * self._cost.rate, self._cost.burst * 1_000
        )
        self._at_ms = now_ms
        if self._millitokens < count * 1_000:
            return False
        self._millitokens -= count * 1_000
        return True

    def owe(self, count: int, now_ms: int) -> int:
        """Take `count` tokens whether they are there or not; milliseconds until they would be."""
        self.take(0, now_ms)
        self._millitokens -= count * 1_000
        return max(-self._millitokens // self._cost.rate, 0)


class Peer:
    """One connection.  hello: ours.  Raises PeerError; it is of no use afterwards.

    is_client: whether we have dialled it.
    """

    def __init__(
        self, context: TlsContext, hello: Hello, desk: Desk, *, is_client: bool, now_ms: int
    ) -> None:
        self.is_client = is_client
        self.hello: Hello | None = None
        """What it has said of itself; None until then."""
        self.links: frozenset[int] = frozenset()
        """The committee members that it is connected with."""
        self.height = 0
        """Of its head, as far as it has said."""
        self.latency_ms: int | None = None
        """From a ping to its answer."""
        self.score = 0
        """What is held against it, forgiven with time."""
        self.lost_count = 0
        """Messages that it was too slow to take, or that were too many."""
        self.queue_size = 0
        """Bytes that wait for it."""
        self._ours = hello
        self._desk = desk
        self._channel = TlsChannel(context, is_client=is_client)
        self._framer = Framer()
        self._queues: list[deque[bytes]] = [deque() for _ in range(4)]
        self._buckets = {kind: Bucket(cost, now_ms) for kind, cost in COSTS.items()}
        self._is_trusted = False
        self._our_height = hello.height
        self._since_ms = self._heard_ms = self._forgiven_ms = self._moved_ms = now_ms
        self._pinged_ms = now_ms - PING_MS
        self._told_height = hello.height
        self._channel.write(frame(HELLO, hello.encode()))

    @property
    def public(self) -> bytes | None:
        """Its node key, once it has proven it."""
        return self._channel.peer_public

    @property
    def held_size(self) -> int:
        """Bytes of memory that it makes us keep."""
        return self.queue_size + self._framer.held_size

    def trust(self, now_ms: int) -> None:
        """It is a member of the committee, or one that we were told to dial: it may hand on more."""
        self._is_trusted = True
        self._buckets[Relay.KIND] = Bucket(COST_RELAY_TRUSTED, now_ms)

    def feed(self, data: bytes, now_ms: int) -> Iterator[Hello | Message | int]:
        """Bytes came; what is in them: its Hello first, messages, and heights that it speaks of."""
        self._heard_ms = now_ms
        self._channel.feed(data)
        for kind, payload in self._framer.feed(self._channel.read()):
            if kind == HELLO:
                yield self._on_hello(payload)
            elif self.hello is None:
                raise PeerMisbehaved("it speaks before it says hello")
            elif self._charge(kind, len(payload), now_ms):
                yield from self._on_frame(kind, payload, now_ms)
        if self._channel.is_closed:
            raise PeerDropped("it has hung up")

    def send(self, kind: int, data: bytes) -> None:
        """Queue a message's frame; when the peer does not read, the least urgent ones are lost."""
        self._queue(URGENCY[kind], data)

    def tell_links(self, indexes: list[int]) -> None:
        """Tell it which committee members we are connected with."""
        self._queue(0, frame(LINKS, encode_links(indexes)))

    def take(self, now_ms: int) -> bytes:
        """What is to go onto the wire next; empty when there is nothing."""
        self._moved_ms = now_ms
        wire = self._channel.take()
        if wire or self.hello is None:
            return wire
        size = 0
        for queue in self._queues:
            while queue and size < WIRE_SIZE:
                item = queue.popleft()
                size += len(item)
                self.queue_size -= len(item)
                self._channel.write(item)
        return self._channel.take()

    def tick(self, height: int, now_ms: int) -> None:
        """Time passes: ask whether it is there, say how high our chain is, and drop it when it is not."""
        if self.hello is None and now_ms >= self._since_ms + HANDSHAKE_MS:
            raise PeerDropped(f"it did not say who it is within {HANDSHAKE_MS} ms")
        if now_ms >= self._heard_ms + SILENCE_MS:
            raise PeerDropped(f"nothing was heard of it for {SILENCE_MS} ms")
        if self.queue_size and now_ms >= self._moved_ms + SILENCE_MS:
            raise PeerDropped(f"it has read nothing for {SILENCE_MS} ms")
        wait_ms = PING_MS if height == self._told_height else NEWS_MS
        if self.hello and now_ms >= self._pinged_ms + wait_ms:
            self._pinged_ms, self._told_height = now_ms, height
            self._queue(0, frame(PING, encode_beat(now_ms, height)))
        # The Pong to its Ping must say how high we are now.
        self._our_height = height
        forgiven = min((now_ms - self._forgiven_ms) // FORGIVEN_MS, self.score)
        self.score -= forgiven
        self._forgiven_ms = self._forgiven_ms + forgiven * FORGIVEN_MS if self.score else now_ms

    def blame(self, points: int, why: str) -> None:
        """Hold something against it.  Raises PeerMisbehaved when it is too much."""
        self.score += points
        if self.score >= SCORE_MAX:
            raise PeerMisbehaved(f"it has misbehaved too often; at last: {why}")

    def blame_for(self, fate: Fate) -> None:
        """Hold the fate of a message against who sent it.  Raises PeerMisbehaved when it is too much."""
        if fate in BLAME:
            self.blame(BLAME[fate], f"what it sent is {fate.name.lower()}")

    def close(self) -> bytes:
        """Hang up in order; the last bytes for the wire."""
        self._channel.close()
        return self._channel.take()

    def _on_hello(self, payload: bytes) -> Hello:
        if self.hello is not None:
            raise PeerMisbehaved("it says hello twice")
        hello = self._read(Hello.decode, payload)
        if hello.chain_id != self._ours.chain_id:
            raise OtherChain(f"it is of chain {hello.chain_id.hex()}, this is {self._ours.chain_id.hex()}")
        if hello.version < PROTOCOL_OLDEST or hello.oldest > PROTOCOL_VERSION:
            raise OtherChain(
                f"it speaks versions {hello.oldest} to {hello.version} of the protocol, this program "
                f"{PROTOCOL_OLDEST} to {PROTOCOL_VERSION}; upgrade the older one"
            )
        self.hello, self.height = hello, hello.height
        return hello

    def _on_frame(self, kind: int, payload: bytes, now_ms: int) -> Iterator[Message | int]:
        if kind == PING:
            clock_ms, self.height = decode_beat(payload)
            self._queue(0, frame(PONG, encode_beat(clock_ms, self._our_height)))
            yield self.height + 1
        elif kind == PONG:
            clock_ms, self.height = decode_beat(payload)
            self.latency_ms = max(now_ms - clock_ms, 0)
            yield self.height + 1
        elif kind == LINKS:
            self.links = self._read(decode_links, payload)
        else:
            if payload[:2] != bytes((0x83, kind)):
                raise PeerMisbehaved(f"it sent no message of kind {kind} in a frame of that kind")
            yield from self._on_message(kind, payload)

    def _on_message(self, kind: int, payload: bytes) -> Iterator[Message | int]:
        unread: list[tuple[int, Fate]] = []
        assert self.public, "who has said hello has proven its key"  # noqa: S101 - TLS comes first
        public = self.public

        def glance(header: Header, proof: Vote | Certificate | None) -> bool:
            fate = self._desk.glance(public, header, proof)
            if fate != Fate.TAKEN:
                unread.append((header.height, fate))
            return fate == Fate.TAKEN

        try:
            message = messages.decode_wanted(payload, self._desk.known, glance)
        except WireError as error:
            if kind != Relay.KIND:
                raise PeerMisbehaved(f"it sent {error}") from None
            self.blame(BLAME_RELAY, f"it sent {error}")
            return
        for height, fate in unread:
            self.blame_for(fate)
            if message is None and fate in (Fate.LATE, Fate.FUTURE):
                # Somebody is behind, it or we: that much of the block matters.
                yield height
        if isinstance(message, Validate):
            self.height = max(self.height, message.height)
        if (
            isinstance(message, WantChain | WantNodes | WantLinks | WantChanges)
            and self.queue_size > BUSY_SIZE
        ):
            self.lost_count += 1
        elif message:
            yield message

    def _charge(self, kind: int, size: int, now_ms: int) -> bool:
        """Whether it may still send this much; the excess is dropped, and held against strangers."""
        count = (size + 1_023) >> 10 if kind == Relay.KIND else 1
        if self._buckets[kind].take(count, now_ms):
            is_shared = kind in COSTS_SHARED and not self._is_trusted
            if not is_shared or self._desk.has_room(kind, count, now_ms):
                return True
            # Others have used it up: nothing to hold against this one.
            self.lost_count += 1
            return False
        self.lost_count += 1
        if not (kind == Relay.KIND and self._is_trusted):
            self.blame(BLAME_EXCESS, f"it sent more frames of kind {kind} than anybody needs")
        return False

    def _read(self, decode: Callable[[bytes], Read], payload: bytes) -> Read:
        try:
            return decode(payload)
        except WireError as error:
            raise PeerMisbehaved(f"it sent {error}") from None

    def _queue(self, urgency: int, data: bytes) -> None:
        self._queues[urgency].append(data)
        self.queue_size += len(data)
        while self.queue_size > QUEUE_SIZE_MAX:
            queue = next(queue for queue in reversed(self._queues) if queue)
            # The oldest: the newest of its kind says more.
            self.queue_size -= len(queue.popleft())
            self.lost_count += 1
