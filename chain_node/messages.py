"""What nodes say to each other, and the bytes of it.

Runs on CPython; pure.  A message is a CBOR list that begins with its kind:

    [1, block, seal or null]           Proposal    a block of this height, sealed by its proposer
    [2, vote, certificate or null]     Ballot      PREPARE, COMMIT, ROUND, COORDINATE; a P-certificate
    [3, certificate, block or null]    Validate    this block is final
    [4, height, block hash]            WantBlock   please send the block with this hash
    [5, first height, count]           WantChain   please send the final blocks from here on
    [6, [transaction, ...], null]      Relay       these wait to enter a block
    [16, 0 or 1, [hash, ...]]          WantNodes   please send these nodes of a state; 1: and those below
    [17, first hash, [node, ...]]      StateNodes  the answer; fewer than asked for, or none
    [18, first height, count]          WantLinks   please send headers with certificates; from 0: the newest
    [19, first height, [bytes, ...]]   Links       the answer: header, certificate, header, certificate ...
    [20, first number, count]          WantChanges please send the handovers of validators from this one on
    [21, first number, [bytes, ...]]   Changes     the answer: evidence of each change (handover.py)

Kinds 16 to 21 are for who joins late (snapshot.py); consensus has no use for them.  Kinds 20 and 21 came with
changes of validators: only who has shown a chain with one is asked, so no older program ever sees them.

Blocks, votes and certificates stand in it as the byte strings that block.py defines.  Reading checks
form and bounds, and the signatures of a block's transactions; votes, seals and certificates are
verified by who uses them, which lets a copy of a known one cost nothing.  A block may have thousands of
transactions, so `decode_wanted` shows header, seal and certificate before it looks at any of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from chain_node.block import (
    BLOCK_SIZE_MAX,
    CERTIFICATE_SIZE_MAX,
    HEADER_SIZE_MAX,
    VOTE_SIZE_MAX,
    Block,
    Certificate,
    Header,
    Phase,
    Vote,
)
from chain_node.errors import Refused, WireError
from chain_node.evidence import Link, StateEvidence
from chain_node.fields import HASH_SIZE, check_blob, check_integer, read
from chain_node.transaction import TX_SIZE_LIMIT, Known, Transaction
from puf import cbor
from puf.merkle_map import VALUE_SIZE_MAX

MESSAGE_SIZE_MAX = BLOCK_SIZE_MAX + CERTIFICATE_SIZE_MAX + VOTE_SIZE_MAX
CHAIN_COUNT_MAX = 16
"""Final blocks that one WantChain asks for."""
RELAY_COUNT_MAX = 1_024
"""Transactions in one Relay."""
MESSAGE_ITEMS_MAX = RELAY_COUNT_MAX + 8
"""CBOR values in a message."""
NODES_COUNT_MAX = 1_024
"""Nodes in one StateNodes, and hashes in one WantNodes."""
NODES_SIZE_MAX = 1 << 18
"""Bytes of the nodes in one StateNodes, unless it is one node."""
NODE_SIZE_MAX = VALUE_SIZE_MAX + 33
LINKS_COUNT_MAX = 128
"""Headers that one WantLinks asks for."""
CHANGES_COUNT_MAX = 16
"""Handovers in one Changes."""
HANDOVER_SIZE_MAX = 1 << 15
"""Bytes of a handover with as many validators as there may be, and the longest proof."""
BALLOT_PHASES = (Phase.PREPARE, Phase.COMMIT, Phase.ROUND, Phase.COORDINATE)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A block for a height that is not decided."""

    KIND: ClassVar[int] = 1
    block: Block
    seal: Vote | None
    """The proposer's; None when who sends it has none, and a certificate vouches for the block."""

    @property
    def height(self) -> int:
        """Of the block."""
        return self.block.header.height

    def parts(self) -> list[object]:
        """The message as it is encoded, after its kind."""
        return [self.block.encode(), self.seal.data if self.seal else None]


@dataclass(frozen=True, slots=True)
class Ballot:
    """One validator's vote, and the highest P-certificate it knows, where that matters."""

    KIND: ClassVar[int] = 2
    vote: Vote
    certificate: Certificate | None = None

    @property
    def height(self) -> int:
        """Of the vote."""
        return self.vote.height

    def parts(self) -> list[object]:
        """The message as it is encoded, after its kind."""
        return [self.vote.data, self.certificate.encode() if self.certificate else None]


@dataclass(frozen=True, slots=True)
class Validate:
    """A final block, or only its certificate for those who have the block."""

    KIND: ClassVar[int] = 3
    certificate: Certificate
    block: Block | None = None

    @property
    def height(self) -> int:
        """Of the block."""
        return self.certificate.height

    def parts(self) -> list[object]:
        """The message as it is encoded, after its kind."""
        return [self.certificate.encode(), self.block.encode() if self.block else None]


@dataclass(frozen=True, slots=True)
class WantBlock:
    """Asks for a block by its hash."""

    KIND: ClassVar[int] = 4
    height: int
    block_hash: bytes

    def parts(self) -> list[object]:
        """The message as it is encoded, after its kind."""
        return [self.height, self.block_hash]


@dataclass(frozen=True, slots=True)
class WantChain:
    """Asks for final blocks, each as a Validate."""

    KIND: ClassVar[int] = 5
    first: int
    count: int

    @property
    def height(self) -> int:
        """The first one wanted."""
        return self.first

    def parts(self) -> list[object]:
        """The message as it is encoded, after its kind."""
        return [self.first, self.count]


@dataclass(frozen=True, slots=True)
class Relay:
    """Transactions that somebody was handed, for whoever proposes next."""

    KIND: ClassVar[int] = 6
    transactions: tuple[Transaction, ...]

    def parts(self) -> list[object]:
        """The message as it is encoded, after its kind."""
        return [[transaction.data for transaction in self.transactions], None]


@dataclass(frozen=True, slots=True)
class WantNodes:
    """Asks for nodes of a state by their hashes."""

    KIND: ClassVar[int] = 16
    is_deep: bool
    """Also for what is below each, left before right, before the next one, as far as an answer goes."""
    hashes: tuple[bytes, ...]

    def parts(self) -> list[object]:
        """The message as it is encoded, after its kind."""
        return [int(self.is_deep), list(self.hashes)]


@dataclass(frozen=True, slots=True)
class StateNodes:
    """Nodes that were asked for, in the order of the asking, up to the first that is not there."""

    KIND: ClassVar[int] = 17
    first: bytes
    """The first hash that was asked for: tells which request this answers."""
    nodes: tuple[bytes, ...]

    def parts(self) -> list[object]:
        """The message as it is encoded, after its kind."""
        return [self.first, list(self.nodes)]


@dataclass(frozen=True, slots=True)
class WantLinks:
    """Asks for headers with their certificates."""

    KIND: ClassVar[int] = 18
    first: int
    """A height; 0 asks for the newest alone."""
    count: int

    def parts(self) -> list[object]:
        """The message as it is encoded, after its kind."""
        return [self.first, self.count]


@dataclass(frozen=True, slots=True)
class Links:
    """Headers with their certificates, by rising height without a gap; none where there is none."""

    KIND: ClassVar[int] = 19
    first: int
    """What was asked for: tells which request this answers."""
    links: tuple[Link, ...]

    def parts(self) -> list[object]:
        """The message as it is encoded, after its kind."""
        pairs = ((link.header.data, link.certificate.encode()) for link in self.links)
        return [self.first, [data for pair in pairs for data in pair]]


@dataclass(frozen=True, slots=True)
class WantChanges:
    """Asks for the evidence of changes of validators."""

    KIND: ClassVar[int] = 20
    first: int
    """The number of the set that the first one leads to."""
    count: int

    def parts(self) -> list[object]:
        """The message as it is encoded, after its kind."""
        return [self.first, self.count]


@dataclass(frozen=True, slots=True)
class Changes:
    """Evidence of changes of validators, one after the other; none where there is none."""

    KIND: ClassVar[int] = 21
    first: int
    """What was asked for: tells which request this answers."""
    handovers: tuple[StateEvidence, ...]

    def parts(self) -> list[object]:
        """The message as it is encoded, after its kind."""
        return [self.first, [handover.encode() for handover in self.handovers]]


SnapshotMessage = WantNodes | StateNodes | WantLinks | Links | WantChanges | Changes
"""What those who join late exchange with others; snapshot.py takes it."""
SNAPSHOT_KINDS = frozenset(
    (WantNodes.KIND, StateNodes.KIND, WantLinks.KIND, Links.KIND, WantChanges.KIND, Changes.KIND)
)
ConsensusMessage = Proposal | Ballot | Validate | WantBlock | WantChain
"""What the consensus core takes."""
Message = ConsensusMessage | Relay | SnapshotMessage


def encode(message: Message) -> bytes:
    """The message's bytes."""
    return cbor.encode([message.KIND, *message.parts()])


Glance = Callable[[Header, Vote | Certificate | None], bool]
"""(header, seal or certificate of the block) -> whether the block is worth reading."""


def decode(data: bytes, known: Known | None = None) -> Message:
    """The message that `data` is.

    known: transactions whose signatures were checked before.  Raises WireError.
    """
    message = decode_wanted(data, known, lambda header, proof: True)
    assert message, "everything is wanted"  # noqa: S101 - see the line above
    return message


def decode_wanted(data: bytes, known: Known | None, glance: Glance) -> Message | None:
    """The message that `data` is; a block that is not wanted is not read, and a mere Proposal of it is None.

    A Validate is then only its certificate.  Raises WireError.
    """
    what = "message"
    value = read(data, what, MESSAGE_SIZE_MAX, items_max=MESSAGE_ITEMS_MAX)
    if not isinstance(value, list) or len(value) != 3:
        raise WireError(what, "it is not a list of a kind and two parts")
    kind, first, second = value
    if kind == Proposal.KIND:
        body = _blob(first, "the block", BLOCK_SIZE_MAX)
        seal = None if second is None else Vote.read(_blob(second, "the seal", VOTE_SIZE_MAX))
        return Proposal(Block.decode(body, known), seal) if glance(Block.header_of(body), seal) else None
    if kind == Ballot.KIND:
        vote = Vote.read(_blob(first, "the vote", VOTE_SIZE_MAX))
        if vote.phase not in BALLOT_PHASES:
            raise WireError(what, "a seal stands where a vote must")
        return Ballot(vote, None if second is None else _certificate(second))
    if kind == Validate.KIND:
        certificate = _certificate(first)
        if second is None:
            return Validate(certificate)
        body = _blob(second, "the block", BLOCK_SIZE_MAX)
        is_wanted = glance(Block.header_of(body), certificate)
        return Validate(certificate, Block.decode(body, known) if is_wanted else None)
    if kind == WantBlock.KIND:
        return WantBlock(
            check_integer(first, what, "height", 1), check_blob(second, what, "the block hash", HASH_SIZE)
        )
    if kind == WantChain.KIND:
        return WantChain(
            check_integer(first, what, "first height", 1),
            check_integer(second, what, "count", 1, CHAIN_COUNT_MAX),
        )
    if kind == Relay.KIND and second is None:
        return Relay(_transactions(first, known))
    if kind in SNAPSHOT_KINDS:
        return _snapshot_message(kind, first, second)
    raise WireError(what, f"its kind is none of 1 to {Relay.KIND} and {WantNodes.KIND} to {Changes.KIND}")


def _snapshot_message(kind: object, first: object, second: object) -> SnapshotMessage:
    what = "message"
    if kind == WantNodes.KIND:
        is_deep = bool(check_integer(first, what, "depth", 0, 1))
        hashes = _list(second, "hashes", NODES_COUNT_MAX)
        if not hashes:
            raise WireError(what, "it asks for nothing")
        return WantNodes(is_deep, tuple(check_blob(item, what, "a hash", HASH_SIZE) for item in hashes))
    if kind == StateNodes.KIND:
        asked = check_blob(first, what, "the first hash", HASH_SIZE)
        nodes = _list(second, "nodes", NODES_COUNT_MAX)
        return StateNodes(asked, tuple(_blob(item, "a node", NODE_SIZE_MAX) for item in nodes))
    if kind == WantChanges.KIND:
        return WantChanges(
            check_integer(first, what, "first number", 1),
            check_integer(second, what, "count", 1, CHANGES_COUNT_MAX),
        )
    if kind == Changes.KIND:
        number = check_integer(first, what, "first number", 1)
        handovers = _list(second, "handovers", CHANGES_COUNT_MAX)
        return Changes(
            number,
            tuple(StateEvidence.decode(_blob(item, "a handover", HANDOVER_SIZE_MAX)) for item in handovers),
        )
    height = check_integer(first, what, "first height")
    if kind == WantLinks.KIND:
        return WantLinks(height, check_integer(second, what, "count", 1, LINKS_COUNT_MAX))
    items = _list(second, "headers and certificates", 2 * LINKS_COUNT_MAX)
    if len(items) % 2:
        raise WireError(what, "a header has no certificate")
    return Links(
        height,
        tuple(
            Link(Header.decode(_blob(header, "a header", HEADER_SIZE_MAX)), _certificate(certificate))
            for header, certificate in zip(items[::2], items[1::2], strict=True)
        ),
    )


def _list(value: object, name: str, count_max: int) -> list[object]:
    if not isinstance(value, list) or len(value) > count_max:
        raise WireError("message", f"its {name} are no list of at most {count_max}")
    return value


def _transactions(value: object, known: Known | None) -> tuple[Transaction, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= RELAY_COUNT_MAX:
        raise WireError("message", f"it does not carry 1 to {RELAY_COUNT_MAX} transactions")
    transactions = []
    for item in value:
        data = _blob(item, "a transaction", TX_SIZE_LIMIT)
        try:
            transactions.append(Transaction.take(data, known))
        except Refused as error:
            raise WireError("message", f"a transaction in it is refused: {error}") from None
    return tuple(transactions)


def _certificate(value: object) -> Certificate:
    return Certificate.decode(_blob(value, "the certificate", CERTIFICATE_SIZE_MAX))


def _blob(value: object, name: str, size_max: int) -> bytes:
    if not isinstance(value, bytes) or len(value) > size_max:
        raise WireError("message", f"{name} is not at most {size_max} bytes")
    return value
