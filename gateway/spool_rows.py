"""What lies in a spool: its tables, their rows, and the encryption of entries.

Runs on CPython.  The functions also serve a connection that only reads, beside a running gateway
(`cpc status`, `cpc tail`).  Entries are encrypted under a key that is new at every boot: what lies on
the card is no plaintext.  Everything that the rest of an entry's row says is authenticated with it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import apsw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from gateway.block import Samples, decode_samples, encode_samples
from gateway.database import database_errors
from gateway.errors import BlockError, SpoolError
from gateway.manifest import MANIFEST_SIZE_MAX, Manifest, SegmentEntry
from puf import cbor
from puf.errors import DecodeError
from puf.hkdf import hkdf, is_equal

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE boot (boot INTEGER PRIMARY KEY AUTOINCREMENT, salt BLOB NOT NULL, key_check BLOB NOT NULL);
CREATE TABLE stream (
    id INTEGER PRIMARY KEY, stream_id BLOB NOT NULL UNIQUE, name TEXT NOT NULL, kind TEXT NOT NULL,
    block_ms INTEGER NOT NULL, segment_blocks INTEGER NOT NULL,
    next_block INTEGER NOT NULL, head BLOB NOT NULL,
    sealed_boot INTEGER NOT NULL, sealed_seq INTEGER NOT NULL,
    next_upload INTEGER NOT NULL, manifest BLOB NOT NULL);
CREATE TABLE entry (
    stream INTEGER NOT NULL, id INTEGER NOT NULL, first_seq INTEGER NOT NULL, end_seq INTEGER NOT NULL,
    first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (stream, id)) WITHOUT ROWID;
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
ENTRY_BITS = 40
"""Low bits of an entry's id, which count the entries of its boot; above them is the number of the boot.

So ids rise for ever, also when every entry is gone, and none is used twice."""
_ENTRY_SIZE_MAX = 32 << 20
"""Bytes of an encoded entry; the columns and gaps that `encode_samples` takes are less."""

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class SpooledStream:
    """A stream's row as it was when it was read: where its chain and its uploads stand."""

    row: int
    """Key of the row."""
    stream_id: bytes
    """32 bytes."""
    name: str
    kind: str
    block_ms: int
    segment_blocks: int
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

    @property
    def slot_ms(self) -> int:
        """Length of the stream's slots."""
        return self.block_ms * self.segment_blocks


@dataclass(frozen=True, slots=True)
class SpooledEntry:
    """Samples that are not sealed yet."""

    row: int
    """Key of the row; rises with every entry."""
    boot: int
    first_seq: int
    end_seq: int
    first_ns: int
    last_ns: int
    samples: Samples | None
    """None when the entry does not open: the disk has altered it."""


@dataclass(frozen=True, slots=True)
class SpooledSegment:
    """A sealed segment on its way to the store."""

    row: int
    stream: int
    """Row of its stream."""
    entry: SegmentEntry
    """What the manifest will say of it."""
    damaged: tuple[bytes, ...] = ()
    """Names of chunks that the disk has altered since; their records are lost, and no store gets them."""


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
    """Records that are not sealed."""
    segments: int
    segments_unstored: int
    uploads: int
    used_bytes: int
    limit_bytes: int


class EntryKey:
    """The key of one boot's entries.  The nonce of an entry is its id."""

    def __init__(self, key: bytes, salt: bytes) -> None:
        """key: bytes, 32, from the gateway's key file.  salt: random, new at every boot."""
        self._aead = ChaCha20Poly1305(hkdf(key, salt, b"cpc/spool/entry/1", 32))

    def seal(self, stream: SpooledStream, row: int, samples: Samples) -> tuple[Any, ...]:
        """The row of an entry, in the order of its columns.  row: its id, never used before.

        Raises BlockError when a sample cannot be stored.
        """
        plain = cbor.encode(encode_samples(stream.kind, samples, is_grouped=False))
        facts = (row, samples.first_seq, samples.end_seq, *samples.span_ns)
        return stream.row, *facts, self._aead.encrypt(_nonce(row), plain, _aad(stream, facts))

    def open(self, stream: SpooledStream, facts: tuple[int, ...], body: bytes) -> Samples | None:
        """The samples of an entry, None when it does not open.  facts: its columns from id to times."""
        try:
            plain = self._aead.decrypt(_nonce(facts[0]), body, _aad(stream, facts))
            fields: Any = cbor.decode(plain, size_max=_ENTRY_SIZE_MAX)
            return decode_samples(stream.kind, fields)
        except (InvalidTag, DecodeError, BlockError):
            return None


def first_entry(boot: int) -> int:
    """The lowest id that an entry of this boot can have."""
    return boot << ENTRY_BITS


def _nonce(row: int) -> bytes:
    return row.to_bytes(12, "big")


def _aad(stream: SpooledStream, facts: tuple[int, ...]) -> bytes:
    return cbor.encode(["cpc/spool-entry", stream.stream_id, *facts])


def new_boot(key: bytes) -> tuple[bytes, bytes]:
    """(salt, key check) of a new boot."""
    salt = os.urandom(16)
    return salt, _key_check(key, salt)


def check_key(database: apsw.Connection, key: bytes) -> None:
    """Raises SpoolError when `key` is not the one that the entries were written with.

    Else a spool beside the wrong key file would look like one whose every entry is damaged.
    """
    boots = query(database, "SELECT salt, key_check FROM boot")
    if boots and not any(is_equal(check, _key_check(key, salt)) for salt, check in boots):
        raise SpoolError(
            f"{database.filename} was written with another key file; "
            "put the gateway's own key file back, or give this gateway a spool of its own"
        )


def _key_check(key: bytes, salt: bytes) -> bytes:
    return hkdf(key, salt, b"cpc/spool/check/1", 16)


def query(database: apsw.Connection, sql: str, arguments: tuple[Any, ...] = ()) -> Rows:
    """All rows of a SELECT.  Raises DatabaseDamaged and its kin."""
    with database_errors(database):
        return database.execute(sql, arguments).fetchall()


def read_streams(database: apsw.Connection) -> list[SpooledStream]:
    """All streams that ever were in this spool."""
    rows = query(
        database,
        "SELECT id, stream_id, name, kind, block_ms, segment_blocks, next_block, head, "
        "sealed_boot, sealed_seq, next_upload, manifest FROM stream ORDER BY id",
    )
    return [SpooledStream(*row) for row in rows]


def entries(
    database: apsw.Connection, key: bytes, stream: SpooledStream, after: int = 0
) -> Iterator[SpooledEntry]:
    """The stream's entries behind row `after`, oldest first; rows may be added and deleted meanwhile."""
    key_of = cache(partial(EntryKey, key))
    while True:
        # One at a time: the spool may hold more than fits into memory.
        rows = query(
            database,
            # Cast, for a damaged row may hold values of any type.
            "SELECT id, cast(first_seq AS INTEGER), cast(end_seq AS INTEGER), cast(first_ns AS INTEGER), "
            "cast(last_ns AS INTEGER), cast(body AS BLOB), cast(salt AS BLOB) "
            "FROM entry LEFT JOIN boot ON boot.boot = entry.id >> ? "
            "WHERE stream = ? AND id > ? ORDER BY id LIMIT 1",
            (ENTRY_BITS, stream.row, after),
        )
        if not rows:
            return
        *facts, body, salt = rows[0]
        samples = None if salt is None else key_of(salt).open(stream, tuple(facts), body)
        after, first_seq, end_seq, first_ns, last_ns = facts
        yield SpooledEntry(after, after >> ENTRY_BITS, first_seq, end_seq, first_ns, last_ns, samples)


def read_entries(
    database: apsw.Connection, key: bytes, stream: SpooledStream, after: int
) -> Iterator[tuple[int, Samples]]:
    """(row, samples) of every entry behind row `after` that opens; some of it may be sealed already."""
    for entry in entries(database, key, stream, after):
        if entry.samples is not None:
            yield entry.row, entry.samples


def read_counts(database: apsw.Connection, limit_bytes: int) -> SpoolCounts:
    """What waits in the spool."""
    counts: Any = query(
        database,
        "SELECT (SELECT count(*) FROM entry), "
        "(SELECT coalesce(sum(max(0, end_seq - "
        "max(first_seq, iif(entry.id >> ? = sealed_boot, sealed_seq, 0)))), 0) "
        "FROM entry JOIN stream ON stream.id = entry.stream), "
        "(SELECT count(*) FROM segment), (SELECT count(*) FROM segment WHERE is_stored = 0), "
        "(SELECT count(*) FROM upload)",
        (ENTRY_BITS,),
    )[0]
    entry_count, records, segments, unstored, uploads = counts
    used_bytes = read_used_bytes(database)
    return SpoolCounts(entry_count, records, segments, unstored, uploads, used_bytes, limit_bytes)


def read_used_bytes(database: apsw.Connection) -> int:
    """Bytes of the database that hold something."""
    with database_errors(database):
        pages: Any = database.pragma("page_count")
        free: Any = database.pragma("freelist_count")
        page_size: Any = database.pragma("page_size")
        return int((pages - free) * page_size)


def decode_segment(summary: bytes) -> SegmentEntry:
    """The entry of a segment's row.  Raises EvidenceError or DecodeError when the disk has altered it."""
    return SegmentEntry.from_list(cbor.decode(summary, size_max=MANIFEST_SIZE_MAX))
