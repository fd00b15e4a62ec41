"""Why a proposer's block was not the one that was decided, as far as this node saw it.

Runs on CPython; pure.  The impeachment block is the same for everybody and so says nothing of the reason:
validators agree that a proposer failed, not on how.  What a node saw is its own word, kept in memory for the
last KEPT_MAX impeachments, for people to read.
"""

from dataclasses import dataclass
from enum import StrEnum

from chain_node.block import NO_PROPOSER
from chain_node.lbft_ready import Decided

KEPT_MAX = 1_000
"""Impeachments, and illicit blocks of one height."""


class Why(StrEnum):
    """What a node can have seen of a proposer that failed."""

    NO_BLOCK = "no_block"
    """No block of the proposer came here in the time it had."""
    LATE = "late"
    """Its block is licit, but no quorum decided it in time."""
    ILLICIT = "illicit"
    """Its block was not what it must be."""
    TWO_BLOCKS = "two_blocks"
    """It sealed more than one block for this height."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one impeached height."""

    why: Why
    detail: str = ""
    """For people: what is wrong with an illicit block."""


class Impeachments:
    """What this node saw.  patience_ms: who came to a height later than that was not there to see it."""

    def __init__(self, patience_ms: int) -> None:
        self._patience_ms = patience_ms
        self._begun_ms = 0
        self._illicit: dict[bytes, str] = {}
        self._seen: dict[int, Seen] = {}

    def get(self, height: int) -> Seen | None:
        """What was seen of this impeachment; None: nothing, or it is forgotten, or there was none."""
        return self._seen.get(height)

    def begin(self, now_ms: int) -> None:
        """A height begins."""
        self._begun_ms = now_ms
        self._illicit.clear()

    def illicit(self, block_hash: bytes, why: str) -> None:
        """A block of this height is not what it must be."""
        if len(self._illicit) < KEPT_MAX:
            self._illicit[block_hash] = why

    def decided(self, decided: Decided, now_ms: int) -> None:
        """The height ends in this block."""
        header = decided.block.header
        if header.proposer != NO_PROPOSER:
            return
        faults = [why for name in decided.lost if (why := self._illicit.get(name.header.block_hash))]
        if len(decided.lost) > 1:
            seen = Seen(Why.TWO_BLOCKS)
        elif faults:
            seen = Seen(Why.ILLICIT, faults[0])
        elif decided.lost:
            seen = Seen(Why.LATE)
        elif now_ms - self._begun_ms >= self._patience_ms:
            seen = Seen(Why.NO_BLOCK)
        else:
            return
        self._seen[header.height] = seen
        while len(self._seen) > KEPT_MAX:
            del self._seen[next(iter(self._seen))]
