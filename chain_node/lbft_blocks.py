"""The blocks that a height may end in: the impeachment block, sealed ones, and what a quorum vouches for.

Runs on CPython; pure.  Bounded: of sealed blocks nobody vouches for, two are kept; two already prove that
the proposer is a cheat.
"""

from dataclasses import dataclass

from chain_node.block import Block, Vote

SEALED_MAX = 2


@dataclass(slots=True)
class Candidate:
    """A block that may be decided."""

    block: Block
    seal: Vote | None
    """The proposer's; None for the impeachment block, and where only a certificate vouches for it."""
    is_licit: bool | None = None
    """None: not executed yet."""
    is_kept: bool = False
    """Whether it is on our disk, or can be made anew."""

    @property
    def block_hash(self) -> bytes:
        """The block's name."""
        return self.block.header.block_hash


class Candidates(dict[bytes, Candidate]):
    """By hash, the impeachment block first."""

    def __init__(self, impeachment: Block) -> None:
        self.impeachment_hash = impeachment.header.block_hash
        super().__init__(
            {self.impeachment_hash: Candidate(impeachment, seal=None, is_licit=True, is_kept=True)}
        )

    def add(self, block: Block, seal: Vote | None) -> Candidate:
        """One more; it is not here yet."""
        candidate = self[block.header.block_hash] = Candidate(block, seal)
        return candidate

    def sealed(self) -> Vote | None:
        """The proposer's seal of the first block that came."""
        return next((each.seal for each in self.values() if each.seal), None)

    @property
    def is_full(self) -> bool:
        """Whether no more sealed blocks are kept, unless a quorum vouches for them."""
        return sum(each.seal is not None for each in self.values()) >= SEALED_MAX

    def proposals(self) -> list[Block]:
        """All but the impeachment block."""
        return [each.block for name, each in self.items() if name != self.impeachment_hash]
