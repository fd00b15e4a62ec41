"""What a node says at one height: everything again until the height is decided, for messages are lost.

Runs on CPython; pure.  Holds the last proposal and the ballots of one round, and the names of the blocks
it has asked for.
"""

from collections.abc import Iterable

from chain_node.lbft_ready import Duties
from chain_node.messages import Ballot, ConsensusMessage, Proposal, WantBlock

ASKED_MAX = 64
"""Hashes that are remembered as asked for."""


class Voice:
    """Says, repeats and asks.  resend_ms: after how long what may be lost is said again."""

    def __init__(self, duties: Duties, height: int, resend_ms: int) -> None:
        self.at_ms: int | None = None
        """When `resend` is due."""
        self.proposal: Proposal | None = None
        """Our own, if we have proposed."""
        self._duties = duties
        self._height = height
        self._resend_ms = resend_ms
        self._ballots: list[Ballot] = []
        self._asked_ms: dict[bytes, int] = {}

    def send(self, peer: bytes | None, message: ConsensusMessage) -> None:
        """Send once, to a peer or to everybody."""
        self._duties.send.append((peer, message))

    def say(self, message: Proposal | Ballot, now_ms: int) -> None:
        """Tell everybody, and again."""
        if isinstance(message, Proposal):
            self.proposal = message
        else:
            self._ballots.append(message)
        self.send(None, message)
        self._begin(now_ms)

    def ask(self, block_hash: bytes, peer: bytes | None, now_ms: int) -> None:
        """Ask for a block, a peer or everybody; not twice in a while."""
        asked_ms = self._asked_ms.get(block_hash)
        if asked_ms is not None and now_ms < asked_ms + self._resend_ms:
            return
        if len(self._asked_ms) >= ASKED_MAX:
            self._asked_ms.clear()
        self._asked_ms[block_hash] = now_ms
        self.send(peer, WantBlock(self._height, block_hash))
        self._begin(now_ms)

    def drop_ballots(self) -> None:
        """Another round: those of earlier ones are not said again."""
        self._ballots = []

    def resend(self, missing: Iterable[bytes], now_ms: int) -> None:
        """Say it all again.  missing: blocks that are certified, and not here."""
        self.at_ms = now_ms + self._resend_ms
        if self.proposal:
            self.send(None, self.proposal)
        for ballot in self._ballots:
            self.send(None, ballot)
        for block_hash in missing:
            self.send(None, WantBlock(self._height, block_hash))

    def _begin(self, now_ms: int) -> None:
        if self.at_ms is None:
            self.at_ms = now_ms + self._resend_ms
