"""What the consensus core asks of its host: in, what a height begins with; out, duties in their order.

Runs on CPython; pure.
"""

from dataclasses import dataclass

from chain_node.block import Block, Certificate, Header, Phase, Vote
from chain_node.kept import Kept
from chain_node.messages import ConsensusMessage
from chain_node.schedule import Schedule
from chain_node.signatures import Signatures


@dataclass(frozen=True, slots=True)
class Setup:
    """What stays the same from height to height."""

    signatures: Signatures
    schedule: Schedule
    base_timeout_ms: int
    """How long round 0 lasts beyond the moment its block is due, and the base of later rounds."""
    resend_ms: int
    """After how long what may have been lost is sent, or asked for, again."""

    def is_seal_of(self, seal: Vote, header: Header) -> bool:
        """Whether this is the scheduled proposer's word for this block, if its signature holds."""
        return (
            (seal.phase, seal.round, seal.height) == (Phase.PROPOSE, 0, header.height)
            and seal.block_hash == header.block_hash
            and seal.chain_id == self.signatures.chain_id == header.chain_id
            and seal.voter == self.schedule.proposer(header.height)
        )


@dataclass(frozen=True, slots=True)
class Height:
    """What a height begins with.  Times are milliseconds of the clock that `tick` is given."""

    height: int
    parent_hash: bytes
    impeachment: Block
    """What follows the parent if the proposer fails; the same bytes for everybody."""
    due_ms: int
    """When the proposer's block is due if transactions wait."""
    latest_ms: int
    """When it is due in any case."""
    has_work: bool
    """Whether transactions wait here."""
    doublings: int = 0
    """How many times the wait for the proposer's block is doubled; see patience.py."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A block that is final."""

    block: Block
    certificate: Certificate
    lost: tuple[Block, ...] = ()
    """Proposals of this height that were not decided; their transactions go back to the pool."""


@dataclass(frozen=True, slots=True)
class Equivocation:
    """Two votes of one voter, height, round and phase for different blocks."""

    first: Vote
    second: Vote


@dataclass(frozen=True, slots=True)
class Serve:
    """Final blocks that somebody lacks: send up to `count` from height `first` on, each as a Validate."""

    peer: bytes
    first: int
    count: int
    is_asked: bool = True
    """Otherwise it may well have the block, and lack nothing but the certificate: `announcement`."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The duties that follow from one event.  Do them in the order of the fields."""

    persist: tuple[Kept, ...] = ()
    """Write and sync BEFORE sending: a forgotten vote is a double vote."""
    send: tuple[tuple[bytes | None, ConsensusMessage], ...] = ()
    """(peer, or None for everybody but us, message), in this order; may be lost on the way."""
    check: tuple[Block, ...] = ()
    """Execute these on the parent's state, and say with `Core.judge` what they are."""
    is_proposal_due: bool = False
    """Make a block, and hand it to `Core.propose`; None if there can be none now."""
    decided: Decided | None = None
    """Commit it, synced, then call `Core.begin` for the next height, which tells the others."""
    serve: tuple[Serve, ...] = ()
    """Answer from what is committed."""
    evidence: tuple[Equivocation, ...] = ()
    """Bring these on chain."""


NOTHING = Ready()


class Duties:
    """A Ready in the making."""

    __slots__ = ("check", "decided", "evidence", "is_proposal_due", "persist", "send", "serve")

    def __init__(self) -> None:
        self.persist: list[Kept] = []
        self.send: list[tuple[bytes | None, ConsensusMessage]] = []
        self.check: list[Block] = []
        self.is_proposal_due = False
        self.decided: Decided | None = None
        self.serve: list[Serve] = []
        self.evidence: list[Equivocation] = []

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (
            self.persist
            or self.send
            or self.check
            or self.is_proposal_due
            or self.decided
            or self.serve
            or self.evidence
        )

    def take(self) -> Ready:
        """What has been gathered; nothing is left."""
        ready = Ready(
            tuple(self.persist),
            tuple(self.send),
            tuple(self.check),
            self.is_proposal_due,
            self.decided,
            tuple(self.serve),
            tuple(self.evidence),
        )
        self.persist, self.send, self.check, self.serve, self.evidence = [], [], [], [], []
        self.is_proposal_due = False
        self.decided = None
        return ready
