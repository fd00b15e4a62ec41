"""Fast sync: a new node takes a late state as it is, in place of all the blocks that led to it.

Runs on CPython; pure, over a store that is handed in.  A header that this chain's validators have certified
names the root of its state; who trusts the genesis needs no block before it.  Under that root every node of
the state is checked by its hash as it comes, so any peer will do: one that lies is found at the very node,
and another one is asked.  What joining costs follows from the state, not from the chain.

    StateFetch      which nodes are wanted, and which are right
    answer          what a node that is asked says
    SnapshotClient  peers, deadlines, and a newer header where the state of the first has been pruned

A node is kept only when all below it is kept.  So after a crash, or when the state has moved on meanwhile,
what is there is never asked for again: only what has changed is.  In memory are the branches on the way
down and the hashes of what is beside them.  Bounds: NODES_COUNT_MAX, NODES_SIZE_MAX of an answer.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from chain_node import validator_set
from chain_node.errors import PeerError, TrustError, WireError
from chain_node.evidence import Link, StateEvidence
from chain_node.genesis import Genesis
from chain_node.handover import Handovers
from chain_node.ledger import Head
from chain_node.messages import (
    CHANGES_COUNT_MAX,
    LINKS_COUNT_MAX,
    NODES_COUNT_MAX,
    NODES_SIZE_MAX,
    Changes,
    Links,
    Message,
    StateNodes,
    WantChanges,
    WantLinks,
    WantNodes,
)
from chain_node.state import State
from puf.merkle_map import EMPTY, MerkleMap, NodeMissing, open_node

DEEP_MAX = 64
"""Subtrees that one request asks for."""
TIMEOUT_MS = 10_000
"""How long a peer may take for an answer."""
PEERS_MAX = 64
"""Peers that are asked for their newest header."""
WEIGH_GAP = 32
"""Blocks behind from which on it is worth while to ask how many transactions are in them."""
WEIGH_TX = 10_000
"""Transactions that are sooner executed than looked past: some seconds of a gateway's time."""
CHANGES = b"changes"
"""Stands for a question about validators where else a hash does."""

log = logging.getLogger(__name__)

Sends = list[tuple[bytes, Message]]
"""(peer, message)."""


class SnapshotLie(PeerError):
    """A peer sent a node that nobody asked for: it leads to another root, or is not whole."""


class NodeStore(Protocol):
    """Where nodes of a state come from."""

    def find(self, node_hash: bytes) -> bytes | None:
        """A node by its hash."""

    def is_live(self, node_hash: bytes) -> bool:
        """Whether this node is here with all below it, for good."""


class Store(Protocol):
    """Where a state is put together; `Storage` is one."""

    @property
    def head(self) -> Head:
        """The last block that is here."""

    @property
    def is_joining(self) -> bool:
        """Whether some of a state is here already that is not the head's."""

    @property
    def nodes(self) -> NodeStore:
        """The nodes that are here."""

    def put_nodes(self, nodes: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep nodes, synced, all or none; each comes after all that is below it."""

    def entries(self, state_root: bytes) -> MerkleMap:
        """The state with this root."""

    def put_handovers(self, handovers: Sequence[StateEvidence]) -> None:
        """Keep evidence of changes of validators, synced."""

    def install(self, link: Link) -> None:
        """Make this block, whose state is whole now, the head."""


class Source(Protocol):
    """What a node answers from; `Storage` is one."""

    @property
    def head(self) -> Head:
        """The last block."""

    @property
    def nodes(self) -> NodeStore:
        """The nodes of its last states."""

    def headers(self, first: int, count: int) -> list[tuple[bytes, bytes]]:
        """(header, certificate) from `first` on, without a gap."""

    def changes(self, first: int, count: int) -> list[bytes]:
        """Evidence of changes of validators."""


def answer(source: Source, message: WantNodes | WantLinks | WantChanges) -> StateNodes | Links | Changes:
    """What to say to who asks.  An empty answer: none of it is here, or no more."""
    if isinstance(message, WantChanges):
        found_changes = source.changes(message.first, min(message.count, CHANGES_COUNT_MAX))
        return Changes(message.first, tuple(StateEvidence.decode(data) for data in found_changes))
    if isinstance(message, WantLinks):
        first = message.first or source.head.height
        count = min(message.count, LINKS_COUNT_MAX) if message.first else 1
        rows = source.headers(first, count)
        return Links(message.first, tuple(Link.decode(*row) for row in rows))
    waiting = list(reversed(message.hashes))
    found: list[bytes] = []
    size = 0
    while waiting and len(found) < NODES_COUNT_MAX:
        node_hash = waiting.pop()
        node = source.nodes.find(node_hash)
        if node is None or (found and size + len(node) > NODES_SIZE_MAX):
            break
        found.append(node)
        size += len(node)
        if message.is_deep:
            try:
                waiting += reversed(open_node(node_hash, node))
            except NodeMissing:
                # Our own damage: `cpc node check` names it.  What came before it is right.
                found.pop()
                break
    return StateNodes(message.hashes[0], tuple(found))


@dataclass(slots=True)
class _Place:
    """A node that is wanted or, once it is here, a branch that waits for what is below it."""

    node_hash: bytes
    branch: bytes | None = None


class StateFetch:
    """The nodes under one root, as they are still wanted.

    store: keeps them; what it has live is not asked for.
    """

    def __init__(self, root: bytes, store: Store) -> None:
        is_here = root == EMPTY or store.nodes.is_live(root)
        self._store = store
        self._stack = [] if is_here else [_Place(root)]
        """What is done last comes first; a branch lies under all that it waits for."""
        # With nothing here but a genesis, whole subtrees cost the fewest questions.
        self._is_deep = store.head.height == 0 and not store.is_joining
        self._asked: list[int] = []
        """Where on the stack that is which was asked for: the topmost first."""
        self.taken_count = 0
        """Nodes that have come, and were right."""

    def wanted(self) -> WantNodes | None:
        """What to ask for next, of anybody; None: the state is whole.  Asked twice, it says the same."""
        self._asked = []
        count_max = DEEP_MAX if self._is_deep else NODES_COUNT_MAX
        for index in range(len(self._stack) - 1, -1, -1):
            if len(self._asked) == count_max:
                break
            if self._stack[index].branch is None:
                self._asked.append(index)
        if not self._asked:
            return None
        return WantNodes(self._is_deep, tuple(self._stack[index].node_hash for index in self._asked))

    def take(self, nodes: Sequence[bytes]) -> None:
        """The answer to what was `wanted` last.

        Raises SnapshotLie at the first node that is not right, after those before it are kept; StorageError.
        """
        done: list[tuple[bytes, bytes]] = []
        asked, self._asked = self._asked, []
        try:
            for number, node in enumerate(nodes):
                self._settle(done)
                if self._is_deep:
                    # All above the last one that was asked for is below one that was.
                    index = len(self._stack) - 1
                    is_asked = bool(asked) and index >= asked[-1]
                else:
                    is_asked = number < len(asked)
                    index = asked[number] if is_asked else 0
                if not is_asked:
                    raise SnapshotLie("it sent more nodes than were asked for")
                self._open(index, node, done)
        finally:
            self._settle(done)
            if done:
                self._store.put_nodes(done)

    def _open(self, index: int, node: bytes, done: list[tuple[bytes, bytes]]) -> None:
        place = self._stack[index]
        try:
            below = open_node(place.node_hash, node)
        except NodeMissing:
            raise SnapshotLie(f"it sent another node than {place.node_hash.hex()}") from None
        self.taken_count += 1
        if not below:
            done.append((place.node_hash, node))
            del self._stack[index]
            return
        place.branch = node
        # Right below left: the left one comes first. What is here stays; the rest was only seen from afar.
        self._stack[index + 1 : index + 1] = [
            _Place(child)
            for child in reversed(below)
            if self._is_deep or not self._store.nodes.is_live(child)
        ]

    def _settle(self, done: list[tuple[bytes, bytes]]) -> None:
        while self._stack and (branch := self._stack[-1].branch) is not None:
            done.append((self._stack.pop().node_hash, branch))


class SnapshotClient:
    """Brings a store to a late block by its state.  Afterwards normal catch-up goes on from there.

    gap_min: blocks that it must be behind for this to be worth while in any case.  From WEIGH_GAP on it asks
    for the headers in between, which say how many transactions there are: more than WEIGH_TX are worth it,
    too.  Else it is done at once.
    """

    def __init__(self, store: Store, genesis: Genesis, gap_min: int = 1) -> None:
        self.is_done = False
        self.installed: Link | None = None
        """The block that was taken, once it is done; None when the store was near enough."""
        self.liars: dict[bytes, str] = {}
        """Peers that are not asked any more, and why."""
        self.taken_count = 0
        """Nodes that have come, and were right."""
        self.deadline_ms: int | None = None
        """When `tick` is to be called at the latest."""
        self._store = store
        self._gap_min = gap_min
        self._known = Handovers(genesis)
        """Who certifies which height, as far as it was shown: only the genesis is trusted."""
        self._unjudged: dict[bytes, Link] = {}
        """The newest header of those who are asked whose validators certified it."""
        self._peers: dict[bytes, Link | None] = {}
        """The newest certified header of each, once it has answered."""
        self._target: Link | None = None
        self._fetch: StateFetch | None = None
        self._without: set[bytes] = set()
        """Peers that have no more of the target's state, or do not answer."""
        self._asked: tuple[bytes, bytes] | None = None
        """(peer, first hash) of the question that is open."""
        self._weighing: tuple[bytes, int] | None = None
        """(peer, first height) of the headers that are asked for, to count their transactions."""
        self._tx_count = 0
        """Transactions that are known to lie between."""
        self._begun = False
        self._turn = 0

    @property
    def is_fetching(self) -> bool:
        """Whether somebody has shown a certified header that is far enough ahead."""
        return self._begun and not self.is_done

    def add_peer(self, peer: bytes, now_ms: int) -> Sends:
        """There is somebody to ask."""
        if self.is_done or peer in self._peers or peer in self.liars or len(self._peers) >= PEERS_MAX:
            return []
        self._peers[peer] = None
        if self.deadline_ms is None:
            self.deadline_ms = now_ms + TIMEOUT_MS
        return [(peer, WantLinks(0, 1))]

    def remove_peer(self, peer: bytes, now_ms: int) -> Sends:
        """This one is gone."""
        self._peers.pop(peer, None)
        self._unjudged.pop(peer, None)
        if self._asked and self._asked[0] == peer:
            return self._ask(now_ms)
        return []

    def receive(self, peer: bytes, message: Message, now_ms: int) -> Sends:
        """An answer, or anything else, which is nothing to us.  Raises StorageError."""
        if self.is_done or peer not in self._peers:
            return []
        if isinstance(message, Links) and message.first == 0:
            return self._hear_of_head(peer, message, now_ms)
        if isinstance(message, Links) and self._weighing == (peer, message.first):
            return self._weigh(peer, message, now_ms)
        if isinstance(message, Changes):
            return self._hear_of_changes(peer, message, now_ms)
        if isinstance(message, StateNodes) and self._fetch and self._asked == (peer, message.first):
            self._asked = None
            if not message.nodes:
                self._without.add(peer)
            before = self._fetch.taken_count
            try:
                self._fetch.take(message.nodes)
            except SnapshotLie as error:
                self._blame(peer, str(error))
            self.taken_count += self._fetch.taken_count - before
            return self._ask(now_ms)
        return []

    def tick(self, now_ms: int) -> Sends:
        """The clock shows this."""
        if self.is_done or self.deadline_ms is None or now_ms < self.deadline_ms:
            return []
        if self._weighing:
            # Blocks have been coming meanwhile, and they come without an answer.
            self._finish(None)
            return []
        if self._target is None:
            return self._choose(now_ms)
        if self._asked:
            self._without.add(self._asked[0])
        return self._ask(now_ms)

    def _hear_of_head(self, peer: bytes, message: Links, now_ms: int) -> Sends:
        if not message.links:
            # It is at the genesis itself.
            del self._peers[peer]
        elif not self._known.names(message.links[0].header):
            self._unjudged[peer] = message.links[0]
            return [(peer, self._next_changes())]
        else:
            self._judge_head(peer, message.links[0])
        return self._choose_if_ready(now_ms)

    def _judge_head(self, peer: bytes, link: Link) -> None:
        try:
            self._known.verify(link)
        except TrustError as error:
            self._blame(peer, str(error))
        else:
            self._peers[peer] = link

    def _next_changes(self) -> WantChanges:
        return WantChanges(self._known.sets.newest.number + 1, CHANGES_COUNT_MAX)

    def _hear_of_changes(self, peer: bytes, message: Changes, now_ms: int) -> Sends:
        """Who certified its newest header, or the state that is whole now."""
        before, link = self._known.sets.newest.number, self._unjudged.pop(peer, None)
        try:
            for handover in message.handovers:
                self._known.learn(handover)
        except (TrustError, WireError) as error:
            self._blame(peer, str(error))
        is_more = self._known.sets.newest.number > before
        if link:
            if peer in self.liars:
                return self._choose_if_ready(now_ms)
            if is_more and not self._known.names(link.header):
                self._unjudged[peer] = link
                return [(peer, self._next_changes())]
            self._judge_head(peer, link)
            return self._choose_if_ready(now_ms)
        if self._fetch and self._asked == (peer, CHANGES):
            self._asked = None
            if not is_more:
                self._without.add(peer)
            return self._ask(now_ms)
        return []

    def _choose_if_ready(self, now_ms: int) -> Sends:
        if self._target is None and None not in self._peers.values():
            return self._choose(now_ms)
        return []

    def _choose(self, now_ms: int) -> Sends:
        """Take the newest header that anybody has shown; ask again who has shown none."""
        links = [link for link in self._peers.values() if link]
        if not links:
            self.deadline_ms = now_ms + TIMEOUT_MS if self._peers else None
            return [(peer, WantLinks(0, 1)) for peer in self._peers]
        best = max(links, key=lambda link: link.header.height)
        behind = best.header.height - self._store.head.height
        self._target = best
        if behind >= self._gap_min:
            return self._begin(now_ms)
        if behind < WEIGH_GAP:
            self._finish(None)
            return []
        self._tx_count = 0
        peer = next(peer for peer, link in self._peers.items() if link is best)
        return self._ask_weight(peer, self._store.head.height + 1, now_ms)

    def _begin(self, now_ms: int) -> Sends:
        assert self._target, "there is a block to begin with"  # noqa: S101 - see the callers
        self._begun = True
        self._weighing = None
        self._without = set()
        self._fetch = StateFetch(self._target.header.state_root, self._store)
        return self._ask(now_ms)

    def _ask_weight(self, peer: bytes, first: int, now_ms: int) -> Sends:
        self._weighing = (peer, first)
        self.deadline_ms = now_ms + TIMEOUT_MS
        return [(peer, WantLinks(first, LINKS_COUNT_MAX))]

    def _weigh(self, peer: bytes, message: Links, now_ms: int) -> Sends:
        """Count what headers say.  A lie costs us the longer way; both ways lead to what is certified."""
        assert self._target, "there is a block up to which is counted"  # noqa: S101 - see _choose
        self._tx_count += sum(link.header.tx_count for link in message.links)
        # Who has no headers has no blocks either.
        if self._tx_count > WEIGH_TX or not message.links:
            return self._begin(now_ms)
        first = message.first + len(message.links)
        if first > self._target.header.height:
            self._finish(None)
            return []
        return self._ask_weight(peer, first, now_ms)

    def _ask(self, now_ms: int) -> Sends:
        assert self._fetch, "something is being fetched"  # noqa: S101 - only a bug asks
        assert self._target, "and it is some block's"  # noqa: S101 - they are set together
        self._asked = None
        wanted: WantNodes | WantChanges | None = self._fetch.wanted()
        if wanted is None and self._lacks_changes(self._target):
            wanted = self._next_changes()
        if wanted is None:
            self._store.put_handovers(self._known.proofs())
            self._store.install(self._target)
            self._finish(self._target)
            return []
        peers = [peer for peer, link in self._peers.items() if link and peer not in self._without]
        if not peers:
            # Nobody has this state any more: go on with that of a newer block.
            log.info("the state of block %d is gone; asking for a newer one", self._target.header.height)
            self._target = self._fetch = None
            self._peers = dict.fromkeys(self._peers)
            return self._choose(now_ms)
        # In turn, so that one that answers as little and as late as it may costs only its share.
        self._turn += 1
        peer = peers[self._turn % len(peers)]
        self._asked = (peer, wanted.hashes[0] if isinstance(wanted, WantNodes) else CHANGES)
        self.deadline_ms = now_ms + TIMEOUT_MS
        return [(peer, wanted)]

    def _lacks_changes(self, target: Link) -> bool:
        """Whether the state, which is whole, knows of changes of validators that nobody has proven yet."""
        state = State(self._store.entries(target.header.state_root))
        newest = validator_set.present(state, self._known.genesis.validators).newest
        return newest.number > self._known.sets.newest.number

    def _blame(self, peer: bytes, why: str) -> None:
        log.warning("asks %s no more: %s", peer.hex(), why)
        self.liars[peer] = why
        self._unjudged.pop(peer, None)
        self._peers.pop(peer, None)

    def _finish(self, link: Link | None) -> None:
        self.is_done, self.installed, self.deadline_ms = True, link, None
        self._fetch = self._weighing = None
