"""Whose turn it is to propose: the one seam behind which proposers may one day be elected.

Runs on CPython; pure.  A schedule follows from the chain itself, so that everybody knows the same one
before the height is due, and an impeachment can name whom it is against.
"""

from collections.abc import Sequence
from typing import Protocol


class Schedule(Protocol):
    """Who may propose which block."""

    def proposer(self, height: int) -> bytes:
        """Public key of the one who may propose the block of this height, from 1 on."""


class TakeTurns:
    """Everybody in the list has one block, then the list begins again.

    proposers: public keys, at least one; `Genesis.proposers`.
    """

    def __init__(self, proposers: Sequence[bytes]) -> None:
        self._proposers = tuple(proposers)

    def proposer(self, height: int) -> bytes:
        """Public key of the one whose turn it is."""
        return self._proposers[(height - 1) % len(self._proposers)]
