"""The votes of one height: at most one of each validator, round and phase, and what they add up to.

Runs on CPython; pure.  Holds votes of rounds from `floor` on only; who votes in which rounds is bounded
by the core.  Never counts a validator twice: that is what makes a certificate.
"""

from chain_node.block import Certificate, Phase, Vote


class Tally:
    """Votes by round, phase and validator.  validator_count: how many may vote."""

    def __init__(self, validator_count: int) -> None:
        self._votes: dict[tuple[int, Phase], dict[int, Vote]] = {}
        self._rounds = [0] * validator_count

    def get(self, round_: int, phase: Phase, index: int) -> Vote | None:
        """What validator `index` voted there."""
        votes = self._votes.get((round_, phase))
        return votes.get(index) if votes else None

    def add(self, index: int, vote: Vote) -> int:
        """Count the first vote of validator `index` there; how many have now voted for the same block."""
        votes = self._votes.setdefault((vote.round, vote.phase), {})
        assert index not in votes, "nobody is counted twice"  # noqa: S101 - the core has looked
        votes[index] = vote
        return sum(other.block_hash == vote.block_hash for other in votes.values())

    def certificate(self, round_: int, phase: Phase, block_hash: bytes) -> Certificate:
        """The certificate that the votes there for this block make."""
        votes = self._votes[round_, phase]
        signatures = tuple(
            (index, votes[index].signature)
            for index in sorted(votes)
            if votes[index].block_hash == block_hash
        )
        height = next(iter(votes.values())).height
        return Certificate(height, round_, block_hash, signatures)

    def see(self, index: int, round_: int) -> bool:
        """Validator `index` is in `round_` at least; whether that is news."""
        if round_ <= self._rounds[index]:
            return False
        self._rounds[index] = round_
        return True

    def reached_by(self, count: int) -> int:
        """The highest round that at least `count` distinct validators have been seen in, or beyond."""
        return sorted(self._rounds, reverse=True)[count - 1]

    def drop_before(self, floor: int) -> None:
        """Forget the votes of rounds before `floor`."""
        for place in [place for place in self._votes if place[0] < floor]:
            del self._votes[place]
