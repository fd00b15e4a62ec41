"""The outbox: messages that the broker has not acknowledged yet, and how far each stream was handed over.

Runs on CPython; one thread at a time, the spool's.  A message is there from the commit that also moves
its stream's mark over its records, until the broker has acknowledged it.  So after a crash everything
below the mark is in the outbox or delivered, and everything above is still in the spool:

    commit    new messages in, marks moved, acknowledged ones out, losses noted: one transaction
    waiting   what is to be sent, oldest first
    losses    records that had to be dropped, until a gap record in their stream tells of them

The disk is not told what it holds: bodies are compressed and encrypted under a key from the key file,
XChaCha20-Poly1305 with random nonces, bound to everything that the row says of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import zstandard
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from gateway.database import database_errors, open_database, transaction
from gateway.disk import Disk
from gateway.errors import GatewayError
from gateway.sensors.source import BLOCK, DROP_NEWEST, DROP_OLDEST, Gap
from puf import cbor
from puf.hkdf import hkdf

SCHEMA_VERSION = 2
SCHEMA = """
CREATE TABLE stream (
    id INTEGER PRIMARY KEY, stream_id BLOB NOT NULL UNIQUE, name TEXT NOT NULL,
    boot INTEGER NOT NULL, end_seq INTEGER NOT NULL);
CREATE TABLE message (
    id INTEGER PRIMARY KEY AUTOINCREMENT, stream INTEGER NOT NULL REFERENCES stream,
    boot INTEGER NOT NULL, first_seq INTEGER NOT NULL, end_seq INTEGER NOT NULL,
    from_ns INTEGER NOT NULL, to_ns INTEGER NOT NULL, topic TEXT NOT NULL, body BLOB NOT NULL,
    is_exempt INTEGER NOT NULL);
CREATE INDEX message_by_stream ON message (stream);
CREATE TABLE loss (
    id INTEGER PRIMARY KEY AUTOINCREMENT, stream INTEGER NOT NULL REFERENCES stream,
    boot INTEGER NOT NULL, first_seq INTEGER NOT NULL, end_seq INTEGER NOT NULL,
    from_ns INTEGER NOT NULL, to_ns INTEGER NOT NULL, why TEXT NOT NULL);
CREATE TABLE fact (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
BODY_SIZE_MAX = 16 << 20
ROW_BYTES = 200
"""What a message takes beside its body."""
_NONCE_SIZE = 24
LOSS_HEAD = "uplink: "
"""How the reason of a gap begins that tells of a loss."""
_LOSS = re.compile(LOSS_HEAD + r"(\d{1,19})/(\d{1,19})-(\d{1,19}) not sent: ")


class OutboxError(GatewayError):
    """The outbox cannot be used."""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to be sent."""

    stream_id: bytes
    boot: int
    first_seq: int
    end_seq: int
    """Number of the record after its last."""
    from_ns: int
    to_ns: int
    """The moments that its records tell of."""
    topic: str
    payload: bytes
    is_exempt: bool = False
    """It tells of a loss, so it is not lost itself: it is taken whatever room there is, and never dropped."""


@dataclass(frozen=True, slots=True)
class WaitingMessage:
    """A message that the broker has not acknowledged."""

    row: int
    """Rises with every message."""
    key: str
    """Names its records; the same however often it is sent."""
    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Loss:
    """Records of a stream that were dropped from the outbox.  They are sealed and anchored all the same."""

    row: int
    stream_id: bytes
    boot: int
    first_seq: int
    end_seq: int
    from_ns: int
    to_ns: int
    why: str

    @property
    def gap(self) -> Gap:
        """What tells of it in the stream."""
        reason = f"{LOSS_HEAD}{self.boot}/{self.first_seq}-{self.end_seq - 1} not sent: {self.why}"
        return Gap(reason, self.end_seq - self.first_seq, self.from_ns, self.to_ns)


@dataclass(frozen=True, slots=True)
class OutboxCounts:
    """What waits."""

    messages: int
    records: int
    size_bytes: int
    losses: int
    """Ranges of lost records that no gap record tells of yet."""


@dataclass(slots=True)
class _Stream:
    """What is kept in memory of a stream's row."""

    row: int
    policy: str
    mark: tuple[int, int]
    size_bytes: int


def message_key(stream_id: bytes, boot: int, first_seq: int, end_seq: int) -> str:
    """By which a receiver knows a message that comes twice.

    The stream's id is a hash of gateway, name and slots, so keys of different gateways differ."""
    return f"{stream_id.hex()[:16]}/{boot}/{first_seq}-{end_seq - 1}"


class Outbox:
    """The one writer of an outbox's database."""

    def __init__(
        self,
        path: Path,
        key: bytes,
        *,
        stream_size_max_bytes: int = 256 << 20,
        disk: Disk | None = None,
        vfs: str | None = None,
    ) -> None:
        """key: bytes, 32, from the gateway's key file.  Raises OutboxError when another one wrote it."""
        self.stream_size_max_bytes = stream_size_max_bytes
        self._key = hkdf(key, b"", b"cpc/outbox/1", 32)
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._streams: dict[bytes, _Stream] = {}
        self._done: list[int] = []
        self._given = 0
        """Messages up to this row may be under way, and are not dropped."""
        self._database = open_database(
            path, schema=SCHEMA, schema_version=SCHEMA_VERSION, vfs=vfs, disk=disk or Disk()
        )
        try:
            self._check_key(path)
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Notes what was acknowledged last, and closes the database."""
        try:
            if self._done:
                self.commit(())
        finally:
            self._database.close()

    # ---------------------------------------------------------------- streams

    @property
    def boot_max(self) -> int:
        """The latest boot that records were handed over of; the spool's must not fall behind it."""
        return int(self._query("SELECT coalesce(max(boot), 0) FROM stream")[0][0])

    def open_stream(self, stream_id: bytes, name: str, policy: str) -> tuple[int, int]:
        """Its mark: records before (boot, seq) were handed over."""
        with transaction(self._database):
            self._database.execute(
                "INSERT INTO stream (stream_id, name, boot, end_seq) VALUES (?, ?, 0, 0) "
                "ON CONFLICT (stream_id) DO NOTHING",
                (stream_id, name),
            )
        row, boot, end_seq, size = self._query(
            "SELECT id, boot, end_seq, (SELECT coalesce(sum(length(body) + ?), 0) FROM message "
            "WHERE stream = stream.id) FROM stream WHERE stream_id = ?",
            (ROW_BYTES, stream_id),
        )[0]
        self._streams[stream_id] = _Stream(row, policy, (boot, end_seq), size)
        return boot, end_seq

    def set_policy(self, stream_id: bytes, policy: str) -> None:
        """What becomes of an open stream when its part is full, from now on."""
        self._streams[stream_id].policy = policy

    def has_room(self, stream_id: bytes) -> bool:
        """Whether more of the stream may be accepted."""
        stream = self._streams[stream_id]
        return stream.policy != BLOCK or stream.size_bytes < self.stream_size_max_bytes

    # ----------------------------------------------------------------- commit

    def done(self, rows: Iterable[int]) -> None:
        """The broker has acknowledged these; they leave with the next commit."""
        self._done += rows

    @property
    def done_count(self) -> int:
        """Messages that the next commit removes."""
        return len(self._done)

    def commit(
        self, messages: Sequence[NewMessage], told: Mapping[bytes, Sequence[Gap]] | None = None
    ) -> None:
        """Messages in, marks moved, acknowledged messages out; all of it or nothing.

        messages: of each stream in the order of its numbers.  told: gap records that came with them, by
        stream; a loss that one of them tells of is told.  Raises DiskFull and its kin.
        """
        # A copy, as the sender adds to it from another thread.
        done = self._done[:]
        sizes = {stream_id: stream.size_bytes for stream_id, stream in self._streams.items()}
        marks: dict[bytes, tuple[int, int]] = {}
        with transaction(self._database):
            self._remove(done, sizes)
            for message in messages:
                self._insert(message, sizes)
                marks[message.stream_id] = (message.boot, message.end_seq)
            for stream_id, (boot, end_seq) in marks.items():
                self._database.execute(
                    "UPDATE stream SET boot = ?, end_seq = ? WHERE id = ?",
                    (boot, end_seq, self._streams[stream_id].row),
                )
            for stream_id, gaps in (told or {}).items():
                self._tell(self._streams[stream_id].row, gaps)
        del self._done[: len(done)]
        for stream_id, size in sizes.items():
            self._streams[stream_id].size_bytes = size
        for stream_id, mark in marks.items():
            self._streams[stream_id].mark = mark

    def _insert(self, message: NewMessage, sizes: dict[bytes, int]) -> None:
        stream = self._streams[message.stream_id]
        facts = (message.boot, message.first_seq, message.end_seq)
        body = self._seal(message.stream_id, facts, message.topic, message.payload)
        size = len(body) + ROW_BYTES
        if not message.is_exempt and sizes[message.stream_id] + size > self.stream_size_max_bytes:
            if stream.policy == DROP_NEWEST:
                self._lose(stream.row, facts, (message.from_ns, message.to_ns), "the outbox was full")
                return
            if stream.policy == DROP_OLDEST:
                self._drop_oldest(stream.row, message.stream_id, size, sizes)
        self._database.execute(
            "INSERT INTO message (stream, boot, first_seq, end_seq, from_ns, to_ns, topic, body, is_exempt) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (stream.row, *facts, message.from_ns, message.to_ns, message.topic, body, message.is_exempt),
        )
        sizes[message.stream_id] += size

    def _drop_oldest(self, row: int, stream_id: bytes, size: int, sizes: dict[bytes, int]) -> None:
        while sizes[stream_id] + size > self.stream_size_max_bytes:
            oldest: Any = self._database.execute(
                "SELECT id, boot, first_seq, end_seq, from_ns, to_ns, length(body) FROM message "
                "WHERE stream = ? AND id > ? AND NOT is_exempt ORDER BY id LIMIT 1",
                (row, self._given),
            ).fetchall()
            if not oldest:
                # All that is left is under way, or tells of losses.
                return
            message, boot, first_seq, end_seq, from_ns, to_ns, length = oldest[0]
            self._database.execute("DELETE FROM message WHERE id = ?", (message,))
            self._lose(row, (boot, first_seq, end_seq), (from_ns, to_ns), "the outbox was full")
            sizes[stream_id] -= length + ROW_BYTES

    def _lose(self, row: int, facts: tuple[int, int, int], span_ns: tuple[int, int], why: str) -> None:
        boot, first_seq, end_seq = facts
        longer = self._database.execute(
            "UPDATE loss SET end_seq = ?, from_ns = min(from_ns, ?), to_ns = max(to_ns, ?) WHERE id = "
            "(SELECT max(id) FROM loss WHERE stream = ?) AND boot = ? AND end_seq = ? AND why = ? "
            # One that is being told of must stay as it is told.
            "AND id > coalesce((SELECT value FROM fact WHERE name = 'told'), 0) RETURNING id",
            (end_seq, *span_ns, row, boot, first_seq, why),
        ).fetchall()
        if not longer:
            self._database.execute(
                "INSERT INTO loss (stream, boot, first_seq, end_seq, from_ns, to_ns, why) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (row, boot, first_seq, end_seq, *span_ns, why),
            )

    def _tell(self, row: int, gaps: Sequence[Gap]) -> None:
        for gap in gaps:
            if match := _LOSS.match(gap.reason):
                boot, first_seq, last_seq = map(int, match.groups())
                self._database.execute(
                    "DELETE FROM loss WHERE stream = ? AND boot = ? AND first_seq = ? AND end_seq = ?",
                    (row, boot, first_seq, last_seq + 1),
                )

    def _remove(self, rows: Sequence[int], sizes: dict[bytes, int]) -> None:
        ids = {stream.row: stream_id for stream_id, stream in self._streams.items()}
        for row in rows:
            gone: Any = self._database.execute(
                "DELETE FROM message WHERE id = ? RETURNING stream, length(body)", (row,)
            ).fetchall()
            for stream, length in gone:
                # Of a stream that has left the configuration nobody counts.
                if stream in ids:
                    sizes[ids[stream]] -= length + ROW_BYTES

    # ------------------------------------------------------------------- send

    def waiting(self, after: int, count_max: int, size_max: int = 4 << 20) -> list[WaitingMessage]:
        """Up to so many messages, and hardly more bytes, behind row `after`, oldest first."""
        found: list[WaitingMessage] = []
        damaged: list[tuple[Any, ...]] = []
        done = set(self._done)
        size = 0
        with database_errors(self._database):
            for row, stream, stream_id, boot, first_seq, end_seq, from_ns, to_ns, topic, body in cast(
                Iterable[Any],
                self._database.execute(
                    "SELECT message.id, stream, stream_id, message.boot, first_seq, message.end_seq, "
                    "from_ns, to_ns, topic, body FROM message JOIN stream ON stream.id = message.stream "
                    "WHERE message.id > ? ORDER BY message.id LIMIT ?",
                    (after, count_max),
                ),
            ):
                if row in done:
                    continue
                payload = self._open(stream_id, (boot, first_seq, end_seq), topic, body)
                if payload is None:
                    damaged.append((row, stream, (boot, first_seq, end_seq), (from_ns, to_ns)))
                    continue
                key = message_key(stream_id, boot, first_seq, end_seq)
                found.append(WaitingMessage(row, key, topic, payload))
                size += len(payload)
                if size >= size_max:
                    break
        if damaged:
            self._give_up(damaged)
            if not found:
                return self.waiting(after, count_max, size_max)
        if found:
            self._given = max(self._given, found[-1].row)
        return found

    def _give_up(self, damaged: Sequence[tuple[Any, ...]]) -> None:
        sizes = {stream_id: stream.size_bytes for stream_id, stream in self._streams.items()}
        with transaction(self._database):
            for row, stream, facts, span_ns in damaged:
                self._lose(stream, facts, span_ns, "damaged on the gateway's disk")
                self._remove((row,), sizes)
        for stream_id, size in sizes.items():
            self._streams[stream_id].size_bytes = size

    def begin_session(self) -> int:
        """The number of a new connection, which was never given before."""
        with transaction(self._database):
            rows: Any = self._database.execute(
                "INSERT INTO fact VALUES ('session', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 "
                "RETURNING value"
            ).fetchall()
        return int(rows[0][0])

    def number(self, name: str) -> int:
        """The number kept under that name; -1 when there is none."""
        rows = self._query("SELECT value FROM fact WHERE name = ?", (f"number {name}",))
        return int(rows[0][0]) if rows else -1

    def set_number(self, name: str, value: int) -> None:
        """Keeps a number, durably."""
        with transaction(self._database):
            self._database.execute(
                "INSERT INTO fact VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
                (f"number {name}", value),
            )

    # ----------------------------------------------------------------- losses

    def losses(self, stream_id: bytes) -> list[Loss]:
        """What no gap record of the stream tells of yet.  From now on these grow no more."""
        stream = self._streams[stream_id]
        rows = self._query(
            "SELECT id, boot, first_seq, end_seq, from_ns, to_ns, why FROM loss WHERE stream = ? ORDER BY id",
            (stream.row,),
        )
        if rows:
            with transaction(self._database):
                self._database.execute(
                    "INSERT INTO fact VALUES ('told', ?1) ON CONFLICT (name) DO UPDATE "
                    "SET value = max(value, ?1)",
                    (rows[-1][0],),
                )
        return [Loss(row, stream_id, *rest) for row, *rest in rows]

    def counts(self) -> OutboxCounts:
        """What waits."""
        return OutboxCounts(
            *self._query(
                "SELECT count(*), coalesce(sum(end_seq - first_seq), 0), "
                "coalesce(sum(length(body) + ?), 0), (SELECT count(*) FROM loss) FROM message",
                (ROW_BYTES,),
            )[0]
        )

    # ------------------------------------------------------------------ inner

    def _query(self, sql: str, arguments: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with database_errors(self._database):
            return self._database.execute(sql, arguments).fetchall()

    def _check_key(self, path: Path) -> None:
        check = int.from_bytes(hkdf(self._key, b"", b"check", 7), "big")
        with transaction(self._database):
            self._database.execute("INSERT INTO fact VALUES ('key', ?) ON CONFLICT DO NOTHING", (check,))
        if self._query("SELECT value FROM fact WHERE name = 'key'") != [(check,)]:
            raise OutboxError(
                f"{path} was written with another key file; put the gateway's own key file back, "
                "or move the outbox away: what waits in it is sent no more, but sealed and anchored"
            )

    def _seal(self, stream_id: bytes, facts: tuple[int, int, int], topic: str, payload: bytes) -> bytes:
        nonce = os.urandom(_NONCE_SIZE)
        plain = self._compressor.compress(payload)
        return nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(
            plain, _aad(stream_id, facts, topic), nonce, self._key
        )

    def _open(self, stream_id: bytes, facts: tuple[int, int, int], topic: str, body: bytes) -> bytes | None:
        """The payload; None when the disk has altered it."""
        try:
            plain = crypto_aead_xchacha20poly1305_ietf_decrypt(
                body[_NONCE_SIZE:], _aad(stream_id, facts, topic), body[:_NONCE_SIZE], self._key
            )
            return zstandard.ZstdDecompressor().decompress(plain, max_output_size=BODY_SIZE_MAX)
        except (CryptoError, TypeError, ValueError, zstandard.ZstdError):
            return None


def _aad(stream_id: bytes, facts: tuple[int, int, int], topic: str) -> bytes:
    return cbor.encode(["cpc/outbox", stream_id, *facts, topic])
