"""The spool: what was accepted and has not yet been stored and anchored.

Runs on CPython; one thread at a time.  The durability contract (ARCHITECTURE.md): `append` returns
after the disk has synced, so a source may be acknowledged then; nothing leaves the spool before the
store has confirmed every chunk and the anchor's certificate has verified.  Every step is one SQLite
transaction (WAL, synchronous=FULL):

    append          samples                        -> entry
    commit_segment  entries that it covers deleted -> segment + its chunks, chain head, watermark
    mark_stored     chunks confirmed by the store
    form_upload     u stored segments              -> upload with its manifest
    set_transaction the signed anchor, before it is sent: after a crash the same one is sent again
    finish_upload   upload, its segments and their chunks deleted

A segment is sealed once, under a random id of its own, when it is complete; after a crash its
samples are grouped and sealed anew under another id, so a nonce can never be used twice.  Entries are
encrypted under a key that is new at every boot: what lies on the card is no plaintext.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import apsw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from gateway.block import NO_BLOCK, Samples, decode_samples, encode_samples
from gateway.crypto.seal import SealedSegment
from gateway.database import open_database, transaction
from gateway.disk import Disk, DiskFull
from gateway.errors import BlockError, SpoolError, SpoolFull
from gateway.manifest import NO_MANIFEST, ChunkEntry, Manifest, SegmentEntry
from gateway.segmenter import EncodedBlock
from puf import cbor
from puf.errors import DecodeError
from puf.hkdf import hkdf

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE boot (boot INTEGER PRIMARY KEY AUTOINCREMENT, salt BLOB NOT NULL);
CREATE TABLE stream (
    id INTEGER PRIMARY KEY, stream_id BLOB NOT NULL UNIQUE, name TEXT NOT NULL, kind TEXT NOT NULL,
    next_block INTEGER NOT NULL, head BLOB NOT NULL,
    sealed_boot INTEGER NOT NULL, sealed_seq INTEGER NOT NULL,
    next_upload INTEGER NOT NULL, manifest BLOB NOT NULL);
CREATE TABLE entry (
    id INTEGER PRIMARY KEY AUTOINCREMENT, stream INTEGER NOT NULL REFERENCES stream,
    boot INTEGER NOT NULL REFERENCES boot, first_seq INTEGER NOT NULL, end_seq INTEGER NOT NULL,
    counter INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX entry_by_stream ON entry (stream, id);
CREATE TABLE upload (
    id INTEGER PRIMARY KEY AUTOINCREMENT, stream INTEGER NOT NULL REFERENCES stream,
    upload_index INTEGER NOT NULL, manifest BLOB NOT NULL, tx BLOB, UNIQUE (stream, upload_index));
CREATE TABLE segment (
    id INTEGER PRIMARY KEY AUTOINCREMENT, stream INTEGER NOT NULL REFERENCES stream,
    upload INTEGER REFERENCES upload, is_stored INTEGER NOT NULL DEFAULT 0, summary BLOB NOT NULL);
CREATE INDEX segment_by_upload ON segment (upload);
CREATE TABLE chunk (
    segment INTEGER NOT NULL REFERENCES segment, place INTEGER NOT NULL, chunk_id BLOB NOT NULL,
    body BLOB NOT NULL, UNIQUE (segment, place));
"""
SUMMARY_SIZE_MAX = 16 << 20

Rows = list[tuple[Any, ...]]


@dataclass(slots=True)
class SpooledStream:
    """A stream's row: where its chain and its uploads stand."""

    row: int
    """Key of the row."""
    stream_id: bytes
    """32 bytes."""
    name: str
    kind: str
    next_block: int
    """Number of the next block to be sealed."""
    head: bytes
    """Hash of the last sealed block."""
    sealed_boot: int
    sealed_seq: int
    """Records up to (sealed_boot, sealed_seq), the latter excluded, are sealed."""
    next_upload: int
    manifest: bytes
    """Hash of the last upload's manifest."""


@dataclass(frozen=True, slots=True)
class SpooledSegment:
    """A sealed segment on its way to the store."""

    row: int
    stream: int
    """Row of its stream."""
    entry: SegmentEntry
    """What the manifest will say of it."""


@dataclass(frozen=True, slots=True)
class SpooledUpload:
    """An upload on its way to the chain."""

    row: int
    manifest: Manifest
    tx: bytes | None
    """The signed anchor transaction, once there is one."""


@dataclass(frozen=True, slots=True)
class SpoolCounts:
    """What waits in the spool."""

    entries: int
    records: int
    segments: int
    segments_unstored: int
    uploads: int
    used_bytes: int
    limit_bytes: int


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
        """Opens or creates the spool, and begins a new boot.  key: 32 bytes, from the gateway's key file."""
        self._disk = disk or Disk()
        self._path = path
        self._size_max_bytes = size_max_bytes
        self._free_min_bytes = free_min_bytes
        self._key = key
        self._counter = 0
        self._database = open_database(path, schema=SCHEMA, schema_version=SCHEMA_VERSION, vfs=vfs)
        salt = os.urandom(16)
        with transaction(self._database):
            self._database.execute("INSERT INTO boot (salt) VALUES (?)", (salt,))
            self.boot = self._database.last_insert_rowid()
        self._aead = _entry_aead(key, salt)

    def close(self) -> None:
        """Closes the database."""
        self._database.close()

    def open_stream(self, stream_id: bytes, name: str, kind: str) -> SpooledStream:
        """The row of a stream, made when it is new."""
        with transaction(self._database):
            self._database.execute(
                "INSERT OR IGNORE INTO stream "
                "(stream_id, name, kind, next_block, head, sealed_boot, sealed_seq, next_upload, manifest) "
                "VALUES (?, ?, ?, 0, ?, 0, 0, 0, ?)",
                (stream_id, name, kind, NO_BLOCK, NO_MANIFEST),
            )
        for stream in self.streams():
            if stream.stream_id == stream_id:
                if stream.kind != kind:
                    raise SpoolError(
                        f"stream {name} holds records of kind {stream.kind}, its source yields {kind}: "
                        "give the new source a stream of its own"
                    )
                return stream
        raise AssertionError("the row was just made")

    def streams(self) -> list[SpooledStream]:
        """All streams that ever were in this spool."""
        rows: Rows = self._database.execute(
            "SELECT id, stream_id, name, kind, next_block, head, sealed_boot, sealed_seq, next_upload, "
            "manifest FROM stream ORDER BY id"
        ).fetchall()
        return [SpooledStream(*row) for row in rows]

    def append(self, stream: SpooledStream, samples: Samples) -> None:
        """Makes `samples` durable.

        Raises SpoolFull when there is no room (nothing was written then), BlockError when a sample
        cannot be encoded.
        """
        self._check_room()
        fields = encode_samples(stream.kind, samples, is_grouped=False)
        self._counter += 1
        body = self._aead.encrypt(
            _nonce(self._counter),
            cbor.encode(fields),
            _entry_aad(stream.stream_id, samples.boot, self._counter),
        )
        try:
            with transaction(self._database):
                self._database.execute(
                    "INSERT INTO entry (stream, boot, first_seq, end_seq, counter, body) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    (stream.row, samples.boot, samples.first_seq, samples.end_seq, self._counter, body),
                )
        except DiskFull as error:
            raise SpoolFull(self.used_bytes, self._size_max_bytes, "the disk is full") from error

    def entries(self, stream: SpooledStream, after: int = 0) -> Iterator[tuple[int, Samples]]:
        """(entry id, samples) of every entry later than `after`, without what is sealed already.

        Raises SpoolError when an entry does not open: the disk has altered it, or the key is another.
        """
        yield from read_entries(self._database, self._key, stream, after)

    def commit_segment(
        self,
        stream: SpooledStream,
        slot: int,
        segment_id: bytes,
        sealed: SealedSegment,
        blocks: Sequence[EncodedBlock],
    ) -> None:
        """Puts a sealed segment in the place of the entries it covers."""
        entry = SegmentEntry(segment_id, slot, tuple(_chunk_entries(sealed, blocks)))
        last = blocks[-1]
        with transaction(self._database):
            execute = self._database.execute
            execute(
                "INSERT INTO segment (stream, summary) VALUES (?, ?)",
                (stream.row, cbor.encode(entry.as_list())),
            )
            row = self._database.last_insert_rowid()
            self._database.executemany(
                "INSERT INTO chunk (segment, place, chunk_id, body) VALUES (?, ?, ?, ?)",
                (
                    (row, place, *pair)
                    for place, pair in enumerate(zip(sealed.chunk_ids, sealed.chunks, strict=True))
                ),
            )
            execute(
                "UPDATE stream SET next_block = ?, head = ?, sealed_boot = ?, sealed_seq = ? WHERE id = ?",
                (last.index + 1, last.digest, last.boot, last.end_seq, stream.row),
            )
            execute(
                "DELETE FROM entry WHERE stream = ? AND (boot < ? OR (boot = ? AND end_seq <= ?))",
                (stream.row, last.boot, last.boot, last.end_seq),
            )
        stream.next_block = last.index + 1
        stream.head = last.digest
        stream.sealed_boot = last.boot
        stream.sealed_seq = last.end_seq

    def next_unstored(self) -> tuple[SpooledSegment, dict[bytes, bytes]] | None:
        """The oldest segment that the store has not confirmed, and its chunks by id."""
        row: Any = self._database.execute(
            "SELECT id, stream, summary FROM segment WHERE is_stored = 0 ORDER BY id LIMIT 1"
        ).fetchone()
        if row is None:
            return None
        chunks: Any = self._database.execute(
            "SELECT chunk_id, body FROM chunk WHERE segment = ? ORDER BY place", (row[0],)
        )
        return _segment(*row), dict(chunks.fetchall())

    def mark_stored(self, segment: SpooledSegment) -> None:
        """Notes that the store has confirmed every chunk of `segment`."""
        with transaction(self._database):
            self._database.execute("UPDATE segment SET is_stored = 1 WHERE id = ?", (segment.row,))

    def form_upload(
        self, stream: SpooledStream, slot_ms: int, segment_count: int, is_flush: bool
    ) -> SpooledUpload | None:
        """An upload of the next `segment_count` stored segments; fewer when flushing; None when too few."""
        rows: Rows = self._database.execute(
            "SELECT id, stream, summary FROM segment WHERE stream = ? AND upload IS NULL AND is_stored = 1 "
            "ORDER BY id LIMIT ?",
            (stream.row, segment_count),
        ).fetchall()
        if not rows or (len(rows) < segment_count and not is_flush):
            return None
        segments = [_segment(*row) for row in rows]
        manifest = Manifest(
            stream.stream_id,
            stream.next_upload,
            stream.manifest,
            slot_ms,
            stream.kind,
            tuple(segment.entry for segment in segments),
        )
        with transaction(self._database):
            self._database.execute(
                "INSERT INTO upload (stream, upload_index, manifest) VALUES (?, ?, ?)",
                (stream.row, manifest.upload_index, manifest.encode()),
            )
            upload = self._database.last_insert_rowid()
            self._database.executemany(
                "UPDATE segment SET upload = ? WHERE id = ?", ((upload, segment.row) for segment in segments)
            )
            self._database.execute(
                "UPDATE stream SET next_upload = ?, manifest = ? WHERE id = ?",
                (manifest.upload_index + 1, manifest.digest, stream.row),
            )
        stream.next_upload = manifest.upload_index + 1
        stream.manifest = manifest.digest
        return SpooledUpload(upload, manifest, None)

    def uploads(self) -> list[SpooledUpload]:
        """Uploads that are not anchored yet, oldest first."""
        rows: Rows = self._database.execute("SELECT id, manifest, tx FROM upload ORDER BY id").fetchall()
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

    @property
    def used_bytes(self) -> int:
        """Bytes of the database that hold something."""
        return _used_bytes(self._database)

    def counts(self) -> SpoolCounts:
        """What waits."""
        return read_counts(self._database, self._size_max_bytes)

    def _check_room(self) -> None:
        used_bytes = self.used_bytes
        if used_bytes >= self._size_max_bytes:
            raise SpoolFull(used_bytes, self._size_max_bytes, "spool.size_max_mib is reached")
        # Sealing, storing and anchoring need room themselves: they are how the spool empties.
        if self._free_min_bytes and self._disk.free_bytes(self._path.parent) < self._free_min_bytes:
            raise SpoolFull(
                used_bytes, self._size_max_bytes, f"less than {self._free_min_bytes} bytes of disk are free"
            )


def read_entries(
    database: apsw.Connection, key: bytes, stream: SpooledStream, after: int
) -> Iterator[tuple[int, Samples]]:
    """As Spool.entries, on any connection: also one that only reads, beside a running gateway."""
    rows: Rows = database.execute(
        "SELECT entry.id, entry.boot, counter, body, salt FROM entry JOIN boot USING (boot) "
        "WHERE stream = ? AND entry.id > ? ORDER BY entry.id",
        (stream.row, after),
    ).fetchall()
    aead_of_salt = cache(partial(_entry_aead, key))
    for entry_id, boot, counter, body, salt in rows:
        try:
            plain = aead_of_salt(salt).decrypt(
                _nonce(counter), body, _entry_aad(stream.stream_id, boot, counter)
            )
            fields: Any = cbor.decode(plain, size_max=SUMMARY_SIZE_MAX)
            samples = decode_samples(stream.kind, fields)
        except (InvalidTag, DecodeError, BlockError) as error:
            raise SpoolError(
                f"spool entry {entry_id} of stream {stream.name} does not open: the disk has altered it, "
                f"or the key file is not the one it was written with ({type(error).__name__})"
            ) from error
        if samples.boot == stream.sealed_boot and samples.first_seq < stream.sealed_seq:
            samples = _drop_sealed(samples, stream.sealed_seq)
        if len(samples):
            yield entry_id, samples


def read_counts(database: apsw.Connection, limit_bytes: int) -> SpoolCounts:
    """As Spool.counts, on any connection."""
    row: Any = database.execute(
        "SELECT (SELECT count(*) FROM entry), (SELECT coalesce(sum(end_seq - first_seq), 0) FROM entry), "
        "(SELECT count(*) FROM segment), (SELECT count(*) FROM segment WHERE is_stored = 0), "
        "(SELECT count(*) FROM upload)"
    ).fetchone()
    entries, records, segments, unstored, uploads = row
    return SpoolCounts(entries, records, segments, unstored, uploads, _used_bytes(database), limit_bytes)


def _used_bytes(database: apsw.Connection) -> int:
    pages: Any = database.pragma("page_count")
    free: Any = database.pragma("freelist_count")
    page_size: Any = database.pragma("page_size")
    return int((pages - free) * page_size)


def _drop_sealed(samples: Samples, end_seq: int) -> Samples:
    """`samples` from number `end_seq` on: the records before it are sealed."""
    seq = samples.first_seq
    gaps = list(samples.gaps)
    place = 0
    while seq < end_seq and (gaps or place < len(samples.values)):
        if gaps and gaps[0][0] == place:
            gaps.pop(0)
        else:
            place += 1
        seq += 1
    left = Samples(samples.boot, seq, samples.taken_ns[place:], samples.values[place:])
    left.gaps = [(at - place, gap) for at, gap in gaps]
    return left


def _chunk_entries(sealed: SealedSegment, blocks: Sequence[EncodedBlock]) -> Iterator[ChunkEntry]:
    for block, chunk, chunk_id, plain_leaf in zip(
        blocks, sealed.chunks, sealed.chunk_ids, sealed.plain_leaves, strict=True
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


def _segment(row: int, stream: int, summary: bytes) -> SpooledSegment:
    return SpooledSegment(
        row, stream, SegmentEntry.from_list(cbor.decode(summary, size_max=SUMMARY_SIZE_MAX))
    )


def _entry_aead(key: bytes, salt: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(hkdf(key, salt, b"cpc/spool/entry/1", 32))


def _nonce(counter: int) -> bytes:
    return counter.to_bytes(12, "big")


def _entry_aad(stream_id: bytes, boot: int, counter: int) -> bytes:
    return cbor.encode(["cpc/spool-entry", stream_id, boot, counter])
