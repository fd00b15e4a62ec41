"""How long the proposer's block is waited for, where the network is slower than the genesis thought.

Runs on CPython; pure.  Where messages take longer than `timeout_ms` allows, every proposer is impeached, and
no transaction ever enters a block.  So who sees a whole turn of proposers impeached in a row waits twice
as long from then on, and half as long once four turns of blocks were theirs.  One proposer
that is dead or bad changes nothing.  Each validator decides for itself; nothing rests on their agreeing.
"""

from chain_node.lbft_states import TIMEOUT_DOUBLINGS_MAX

TURNS_TO_HASTEN = 4


class Patience:
    """The patience of one validator.  proposer_count: how many take turns."""

    def __init__(self, proposer_count: int) -> None:
        self.doublings = 0
        """How many times the wait for a proposer's block is doubled."""
        self.proposer_count = proposer_count
        """How many take turns at present."""
        self._impeached_count = 0
        self._kept_count = 0

    def note(self, *, is_impeached: bool) -> None:
        """The next block is final: the proposer's, or one in its place."""
        if is_impeached:
            self._impeached_count += 1
            if self._impeached_count >= self.proposer_count:
                self._impeached_count = self._kept_count = 0
                self.doublings = min(self.doublings + 1, TIMEOUT_DOUBLINGS_MAX)
            return
        self._impeached_count = 0
        self._kept_count += 1
        if self._kept_count >= TURNS_TO_HASTEN * self.proposer_count:
            self._kept_count = 0
            self.doublings = max(self.doublings - 1, 0)
