"""Evidence: that an upload's roots are in a transaction, that in a block, and that certified.

Runs on CPython; pure.  It is checked with nothing but the genesis of the chain, so neither the node
nor the store that handed it over needs to be trusted.  Deterministic CBOR:

    evidence = [1, transaction, header, certificate, index, tx_proof, receipt, receipt_proof]
"""

from dataclasses import dataclass
from typing import Any

from chain_node.wire import (
    Anchor,
    Certificate,
    ChainError,
    Genesis,
    Header,
    Reason,
    Receipt,
    Refused,
    Transaction,
)
from gateway.errors import EvidenceError
from gateway.manifest import Manifest
from puf import cbor, merkle_tree
from puf.errors import DecodeError, ProofError

VERSION = 1
EVIDENCE_SIZE_MAX = 256 << 10
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


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an anchored upload is proven with; nothing of it is verified until `check_*` has returned."""

    transaction: bytes
    """The anchor transaction, signed by the gateway."""
    header: bytes
    """Of the block it is in."""
    certificate: bytes
    """Of that block."""
    index: int
    """Of the transaction in the block."""
    tx_proof: tuple[bytes, ...]
    """From the transaction to the header's tx_root, RFC 9162."""
    receipt: bytes
    """What became of the transaction."""
    receipt_proof: tuple[bytes, ...]
    """From the receipt to the header's receipts_root, RFC 9162."""

    def encode(self) -> bytes:
        """The bytes that are stored."""
        return cbor.encode(
            [
                VERSION,
                self.transaction,
                self.header,
                self.certificate,
                self.index,
                list(self.tx_proof),
                self.receipt,
                list(self.receipt_proof),
            ]
        )

    @classmethod
    def decode(cls, data: bytes) -> "Evidence":
        """The evidence of `data`.  Raises EvidenceError."""
        try:
            fields: Any = cbor.decode(data, size_max=EVIDENCE_SIZE_MAX)
        except DecodeError as error:
            raise EvidenceError("evidence", str(error)) from error
        match fields:
            case [
                int(version),
                bytes(tx),
                bytes(header),
                bytes(certificate),
                int(index),
                list(tx_proof),
                bytes(receipt),
                list(receipt_proof),
            ] if all(isinstance(node, bytes) for node in (*tx_proof, *receipt_proof)):
                if version != VERSION:
                    raise EvidenceError(
                        "evidence", f"version {version}; this program reads version {VERSION}"
                    )
                return cls(tx, header, certificate, index, tuple(tx_proof), receipt, tuple(receipt_proof))
        raise EvidenceError("evidence", "the fields have wrong types")

    def check_anchor(self, owner: bytes, chain_id: bytes, expected: Anchor) -> str:
        """The gateway `owner` signed a transaction that anchors exactly `expected`.  Raises EvidenceError."""
        link = "roots in the transaction"
        try:
            transaction = Transaction.decode(self.transaction)
        except Refused as error:
            raise EvidenceError(link, str(error)) from error
        if transaction.chain_id != chain_id:
            raise EvidenceError(link, f"it is for another chain, {transaction.chain_id.hex()}")
        if transaction.sender != owner:
            raise EvidenceError(link, f"it is signed by {transaction.sender.hex()}, not by the gateway")
        if transaction.body != expected:
            raise EvidenceError(link, f"it anchors something else: {_difference(transaction.body, expected)}")
        return f"transaction {transaction.tx_hash.hex()}"

    def check_block(self) -> str:
        """The transaction is in the block, and had its effect.  Raises EvidenceError."""
        link = "transaction in the block"
        header = self._header(link)
        for what, leaf, proof, root in (
            ("transaction", self.transaction, self.tx_proof, header.tx_root),
            ("receipt", self.receipt, self.receipt_proof, header.receipts_root),
        ):
            try:
                merkle_tree.verify_inclusion(
                    merkle_tree.leaf_hash(leaf), self.index, header.tx_count, list(proof), root
                )
            except ProofError as error:
                raise EvidenceError(link, f"the {what} is not in block {header.height}: {error}") from error
        try:
            receipt = Receipt.decode(self.receipt)
        except ChainError as error:
            raise EvidenceError(link, str(error)) from error
        if receipt.reason not in ANCHORED:
            raise EvidenceError(
                link, f"it is in block {header.height} without effect: {receipt.reason.label}"
            )
        return f"block {header.height}, number {self.index + 1} of {header.tx_count}"

    def check_certificate(self, genesis: Genesis) -> str:
        """A quorum of the chain's validators has certified the block.  Raises EvidenceError."""
        link = "block certified"
        header = self._header(link)
        try:
            certificate = Certificate.decode(self.certificate)
            certificate.verify(genesis.chain_id, genesis.validators)
        except ChainError as error:
            raise EvidenceError(link, str(error)) from error
        if header.chain_id != genesis.chain_id or header.validators_hash != genesis.validators_hash:
            raise EvidenceError(link, f"block {header.height} is of another chain or other validators")
        if (certificate.block_hash, certificate.height, certificate.round) != (
            header.block_hash,
            header.height,
            header.round,
        ):
            raise EvidenceError(link, f"the certificate is for another block than {header.height}")
        names = ", ".join(genesis.validators[index].hex()[:16] for index, _ in certificate.signatures)
        return (
            f"{len(certificate.signatures)} of {len(genesis.validators)} validators of chain "
            f"{genesis.name}: {names}"
        )

    def check(self, owner: bytes, genesis: Genesis, expected: Anchor) -> None:
        """All of the above.  Raises EvidenceError."""
        self.check_anchor(owner, genesis.chain_id, expected)
        self.check_block()
        self.check_certificate(genesis)

    @property
    def height(self) -> int:
        """Height of the block it names."""
        return self._header("evidence").height

    def _header(self, link: str) -> Header:
        try:
            return Header.decode(self.header)
        except ChainError as error:
            raise EvidenceError(link, str(error)) from error


def _difference(got: object, want: Anchor) -> str:
    if not isinstance(got, Anchor):
        return f"it is a {type(got).__name__.lower()}"
    fields = [name for name in Anchor.__slots__ if getattr(got, name) != getattr(want, name)]
    return "other " + ", ".join(fields)
