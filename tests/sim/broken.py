"""The protocol with one of its five rules switched off, and the one that was published: each must fail here.

Runs on CPython.  The rules are those at the head of chain_node/lbft.py; each stands in one method.
"""

from chain_node import quorum
from chain_node.block import Certificate, Phase
from chain_node.kept import Kept
from chain_node.lbft_height import HeightCore
from chain_node.lbft_states import Fate, State
from chain_node.messages import Validate
from chain_node.signatures import Signatures
from tests.sim.world import Rules


class FewerVotes(HeightCore):
    """Rule 1 off: f + 1 make a certificate."""

    def _quorum(self, round_: int) -> int:
        return quorum.join_size(self._count)


class FewerSignatures(Signatures):
    """Believes what `FewerVotes` shows."""

    def certifies(self, certificate: Certificate, phase: Phase) -> bool:
        return _certifies(self, certificate, phase, quorum.join_size(len(self.validators)))


class Unlocked(HeightCore):
    """Rule 2 off: who has committed follows whatever a coordinator shows."""

    def _lock(self, certificate: Certificate) -> None:
        pass


class Impatient(HeightCore):
    """Rule 3 off: an impeachment round is for the impeachment block, whatever certificate is known."""

    def _value(self) -> bytes:
        return self._blocks.impeachment_hash


class Forgetful(HeightCore):
    """Rule 4 off: nothing is kept."""

    def _keep(self, kept: Kept) -> None:
        pass


class Hasty(HeightCore):
    """Rule 5 off: later rounds are no longer than the first."""

    def _see_rounds(self) -> None:
        super()._see_rounds()
        if self._round_ends_ms is not None:
            self._round_ends_ms = min(self._round_ends_ms, self._now_ms + self._setup.base_timeout_ms)


class Loner(HeightCore):
    """Rule 5 off: nobody is joined in a later round."""

    def _round_to_join(self) -> int:
        return 0


class Stubborn(HeightCore):
    """Rule 5 off: who is impeaching takes no certificate from others."""

    def _on_validate(self, sender: bytes, message: Validate) -> Fate:
        if self.state in (State.IMPEACH_PREPARE, State.IMPEACH_COMMIT):
            return Fate.DUPLICATE
        return super()._on_validate(sender, message)


class Published(Impatient):
    """LBFT 2.0 as it was published: f + 1 impeach, each of them whatever it has committed to before."""

    def _quorum(self, round_: int) -> int:
        return quorum.join_size(self._count) if round_ else quorum.size(self._count)

    def _lock(self, certificate: Certificate) -> None:
        pass


class PublishedSignatures(Signatures):
    """Believes what `Published` shows."""

    def certifies(self, certificate: Certificate, phase: Phase) -> bool:
        count = len(self.validators)
        needed = quorum.join_size(count) if certificate.round else quorum.size(count)
        return _certifies(self, certificate, phase, needed)


def _certifies(signatures: Signatures, certificate: Certificate, phase: Phase, needed: int) -> bool:
    indexes = [index for index, _ in certificate.signatures]
    return (
        len(set(indexes)) == len(indexes) >= needed
        and max(indexes) < len(signatures.validators)
        and all(
            signatures._holds(
                signatures.validators[index],
                certificate.height,
                certificate.round,
                phase,
                certificate.block_hash,
                signature,
            )
            for index, signature in certificate.signatures
        )
    )


BROKEN: dict[str, Rules] = {
    "1 f + 1 votes make a certificate": Rules(
        FewerVotes, FewerSignatures, lambda count, _: quorum.join_size(count)
    ),
    "2 no lock": Rules(Unlocked),
    "3 impeach whatever is known": Rules(Impatient),
    "4 nothing is kept": Rules(Forgetful),
    "5 timers do not grow": Rules(Hasty),
    "5 nobody is joined": Rules(Loner),
    "5 no certificate is taken while impeaching": Rules(Stubborn),
    "the published protocol": Rules(
        Published,
        PublishedSignatures,
        lambda count, round_: quorum.join_size(count) if round_ else quorum.size(count),
    ),
}
