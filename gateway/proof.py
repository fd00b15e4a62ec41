"""The whole proof of one record: from its value to the signatures of the validators.

Runs on CPython; pure but for `collect`, which reads the archive.  A proof carries all that a stranger
needs except the genesis of the chain, which they must have from somewhere they trust.  Whoever holds
it can read one segment, since the segment's key is part of it.  `links` yields each link as it is
checked; the first that does not hold ends it.

    record --> block --> chunk --> ciphertext root --> transaction --> block of the chain --> certificate
                   `--> salted leaf --> plaintext root --'
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from chain_node.wire import Anchor, Genesis
from gateway.archive import Archive
from gateway.block import Block, decode_block
from gateway.crypto.errors import CryptoError
from gateway.crypto.seal import (
    FLIP_SEARCH_SIZE_MAX,
    SegmentKey,
    find_flipped_bit,
    open_chunk,
    plain_leaf,
)
from gateway.crypto.stream import stream_id
from gateway.errors import BlockError, EvidenceError, RecordNameError
from gateway.evidence import check_anchor, check_block, check_certificate, decode_evidence
from gateway.layout import has_layout
from gateway.record import Record, RecordName
from puf import cbor, merkle_tree
from puf.did import did_key
from puf.errors import DecodeError, ProofError
from puf.hkdf import sha256

VERSION = 1
PROOF_SIZE_MAX = 4 << 20
PATH_MAX = 64
"""Hashes of the longest path in a tree."""
INT_END = 1 << 63
"""No number in a proof is as large."""
_SIZES = {
    "owner": 32,
    "segment_id": 16,
    "segment_key": 32,
    "chunk_id": 32,
    "manifest_hash": 32,
    "cipher_root": 32,
    "plain_root": 32,
}
"""Bytes of the fields that have always the same."""
_LAYOUT = (
    *(str, int, str, bytes, int, int, int, bytes, int, int, int),
    *(bytes, bytes, bytes, bytes, bytes, list, bytes, list, bytes),
)
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Link:
    """One link of the chain of evidence, checked."""

    name: str
    """What it claims."""
    detail: str
    """With what it holds, or why it does not."""
    is_ok: bool


@dataclass(frozen=True, slots=True)
class Proof:
    """Everything about one record; nothing of it is verified until `links` has run."""

    record: RecordName
    owner: bytes
    """The gateway's public key, 32 bytes."""
    slot_ms: int
    upload_index: int
    slot: int
    segment_id: bytes
    place: int
    """Of the chunk in its segment."""
    leaf: int
    """Of the chunk in its upload."""
    leaf_count: int
    segment_key: bytes
    """Opens the segment.  Secret to all but who may read it."""
    chunk_id: bytes
    """SHA-256 that the chunk should have."""
    chunk: bytes
    """As the store gave it."""
    manifest_hash: bytes
    cipher_root: bytes
    cipher_proof: tuple[bytes, ...]
    plain_root: bytes
    plain_proof: tuple[bytes, ...]
    evidence: bytes

    def __repr__(self) -> str:
        return f"Proof({self.record}, key hidden)"

    def encode(self) -> bytes:
        """The proof as a file."""
        fields = [getattr(self, name) for name in Proof.__slots__]
        return cbor.encode(["cpc/proof", VERSION, str(self.record), *fields[1:]])

    @classmethod
    def decode(cls, data: bytes) -> "Proof":
        """The proof in a file.  Raises EvidenceError."""
        link = "proof file"
        try:
            fields: Any = cbor.decode(data, size_max=PROOF_SIZE_MAX)
        except DecodeError as error:
            raise EvidenceError(link, f"not a proof: {error}") from error
        if not isinstance(fields, list) or fields[:1] != ["cpc/proof"]:
            raise EvidenceError(link, "not a proof; cpc prove writes one")
        if fields[1:2] != [VERSION]:
            raise EvidenceError(link, f"version {fields[1:2]}; this program reads version {VERSION}")
        if not has_layout(fields, _LAYOUT):
            raise EvidenceError(link, "its fields have wrong types")
        try:
            record = RecordName.parse(fields[2])
        except RecordNameError as error:
            raise EvidenceError(link, str(error)) from error
        arguments: Any = [tuple(field) if isinstance(field, list) else field for field in fields[3:]]
        proof = cls(record, *arguments)
        if not proof._is_possible() or str(record) != fields[2]:
            raise EvidenceError(link, "its fields have impossible values")
        return proof

    def _is_possible(self) -> bool:
        values = [getattr(self, name) for name in Proof.__slots__]
        return (
            all(len(getattr(self, name)) == size for name, size in _SIZES.items())
            and all(0 <= value < INT_END for value in values if isinstance(value, int))
            and all(
                len(path) <= PATH_MAX and all(isinstance(node, bytes) and len(node) == 32 for node in path)
                for path in (self.cipher_proof, self.plain_proof)
            )
        )

    @property
    def stream_id(self) -> bytes:
        """The stream that owner, name and slot length stand for."""
        return stream_id(self.owner, self.record.stream, self.slot_ms)

    @property
    def anchor(self) -> Anchor:
        """What must have been anchored for this proof to hold."""
        return Anchor(
            self.stream_id,
            self.upload_index,
            self.leaf_count,
            self.cipher_root,
            self.plain_root,
            self.manifest_hash,
        )

    def links(
        self, genesis: Genesis, found: Callable[[Record], None], progress: Progress | None = None
    ) -> Iterator[Link]:
        """Every link in turn; after the first that is not ok no more come.

        found: called with the record once it is decrypted.  progress: of the search for a flipped bit.
        """
        name = "chunk"
        try:
            yield Link(name, self._check_chunk(progress), True)
            name = "decrypted with this key"
            block, data = self._open()
            yield Link(name, f"segment {self.segment_id.hex()}, slot {self.slot} of {self.slot_ms} ms", True)
            name = "record in the block"
            record = self._find(block)
            found(record)
            yield Link(name, f"{record.name}, block {block.index} of the stream", True)
            name = "leaf of the ciphertext tree"
            _included(self.chunk_id, self.leaf, self.leaf_count, self.cipher_proof, self.cipher_root)
            yield Link(name, f"leaf {self.leaf} of {self.leaf_count}, root {self.cipher_root.hex()}", True)
            name = "leaf of the plaintext tree"
            leaf = plain_leaf(self._key(), self.place, data)
            _included(leaf, self.leaf, self.leaf_count, self.plain_proof, self.plain_root)
            yield Link(name, f"leaf {self.leaf} of {self.leaf_count}, root {self.plain_root.hex()}", True)
            name = "roots in the transaction"
            evidence = decode_evidence(self.evidence)
            signed = check_anchor(evidence, self.owner, genesis.chain_id, self.anchor)
            yield Link(name, f"upload {self.upload_index}, {signed} by {did_key(self.owner)}", True)
            name = "transaction in the block"
            yield Link(name, check_block(evidence), True)
            name = "block certified"
            yield Link(name, check_certificate(evidence, genesis), True)
        except EvidenceError as error:
            yield Link(name, error.why, False)
        except (CryptoError, BlockError, ProofError) as error:
            yield Link(name, str(error), False)

    def block(self) -> Block:
        """The block that the record lies in.  Raises CryptoError, BlockError; proves nothing by itself."""
        return self._open()[0]

    def _key(self) -> SegmentKey:
        return SegmentKey.from_bytes(self.segment_key)

    def _check_chunk(self, progress: Progress | None) -> str:
        got = sha256(self.chunk)
        if got != self.chunk_id:
            where = damage_text(self.chunk, self.chunk_id, progress)
            raise EvidenceError("chunk", f"chunk {self.chunk_id.hex()} is altered: {where}")
        return f"SHA-256 {self.chunk_id.hex()}, {len(self.chunk)} bytes"

    def _open(self) -> tuple[Block, bytes]:
        data = open_chunk(
            self._key(), self.chunk, self.stream_id, self.slot, self.segment_id, self.place, self.chunk_id
        )
        return decode_block(data), data

    def _find(self, block: Block) -> Record:
        for record in block.records():
            if record.name == self.record:
                return record
        raise EvidenceError(
            "record in the block", f"block {block.index} of stream {block.stream} has no {self.record}"
        )


def damage_text(data: bytes, chunk_id: bytes, progress: Progress | None = None) -> str:
    """What has happened to a chunk whose hash is wrong, as exactly as it can be said."""
    if len(data) > FLIP_SEARCH_SIZE_MAX:
        return f"its {len(data)} bytes hash to {sha256(data).hex()} (too long to look for a flipped bit)"
    flip = find_flipped_bit(data, chunk_id, progress)
    if flip is None:
        return f"its {len(data)} bytes hash to {sha256(data).hex()}; more than one bit differs"
    offset, bit = flip
    return f"bit {bit} of byte {offset} (of {len(data)}) is flipped, and nothing else"


def collect(archive: Archive, owner: bytes, name: RecordName) -> Proof:
    """The proof of the record called `name`, from the archive; holds it against nothing.

    Raises EvidenceError (no such record, not anchored yet), StoreError, KeyNotGranted.
    """
    location = archive.locate(name)
    manifest = location.manifest
    evidence = archive.evidence(manifest.upload_index)
    if evidence is None:
        raise EvidenceError(
            "roots in the transaction",
            f"upload {manifest.upload_index} is not anchored yet; the gateway anchors it when it runs "
            "and the node answers (cpc status)",
        )
    cipher_leaves, plain_leaves = manifest.cipher_leaves(), manifest.plain_leaves()
    segment = location.segment
    return Proof(
        record=name,
        owner=owner,
        slot_ms=manifest.slot_ms,
        upload_index=manifest.upload_index,
        slot=segment.slot,
        segment_id=segment.segment_id,
        place=location.place,
        leaf=location.leaf,
        leaf_count=len(cipher_leaves),
        segment_key=archive.key(segment.slot, segment.segment_id).export(),
        chunk_id=location.chunk.chunk_id,
        chunk=archive.store.read(location.chunk.chunk_id),
        manifest_hash=manifest.digest,
        cipher_root=merkle_tree.root(cipher_leaves),
        cipher_proof=tuple(merkle_tree.inclusion_proof(cipher_leaves, location.leaf)),
        plain_root=merkle_tree.root(plain_leaves),
        plain_proof=tuple(merkle_tree.inclusion_proof(plain_leaves, location.leaf)),
        evidence=evidence,
    )


def _included(leaf: bytes, index: int, count: int, proof: tuple[bytes, ...], root: bytes) -> None:
    merkle_tree.verify_inclusion(merkle_tree.leaf_hash(leaf), index, count, list(proof), root)
