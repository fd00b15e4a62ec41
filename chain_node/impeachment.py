"""Why a proposer's block was not the one that was decided, as far as this node saw it.

Runs on CPython; pure.  The impeachment block is the same for everybody and so says nothing of the reason:
validators agree that a proposer failed, not on how.  What a node saw is its own word, for people to read; it
is kept with the block (storage_impeachments.py).
"""

from dataclasses import dataclass
from enum import StrEnum

from chain_node.block import NO_PROPOSER
from chain_node.lbft_ready import Decided

ILLICIT_MAX = 1_000
"""Illicit blocks of one height that are remembered."""


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

    def begin(self, now_ms: int) -> None:
        """A height begins."""
        self._begun_ms = now_ms
        self._illicit.clear()

    def illicit(self, block_hash: bytes, why: str) -> None:
        """A block of this height is not what it must be."""
        if len(self._illicit) < ILLICIT_MAX:
            self._illicit[block_hash] = why

    def decided(self, decided: Decided, now_ms: int) -> Seen | None:
        """The height ends in this block: what was seen of its impeachment, if it is one."""
        if decided.block.header.proposer != NO_PROPOSER:
            return None
        faults = [why for name in decided.lost if (why := self._illicit.get(name.header.block_hash))]
        if len(decided.lost) > 1:
            return Seen(Why.TWO_BLOCKS)
        if faults:
            return Seen(Why.ILLICIT, faults[0])
        if decided.lost:
            return Seen(Why.LATE)
        return Seen(Why.NO_BLOCK) if now_ms - self._begun_ms >= self._patience_ms else None
