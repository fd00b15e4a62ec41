"""Who is to get which message, so that all that count get it, once, by whatever ways there are.

Runs on CPython; pure.  Normally the committee, validators and proposers, is connected with itself fully:
a message goes from its author to all, and nobody hands anything on.  Where two members have no connection,
those between them see it in both their Links, and hand on what they have found genuine.  A message that is
repeated by its author, because it may have been lost, is handed on again, but not twice in a while: so
nothing runs in a circle.

    plain nodes         get certificates and blocks, from a validator, else from whoever is ahead of them
    transactions        go to the members, or where there are none towards them, through plain nodes
    members cut off     are reached through members, as far as it takes, or through one plain node
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol, TypeVar

from chain_node.genesis import Genesis
from chain_node.messages import Ballot, Message, Proposal, Relay, Validate, WantBlock, WantChain
from chain_node.peer_frame import MEMBERS_MAX
from chain_node.schedule import GenesisTurns, committee
from chain_node.transaction import Transaction
from chain_node.validator_set import Succession

SEEN_MAX = 8_192
"""Messages that are remembered as handed on."""
RELAY_SIZE_MAX = 1 << 16
"""Bytes of transactions in one message, unless it is one."""
ASKED_AT_ONCE = 3
"""Peers that are asked for a block when anybody may have it; another three the next time."""


class Neighbour(Protocol):
    """A peer that we are connected with."""

    @property
    def public(self) -> bytes:
        """Its key."""

    @property
    def links(self) -> frozenset[int]:
        """The members that it is connected with."""


N = TypeVar("N", bound=Neighbour)


class Gossip:
    """What one node knows of who has what.  again_ms: how often the same is handed on at most."""

    def __init__(self, genesis: Genesis, public: bytes, again_ms: int) -> None:
        self._genesis, self._public = genesis, public
        self._numbers: dict[bytes, int] = {}
        """Of all who ever were members, as the chain has named them: the same for everybody."""
        self._index: dict[bytes, int] = {}
        """Of those who are members now."""
        self.validators: frozenset[int] = frozenset()
        """Numbers of those who certify blocks, or are about to."""
        self._proposers: frozenset[int] = frozenset()
        self._me: int | None = None
        self.adopt(Succession(genesis.validators), 1)
        self._again_ms = again_ms
        self._seen: OrderedDict[object, int] = OrderedDict()
        """By what was handed on: when."""
        self._turn = 0

    def adopt(self, sets: Succession, height: int) -> None:
        """From now on the committee is that of this height, with those who are about to take over."""
        genesis, pending = self._genesis, sets.pending(height)
        ever = [*genesis.validators, *genesis.proposers, *(key for each in sets for key in each.keys)]
        self._numbers = {key: number for number, key in enumerate(dict.fromkeys(ever))}
        self._index = {key: self._numbers[key] for key in committee(genesis, sets, height)}
        validators = (*sets.at(height).keys, *(pending.keys if pending else ()))
        self.validators = frozenset(self._index[key] for key in validators)
        proposers = GenesisTurns(genesis, sets.at).proposers(height)
        self._proposers = frozenset(self._index[key] for key in proposers)
        self._me = self._index.get(self._public)

    def is_validator(self, public: bytes) -> bool:
        """Whether a key certifies blocks, or is about to."""
        return self._index.get(public) in self.validators

    def index(self, public: bytes) -> int | None:
        """A key's place in the committee; None: a plain node."""
        return self._index.get(public)

    def role(self, public: bytes) -> str:
        """What a key is, for people."""
        index = self._index.get(public)
        if index is None:
            return "plain"
        names = [
            name
            for name, indexes in (("validator", self.validators), ("proposer", self._proposers))
            if index in indexes
        ]
        return "+".join(names)

    def links(self, neighbours: Sequence[N]) -> list[int]:
        """The members among them, for a Links frame, which takes the first MEMBERS_MAX there ever were."""
        indexes = (self.index(each.public) for each in neighbours)
        return sorted(index for index in indexes if index is not None and index < MEMBERS_MAX)

    def audience(self, message: Message, neighbours: Sequence[N]) -> list[N]:
        """Whom to tell what we have to say to everybody."""
        members = [each for each in neighbours if each.public in self._index]
        match message:
            case Validate():
                return list(neighbours)
            case Relay():
                return members or list(neighbours)
            case WantBlock() | WantChain():
                return self._some(members or neighbours)
        missing = self._missing(neighbours)
        bridges = [each for each in neighbours if each.public not in self._index and each.links & missing]
        return members + bridges

    def onward(self, message: Message, sender: bytes, neighbours: Sequence[N], now_ms: int) -> list[N]:
        """Whom to hand on a genuine message that `sender` has brought."""
        match message:
            case Ballot(vote=vote):
                author, name = vote.voter, vote.data
            case Proposal(seal=seal) if seal:
                author, name = seal.voter, seal.data
            case Relay():
                return self._onward_relay(sender, neighbours)
            case _:
                return []
        has_it = self._linked(author, neighbours) | self._linked(sender, neighbours)
        missing = self._missing(neighbours)
        targets = []
        for each in neighbours:
            index = self.index(each.public)
            if each.public in (author, sender) or self._index.get(author) in each.links:
                continue
            if (index is None and each.links & missing) or (index is not None and index not in has_it):
                targets.append(each)
        return targets if targets and self._is_due(name, now_ms) else []

    def due(self, transactions: Sequence[Transaction], now_ms: int) -> tuple[Transaction, ...]:
        """Those of a Relay that were not handed on a moment ago."""
        return tuple(each for each in transactions if self._is_due(each.tx_hash, now_ms))

    def left_out(self, neighbours: Sequence[N]) -> list[N]:
        """Whom no validator but us tells of final blocks."""
        others = self.validators - {self._me}
        return [each for each in neighbours if not each.links & others]

    def _onward_relay(self, sender: bytes, neighbours: Sequence[N]) -> list[N]:
        index, has_it = self.index(sender), self._linked(sender, neighbours)
        others = [each for each in neighbours if each.public != sender]
        members = [each for each in others if each.public in self._index]
        if not members:
            return [] if self._me is not None or index is not None else others
        return [each for each in members if self.index(each.public) not in has_it and index not in each.links]

    def _linked(self, public: bytes, neighbours: Sequence[N]) -> frozenset[int]:
        """The members that this node is connected with, as far as it has told us."""
        return next((each.links for each in neighbours if each.public == public), frozenset())

    def _missing(self, neighbours: Sequence[N]) -> frozenset[int]:
        """The members that we have no connection with."""
        linked = {self._index.get(each.public) for each in neighbours} | {self._me}
        return frozenset(index for index in self._index.values() if index not in linked)

    def _some(self, peers: Sequence[N]) -> list[N]:
        if len(peers) <= ASKED_AT_ONCE:
            return list(peers)
        self._turn += ASKED_AT_ONCE
        return [peers[(self._turn + step) % len(peers)] for step in range(ASKED_AT_ONCE)]

    def _is_due(self, name: object, now_ms: int) -> bool:
        at_ms = self._seen.get(name)
        if at_ms is not None and now_ms < at_ms + self._again_ms:
            return False
        self._seen[name] = now_ms
        self._seen.move_to_end(name)
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        return True


def parts(relay: Relay) -> list[Relay]:
    """The same transactions in messages of a modest size, which every peer takes."""
    split: list[list[Transaction]] = [[]]
    size = 0
    for transaction in relay.transactions:
        size += len(transaction.data)
        if split[-1] and size > RELAY_SIZE_MAX:
            split.append([])
            size = len(transaction.data)
        split[-1].append(transaction)
    return [Relay(tuple(part)) for part in split]


def is_ours(message: Message, public: bytes) -> bool:
    """Whether it is a vote with our own key, which only we have forgotten, or a second node has cast."""
    return isinstance(message, Ballot) and message.vote.voter == public
