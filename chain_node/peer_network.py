"""A node's way to its peers: listens, dials, admits, hands messages over, and drops who misbehaves.

Runs on CPython, in one asyncio task.  What one connection may do is in peer.py, who gets which message in
peer_gossip.py, who gets a place in peer_admission.py, who is let in at all in peer_door.py; here are the
sockets.

    network = PeerNetwork(key, genesis, Peering(listen=..., dial=...))
    node = Node(storage, key, network)
    network.attach(node)
    async with network: await node.run()

Between two nodes one connection is kept: of two that were dialled at the same time, the one that the lower
key has dialled, so that both sides keep the same; of two that the same side has dialled, the newer, for
who dials again knows that the older one is dead.
"""

import asyncio
import errno
import logging
import random
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from chain_node import messages
from chain_node.block import Certificate, Header, Vote
from chain_node.errors import PeerError, PortInUse, StorageError
from chain_node.genesis import Genesis
from chain_node.lbft import announcement
from chain_node.lbft_states import Fate
from chain_node.ledger import Head
from chain_node.listener import Listener, bind
from chain_node.messages import Message, Relay, Validate
from chain_node.node import Node, steady_clock_ms
from chain_node.peer import Peer, PeerDropped, PeerMisbehaved
from chain_node.peer_address import Address
from chain_node.peer_admission import Limits
from chain_node.peer_connection import Connection, PeerStatus
from chain_node.peer_dial import Dialler
from chain_node.peer_door import Door
from chain_node.peer_frame import INSTANCE_SIZE, PROTOCOL_OLDEST, PROTOCOL_VERSION, FrameError, Hello, frame
from chain_node.peer_gossip import Gossip, is_ours, parts
from chain_node.peer_tls import TlsContext, TlsFailed
from chain_node.transaction import Known, Transaction
from chain_node.upgrade import Announcements, Upgrade, newest
from chain_node.verified import Verified
from puf.ed25519 import SigningKey

TICK_MS = 1_000
"""How often connections are looked after."""
HELD_SIZE_MAX = 64 << 20
"""Bytes that strangers together may make us keep; beyond, the one that costs most is dropped."""
LINKS_DELAY_MS = 50
"""How long a change of our connections waits for another one, before peers are told."""
RELAY_EVERY_MS = 50
"""How often transactions that were handed in here are told: the first at once, those that follow together."""
BACKLOG = 256
MISBEHAVED = (PeerMisbehaved, FrameError, TlsFailed)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Peering:
    """With whom a node speaks."""

    listen: Address | None = None
    """None: it only dials."""
    dial: tuple[Address, ...] = ()
    limits: Limits = field(default_factory=Limits)
    program: str = "cpchain"
    """What it calls itself."""


class PeerNetwork:
    """The `node.Network` of a node with sockets.  `attach` the node, then use it as `async with`.

    key: the node's; every node has one, also one that only follows.
    rules: the newest rules that this program knows; by default those of upgrade.py.
    """

    def __init__(
        self,
        key: SigningKey,
        genesis: Genesis,
        peering: Peering,
        *,
        rules: Upgrade | None = None,
        steady_ms: Callable[[], int] = steady_clock_ms,
    ) -> None:
        self.public = key.public
        self.trouble = ""
        """What people should know about the network; empty when all is well."""
        self.steady_ms = steady_ms
        self._genesis = genesis
        self._peering = peering
        self._rules = rules or newest(genesis.chain_id)
        self._context = TlsContext.of(key)
        self._instance = secrets.token_bytes(INSTANCE_SIZE)
        # Repeated at a quarter of the timeout, so every repetition is handed on.
        self._gossip = Gossip(genesis, key.public, max(genesis.timeout_ms // 8, 1))
        # Proposers stay open, also those that vote: somebody must take transactions in.
        self.door = Door(steady_ms(), may_shut=self.role == "validator")
        self._announcements = Announcements(len(genesis.validators), self._rules)
        self._seated = (0, 0)
        """Numbers of the newest set of validators and of the one in force, as the committee is known."""
        self._too_old: Upgrade | None = None
        self._node: Node | None = None
        self._verified = Verified({})
        self._connections: dict[Connection, None] = {}
        """All, in the order in which they came."""
        self._open: dict[bytes, Connection] = {}
        """By key, those that have said hello."""
        self._dialler = Dialler(self, random.Random())
        self._listener: Listener | None = None
        self._port = peering.listen.port if peering.listen else 0
        self._tasks = asyncio.TaskGroup()
        self._running: list[asyncio.Task[None]] = []
        self._links_timer: asyncio.TimerHandle | None = None
        self._outgoing: list[Transaction] = []
        """Transactions that are told to everybody in a moment."""
        self._relay_timer: asyncio.TimerHandle | None = None
        self._relay_at_s = 0.0
        """When the next may be told, by the loop's clock."""
        self._is_closing = False

    def attach(self, node: Node) -> None:
        """Serve this node."""
        self._node = node
        self._verified = Verified(node.pool)
        self._seat()

    @property
    def node(self) -> Node:
        """Whom it serves."""
        assert self._node, "attach comes first"  # noqa: S101 - the order of calls is the host's
        return self._node

    @property
    def address(self) -> Address | None:
        """Where it listens."""
        listen = self._peering.listen
        return Address(listen.host, self._port, self.public) if listen else None

    @property
    def role(self) -> str:
        """What this node is, for people."""
        return self._gossip.role(self.public)

    @property
    def rules(self) -> Upgrade:
        """The newest rules that this program knows."""
        return self._rules

    @property
    def connection_count(self) -> int:
        """Connections that hold a place, proven or not: one that has been dropped only closes yet."""
        return sum(not each.is_ended() for each in self._connections)

    def peers(self) -> list[PeerStatus]:
        """Those that we are connected with, members first."""

        def place(each: Connection) -> tuple[bool, int, bytes]:
            return (each.index is None, each.index or 0, each.public)

        ordered = sorted(self._open.values(), key=place)
        return [each.status(self._gossip.role(each.public)) for each in ordered]

    # Life

    async def __aenter__(self) -> "PeerNetwork":
        """Listen, and begin to dial.  Raises PortInUse, OSError for an address that is not this machine's."""
        await self.node.advance()
        if listen := self._peering.listen:
            try:
                listening = bind(listen.host, listen.port, BACKLOG)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise PortInUse(listen.host, listen.port) from error
                raise
            self._listener = Listener(listening, self._welcomes, lambda: Connection(self, None))
            self._port = self._listener.port
            self._listener.start()
        await self._tasks.__aenter__()
        self._running = [self._tasks.create_task(self._look_after())]
        self._running += [self._tasks.create_task(self._dialler.run(each)) for each in self._peering.dial]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hang up everywhere, and stop listening."""
        self._is_closing = True
        if self._listener:
            self._listener.close()
        for task in self._running:
            task.cancel()
        for timer in (self._links_timer, self._relay_timer):
            if timer:
                timer.cancel()
        closing = [connection.closed for connection in self._connections]
        for connection in list(self._connections):
            connection.close()
        if closing:
            await asyncio.wait(closing)
        await self._tasks.__aexit__(None, None, None)

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(TICK_MS / 1000)
            now_ms, height = self.steady_ms(), self.node.head.height
            for connection in list(self._connections):
                connection.tick(height, now_ms)
            if self.door.tick(now_ms):
                for connection in self._strangers():
                    connection.drop(PeerDropped(self.door.shutter.words), is_polite=True)
            strangers = [each for each in self._open.values() if each.index is None]
            if sum(each.peer.held_size for each in strangers) > HELD_SIZE_MAX:
                costliest = max(strangers, key=lambda each: each.peer.held_size)
                costliest.drop(PeerDropped("plain nodes have too much waiting, and it has the most"))

    # node.Network

    def send(self, sender: bytes, receiver: bytes | None, message: Message) -> None:
        """Hand a message to the peers that are to have it."""
        if receiver in self._open:
            self._hand([self._open[receiver]], message)
        elif isinstance(message, Relay):
            self._relay_soon(message)
        elif receiver is None:
            self._hand(self._gossip.audience(message, self._neighbours()), message)

    def judged(self, sender: bytes, message: Message, fate: Fate) -> None:
        """Blame who has sent what is forged; hand on what others cannot have."""
        connection = self._open.get(sender)
        if connection and not is_ours(message, self.public):
            connection.blame_for(fate)
        if fate not in (Fate.TAKEN, Fate.EARLY, Fate.DUPLICATE):
            return
        now_ms = self.steady_ms()
        targets = self._gossip.onward(message, sender, self._neighbours(), now_ms)
        if targets and isinstance(message, Relay):
            pool = self.node.pool
            waiting = [each for each in message.transactions if pool.get(each.tx_hash)]
            due = self._gossip.due(waiting, now_ms)
            if not due:
                return
            message = Relay(due)
        self._hand(targets, message)

    def advanced(self, head: Head) -> None:
        """Show a final block to those that no validator tells of it; know who takes over by it."""
        self._seat()
        late = [
            each
            for each in self._gossip.left_out(self._neighbours())
            if max(each.peer.height, each.shown_height) < head.height
        ]
        if not late:
            return
        try:
            certified = self.node.storage.certified(head.height, 1)
        except StorageError as error:
            # The node meets the same error at its next block, and says so; its peers lose nothing.
            log.warning("cannot show block %d to peers: %s", head.height, error)
            return
        for block, certificate in certified:
            self._hand(late, announcement(certificate, block))

    # For connections

    @property
    def known(self) -> Known:
        """Transactions that need not be verified again."""
        return self._verified

    def glance(self, sender: bytes, header: Header, proof: Vote | Certificate | None) -> Fate:
        """What a block is worth, before it is read."""
        return self.node.glance(sender, header, proof)

    def has_room(self, kind: int, count: int, now_ms: int) -> bool:
        """Whether plain nodes together may still cost so much."""
        return self.door.has_room(kind, count, now_ms)

    def bytes_owed_ms(self, host: str, size: int) -> int:
        """A plain node has sent so many bytes; how long it should not be read now."""
        return self.door.bytes_owed_ms(host, size, self.steady_ms())

    def new_peer(self, *, is_client: bool) -> Peer:
        """The sans-IO half of a new connection."""
        hello = Hello(
            version=PROTOCOL_VERSION,
            oldest=PROTOCOL_OLDEST,
            chain_id=self._genesis.chain_id,
            height=self.node.head.height,
            rules_version=self._rules.rules_version,
            program=self._peering.program,
            rules_height=self._rules.from_height,
            instance=self._instance,
        )
        return Peer(self._context, hello, self, is_client=is_client, now_ms=self.steady_ms())

    def admit(self, connection: Connection) -> bool:
        """A connection has come; whether it may try to say who it is."""
        if self._is_closing:
            return False
        if not connection.dialled:
            limits = self._peering.limits
            # Where a member is known, places are apart: strangers push out strangers only.
            is_known = self.door.admission.is_known(connection.owner)
            unproven = [
                each
                for each in self._connections
                if not (each.is_open or each.is_ended() or each.dialled)
                and self.door.admission.is_known(each.owner) == is_known
            ]
            here = [each for each in unproven if each.owner == connection.owner]
            # Who has been silent longest makes room: an honest handshake takes a moment.
            if len(here) >= limits.unproven_by_address_max:
                here[0].drop(PeerDropped("another connection of its address took its place"))
            elif len(unproven) >= limits.unproven_max:
                unproven[0].drop(PeerDropped("another connection took its place"))
        self._connections[connection] = None
        return True

    def opened(self, connection: Connection, hello: Hello) -> None:
        """A peer has proven its key and said hello.  Raises PeerDropped when it cannot stay."""
        public, now_ms = connection.public, self.steady_ms()
        if public == self.public:
            if hello.instance != self._instance:
                self.trouble = (
                    f"another node at {connection.host} runs with this node's key; stop one of them"
                )
                log.error("%s", self.trouble)
            raise Ourselves("it has our own key")
        if connection.dialled and connection.dialled.public not in (None, public):
            raise PeerDropped(f"another node answers there, with key {public.hex()}")
        if self.door.admission.is_banned(public, now_ms):
            raise PeerDropped("it has misbehaved a moment ago")
        connection.index = self._gossip.index(public)
        other = self._open.get(public)
        if other and not self._replaces(connection, other):
            raise Superseded("there is a connection with it already")
        if not other and connection.index is None and not connection.dialled:
            self._check_room(connection)
        if connection.index is not None or connection.dialled:
            # Whom our people have named is no stranger: so entry nodes bring in what many users send.
            connection.peer.trust(now_ms)
        if connection.index is not None:
            self.door.admission.know(connection.owner)
        connection.is_open = True
        self._open[public] = connection
        if other:
            other.drop(Superseded("a newer connection with it took its place"), is_polite=True)
        log.info("connected with %s", connection)
        self._hear_of_rules(connection, hello)
        self._tell_links()
        self.node.hear(public, hello.height + 1)

    def received(self, connection: Connection, item: Message | int) -> None:
        """A peer has sent a message, or spoken of a height."""
        if isinstance(item, int):
            self.node.hear(connection.public, item)
        else:
            self._verified.note(item)
            self.node.deliver(connection.public, item)

    def lost(self, connection: Connection, why: PeerError | None) -> None:
        """A connection has ended."""
        self._connections.pop(connection, None)
        if connection.is_open and self._open.get(connection.public) is connection:
            del self._open[connection.public]
            log.info("no more connected with %s: %s", connection, why or "the connection broke")
            self._tell_links()
        if isinstance(why, MISBEHAVED):
            is_stranger = connection.index is None and not connection.dialled
            public = connection.peer.public
            duration_ms = self.door.misbehaved(
                connection.host, public, self.steady_ms(), is_stranger=is_stranger
            )
            if public:
                log.warning("keeps away from %s for %d ms: %s", connection, duration_ms, why)
        elif connection.index is None and not connection.dialled:
            self.door.ended(connection.host, connection.since_ms, self.steady_ms())

    def is_linked(self, public: bytes) -> bool:
        """Whether there is a connection with this node."""
        return public in self._open

    def is_hopeless(self, why: PeerError | None) -> bool:
        """Whether dialling again cannot help."""
        return isinstance(why, Ourselves)

    # Small things

    def _neighbours(self) -> Sequence[Connection]:
        return tuple(each for each in self._open.values() if not each.is_ended())

    def _hand(self, connections: Sequence[Connection], message: Message) -> None:
        if not connections:
            return
        if isinstance(message, Relay):
            first, *more = parts(message)
            for part in more:
                self._hand(connections, part)
            message = first
        data = frame(message.KIND, messages.encode(message))
        for connection in connections:
            if isinstance(message, Validate):
                connection.shown_height = max(connection.shown_height, message.height)
            connection.send(message.KIND, data)

    def _relay_soon(self, message: Relay) -> None:
        self._outgoing += message.transactions
        if self._relay_timer is None and not self._is_closing:
            loop = asyncio.get_running_loop()
            self._relay_timer = loop.call_at(max(self._relay_at_s, loop.time()), self._relay_now)

    def _relay_now(self) -> None:
        self._relay_timer = None
        self._relay_at_s = asyncio.get_running_loop().time() + RELAY_EVERY_MS / 1000
        message, self._outgoing = Relay(tuple(self._outgoing)), []
        self._hand(self._gossip.audience(message, self._neighbours()), message)

    def _replaces(self, new: Connection, old: Connection) -> bool:
        if bool(new.dialled) == bool(old.dialled):
            return True
        client = self.public if new.dialled else new.public
        return client == min(self.public, new.public)

    def _welcomes(self, host: str) -> bool:
        return self.door.welcomes(host, self.steady_ms())

    def _strangers(self) -> list[Connection]:
        return [each for each in self._open.values() if each.index is None and not each.dialled]

    def _check_room(self, connection: Connection) -> None:
        if self.door.is_shut:
            raise PeerDropped(self.door.shutter.words)
        limits, strangers = self._peering.limits, self._strangers()
        here = [each for each in strangers if each.owner == connection.owner]
        if len(strangers) >= limits.strangers_max or len(here) >= limits.strangers_by_address_max:
            raise PeerDropped("there is no room for more plain nodes")

    def _tell_links(self) -> None:
        if self._links_timer is None and not self._is_closing:
            loop = asyncio.get_running_loop()
            self._links_timer = loop.call_later(LINKS_DELAY_MS / 1000, self._tell_links_now)

    def _tell_links_now(self) -> None:
        self._links_timer = None
        neighbours = self._neighbours()
        indexes = self._gossip.links(neighbours)
        for connection in neighbours:
            connection.tell_links(indexes)

    def _seat(self) -> None:
        """Take those for the committee who are, or are about to be."""
        sets, height = self.node.storage.handovers.sets, self.node.head.height + 1
        if (seated := (sets.newest.number, sets.at(height).number)) == self._seated:
            return
        self._seated = seated
        self._gossip.adopt(sets, height)
        self.door.may_shut = self.role == "validator"
        self._announcements.seat(self._gossip.validators)
        for connection in self._open.values():
            was, connection.index = connection.index, self._gossip.index(connection.public)
            if was is None and connection.index is not None:
                connection.peer.trust(self.steady_ms())
        if self._open:
            self._tell_links()

    def _hear_of_rules(self, connection: Connection, hello: Hello) -> None:
        index = connection.index
        if index is None or not self._gossip.is_validator(connection.public):
            return
        said = Upgrade(hello.rules_version, hello.rules_height)
        lacking = self._announcements.hear(index, said)
        if lacking and lacking != self._too_old:
            self._too_old = lacking
            self.trouble = (
                f"this program is too old: rules {lacking.rules_version} hold from block "
                f"{lacking.from_height} on, it knows rules {self._rules.rules_version}; upgrade it"
            )
            log.error("%s", self.trouble)
            self.node.retire(lacking.from_height, self.trouble)


class Ourselves(PeerDropped):
    """Who was dialled is this very node, or another with its key."""


class Superseded(PeerDropped):
    """Another connection with the same node is kept."""
