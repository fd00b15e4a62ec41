"""Evidence: everything that one who knows only the genesis needs to be convinced, as bytes that can be kept.

Runs on CPython.  Deterministic CBOR, strictly decoded; decoding verifies nothing.  `LightClient` checks it.
"""

from dataclasses import dataclass

from chain_node.block import CERTIFICATE_SIZE_MAX, HEADER_SIZE_MAX, Certificate, Header
from chain_node.errors import WireError
from chain_node.fields import HASH_SIZE, Fields, check_blob, read
from chain_node.transaction import RECEIPT_SIZE_MAX, TX_SIZE_LIMIT
from puf import cbor
from puf.merkle_map import PROOF_SIZE_MAX

PATH_MAX = 64
"""Hashes of the longest inclusion proof."""
EVIDENCE_SIZE_MAX = 1 << 20
HANDOVERS_MAX = 4_096
"""Changes of validators that a piece of evidence shows; its size bounds them, too."""


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
    def decode(cls, data: object) -> "StateEvidence":
        """Raises WireError; nothing is verified yet."""
        if not isinstance(data, bytes):
            raise WireError("state evidence", "it is no byte string")
        fields = Fields(read(data, "state evidence", EVIDENCE_SIZE_MAX), "state evidence")
        header = fields.blob_up_to(1, "header", HEADER_SIZE_MAX)
        certificate = fields.blob_up_to(2, "certificate", CERTIFICATE_SIZE_MAX)
        proof = fields.blob_up_to(3, "proof", PROOF_SIZE_MAX)
        fields.done()
        return cls(Link.decode(header, certificate), proof)


@dataclass(frozen=True, slots=True)
class TransactionEvidence:
    """All that proves to anyone who knows the genesis that a transaction is final, and what became of it.

    CBOR map, for keeping: 1 header, 2 certificate, 3 transaction, 4 index, 5 [siblings of the
    transaction], 6 receipt, 7 [siblings of the receipt], 8 [handover, ...] unless there is none.
    """

    link: Link
    transaction: bytes
    """As it was signed."""
    proof: InclusionProof
    """Of the transaction under `tx_root`."""
    receipt: bytes
    receipt_proof: InclusionProof
    """Of the receipt under `receipts_root`, at the same index."""
    handovers: tuple[StateEvidence, ...] = ()
    """Of the changes of validators up to that block, one for each; see handover.py."""

    def encode(self) -> bytes:
        """The evidence's bytes."""
        value: dict[int, object] = {
            1: self.link.header.data,
            2: self.link.certificate.encode(),
            3: self.transaction,
            4: self.proof.index,
            5: list(self.proof.hashes),
            6: self.receipt,
            7: list(self.receipt_proof.hashes),
        }
        if self.handovers:
            value[8] = [handover.encode() for handover in self.handovers]
        return cbor.encode(value)

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
        handovers = read_handovers(fields, 8)
        fields.done()
        return cls(
            link=Link.decode(header, certificate),
            transaction=transaction,
            proof=InclusionProof(index, path),
            receipt=receipt,
            receipt_proof=InclusionProof(index, receipt_path),
            handovers=handovers,
        )


def read_handovers(fields: Fields, key: int) -> tuple[StateEvidence, ...]:
    """The handovers in a field that is left out when there are none.  Raises WireError."""
    if not fields.has(key):
        return ()
    items = fields.items(key, "handovers", HANDOVERS_MAX)
    if not items:
        raise WireError("list of handovers", "it is empty; it must be left out")
    return tuple(StateEvidence.decode(item) for item in items)


def _read_path(fields: Fields, key: int, name: str) -> tuple[bytes, ...]:
    items = fields.items(key, name, PATH_MAX)
    return tuple(check_blob(item, "transaction evidence", name, HASH_SIZE) for item in items)
