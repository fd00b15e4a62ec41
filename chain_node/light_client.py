"""A light client: trusts a genesis and nobody else, and checks all that a node says.

Runs on CPython; pure.  It follows headers with their certificates from the genesis on, and keeps only
the last one.  Against a header it trusts it checks transactions, receipts and entries of the state.

    client = LightClient(genesis)                         # or LightClient.restore(genesis, saved)
    client.follow(links)                                  # headers with certificates, rising
    client.learn(evidence)                                # other validators from some height on
    client.leap(evidence)                                 # a far block without those before it
    receipt = client.confirm_transaction(evidence)        # raises TrustError, which says what failed
    account = client.confirm_account(public, evidence)

Every refusal is a TrustError: HeaderError, CertificateError, ForkFound or EvidenceError; bytes that are
not what they must be are a WireError.  Both are PeerErrors.

A header counts by the certificate of the validators in force at its height.  Those change; handover.py says
how that is shown, and what is trusted.  A leap costs one certificate, and one for each change on the way: as
much as following is worth, since a certificate makes its block final whatever came before.  What only
following sees is that each block names the one before.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from chain_node.block import Header
from chain_node.did_ledger import DidEntry, DidVersion, did_key, did_version_key
from chain_node.entry import (
    Account,
    AnchorEntry,
    Conduct,
    StreamEntry,
    account_key,
    anchor_key,
    conduct_key,
    stream_key,
)
from chain_node.errors import EvidenceError, ForkFound, HeaderError, TrustError, WireError
from chain_node.escrow import EscrowEntry, escrow_key
from chain_node.evidence import InclusionProof, Link, StateEvidence, TransactionEvidence, read_handovers
from chain_node.fields import Fields, read
from chain_node.genesis import Genesis
from chain_node.handover import Handovers, verify_certificate, verify_state
from chain_node.mandate import MandateEntry, mandate_key
from chain_node.transaction import Receipt, transaction_hash
from chain_node.validator_set import ENTRY_KEY, ValidatorsEntry, ValidatorSet, unchanged
from puf import cbor, merkle_tree
from puf.did_document import Document
from puf.errors import ProofError

HEAD_SIZE_MAX = 1 << 22
RECENT_MAX = 4_096
"""Blocks back from the head of which a forked twin is noticed."""


@dataclass(frozen=True, slots=True)
class TrustedHead:
    """The last block a light client has followed to; at the beginning, the genesis."""

    height: int
    block_hash: bytes
    time_ms: int


__all__ = [
    "HEAD_SIZE_MAX",
    "LightClient",
    "TrustedHead",
    "verify_certificate",
    "verify_receipt",
    "verify_state",
    "verify_transaction",
]


class LightClient:
    """What a gateway knows of the chain.  head, validators: from `restore`; by default the genesis's."""

    def __init__(
        self, genesis: Genesis, head: TrustedHead | None = None, validators: Handovers | None = None
    ) -> None:
        self.genesis = genesis
        self.validators = validators or Handovers(genesis)
        """Who certifies which height, as far as it was shown."""
        self.head = head or TrustedHead(0, genesis.chain_id, genesis.time_ms)
        self._recent: dict[int, bytes] = {}

    def export(self) -> bytes:
        """What is trusted as bytes, to be kept.

        CBOR map: 1 chain id, 2 height, 3 block hash, 4 time_ms, 5 [handover, ...] unless there was none.
        """
        head = self.head
        value: dict[int, object] = {
            1: self.genesis.chain_id,
            2: head.height,
            3: head.block_hash,
            4: head.time_ms,
        }
        if proofs := self.validators.proofs():
            value[5] = [proof.encode() for proof in proofs]
        return cbor.encode(value)

    @classmethod
    def restore(cls, genesis: Genesis, data: bytes) -> "LightClient":
        """Go on from what `export` gave.  Raises WireError, also when it is of another chain."""
        what = "trusted head"
        fields = Fields(read(data, what, HEAD_SIZE_MAX), what)
        chain_id = fields.blob(1, "chain id")
        head = TrustedHead(
            height=fields.integer(2, "height"),
            block_hash=fields.blob(3, "block hash"),
            time_ms=fields.integer(4, "time_ms"),
        )
        proofs = read_handovers(fields, 5)
        fields.done()
        if chain_id != genesis.chain_id:
            raise WireError(what, f"it is of chain {chain_id.hex()}, not {genesis.chain_id.hex()}")
        try:
            validators = Handovers(genesis, proofs)
        except TrustError as error:
            raise WireError(what, str(error)) from None
        return cls(genesis, head, validators)

    def follow(self, links: Iterable[Link]) -> TrustedHead:
        """Trust the blocks after the head, one by one; the new head.

        The first link may be the head's own, which ties a node's chain to ours.  After an error the head
        is the last block that was right.  Raises HeaderError, CertificateError, ForkFound.
        """
        for link in links:
            header = link.header
            if header.height == self.head.height:
                self.check(link)
                continue
            if header.height != self.head.height + 1:
                raise HeaderError(header.height, f"it does not follow the trusted block {self.head.height}")
            self.validators.verify(link)
            if header.parent_hash != self.head.block_hash:
                raise HeaderError(
                    header.height,
                    f"its parent is {header.parent_hash.hex()}, the trusted block {self.head.height} "
                    f"is {self.head.block_hash.hex()}",
                )
            if header.time_ms <= self.head.time_ms:
                raise HeaderError(
                    header.height,
                    f"its time {header.time_ms} ms is not after its parent's {self.head.time_ms}",
                )
            self._trust(header)
            self._recent.pop(header.height - RECENT_MAX, None)
        return self.head

    def learn(self, evidence: StateEvidence) -> ValidatorSet:
        """Learn from a state's ["validators"] entry who takes over; the newest set.  The head stays.

        The block may be any that those who are known certify, also beyond the head.  Raises HeaderError,
        CertificateError, EvidenceError, WireError.
        """
        return self.validators.learn(evidence)

    def leap(self, evidence: StateEvidence) -> TrustedHead:
        """Trust a block far beyond the head by itself, with its ["validators"] entry; the new head.

        Changes of validators on the way must be learnt before, each by its handover.  Raises as `learn`.
        """
        header = evidence.link.header
        if header.height <= self.head.height or header.time_ms <= self.head.time_ms:
            raise HeaderError(header.height, f"it is not beyond the trusted block {self.head.height}")
        self.learn(evidence)
        self._recent = {}
        self._trust(header)
        return self.head

    def _trust(self, header: Header) -> None:
        self.head = TrustedHead(header.height, header.block_hash, header.time_ms)
        self._recent[header.height] = header.block_hash

    def completed(self, evidence: TransactionEvidence) -> TransactionEvidence:
        """The evidence with what who knows only the genesis needs: the changes of validators up to it."""
        return replace(evidence, handovers=self.validators.proofs(evidence.link.header.height))

    def check(self, link: Link) -> Header:
        """A header at or below the head that is certified, and so final; the header.

        Raises HeaderError (above the head: follow the chain there first), CertificateError, ForkFound.
        """
        header = link.header
        if header.height > self.head.height:
            raise HeaderError(
                header.height, f"it is beyond the trusted block {self.head.height}; follow first"
            )
        self.validators.verify(link)
        trusted = (
            self.head.block_hash if header.height == self.head.height else self._recent.get(header.height)
        )
        if trusted and trusted != header.block_hash:
            raise ForkFound(header.height, trusted, header.block_hash)
        return header

    def confirm_transaction(self, evidence: TransactionEvidence) -> Receipt:
        """Check all of it; the receipt says whether the transaction had its effect.

        Raises HeaderError, CertificateError, ForkFound, EvidenceError, WireError.
        """
        header = self.check(evidence.link)
        verify_transaction(evidence.transaction, header, evidence.proof)
        if evidence.receipt_proof.index != evidence.proof.index:
            raise EvidenceError(f"the receipt is not that of transaction {evidence.proof.index}")
        return verify_receipt(evidence.receipt, evidence.transaction, header, evidence.receipt_proof)

    def confirm_state(self, key: bytes, evidence: StateEvidence) -> bytes | None:
        """What the state after that block says under `key`; None if it proves to be absent."""
        return verify_state(key, evidence.proof, self.check(evidence.link))

    def confirm_account(self, public: bytes, evidence: StateEvidence) -> Account:
        """The account of this key after that block; one that is absent is empty."""
        data = self.confirm_state(account_key(public), evidence)
        return Account() if data is None else Account.decode(data)

    def confirm_anchor(
        self, owner: bytes, stream: bytes, upload: int, evidence: StateEvidence
    ) -> AnchorEntry | None:
        """What this key anchored as this upload of its stream; None if it proves to have anchored none."""
        data = self.confirm_state(anchor_key(owner, stream, upload), evidence)
        return None if data is None else AnchorEntry.decode(data)

    def confirm_stream(self, owner: bytes, stream: bytes, evidence: StateEvidence) -> StreamEntry | None:
        """How far the owner's stream has come after that block; None if it proves to have no anchors."""
        data = self.confirm_state(stream_key(owner, stream), evidence)
        return None if data is None else StreamEntry.decode(data)

    def confirm_conduct(self, public: bytes, evidence: StateEvidence) -> Conduct:
        """What this proposer or validator did against the rules until that block."""
        data = self.confirm_state(conduct_key(public), evidence)
        return Conduct() if data is None else Conduct.decode(data)

    def confirm_validators(self, evidence: StateEvidence) -> ValidatorsEntry:
        """Who is in force after that block, and who comes next."""
        data = self.confirm_state(ENTRY_KEY, evidence)
        return unchanged(self.genesis.validators) if data is None else ValidatorsEntry.decode(data)

    def confirm_did(self, name: bytes, evidence: StateEvidence) -> DidEntry | None:
        """The did:cpc of this hash after that block; None if it proves to be registered nowhere."""
        data = self.confirm_state(did_key(name), evidence)
        return None if data is None else DidEntry.decode(data)

    def confirm_did_version(self, name: bytes, version: int, evidence: StateEvidence) -> DidVersion | None:
        """A document that the name had until another took its place; None if it proves to be none of them."""
        data = self.confirm_state(did_version_key(name, version), evidence)
        return None if data is None else DidVersion.decode(data)

    def confirm_did_at(
        self, name: bytes, height: int, version: int | None, evidence: StateEvidence
    ) -> Document | None:
        """The document whose keys count for what stands in block `height`; None if it proves that none do.

        version: that of the evidence; None, when it shows the present entry.  Raises EvidenceError, also when
        the evidence does not decide the question.
        """
        if evidence.link.header.height < height:
            raise EvidenceError(
                f"block {evidence.link.header.height} cannot say which keys count in block {height}"
            )
        if version is None:
            entry = self.confirm_did(name, evidence)
            if entry is None or (height < entry.since_height and entry.version == 1):
                return None
            if height >= entry.since_height:
                return None if entry.is_deactivated else entry.document
        else:
            past = self.confirm_did_version(name, version, evidence)
            if past and past.is_valid_at(height):
                return past.document
            if past and version == 1 and height < past.since_height:
                return None
        raise EvidenceError(f"it does not show the version of the name that counts in block {height}")

    def confirm_escrow(self, payer: bytes, ident: bytes, evidence: StateEvidence) -> EscrowEntry | None:
        """The payer's escrow of this id after that block; None if it proves to have opened none."""
        data = self.confirm_state(escrow_key(payer, ident), evidence)
        return None if data is None else EscrowEntry.decode(data)

    def confirm_mandate(self, payer: bytes, operator: bytes, evidence: StateEvidence) -> MandateEntry | None:
        """What the operator may spend of the payer's; None if it proves to have been granted nothing ever."""
        data = self.confirm_state(mandate_key(payer, operator), evidence)
        return None if data is None else MandateEntry.decode(data)


def verify_transaction(transaction: bytes, header: Header, proof: InclusionProof) -> None:
    """Check that a block with this header has this transaction at this index.  Raises EvidenceError."""
    _verify_leaf(transaction, header.tx_root, header, proof, "transaction")


def verify_receipt(receipt: bytes, transaction: bytes, header: Header, proof: InclusionProof) -> Receipt:
    """Check that a block with this header says this of `transaction`; the receipt.

    Raises EvidenceError, WireError.
    """
    _verify_leaf(receipt, header.receipts_root, header, proof, "receipt")
    decoded = Receipt.decode(receipt)
    if decoded.tx_hash != transaction_hash(transaction):
        raise EvidenceError(f"the receipt is of transaction {decoded.tx_hash.hex()}")
    return decoded


def _verify_leaf(data: bytes, root: bytes, header: Header, proof: InclusionProof, name: str) -> None:
    try:
        merkle_tree.verify_inclusion(
            merkle_tree.leaf_hash(data), proof.index, header.tx_count, list(proof.hashes), root
        )
    except ProofError as error:
        raise EvidenceError(f"{name} {proof.index} of block {header.height}: {error}") from None
