"""The spool: what was accepted and has not yet been stored and anchored.

Runs on CPython; one thread at a time.  The durability contract (ARCHITECTURE.md): `append` returns
after the disk has synced, so a source may be acknowledged then; nothing leaves the spool before the
store has confirmed every chunk and the anchor's certificate has verified.  Every step is one SQLite
transaction (WAL, synchronous=FULL), and nothing about the rows is kept in memory, so that after a step
that failed there is nothing to put right:

    append           samples                        -> entry
    commit_segments  entries that they cover deleted -> segments + their chunks, chain head, watermark
    mark_stored      chunks confirmed by the store
    form_upload      u stored segments              -> upload with its manifest
    set_transaction  the signed anchor, before it is sent: after a crash the same one is sent again
    finish_upload    upload, its segments and their chunks deleted

A segment is sealed once, under a random id of its own, when it is complete; after a crash its
samples are grouped and sealed anew under another id, so a nonce can never be used twice.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gateway.block import NO_BLOCK, Samples
from gateway.crypto.seal import SealedSegment
from gateway.database import open_database, transaction
from gateway.disk import Disk, DiskFull
from gateway.errors import SpoolError, SpoolFull
from gateway.manifest import MANIFEST_SIZE_MAX, NO_MANIFEST, ChunkEntry, Manifest, SegmentEntry
from gateway.segmenter import ClosedSegment
from gateway.spool_recovery import recover
from gateway.spool_rows import (
    SCHEMA,
    SCHEMA_VERSION,
    EntryKey,
    Rows,
    SpoolCounts,
    SpooledSegment,
    SpooledStream,
    SpooledUpload,
    check_key,
    decode_segment,
    first_entry,
    new_boot,
    query,
    read_counts,
    read_entries,
    read_streams,
    read_used_bytes,
)
from puf import cbor
from puf.errors import DecodeError
from puf.hkdf import sha256

__all__ = [
    "SCHEMA",
    "SCHEMA_VERSION",
    "Spool",
    "SpoolCounts",
    "SpooledSegment",
    "SpooledStream",
    "SpooledUpload",
    "read_counts",
    "read_entries",
    "read_streams",
]


class Spool:
    """The one writer of a spool's database."""

    def __init__(
        self,
        path: Path,
        key: bytes,
        *,
        size_max_bytes: int = 1 << 30,
        free_min_bytes: int = 0,
        disk: Disk | None = None,
        vfs: str | None = None,
    ) -> None:
        """Opens or creates the spool, and begins a new boot.

        key: bytes, 32, from the gateway's key file.  size_max_bytes: more is not accepted.  free_min_bytes:
        room on the disk that `append` leaves to sealing and storing, which are how the spool empties.
        Raises SpoolError when the spool was written with another key.
        """
        self._disk = disk or Disk()
        self._path = path
        self._size_max_bytes = size_max_bytes
        self._free_min_bytes = free_min_bytes
        self._key = key
        self._database = open_database(
            path, schema=SCHEMA, schema_version=SCHEMA_VERSION, vfs=vfs, disk=self._disk
        )
        try:
            check_key(self._database, key)
            self._begin_boot(0)
        except BaseException:
            self._database.close()
            raise

    def _begin_boot(self, boot_min: int) -> None:
        salt, key_check = new_boot(self._key)
        with transaction(self._database):
            # Numbers are never used again, also when their rows are gone (AUTOINCREMENT).
            self._database.execute("DELETE FROM boot WHERE NOT EXISTS (SELECT 1 FROM entry)")
            self._database.execute(
                "INSERT INTO boot SELECT max(?, coalesce(max(seq), 0) + 1), ?, ? FROM sqlite_sequence "
                "WHERE name = 'boot'",
                (boot_min, salt, key_check),
            )
            boot = self._database.last_insert_rowid()
        self.boot = boot
        self._next_entry = first_entry(boot)
        self._entry_key = EntryKey(self._key, salt)

    def skip_boots(self, boot: int) -> None:
        """Makes this boot's number greater than `boot`, for a spool that was lost and begins anew."""
        if self.boot <= boot:
            self._begin_boot(boot + 1)

    def set_limits(self, size_max_bytes: int, free_min_bytes: int) -> None:
        """From now on."""
        self._size_max_bytes, self._free_min_bytes = size_max_bytes, free_min_bytes

    def close(self) -> None:
        """Closes the database."""
        self._database.close()

    # ---------------------------------------------------------------- streams

    def open_stream(
        self,
        stream_id: bytes,
        name: str,
        kind: str,
        block_ms: int,
        segment_blocks: int,
        previous: tuple[int, bytes, int, bytes] = (0, NO_BLOCK, 0, NO_MANIFEST),
    ) -> SpooledStream:
        """The row of a stream, made when it is new.

        previous: where a new one begins: number of its first block, hash of the block before, number of its
        first upload, hash of the manifest before.  Raises SpoolError when the stream is of another kind.
        """
        with transaction(self._database):
            self._database.execute(
                "INSERT INTO stream (stream_id, name, kind, block_ms, segment_blocks, "
                "sealed_boot, sealed_seq, next_block, head, next_upload, manifest) "
                "VALUES (?, ?, ?, ?, ?, 0, 0, ?, ?, ?, ?) "
                # Blocks may become shorter or longer in slots of the same length.
                "ON CONFLICT (stream_id) DO UPDATE SET block_ms = ?4, segment_blocks = ?5",
                (stream_id, name, kind, block_ms, segment_blocks, *previous),
            )
        stream = next(stream for stream in self.streams() if stream.stream_id == stream_id)
        if stream.kind != kind:
            raise SpoolError(
                f"stream {name} holds records of kind {stream.kind}, its source yields {kind}: "
                "give the new source a stream of its own"
            )
        return stream

    def streams(self) -> list[SpooledStream]:
        """All streams that ever were in this spool."""
        return read_streams(self._database)

    def has_entries(self, stream: SpooledStream) -> bool:
        """Whether records of the stream wait to be sealed."""
        return bool(query(self._database, "SELECT 1 FROM entry WHERE stream = ? LIMIT 1", (stream.row,)))

    # ----------------------------------------------------------------- ingest

    def append(self, stream: SpooledStream, samples: Samples) -> None:
        """Makes `samples` durable.

        Raises SpoolFull when there is no room (nothing was written then), BlockError when a sample
        cannot be encoded.
        """
        if not samples:
            return
        self._check_room()
        row = self._next_entry
        # Before anything can fail: a nonce that was used must not be used again.
        self._next_entry += 1
        values = self._entry_key.seal(stream, row, samples)
        try:
            with transaction(self._database):
                self._database.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        except DiskFull as error:
            raise self.full("the disk is full") from error

    def full(self, why: str) -> SpoolFull:
        """The error that says so."""
        return SpoolFull(self.used_bytes, self._size_max_bytes, why)

    def recover(self, stream: SpooledStream) -> Iterator[Samples]:
        """What earlier boots have left of the stream, without what is sealed, in the order of its numbers.

        Records that the disk has altered or lost are a gap.  The spool is read as the iterator goes on;
        what it has given may be sealed meanwhile.
        """
        return recover(self._database, self._key, stream)

    def next_seq(self, stream: SpooledStream) -> int:
        """Number of the stream's next record in this boot."""
        sealed = query(
            self._database,
            "SELECT max(iif(sealed_boot = ?1, sealed_seq, 0), "
            "coalesce((SELECT max(end_seq) FROM entry WHERE stream = stream.id AND id >= ?2), 0)) "
            "FROM stream WHERE id = ?3",
            (self.boot, first_entry(self.boot), stream.row),
        )
        return int(sealed[0][0])

    def begin_at(self, stream: SpooledStream, seq: int) -> None:
        """Lets the stream's next record in this boot have number `seq`, or the next that is greater.

        For another stream of the same name, as its slots have another length now: a record's name says name,
        boot and number, and must be that of one record only.  Nothing of the stream may wait to be sealed.
        """
        if self.next_seq(stream) < seq:
            with transaction(self._database):
                self._database.execute(
                    "UPDATE stream SET sealed_boot = ?, sealed_seq = ? WHERE id = ?",
                    (self.boot, seq, stream.row),
                )

    def end_recovery(self, stream: SpooledStream) -> None:
        """Deletes what did not open.  Only after all that `recover` gave is sealed."""
        with transaction(self._database):
            self._database.execute(
                "DELETE FROM entry WHERE stream = ? AND id < ?", (stream.row, first_entry(self.boot))
            )

    def commit_segments(
        self, stream: SpooledStream, segments: Sequence[tuple[ClosedSegment, bytes, SealedSegment]]
    ) -> None:
        """Puts sealed segments, at least one, in the place of the entries that they cover.

        segments: (what was sealed, segment id, sealed), in the order in which the segmenter closed them.
        Raises DiskFull; nothing has changed then.
        """
        last = segments[-1][0].blocks[-1]
        with transaction(self._database):
            execute = self._database.execute
            for closed, segment_id, sealed in segments:
                entry = SegmentEntry(segment_id, closed.slot, tuple(_chunk_entries(closed, sealed)))
                execute(
                    "INSERT INTO segment (stream, summary) VALUES (?, ?)",
                    (stream.row, cbor.encode(entry.as_list())),
                )
                row = self._database.last_insert_rowid()
                chunks = zip(sealed.chunk_ids, sealed.chunks, strict=True)
                self._database.executemany(
                    "INSERT INTO chunk (segment, place, chunk_id, body) VALUES (?, ?, ?, ?)",
                    ((row, place, *chunk) for place, chunk in enumerate(chunks)),
                )
            execute(
                "UPDATE stream SET next_block = ?, head = ?, sealed_boot = ?, sealed_seq = ? WHERE id = ?",
                (last.index + 1, last.digest, last.boot, last.end_seq, stream.row),
            )
            execute(
                "DELETE FROM entry WHERE stream = ? AND id < ? AND (id < ? OR end_seq <= ?)",
                (stream.row, first_entry(last.boot + 1), first_entry(last.boot), last.end_seq),
            )

    # ------------------------------------------------------ to store and chain

    def next_unstored(self) -> tuple[SpooledSegment, dict[bytes, bytes]] | None:
        """The oldest segment that the store has not confirmed, and its chunks by name.

        A chunk that the disk has altered is not among them: the segment's `damaged` names it.
        """
        rows = query(
            self._database, "SELECT id, stream, summary FROM segment WHERE is_stored = 0 ORDER BY id LIMIT 1"
        )
        if not rows:
            return None
        row, stream, summary = rows[0]
        entry = _checked_segment(row, summary)
        bodies: dict[Any, Any] = dict(
            query(self._database, "SELECT place, body FROM chunk WHERE segment = ?", (row,))
        )
        chunks = {chunk.chunk_id: bodies.get(place, b"") for place, chunk in enumerate(entry.chunks)}
        damaged = tuple(chunk_id for chunk_id, body in chunks.items() if sha256(body) != chunk_id)
        for chunk_id in damaged:
            del chunks[chunk_id]
        return SpooledSegment(row, stream, entry, damaged), chunks

    def mark_stored(self, segment: SpooledSegment) -> None:
        """Notes that the store has confirmed every chunk of `segment`."""
        with transaction(self._database):
            self._database.execute("UPDATE segment SET is_stored = 1 WHERE id = ?", (segment.row,))

    def form_upload(
        self, stream: SpooledStream, segment_count: int, is_flush: bool = False
    ) -> SpooledUpload | None:
        """An upload of the next `segment_count` stored segments; None when there are too few.

        Fewer make one when flushing, and when more would not fit into a manifest.
        """
        with transaction(self._database):
            rows: Rows = query(
                self._database,
                "SELECT id, length(summary) FROM segment "
                "WHERE stream = ? AND upload IS NULL AND is_stored = 1 ORDER BY id LIMIT ?",
                (stream.row, segment_count),
            )
            fitting = _fitting(rows)
            if not rows or (len(fitting) == len(rows) < segment_count and not is_flush):
                return None
            summaries = (
                query(self._database, "SELECT summary FROM segment WHERE id = ?", (row,))[0][0]
                for row in fitting
            )
            index, previous = query(
                self._database, "SELECT next_upload, manifest FROM stream WHERE id = ?", (stream.row,)
            )[0]
            manifest = Manifest(
                stream.stream_id,
                index,
                previous,
                stream.slot_ms,
                stream.kind,
                tuple(map(_checked_segment, fitting, summaries)),
            )
            data = manifest.encode()
            self._database.execute(
                "INSERT INTO upload (stream, upload_index, manifest) VALUES (?, ?, ?)",
                (stream.row, index, data),
            )
            upload = self._database.last_insert_rowid()
            self._database.executemany(
                "UPDATE segment SET upload = ? WHERE id = ?", ((upload, row) for row in fitting)
            )
            self._database.execute(
                "UPDATE stream SET next_upload = ?, manifest = ? WHERE id = ?",
                (index + 1, sha256(data), stream.row),
            )
        return SpooledUpload(upload, manifest, None)

    def uploads(self, count_max: int = 16) -> list[SpooledUpload]:
        """The oldest uploads that are not anchored yet; `counts` knows how many there are in all."""
        rows = query(self._database, "SELECT id, manifest, tx FROM upload ORDER BY id LIMIT ?", (count_max,))
        return [SpooledUpload(row, Manifest.decode(manifest), tx) for row, manifest, tx in rows]

    def set_transaction(self, upload: SpooledUpload, tx: bytes) -> SpooledUpload:
        """Keeps the signed anchor before it is sent."""
        with transaction(self._database):
            self._database.execute("UPDATE upload SET tx = ? WHERE id = ?", (tx, upload.row))
        return SpooledUpload(upload.row, upload.manifest, tx)

    def finish_upload(self, upload: SpooledUpload) -> None:
        """Forgets an upload.  Only after its chunks, manifest and verified evidence are in the store."""
        with transaction(self._database):
            execute = self._database.execute
            execute(
                "DELETE FROM chunk WHERE segment IN (SELECT id FROM segment WHERE upload = ?)", (upload.row,)
            )
            execute("DELETE FROM segment WHERE upload = ?", (upload.row,))
            execute("DELETE FROM upload WHERE id = ?", (upload.row,))

    # ------------------------------------------------------------------- room

    @property
    def used_bytes(self) -> int:
        """Bytes of the database that hold something."""
        return read_used_bytes(self._database)

    def counts(self) -> SpoolCounts:
        """What waits."""
        return read_counts(self._database, self._size_max_bytes)

    def _check_room(self) -> None:
        if self.used_bytes >= self._size_max_bytes:
            raise self.full("spool.size_max_mib is reached")
        if self._free_min_bytes and self._disk.free_bytes(self._path.parent) < self._free_min_bytes:
            raise self.full(f"less than {self._free_min_bytes} bytes of disk are free")


def _chunk_entries(closed: ClosedSegment, sealed: SealedSegment) -> Iterator[ChunkEntry]:
    for block, chunk, chunk_id, plain_leaf in zip(
        closed.blocks, sealed.chunks, sealed.chunk_ids, sealed.plain_leaves, strict=True
    ):
        yield ChunkEntry(
            chunk_id,
            plain_leaf,
            len(chunk),
            block.index,
            block.boot,
            block.first_seq,
            block.count,
            block.first_ns,
            block.last_ns,
        )


def _checked_segment(row: int, summary: Any) -> SegmentEntry:
    try:
        return decode_segment(summary)
    except DecodeError as error:
        raise SpoolError(
            f"segment {row} in the spool does not decode: the disk has altered it; replace the disk, or move "
            "the spool away to go on without what is in it"
        ) from error


def _fitting(rows: Rows) -> list[int]:
    """The first segments whose summaries, of which `rows` tell the lengths, fit into one manifest."""
    fitting: list[int] = []
    size = 1_024
    for row, length in rows:
        size += length
        if size > MANIFEST_SIZE_MAX and fitting:
            break
        fitting.append(row)
    return fitting
