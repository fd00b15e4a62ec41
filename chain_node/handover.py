"""Handovers: how whoever trusts a genesis comes to know the validators of every later height.

Runs on CPython; pure.  A handover is the evidence of the state's ["validators"] entry (validator_set.py)
after any block from the one that took a change in until another change is taken in.  Until the new set
takes over, the block is certified by the old one, which is known: so a chain of handovers, one for each
change, leads from the genesis to the validators of today, over blocks however far apart.

What is trusted.  Of each set, fewer than a third are faulty as long as it is in force, and for as long
afterwards as somebody relies on it who has not seen its end.  If a quorum of the keys of a set that was
replaced fell into one hand later, it could certify another past.  Who has seen the handover refuses that,
whatever is signed; who has not cannot know.  So keep what is trusted (`LightClient.export`), and ask for the
entry again within NOTICE_BLOCKS, as light_http.py does: then no end of a set is missed.
"""

from collections.abc import Iterable

from chain_node.block import Header
from chain_node.errors import CertificateError, EvidenceError, HeaderError
from chain_node.evidence import Link, StateEvidence
from chain_node.genesis import Genesis
from chain_node.validator_set import (
    ENTRY_KEY,
    Succession,
    ValidatorsEntry,
    ValidatorSet,
    genesis_set,
    unchanged,
)
from puf.errors import ProofError
from puf.merkle_map import verify as verify_map


def verify_certificate(genesis: Genesis, link: Link, validators: ValidatorSet | None = None) -> None:
    """Check that these validators made this header final.  validators: by default those of the genesis.

    Says nothing about the blocks before it.  Raises HeaderError, CertificateError.
    """
    validators = validators or genesis_set(genesis.validators)
    header, certificate = link.header, link.certificate
    if header.chain_id != genesis.chain_id:
        raise HeaderError(
            header.height, f"it is of chain {header.chain_id.hex()}, trusted is {genesis.chain_id.hex()}"
        )
    if header.validators_hash != validators.hash:
        raise HeaderError(
            header.height,
            f"it names validators {header.validators_hash.hex()}, "
            f"this chain's are {validators.hash.hex()}, set {validators.number}",
        )
    if (certificate.height, certificate.block_hash) != (header.height, header.block_hash):
        raise CertificateError(
            header.height,
            f"it is for block {certificate.height}, {certificate.block_hash.hex()}; "
            f"this one is {header.block_hash.hex()}",
        )
    if certificate.round < header.round:
        raise CertificateError(
            header.height, f"round {certificate.round} is before the block's {header.round}"
        )
    certificate.verify(genesis.chain_id, validators.keys)


def verify_state(key: bytes, proof: bytes, header: Header) -> bytes | None:
    """What the state after this header's block says under `key`; None for proven absence.

    Raises EvidenceError.
    """
    try:
        return verify_map(header.state_root, key, proof)
    except ProofError as error:
        raise EvidenceError(f"state proof against block {header.height}: {error}") from None


class Handovers:
    """The validators of a chain by height, as far as they were shown.

    proofs: what `proofs` gave before.  Raises TrustError, WireError when they are none.
    """

    def __init__(self, genesis: Genesis, proofs: Iterable[StateEvidence] = ()) -> None:
        self.genesis = genesis
        self.sets = Succession(genesis.validators)
        self.shown_height = 0
        """The last block whose state was seen to name the validators."""
        self._proofs: list[StateEvidence] = []
        for proof in proofs:
            self.learn(proof)

    def proofs(self, height: int | None = None) -> tuple[StateEvidence, ...]:
        """What proves who certifies this height, one for each change up to it; None: all."""
        count = len(self._proofs) if height is None else self.sets.at(height).number
        return tuple(self._proofs[:count])

    def names(self, header: Header) -> bool:
        """Whether the validators of this header are those that are known for its height."""
        return header.validators_hash == self.sets.at(header.height).hash

    def verify(self, link: Link) -> None:
        """Check that those in force at its height made this header final.

        Raises HeaderError, CertificateError.
        """
        header = link.header
        validators = self.sets.at(header.height)
        if header.chain_id == self.genesis.chain_id and header.validators_hash != validators.hash:
            raise self._wrong_set(header, validators)
        verify_certificate(self.genesis, link, validators)

    def learn(self, evidence: StateEvidence) -> ValidatorSet:
        """Whom the state after some block names as newest; a set that was not known yet is from now on.

        The block need not follow anything that is known, only its validators must be.  Raises HeaderError,
        CertificateError, EvidenceError, WireError.
        """
        self.verify(evidence.link)
        header = evidence.link.header
        height = header.height
        data = verify_state(ENTRY_KEY, evidence.proof, header)
        entry = unchanged(self.genesis.validators) if data is None else ValidatorsEntry.decode(data)
        in_force, known = entry.at(height), self.sets.at(height)
        if in_force.number > self.sets.newest.number:
            raise EvidenceError(
                f"block {height} is of validators number {in_force.number}; "
                f"the change to number {self.sets.newest.number + 1} was not shown"
            )
        if in_force != known:
            raise EvidenceError(
                f"the state after block {height} has set {in_force.number} in force from block "
                f"{in_force.from_height} on, known is set {known.number} from block {known.from_height} on: "
                "a quorum has certified what cannot be"
            )
        newest = entry.newest
        pending = self.sets.numbered(newest.number)
        if pending is None:
            self.sets.add(newest)
            self._proofs.append(evidence)
        elif pending != newest:
            raise EvidenceError(
                f"the state after block {height} has another set {newest.number} than was shown before: "
                "a quorum has certified what cannot be"
            )
        self.shown_height = max(self.shown_height, height)
        return newest

    def _wrong_set(self, header: Header, validators: ValidatorSet) -> HeaderError:
        why = (
            f"it names validators {header.validators_hash.hex()}, this chain's are {validators.hash.hex()}, "
            f"set {validators.number} from block {validators.from_height} on"
        )
        for other in self.sets:
            if other.hash == header.validators_hash:
                is_over = other.number < validators.number
                when = "ended before this block" if is_over else "begins only later"
                return HeaderError(header.height, f"{why}; it is by set {other.number}, whose time {when}")
        return HeaderError(header.height, f"{why}; another set, if there is one, was not shown")
