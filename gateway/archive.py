"""Reading back what was stored: records by time or by name, with the keys one holds.

Runs on CPython.  The names under which a store finds an upload again:

    manifest/<stream id>/<upload index>   the manifest's hash; the manifest itself is a chunk
    evidence/<stream id>/<upload index>   what the chain says of it (gateway.evidence), once anchored

Chunks that cannot be read do not stop a read: each is reported, and the rest is given.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from gateway.block import Block, decode_block
from gateway.crypto.errors import CryptoError, KeyNotGranted
from gateway.crypto.seal import SegmentKey, open_chunk
from gateway.errors import BlockError, EvidenceError, StoreError
from gateway.manifest import ChunkEntry, Manifest, SegmentEntry
from gateway.record import Record, RecordName
from gateway.sensors.source import Gap
from gateway.store import ChunkStore

KeyProvider = Callable[[int, bytes], SegmentKey]
"""(slot, segment id) -> key; raises KeyNotGranted."""


def manifest_name(stream_id: bytes, upload_index: int) -> str:
    """Where the hash of an upload's manifest is kept."""
    return f"manifest/{stream_id.hex()}/{upload_index:010d}"


def evidence_name(stream_id: bytes, upload_index: int) -> str:
    """Where an upload's evidence is kept."""
    return f"evidence/{stream_id.hex()}/{upload_index:010d}"


@dataclass(frozen=True, slots=True)
class Location:
    """Where a record lies."""

    manifest: Manifest
    segment: SegmentEntry
    place: int
    """Of the chunk in its segment."""
    leaf: int
    """Of the chunk in its upload."""
    chunk: ChunkEntry


@dataclass(slots=True)
class ReadReport:
    """What a read did not give, and why."""

    not_granted_count: int = 0
    """Records in slots that the reader's keys do not open."""
    problems: list[str] = field(default_factory=list)
    """Chunks and manifests that could not be read, one sentence each."""


class Archive:
    """One stream in one store."""

    def __init__(self, store: ChunkStore, stream_id: bytes, name: str, key: KeyProvider) -> None:
        """name: the stream's name, part of its records' names."""
        self.store = store
        self.stream_id = stream_id
        self.name = name
        self.key = key

    def upload_indexes(self) -> list[int]:
        """Numbers of the uploads that the store has of this stream."""
        prefix = f"manifest/{self.stream_id.hex()}/"
        return [int(name[len(prefix) :]) for name in self.store.names(prefix)]

    def manifest(self, upload_index: int) -> Manifest:
        """An upload's manifest.  Raises StoreError, EvidenceError."""
        digest = self.store.get_named(manifest_name(self.stream_id, upload_index))
        if digest is None:
            raise StoreError(f"the store has no upload {upload_index} of stream {self.name}")
        manifest = Manifest.decode(self.store.get(digest))
        if (manifest.stream_id, manifest.upload_index) != (self.stream_id, upload_index):
            raise EvidenceError("manifest", f"the store gave another upload's for upload {upload_index}")
        return manifest

    def evidence(self, upload_index: int) -> bytes | None:
        """An upload's evidence, encoded; None while it is not anchored."""
        return self.store.get_named(evidence_name(self.stream_id, upload_index))

    def locate(self, name: RecordName) -> Location:
        """Where the record called `name` lies.  Raises EvidenceError when no upload has it."""
        for upload_index in reversed(self.upload_indexes()):
            manifest = self.manifest(upload_index)
            for leaf, (segment, place, chunk) in enumerate(manifest.chunks()):
                if chunk.holds(name.boot, name.seq):
                    return Location(manifest, segment, place, leaf, chunk)
        raise EvidenceError(
            "record",
            f"no upload in the store has {name}; it may still be in the gateway's spool (cpc status), "
            "or never have existed",
        )

    def open_block(self, segment: SegmentEntry, place: int) -> Block:
        """The block of one chunk.

        Raises StoreError (missing, altered), CryptoError (not granted, wrong key), BlockError.
        """
        entry = segment.chunks[place]
        key = self.key(segment.slot, segment.segment_id)
        data = self.store.get(entry.chunk_id)
        return self.decode(
            entry,
            open_chunk(key, data, self.stream_id, segment.slot, segment.segment_id, place, entry.chunk_id),
        )

    def decode(self, entry: ChunkEntry, plaintext: bytes) -> Block:
        """The block, held against what the manifest says of it.  Raises BlockError."""
        block = decode_block(plaintext)
        samples = block.samples
        got = (block.stream, block.index, samples.boot, samples.first_seq, len(samples))
        want = (self.name, entry.block_index, entry.boot, entry.first_seq, entry.count)
        if got != want:
            raise BlockError(f"the block is {got}, the manifest says {want}")
        return block

    def records(
        self,
        from_ns: int,
        to_ns: int,
        report: ReadReport,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[Record]:
        """Records taken in [from_ns, to_ns), in the order of their numbers; what is missing goes to `report`.

        progress: called with (uploads done, uploads in all).
        """
        indexes = self.upload_indexes()
        for done, upload_index in enumerate(indexes):
            if progress is not None:
                progress(done, len(indexes))
            try:
                manifest = self.manifest(upload_index)
            except (StoreError, EvidenceError) as error:
                report.problems.append(f"upload {upload_index}: {error}")
                continue
            for segment in manifest.segments:
                yield from self._segment_records(manifest, segment, from_ns, to_ns, report)
        if progress is not None:
            progress(len(indexes), len(indexes))

    def _segment_records(
        self, manifest: Manifest, segment: SegmentEntry, from_ns: int, to_ns: int, report: ReadReport
    ) -> Iterator[Record]:
        for place, entry in enumerate(segment.chunks):
            if entry.last_ns < from_ns or entry.first_ns >= to_ns:
                continue
            try:
                block = self.open_block(segment, place)
            except KeyNotGranted:
                report.not_granted_count += entry.count
                continue
            except (StoreError, CryptoError, BlockError) as error:
                report.problems.append(
                    f"upload {manifest.upload_index}, block {entry.block_index} "
                    f"(records {self.name}/{entry.boot}/{entry.first_seq} "
                    f"to {entry.first_seq + entry.count - 1}): {error}"
                )
                continue
            for record in block.records():
                gap = record.value if isinstance(record.value, Gap) else None
                last_ns = record.taken_ns if gap is None else gap.to_ns
                if record.taken_ns < to_ns and from_ns <= last_ns:
                    yield record
