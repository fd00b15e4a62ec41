"""Whose turn it is to propose: the one seam behind which proposers may one day be elected.

Runs on CPython; pure.  A schedule follows from the chain itself, so that everybody knows the same one
before the height is due, and an impeachment can name whom it is against.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from chain_node.genesis import Genesis
from chain_node.validator_set import Succession, ValidatorSet


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


class GenesisTurns:
    """What the genesis says: its proposers take turns or, where those are its validators, those in force.

    validators_at: who certifies a height that is asked for.
    """

    def __init__(self, genesis: Genesis, validators_at: Callable[[int], ValidatorSet]) -> None:
        self._proposers = None if genesis.proposers == genesis.validators else genesis.proposers
        self._validators_at = validators_at

    def proposers(self, height: int) -> tuple[bytes, ...]:
        """Those who take turns at this height."""
        return self._proposers or self._validators_at(height).keys

    def proposer(self, height: int) -> bytes:
        """Public key of the one whose turn it is."""
        proposers = self.proposers(height)
        return proposers[(height - 1) % len(proposers)]


def committee(genesis: Genesis, sets: Succession, height: int) -> tuple[bytes, ...]:
    """Public keys of all who have a part in this height, or soon will."""
    validators, pending = sets.at(height).keys, sets.pending(height)
    proposers = GenesisTurns(genesis, sets.at).proposers(height)
    return tuple(dict.fromkeys((*validators, *(pending.keys if pending else ()), *proposers)))
