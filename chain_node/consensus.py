"""The seam behind which blocks become final, and the smallest committee there is.

Runs on CPython.  A node asks `Consensus.decide` for the block after its head and gets one that is
certified, its own proposal or another's.  LBFT 2.0 with 3f + 1 validators goes behind the same method.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from chain_node.block import Block, Certificate, Phase, Vote, certify
from chain_node.genesis import Genesis
from chain_node.kept import Kept
from chain_node.ledger import Head
from puf.ed25519 import SigningKey


@dataclass(frozen=True, slots=True)
class Decided:
    """A block that is final.  Commit it with its certificate before telling anybody."""

    block: Block
    certificate: Certificate


class Votes(Protocol):
    """Where a validator keeps what it said; `Storage` is one."""

    def put_vote(self, vote: Vote, block: Block | None = None) -> None:
        """Keep a vote and its block for good, synced.  Raises DoubleVote when another one was given."""

    def votes(self, height: int) -> list[Kept]:
        """The votes given at a height that is not decided yet."""


class Consensus(Protocol):
    """Makes blocks final, one height after the other."""

    async def decide(self, parent: Head, propose: Callable[[], Block]) -> Decided:
        """The certified block after `parent`.

        propose: makes this node's own proposal; called only if it is this node's turn.
        """


class CommitteeOfOne:
    """A committee whose only validator is this node: what it votes for is final.

    It votes before there is a certificate, and the vote is kept first, with the block.  A node that
    dies between the vote and the commit therefore finishes that very block after its restart, and
    never certifies two of one height.
    """

    def __init__(self, genesis: Genesis, key: SigningKey, votes: Votes) -> None:
        self._genesis = genesis
        self._key = key
        self._votes = votes

    async def decide(self, parent: Head, propose: Callable[[], Block]) -> Decided:
        """The block that was voted for before a restart, else this node's proposal."""
        height = parent.height + 1
        for kept in self._votes.votes(height):
            if kept.block and kept.vote.phase == Phase.COMMIT:
                return self._decided(kept.vote, kept.block)
        block = propose()
        header = block.header
        vote = Vote.sign(
            self._key, self._genesis.chain_id, height, header.round, Phase.COMMIT, header.block_hash
        )
        self._votes.put_vote(vote, block)
        return self._decided(vote, block)

    def _decided(self, vote: Vote, block: Block) -> Decided:
        return Decided(block, certify([vote], self._genesis.validators))
