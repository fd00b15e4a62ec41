"""Heights that are not ours: what came too early is kept for a while, and what we lack is asked for.

Runs on CPython; pure.  Kept are, of the next height only, the first vote of each validator in its first
two rounds and two sealed blocks; and of the final blocks that were asked for, as many as were asked for.
A peer's claim to be ahead is believed only so far as to ask it.
"""

from chain_node.lbft_states import Fate
from chain_node.messages import CHAIN_COUNT_MAX, ConsensusMessage, Validate, WantChain

PEERS_MAX = 1_024
"""Peers whose heights are remembered."""
SEALS_MAX = 2
"""Sealed blocks for the next height that are kept: two already prove a cheat."""
EARLY_MAX = 2_048
"""Messages for the next height that are kept."""


class Sync:
    """What one node knows of other heights.  resend_ms: after how long it asks again, somebody else."""

    def __init__(self, resend_ms: int) -> None:
        self.at_ms: int | None = None
        """When something is to be asked for again."""
        self._resend_ms = resend_ms
        self._heights: dict[bytes, int] = {}
        self._early: dict[tuple[object, ...], tuple[bytes, ConsensusMessage]] = {}
        self._final: dict[int, tuple[bytes, Validate]] = {}
        self._served_ms: dict[bytes, int] = {}
        self._asked_of: bytes | None = None
        self._asked_to = 0
        self._turn = 0

    def begin(self, height: int, now_ms: int) -> list[tuple[bytes, ConsensusMessage]]:
        """A height begins: what came too early for it before."""
        early = list(self._early.values())
        self._early.clear()
        if final := self._final.pop(height, None):
            early.append(final)
        for old in [other for other in self._final if other < height]:
            del self._final[old]
        if height > self._asked_to:
            self._asked_of = None
            self.at_ms = now_ms if self._ahead(height) else None
        return early

    def note(self, peer: bytes, height: int, ours: int, now_ms: int) -> None:
        """A peer speaks of `height`, which is beyond ours."""
        if height > self._heights.get(peer, 0):
            if len(self._heights) >= PEERS_MAX and peer not in self._heights:
                self._heights.clear()
            self._heights[peer] = height
        # Anybody may be one height ahead for a moment, and mostly what we lack then comes by itself.
        due_ms = now_ms if height > ours + 1 else now_ms + self._resend_ms
        if self._asked_of is None and (self.at_ms is None or due_ms < self.at_ms):
            self.at_ms = due_ms

    def due(self, height: int, now_ms: int) -> list[tuple[bytes, WantChain]]:
        """What to ask for now, and whom."""
        if self.at_ms is None or now_ms < self.at_ms:
            return []
        peers = self._ahead(height)
        if not peers:
            self.at_ms = self._asked_of = None
            return []
        peer = peers[self._turn % len(peers)]
        self._turn += 1
        self.at_ms = now_ms + self._resend_ms
        count = min(self._heights[peer] - height, CHAIN_COUNT_MAX)
        self._asked_of, self._asked_to = peer, height + count - 1
        return [(peer, WantChain(height, count))]

    def fate_of_final(self, sender: bytes, height: int, ours: int) -> Fate:
        """What a final block beyond the next one is worth: EARLY when it was asked for and is not here."""
        if sender != self._asked_of or not ours < height <= self._asked_to:
            return Fate.FUTURE
        kept = self._final.get(height)
        return Fate.DUPLICATE if kept and kept[0] == sender else Fate.EARLY

    def keep_validate(self, sender: bytes, message: Validate, ours: int) -> Fate:
        """A final block beyond the next one: kept if it was asked for."""
        fate = self.fate_of_final(sender, message.height, ours)
        if fate != Fate.EARLY:
            return fate
        # Nothing of it is verified yet: who was asked before, and may have lied, must not stand in the way.
        self._final[message.height] = (sender, message)
        return Fate.EARLY

    def has_early(self, place: tuple[object, ...]) -> bool:
        """Whether a message of this place is kept for the next height."""
        return place in self._early

    @property
    def has_room_for_seals(self) -> bool:
        """Whether one more sealed block of the next height is kept."""
        return sum(len(place) == 1 for place in self._early) < SEALS_MAX

    def keep_early(self, place: tuple[object, ...], sender: bytes, message: ConsensusMessage) -> Fate:
        """Keep a message for the next height, the only one of its place."""
        if len(self._early) >= EARLY_MAX or (len(place) == 1 and not self.has_room_for_seals):
            return Fate.FUTURE
        self._early[place] = (sender, message)
        return Fate.EARLY

    def may_serve(self, peer: bytes, now_ms: int) -> bool:
        """Whether a peer that is behind is told so now: not twice in a while."""
        served_ms = self._served_ms.get(peer)
        if served_ms is not None and now_ms < served_ms + self._resend_ms // 2:
            return False
        if len(self._served_ms) >= PEERS_MAX:
            self._served_ms.clear()
        self._served_ms[peer] = now_ms
        return True

    def _ahead(self, height: int) -> list[bytes]:
        return [peer for peer, theirs in self._heights.items() if theirs > height]
