"""Evidence: that an upload's roots are in a transaction, that in a block, and that certified.

Runs on CPython; pure.  The bytes are chain_node's TransactionEvidence; what a gateway adds is which
anchor it expects, by whom.  It is checked with nothing but the genesis of the chain, so neither the
node nor the store that handed it over needs to be trusted.  Each check returns a sentence on what
holds, or raises EvidenceError, which names the link that does not.
"""

from collections.abc import Callable
from typing import TypeVar

from chain_node.light_client import verify_receipt, verify_transaction
from chain_node.wire import Anchor, ChainError, Genesis, Handovers, Reason, Transaction, TransactionEvidence
from gateway.errors import EvidenceError
from gateway.manifest import Manifest
from puf import merkle_tree

Result = TypeVar("Result")

ANCHORED = (Reason.APPLIED, Reason.ANCHOR_KNOWN)
"""Receipts of a transaction whose content is anchored: by itself, or already before with the same content."""


def anchor_of(manifest: Manifest) -> Anchor:
    """What the chain is to keep of an upload."""
    leaves = manifest.cipher_leaves()
    return Anchor(
        stream=manifest.stream_id,
        upload=manifest.upload_index,
        chunk_count=len(leaves),
        cipher_root=merkle_tree.root(leaves),
        plain_root=merkle_tree.root(manifest.plain_leaves()),
        manifest_hash=manifest.digest,
    )


def decode_evidence(data: bytes) -> TransactionEvidence:
    """The evidence of `data`; nothing of it is verified yet.  Raises EvidenceError."""
    return _linked("evidence", lambda: TransactionEvidence.decode(data))


def check_anchor(evidence: TransactionEvidence, owner: bytes, chain_id: bytes, expected: Anchor) -> str:
    """The gateway `owner` (public key) signed a transaction that anchors exactly `expected`."""
    link = "roots in the transaction"
    transaction = _linked(link, lambda: Transaction.decode(evidence.transaction))
    if transaction.chain_id != chain_id:
        raise EvidenceError(link, f"it is for another chain, {transaction.chain_id.hex()}")
    if transaction.sender != owner:
        raise EvidenceError(link, f"it is signed by {transaction.sender.hex()}, not by the gateway")
    if transaction.body != expected:
        raise EvidenceError(link, f"it anchors something else: {_difference(transaction.body, expected)}")
    return f"transaction {transaction.tx_hash.hex()}"


def check_block(evidence: TransactionEvidence) -> str:
    """The transaction is in the block, and had its effect."""
    link = "transaction in the block"
    header = evidence.link.header
    _linked(link, lambda: verify_transaction(evidence.transaction, header, evidence.proof))
    receipt = _linked(
        link, lambda: verify_receipt(evidence.receipt, evidence.transaction, header, evidence.receipt_proof)
    )
    if receipt.reason not in ANCHORED:
        raise EvidenceError(link, f"it is in block {header.height} without effect: {receipt.reason.label}")
    return f"block {header.height}, number {evidence.proof.index + 1} of {header.tx_count}"


def check_certificate(evidence: TransactionEvidence, genesis: Genesis) -> str:
    """A quorum of the chain's validators has certified the block, those of its height by their handovers."""
    known = _linked("block certified", lambda: Handovers(genesis, evidence.handovers))
    _linked("block certified", lambda: known.verify(evidence.link))
    validators = known.sets.at(evidence.link.header.height)
    signers = [validators.keys[index] for index, _ in evidence.link.certificate.signatures]
    since = f", which changed {validators.number} times" if validators.number else ""
    return (
        f"by {len(signers)} of the {len(validators.keys)} validators of chain {genesis.name}{since}: "
        + ", ".join(signer.hex()[:16] for signer in signers)
    )


def check(evidence: TransactionEvidence, owner: bytes, genesis: Genesis, expected: Anchor) -> None:
    """All of the above."""
    check_anchor(evidence, owner, genesis.chain_id, expected)
    check_block(evidence)
    check_certificate(evidence, genesis)


def _linked(link: str, work: Callable[[], Result]) -> Result:
    try:
        return work()
    except ChainError as error:
        raise EvidenceError(link, str(error)) from error


def _difference(got: object, want: Anchor) -> str:
    if not isinstance(got, Anchor):
        return f"it is a {type(got).__name__.lower()}"
    fields = [name for name in Anchor.__slots__ if getattr(got, name) != getattr(want, name)]
    return "other " + ", ".join(fields)
