"""Where a validator stood before its restart, by the votes that it had kept.

Runs on CPython; pure.  All that was ever sent was kept before, ROUND excepted, which binds to nothing: who
stands here again contradicts nothing that anybody may have heard.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from chain_node.block import Certificate, Phase, Vote
from chain_node.kept import Kept
from chain_node.lbft_blocks import Candidate
from chain_node.lbft_states import State
from chain_node.messages import Ballot, Proposal


@dataclass(slots=True)
class Standing:
    """What a height begins with after a restart; as it is, without one."""

    round: int = 0
    """The highest one that was voted in."""
    best: Certificate | None = None
    """The highest P-certificate that was kept."""
    locked_round: int = -1
    """The round of the last COMMIT."""
    has_prepared: bool = False
    """In `round`."""
    has_committed: bool = False
    """In `round`."""
    blocks: dict[bytes, Candidate] = field(default_factory=dict)
    """Those voted for, by hash."""
    coordinated: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    """By round: what we named as its coordinator, and the round of the certificate we showed, or -1."""
    messages: list[Proposal | Ballot] = field(default_factory=list)
    """To be said again; they may have been sent before the restart, or not."""
    votes: list[Vote] = field(default_factory=list)
    """All but the seal, in the order in which they were kept."""

    @property
    def state(self) -> State:
        """The one that follows from the votes in `round`."""
        if self.round:
            return State.IMPEACH_COMMIT if self.has_committed else State.IMPEACH_PREPARE
        if self.has_committed:
            return State.COMMIT
        return State.PREPARE if self.has_prepared else State.IDLE


def stand(kept: Sequence[Kept]) -> Standing:
    """Where somebody stands who has kept these votes of one height."""
    standing = Standing(round=max((item.vote.round for item in kept), default=0))
    for item in kept:
        vote, certificate = item.vote, item.certificate
        if item.block:
            block_hash = item.block.header.block_hash
            seal = vote if vote.phase == Phase.PROPOSE else item.seal
            # It was executed before it was voted for, or a quorum has vouched for it.
            standing.blocks[block_hash] = Candidate(item.block, seal, is_licit=True, is_kept=True)
        if certificate and (standing.best is None or certificate.round > standing.best.round):
            standing.best = certificate
        if vote.phase == Phase.PROPOSE:
            if item.block:
                standing.messages.append(Proposal(item.block, vote))
            continue
        standing.votes.append(vote)
        if vote.phase == Phase.COMMIT:
            standing.locked_round = max(standing.locked_round, vote.round)
        if vote.phase == Phase.COORDINATE:
            standing.coordinated[vote.round] = (vote.block_hash, certificate.round if certificate else -1)
        if vote.round == standing.round:
            standing.messages.append(Ballot(vote, certificate))
            standing.has_prepared |= vote.phase == Phase.PREPARE
            standing.has_committed |= vote.phase == Phase.COMMIT
    return standing
