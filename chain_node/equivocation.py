"""Two votes that contradict each other, and what makes them evidence against whoever signed both.

Runs on CPython; pure.  An honest validator gives one PREPARE, one COMMIT and one COORDINATE a round, and an
honest proposer one seal (PROPOSE) a height, each kept on disk before it is sent.  Two of them of one
voter, height, round and phase with different block hashes are therefore no accident, and prove
themselves: who shows them need not be trusted.  A ROUND names what its voter knows, which may grow, and
is no evidence.
"""

from collections.abc import Callable, Sequence

from chain_node.block import Phase, Vote
from chain_node.errors import Refused, WireError
from chain_node.genesis import Genesis
from chain_node.reason import Reason
from chain_node.schedule import Schedule
from chain_node.transaction import Equivocation

AGE_MAX = 10_000
"""Blocks back from the next one that evidence may be of: over a day of 10 s blocks.  Without a bound, one
faulty validator could fill blocks with free transactions against itself, of heights it makes up."""


def accused(body: Equivocation) -> tuple[bytes, int]:
    """(voter, height) of evidence that was found to be evidence: the name under which it is known."""
    vote = Vote.read(body.first)
    return vote.voter, vote.height


def check(
    body: Equivocation,
    genesis: Genesis,
    schedule: Schedule,
    height: int,
    validators_at: Callable[[int], Sequence[bytes]] | None = None,
) -> Vote:
    """The first of the two votes, which prove an equivocation to whoever decides block `height`.

    validators_at: public keys of those who certify a height; by default the genesis's, for ever.
    Raises Refused with EVIDENCE_INVALID.  The costly checks come last.
    """
    try:
        first, second = Vote.read(body.first), Vote.read(body.second)
    except WireError as error:
        raise _invalid(str(error)) from None
    if first.chain_id != genesis.chain_id or second.chain_id != genesis.chain_id:
        raise _invalid("a vote is of another chain")
    if (first.voter, first.height, first.round, first.phase) != (
        second.voter,
        second.height,
        second.round,
        second.phase,
    ):
        raise _invalid("the votes are not of one voter, height, round and phase")
    if first.block_hash == second.block_hash:
        raise _invalid("both votes are for the same block")
    if first.phase == Phase.ROUND:
        raise _invalid("ROUND may be said again of a better certificate")
    if not height - AGE_MAX <= first.height <= height:
        raise _invalid(
            f"the votes are of height {first.height}; in block {height} it counts "
            f"from {max(1, height - AGE_MAX)} to {height}"
        )
    if first.phase == Phase.PROPOSE:
        if first.voter != schedule.proposer(first.height):
            raise _invalid(f"it was not the turn of {first.voter.hex()} to propose block {first.height}")
    elif first.voter not in (validators_at(first.height) if validators_at else genesis.validators):
        raise _invalid(f"{first.voter.hex()} is no validator of this chain at height {first.height}")
    if not first.is_genuine() or not second.is_genuine():
        raise _invalid(f"{first.voter.hex()} did not sign both votes")
    return first


def _invalid(why: str) -> Refused:
    return Refused(Reason.EVIDENCE_INVALID, f"no evidence of equivocation: {why}")
