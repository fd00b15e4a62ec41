"""Evidence: everything that one who knows only the genesis needs to be convinced, as bytes that can be kept.

Runs on CPython.  Deterministic CBOR, strictly decoded; decoding verifies nothing.  `LightClient` checks it.
"""

from dataclasses import dataclass

from chain_node.block import CERTIFICATE_SIZE_MAX, HEADER_SIZE_MAX, Certificate, Header
from chain_node.fields import HASH_SIZE, Fields, check_blob, read
from chain_node.transaction import RECEIPT_SIZE_MAX, TX_SIZE_LIMIT
from puf import cbor
from puf.merkle_map import PROOF_SIZE_MAX

PATH_MAX = 64
"""Hashes of the longest inclusion proof."""
EVIDENCE_SIZE_MAX = 1 << 18


@dataclass(frozen=True, slots=True)
class Link:
    """A header and the certificate that makes it final."""

    header: Header
    certificate: Certificate

    @classmethod
    def decode(cls, header: bytes, certificate: bytes) -> "Link":
        """Raises WireError; nothing is verified yet."""
        return cls(Header.decode(header), Certificate.decode(certificate))


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """Which leaf it is, and the siblings up to the root."""

    index: int
    hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class TransactionEvidence:
    """All that proves to anyone who knows the genesis that a transaction is final, and what became of it.

    CBOR map, for keeping: 1 header, 2 certificate, 3 transaction, 4 index, 5 [siblings of the
    transaction], 6 receipt, 7 [siblings of the receipt].
    """

    link: Link
    transaction: bytes
    """As it was signed."""
    proof: InclusionProof
    """Of the transaction under `tx_root`."""
    receipt: bytes
    receipt_proof: InclusionProof
    """Of the receipt under `receipts_root`, at the same index."""

    def encode(self) -> bytes:
        """The evidence's bytes."""
        return cbor.encode(
            {
                1: self.link.header.data,
                2: self.link.certificate.encode(),
                3: self.transaction,
                4: self.proof.index,
                5: list(self.proof.hashes),
                6: self.receipt,
                7: list(self.receipt_proof.hashes),
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> "TransactionEvidence":
        """Raises WireError; nothing is verified yet."""
        what = "transaction evidence"
        fields = Fields(read(data, what, EVIDENCE_SIZE_MAX), what)
        header = fields.blob_up_to(1, "header", HEADER_SIZE_MAX)
        certificate = fields.blob_up_to(2, "certificate", CERTIFICATE_SIZE_MAX)
        transaction = fields.blob_up_to(3, "transaction", TX_SIZE_LIMIT)
        index = fields.integer(4, "index")
        path = _read_path(fields, 5, "proof of the transaction")
        receipt = fields.blob_up_to(6, "receipt", RECEIPT_SIZE_MAX)
        receipt_path = _read_path(fields, 7, "proof of the receipt")
        fields.done()
        return cls(
            link=Link.decode(header, certificate),
            transaction=transaction,
            proof=InclusionProof(index, path),
            receipt=receipt,
            receipt_proof=InclusionProof(index, receipt_path),
        )


@dataclass(frozen=True, slots=True)
class StateEvidence:
    """All that proves what the state after a block says under one key.

    CBOR map: 1 header, 2 certificate, 3 proof.
    """

    link: Link
    proof: bytes
    """Of presence or of absence, as puf.merkle_map has it."""

    def encode(self) -> bytes:
        """The evidence's bytes."""
        return cbor.encode({1: self.link.header.data, 2: self.link.certificate.encode(), 3: self.proof})

    @classmethod
    def decode(cls, data: bytes) -> "StateEvidence":
        """Raises WireError; nothing is verified yet."""
        fields = Fields(read(data, "state evidence", EVIDENCE_SIZE_MAX), "state evidence")
        header = fields.blob_up_to(1, "header", HEADER_SIZE_MAX)
        certificate = fields.blob_up_to(2, "certificate", CERTIFICATE_SIZE_MAX)
        proof = fields.blob_up_to(3, "proof", PROOF_SIZE_MAX)
        fields.done()
        return cls(Link.decode(header, certificate), proof)


def _read_path(fields: Fields, key: int, name: str) -> tuple[bytes, ...]:
    items = fields.items(key, name, PATH_MAX)
    return tuple(check_blob(item, "transaction evidence", name, HASH_SIZE) for item in items)
