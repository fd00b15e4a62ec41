"""What a validator keeps on its disk of what it has said, until the height is decided.

Runs on CPython.
"""

from dataclasses import dataclass

from chain_node.block import Block, Certificate, Vote


@dataclass(frozen=True, slots=True)
class Kept:
    """One vote of ours, with what is needed to stand by it after a restart."""

    vote: Vote
    """Phase PROPOSE (our seal of our own block), PREPARE, COMMIT or COORDINATE."""
    block: Block | None = None
    """The block it is for, unless an earlier vote has kept it, or everybody can compute it."""
    seal: Vote | None = None
    """The proposer's seal of that block, where we have it."""
    certificate: Certificate | None = None
    """The P-certificate that a COMMIT follows from, or that was the highest one known."""
