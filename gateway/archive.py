"""Reading back what was stored: records by time or by name, with the keys one holds.

Runs on CPython.  The names under which a store finds an upload again:

    manifest/<stream id>/<upload index>   the manifest's hash; the manifest itself is a chunk
    evidence/<stream id>/<upload index>   what the chain says of it (gateway.evidence), once anchored

Chunks that cannot be read do not stop a read: each is reported, and the rest is given.  A store that
leaves out blocks or puts others in their place is noticed, since blocks and manifests are chained; only
that the newest are missing cannot be seen here (the chain knows how many uploads there are).
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from gateway.block import Block, block_hash, decode_block
from gateway.crypto.errors import CryptoError, KeyNotGranted
from gateway.crypto.seal import SegmentKey, open_chunk
from gateway.errors import BlockError, EvidenceError, StoreError
from gateway.manifest import NO_MANIFEST, ChunkEntry, Manifest, SegmentEntry
from gateway.record import Record, RecordName
from gateway.sensors.source import Gap
from gateway.store import ChunkStore

_STREAM_ID = re.compile("[0-9a-f]{64}")
_INDEX = re.compile("[0-9]{10}")
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
        numbers = [name[len(prefix) :] for name in self.store.names(prefix)]
        return [int(number) for number in numbers if _INDEX.fullmatch(number)]

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
        """Where the record called `name` lies.

        Raises EvidenceError when no upload has it, and the StoreError or EvidenceError of an upload that
        cannot be read when it may lie there.
        """
        indexes = self.upload_indexes()
        unreadable: StoreError | EvidenceError | None = None
        begin, end = 0, len(indexes)
        # Numbers rise from upload to upload: halve, and step over what cannot be read.
        while begin < end:
            middle = (begin + end) // 2
            try:
                manifest = self.manifest(indexes[middle])
            except (StoreError, EvidenceError) as error:
                unreadable = error
                del indexes[middle]
                end -= 1
                continue
            first = next(manifest.chunks())[2]
            if (name.boot, name.seq) < (first.boot, first.first_seq):
                end = middle
                continue
            for leaf, (segment, place, chunk) in enumerate(manifest.chunks()):
                if chunk.holds(name.boot, name.seq):
                    return Location(manifest, segment, place, leaf, chunk)
            begin = middle + 1
        if unreadable is not None:
            raise unreadable
        raise EvidenceError(
            "record",
            f"no upload in the store has {name}; it may still be in the gateway's spool (cpc status), "
            "or never have existed",
        )

    def open_block(self, segment: SegmentEntry, place: int) -> Block:
        """The block of one chunk.

        Raises StoreError (missing, altered), CryptoError (not granted, wrong key), BlockError.
        """
        return decode_block(self.open_plain(segment, place))

    def open_plain(self, segment: SegmentEntry, place: int) -> bytes:
        """The bytes of a block, held against what the manifest says of it; errors as for `open_block`."""
        entry = segment.chunks[place]
        key = self.key(segment.slot, segment.segment_id)
        data = self.store.get(entry.chunk_id)
        plain = open_chunk(key, data, self.stream_id, segment.slot, segment.segment_id, place, entry.chunk_id)
        block = decode_block(plain)
        samples = block.samples
        got = (block.stream, block.index, samples.boot, samples.first_seq, len(samples), *samples.span_ns)
        want = (self.name, entry.block_index, entry.boot, entry.first_seq, entry.count)
        if got != (*want, entry.first_ns, entry.last_ns):
            raise BlockError(f"the block is {got}, the manifest says {want}")
        return plain

    def records(
        self,
        from_ns: int,
        to_ns: int,
        report: ReadReport,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[Record]:
        """Records taken in [from_ns, to_ns), in the order of their numbers; what is missing goes to `report`.

        A gap is given when any part of its time lies in there.
        progress: called with (uploads done, uploads in all).
        """
        indexes = self.upload_indexes()
        seen = _Seen()
        for done, upload_index in enumerate(indexes):
            if progress is not None:
                progress(done, len(indexes))
            try:
                manifest = self.manifest(upload_index)
            except (StoreError, EvidenceError) as error:
                report.problems.append(f"upload {upload_index}: {error}")
                seen.upload_index = upload_index
                seen.is_whole = False
                continue
            report.problems += seen.problems_of(manifest)
            for segment in manifest.segments:
                yield from self._segment_records(manifest, segment, from_ns, to_ns, report, seen)
        if progress is not None:
            progress(len(indexes), len(indexes))

    def _segment_records(
        self,
        manifest: Manifest,
        segment: SegmentEntry,
        from_ns: int,
        to_ns: int,
        report: ReadReport,
        seen: "_Seen",
    ) -> Iterator[Record]:
        for place, entry in enumerate(segment.chunks):
            if entry.last_ns < from_ns or entry.first_ns >= to_ns:
                continue
            try:
                plain = self.open_plain(segment, place)
                block = decode_block(plain)
                if seen.is_followed_wrongly_by(block):
                    raise BlockError("it does not follow the block before it")
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
            seen.head = block.index, block_hash(plain)
            for record in block.records():
                first_ns = last_ns = record.taken_ns
                if isinstance(record.value, Gap):
                    # A clock may have jumped back within the gap.
                    first_ns, last_ns = sorted((record.value.from_ns, record.value.to_ns))
                if first_ns < to_ns and from_ns <= last_ns:
                    yield record


@dataclass(slots=True)
class _Seen:
    """How far a read has come, to notice what the store has left out or exchanged."""

    upload_index: int = -1
    """Number of the last upload."""
    manifest_hash: bytes = NO_MANIFEST
    """Of the last upload."""
    end_block: int = 0
    """Number of the block behind the last upload."""
    is_whole: bool = True
    """The last upload's manifest could be read."""
    head: tuple[int, bytes] | None = None
    """Number and hash of the last block that was opened."""

    def is_followed_wrongly_by(self, block: Block) -> bool:
        """`block` comes right behind the last one that was opened, and names another as its predecessor."""
        return self.head is not None and self.head[0] + 1 == block.index and self.head[1] != block.previous

    def problems_of(self, manifest: Manifest) -> list[str]:
        """What is wrong with the place of the next upload."""
        problems = []
        index, missing = manifest.upload_index, manifest.upload_index - self.upload_index - 1
        if missing:
            last = f" to {index - 1}" if missing > 1 else ""
            problems.append(f"upload {self.upload_index + 1}{last}: not in the store")
        elif self.is_whole and (manifest.previous, manifest.first_block) != (
            self.manifest_hash,
            self.end_block,
        ):
            problems.append(f"upload {index}: it does not follow the upload before it")
        self.upload_index, self.manifest_hash, self.is_whole = index, manifest.digest, True
        self.end_block = manifest.last_chunk.block_index + 1
        return problems


def stored_streams(store: ChunkStore) -> dict[bytes, list[int]]:
    """Numbers of the uploads of every stream that a store has, by stream id."""
    streams: dict[bytes, list[int]] = {}
    for name in store.names("manifest/"):
        match name.split("/"):
            case [_, stream_id, number] if _STREAM_ID.fullmatch(stream_id) and _INDEX.fullmatch(number):
                streams.setdefault(bytes.fromhex(stream_id), []).append(int(number))
    return streams
