"""The manifest of an upload: which chunks it has, in which order, and which records lie in each.

Runs on CPython.  An upload is u segments; one chain record anchors its two Merkle roots (RFC 9162) and
the manifest's hash.  The manifest is public to whoever keeps the chunks: it names times and counts,
no values.  The blocks of a stream are numbered without holes, within a manifest and from one to the
next, so nobody can leave one out unseen.  Deterministic CBOR:

    manifest = [1, stream_id, upload_index, previous, slot_ms, kind, [segment, ...]]
    segment  = [segment_id, slot, [entry, ...]]
    entry    = [chunk_id, plain_leaf, chunk_size, block_index, boot, first_seq, count, first_ns, last_ns]

The leaves are, for the root of ciphertext, the chunk ids (SHA-256 of the chunks), and for the root of
plaintext, the salted hashes that only who can open the segment can compute.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gateway.columns import KINDS
from gateway.crypto.slot import SLOT_MAX, SLOT_MS_MAX, SLOT_MS_MIN
from gateway.errors import EvidenceError
from gateway.layout import has_layout
from puf import cbor, merkle_tree
from puf.errors import DecodeError
from puf.hkdf import sha256

VERSION = 1
MANIFEST_SIZE_MAX = 8 << 20
"""An entry has up to 130 bytes, so 64,000 chunks fit."""
NO_MANIFEST = bytes(32)
"""What the first upload of a stream names as the manifest before."""

_MANIFEST = (int, bytes, int, bytes, int, str, list)
_SEGMENT = (bytes, int, list)
_CHUNK = (bytes, bytes, int, int, int, int, int, int, int)


@dataclass(frozen=True, slots=True)
class ChunkEntry:
    """One chunk, and the block sealed in it."""

    chunk_id: bytes
    """SHA-256 of the chunk, 32 bytes."""
    plain_leaf: bytes
    """Salted hash of the block, 32 bytes."""
    chunk_size: int
    """Bytes."""
    block_index: int
    """Number of the block in its stream."""
    boot: int
    """Boot of the gateway in which its records were taken."""
    first_seq: int
    """Number of its first record."""
    count: int
    """Its records, gaps included."""
    first_ns: int
    """Earliest moment that its records tell of, Unix nanoseconds."""
    last_ns: int
    """Latest moment that its records tell of; a gap may reach out of the slot, a sample never does."""

    def as_list(self) -> list[Any]:
        """The fields in their order."""
        return [getattr(self, name) for name in ChunkEntry.__slots__]

    def holds(self, boot: int, seq: int) -> bool:
        """Record `seq` of `boot` is in this block."""
        return boot == self.boot and self.first_seq <= seq < self.first_seq + self.count


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """Blocks sealed under one key."""

    segment_id: bytes
    """Random, 16 bytes."""
    slot: int
    """The slot of time in which its records lie."""
    chunks: tuple[ChunkEntry, ...]

    def as_list(self) -> list[Any]:
        """The fields in their order."""
        return [self.segment_id, self.slot, [chunk.as_list() for chunk in self.chunks]]

    @classmethod
    def from_list(cls, fields: Any) -> "SegmentEntry":
        """The entry of `as_list`.  Raises EvidenceError."""
        if not has_layout(fields, _SEGMENT):
            raise EvidenceError("manifest", "a segment has fields of wrong types")
        segment_id, slot, chunks = fields
        if len(segment_id) != 16 or not 0 <= slot <= SLOT_MAX or not chunks:
            raise EvidenceError("manifest", "a segment has impossible fields")
        return cls(segment_id, slot, tuple(_chunk_entry(chunk) for chunk in chunks))


@dataclass(frozen=True, slots=True)
class Manifest:
    """One upload of one stream."""

    stream_id: bytes
    """32 bytes."""
    upload_index: int
    """Number of the upload in its stream, from 0."""
    previous: bytes
    """Hash of the manifest before, 32 bytes."""
    slot_ms: int
    """Length of the stream's slots."""
    kind: str
    """Kind of the samples."""
    segments: tuple[SegmentEntry, ...]

    def encode(self) -> bytes:
        """The bytes that are stored and hashed."""
        segments = [segment.as_list() for segment in self.segments]
        return cbor.encode(
            [VERSION, self.stream_id, self.upload_index, self.previous, self.slot_ms, self.kind, segments]
        )

    @classmethod
    def decode(cls, data: bytes) -> "Manifest":
        """The manifest of `data`.  Raises EvidenceError."""
        try:
            fields: Any = cbor.decode(data, size_max=MANIFEST_SIZE_MAX)
        except DecodeError as error:
            raise EvidenceError("manifest", str(error)) from error
        if not has_layout(fields, _MANIFEST):
            raise EvidenceError("manifest", "the fields have wrong types")
        version, stream_id, upload_index, previous, slot_ms, kind, segments = fields
        if version != VERSION:
            raise EvidenceError("manifest", f"version {version}; this program reads version {VERSION}")
        is_possible = len(stream_id) == len(previous) == 32 and upload_index >= 0 and kind in KINDS
        if not is_possible or not SLOT_MS_MIN <= slot_ms <= SLOT_MS_MAX or not segments:
            raise EvidenceError("manifest", "the fields have impossible values")
        entries = tuple(SegmentEntry.from_list(segment) for segment in segments)
        manifest = cls(stream_id, upload_index, previous, slot_ms, kind, entries)
        for number, (_, _, chunk) in enumerate(manifest.chunks()):
            if chunk.block_index != manifest.first_block + number:
                raise EvidenceError("manifest", f"block {manifest.first_block + number} is left out")
        return manifest

    @property
    def first_block(self) -> int:
        """Number of its first block."""
        return self.segments[0].chunks[0].block_index

    @property
    def last_chunk(self) -> ChunkEntry:
        """Its last chunk, with the stream's latest block."""
        return self.segments[-1].chunks[-1]

    def chunks(self) -> Iterator[tuple[SegmentEntry, int, ChunkEntry]]:
        """(segment, place in the segment, chunk), in the order of the leaves."""
        for segment in self.segments:
            for place, chunk in enumerate(segment.chunks):
                yield segment, place, chunk

    def cipher_leaves(self) -> list[bytes]:
        """Leaf hashes under the root of ciphertext."""
        return [merkle_tree.leaf_hash(chunk.chunk_id) for _, _, chunk in self.chunks()]

    def plain_leaves(self) -> list[bytes]:
        """Leaf hashes under the root of plaintext."""
        return [merkle_tree.leaf_hash(chunk.plain_leaf) for _, _, chunk in self.chunks()]

    @property
    def digest(self) -> bytes:
        """SHA-256 of the encoded manifest: its name in the store, and what the chain anchors."""
        return sha256(self.encode())


def _chunk_entry(fields: Any) -> ChunkEntry:
    if not has_layout(fields, _CHUNK):
        raise EvidenceError("manifest", "a chunk has fields of wrong types")
    entry = ChunkEntry(*fields)
    numbers = (entry.chunk_size - 1, entry.block_index, entry.boot, entry.first_seq, entry.count - 1)
    if not len(entry.chunk_id) == len(entry.plain_leaf) == 32 or min(numbers) < 0:
        raise EvidenceError("manifest", "a chunk has impossible fields")
    if entry.first_ns > entry.last_ns:
        raise EvidenceError("manifest", "a chunk ends before it begins")
    return entry
