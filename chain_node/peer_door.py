"""What a node bears from strangers: who is welcome, what all of them together may cost, and when it shuts.

Runs on CPython; pure: the clock is handed in.  Joins peer_admission.py and shutter.py for peer_network.py
and, where requests over JSON-RPC are concerned, for rpc_http.py.
"""

import logging

from chain_node.peer import COST_BYTES, COSTS_SHARED, Bucket
from chain_node.peer_admission import POINTS_BRIEF, POINTS_MAX, Admission
from chain_node.rate_limit import owner_of
from chain_node.shutter import Load, Shutter

BRIEF_MS = 15_000
"""A connection that lasted no longer, and so any whose peer did not say who it is, came to nothing."""

log = logging.getLogger(__name__)


class Door:
    """Of one node.  may_shut: whether it may close itself to strangers; see shutter.py."""

    def __init__(self, now_ms: int, *, may_shut: bool) -> None:
        self.admission = Admission(now_ms)
        self.shutter = Shutter(now_ms)
        self.may_shut = may_shut
        """Whether it may be shut at all."""
        self._bytes = Bucket(COST_BYTES, now_ms)
        self._shared = {kind: Bucket(cost, now_ms) for kind, cost in COSTS_SHARED.items()}

    @property
    def is_shut(self) -> bool:
        """Whether nobody but the committee, and whom we dial, comes in."""
        return self.shutter.is_shut

    def welcomes(self, host: str, now_ms: int) -> bool:
        """Whether a new connection of this address is worth a handshake."""
        before = self.admission.tried_count
        is_welcome = self.admission.may_connect(owner_of(host)[0], now_ms, is_shut=self.is_shut)
        self.shutter.note(Load.HANDSHAKES, self.admission.tried_count - before, now_ms)
        return is_welcome

    def has_room(self, kind: int, count: int, now_ms: int) -> bool:
        """Whether plain nodes together may still cost so much."""
        return self._shared[kind].take(count, now_ms)

    def bytes_owed_ms(self, host: str, size: int, now_ms: int) -> int:
        """A plain node has sent so many bytes; how long it should not be read now."""
        self.shutter.note(Load.BYTES, size, now_ms)
        return max(
            self._bytes.owe(size, now_ms), self.admission.bytes_owed_ms(owner_of(host)[0], size, now_ms)
        )

    def ended(self, host: str, since_ms: int, now_ms: int) -> None:
        """A stranger's connection has ended.  Who comes and goes at once costs a handshake each time."""
        if now_ms < since_ms + BRIEF_MS:
            self._tell(host, self.admission.suspect(owner_of(host)[0], now_ms, POINTS_BRIEF), now_ms)

    def misbehaved(self, host: str, public: bytes | None, now_ms: int, *, is_stranger: bool) -> int:
        """A peer was dropped for what it did; for how long its key is kept away, if it is known."""
        if is_stranger:
            self._tell(host, self.admission.suspect(owner_of(host)[0], now_ms, POINTS_MAX), now_ms)
        return self.admission.ban(public, now_ms) if public else 0

    def refused(self, now_ms: int) -> None:
        """A request over JSON-RPC was refused, for what it was."""
        self.shutter.note(Load.REFUSALS, 1, now_ms)

    def busy_ms(self, now_ms: int, *, is_local: bool) -> int:
        """How long transactions over JSON-RPC are not taken; 0: they are.  is_local: from this machine.

        This machine's own programs are no strangers, unless it is over JSON-RPC that the flood comes.
        """
        if not self.is_shut or (is_local and self.shutter.cause != Load.REFUSALS):
            return 0
        return self.shutter.wait_ms(now_ms)

    def tick(self, now_ms: int) -> bool:
        """About once a second; whether it has shut just now, and strangers are to be dropped."""
        if not self.may_shut or not self.shutter.tick(now_ms):
            return False
        if self.is_shut:
            log.warning("%s; opens again when that is over", self.shutter.words)
        else:
            log.warning("open to all again, as nothing more came for a while")
        return self.is_shut

    def _tell(self, host: str, duration_ms: int, now_ms: int) -> None:
        if duration_ms:
            self.shutter.note(Load.POINTS, POINTS_MAX, now_ms)
            log.warning("takes hardly a connection of %s for %d ms", host, duration_ms)
