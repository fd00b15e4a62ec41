"""Hard updates: from which block on which rules hold, and how a node learns that it is too old for them.

Runs on CPython; pure.  A soft update changes only how nodes talk, and old ones take part (peer_frame.py).
A hard one changes what a block may be: it gets a number and a height, which the programs that know it tell
their peers.  One that does not know it stops proposing and voting from that height on, and says so: it
believes that there is such an update when more validators say so than can be faulty.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from chain_node import quorum


@dataclass(frozen=True, slots=True)
class Upgrade:
    """Rules of the ledger, and the first block under them."""

    rules_version: int
    from_height: int


FIRST = Upgrade(1, 0)
"""The rules that every chain of today began with."""
UPGRADES: Mapping[bytes, Upgrade] = {}
"""The newest hard update of each chain that has had one, by chain id; all others are under FIRST."""


def newest(chain_id: bytes) -> Upgrade:
    """The newest rules of this chain that this program knows."""
    return UPGRADES.get(chain_id, FIRST)


class Announcements:
    """What validators say about updates.  known: ours."""

    def __init__(self, validator_count: int, known: Upgrade) -> None:
        self._enough = quorum.join_size(validator_count)
        self._known = known
        self._said: dict[int, Upgrade] = {}

    def seat(self, validators: Collection[int]) -> None:
        """From now on these are the validators; what others have said counts no more."""
        self._enough = quorum.join_size(len(validators))
        self._said = {index: said for index, said in self._said.items() if index in validators}

    def hear(self, validator: int, said: Upgrade) -> Upgrade | None:
        """What validator number `validator` announces; the update that we lack, once it is to be believed.

        Its height is one that an honest validator has named, or a later one.
        """
        if said.rules_version <= self._known.rules_version:
            self._said.pop(validator, None)
        else:
            self._said[validator] = said
        heights = sorted(each.from_height for each in self._said.values())
        if len(heights) < self._enough:
            return None
        version = min(each.rules_version for each in self._said.values())
        return Upgrade(version, heights[self._enough - 1])
