"""Signing votes, and verifying everybody's: each once, none never.

Runs on CPython; pure.  What has been verified at this height is remembered, so that a vote that comes
by three ways, or again inside of a certificate, costs one verification.
"""

from collections.abc import Callable, Sequence

from chain_node import quorum
from chain_node.block import VOTE_TYP, Certificate, Phase, Vote, vote_payload
from puf import cose
from puf.ed25519 import SigningKey, verify

REMEMBERED_MAX = 4_096
"""Verified signatures that are remembered: those of a height with dozens of rounds, or of 100 validators."""


class Signatures:
    """The signatures of one chain as one node makes and checks them.

    validators: those of every height, until `seat` says who they are.
    key: None for a node that only follows.
    """

    def __init__(self, chain_id: bytes, validators: Sequence[bytes], key: SigningKey | None) -> None:
        self.chain_id = chain_id
        self.validators = tuple(validators)
        """Those of the height that is being decided."""
        self.validators_at: Callable[[int], Sequence[bytes]] = lambda height: self.validators
        """Those of another height that anything is heard of."""
        self.public = key.public if key else None
        self.checked_count = 0
        """Signatures that were verified by computing, for benches and status."""
        self._key = key
        self._held: set[tuple[bytes, int, int, int, bytes, bytes]] = set()

    def seat(self, height: int, validators_at: Callable[[int], Sequence[bytes]]) -> None:
        """From now on `height` is being decided; validators_at: whose votes count at those around it."""
        self.validators_at = validators_at
        self.validators = tuple(validators_at(height))

    def sign(self, height: int, round_: int, phase: Phase, block_hash: bytes) -> Vote:
        """A vote of this node.  Keep it before anyone sees it."""
        assert self._key, "only who has a key votes"  # noqa: S101 - the core asks no observer
        vote = Vote.sign(self._key, self.chain_id, height, round_, phase, block_hash)
        self._remember(vote.voter, height, round_, phase, block_hash, vote.signature)
        return vote

    def holds(self, vote: Vote) -> bool:
        """Whether its voter said this on this chain."""
        return vote.chain_id == self.chain_id and self._holds(
            vote.voter, vote.height, vote.round, vote.phase, vote.block_hash, vote.signature
        )

    def certifies(self, certificate: Certificate, phase: Phase) -> bool:
        """Whether a quorum of distinct validators of its height cast this vote, and every signature holds."""
        validators = self.validators_at(certificate.height)
        if len(certificate.signatures) < quorum.size(len(validators)):
            return False
        previous = -1
        for index, signature in certificate.signatures:
            if not previous < index < len(validators):
                return False
            previous = index
            if not self._holds(
                validators[index],
                certificate.height,
                certificate.round,
                phase,
                certificate.block_hash,
                signature,
            ):
                return False
        return True

    def forget(self) -> None:
        """Begin a new height."""
        self._held.clear()

    def _holds(
        self, voter: bytes, height: int, round_: int, phase: Phase, block_hash: bytes, signature: bytes
    ) -> bool:
        if (voter, height, round_, int(phase), block_hash, signature) in self._held:
            return True
        self.checked_count += 1
        payload = vote_payload(self.chain_id, height, round_, phase, block_hash)
        if not self._verify(voter, payload, signature):
            return False
        self._remember(voter, height, round_, phase, block_hash, signature)
        return True

    def _verify(self, voter: bytes, payload: bytes, signature: bytes) -> bool:
        return verify(voter, cose.sig_structure(VOTE_TYP, voter, payload), signature)

    def _remember(
        self, voter: bytes, height: int, round_: int, phase: Phase, block_hash: bytes, signature: bytes
    ) -> None:
        if len(self._held) >= REMEMBERED_MAX:
            self._held.clear()
        self._held.add((voter, height, round_, int(phase), block_hash, signature))
