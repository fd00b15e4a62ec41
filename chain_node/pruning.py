"""What a node keeps, and for how long: the file of a plain node stays within a stated size.

Runs on CPython.  Three things grow with the chain, and each has its bound in a `Retention`:

    states    nodes of the state that the last `states_kept` blocks need; what only older ones need goes
    bodies    transactions, receipts and their index: the newest, `bodies_bytes_max` bytes of them
    headers   with certificates: the last `headers_kept`, and every HEADER_STEP-th for ever

States are what the chain's accounts make them; beside those the file stays below `Retention.size_max`.
Pages that become free are filled again, so the file does not shrink, but it does not grow either.  Every
commit prunes what has become too much, within the same transaction, and a bounded part of it: a node whose
bounds were lowered comes down over many blocks.  An archive node (`ARCHIVE`) keeps all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import apsw

from chain_node.errors import StorageError
from chain_node.fields import INT_MAX
from chain_node.transaction import transaction_hash
from puf import cbor
from puf.errors import DecodeError

BODY_ROOM = 100
"""Bytes that the file needs for a body beside its bytes."""
TX_ROOM = 80
"""Bytes that the file needs for a transaction in the index."""
HEADER_ROOM = 480
"""Bytes that the file needs for a header and its certificate, signatures apart."""
SIGNATURE_ROOM = 72
"""Bytes that it needs for each signature."""
HEADER_STEP = 1_000
"""Headers of heights that are multiples of this are kept for ever: some 2 MB a year at 10 s a block."""
STEP_MAX = 64
"""Bodies, and headers, that one commit deletes at most."""
STEP_BYTES = 4 << 20
"""Bytes of bodies that one commit deletes beyond what it has added."""
BODY_SIZE_MAX = 1 << 26
"""Bytes of a block's transactions or receipts as we stored them ourselves."""
BODY_DEPTH_MAX = 2
FILE_SHARE = 3
"""A file has up to half as much again as what is in it: B-tree pages are two thirds full."""


@dataclass(frozen=True, slots=True)
class Retention:
    """What a node keeps.  None: all of it, for ever."""

    states_kept: int | None = 64
    """Blocks back from the head whose states can be proven."""
    bodies_bytes_max: int | None = 1 << 30
    """Bytes of transactions and receipts with their index; the head's are kept whatever they have."""
    headers_kept: int | None = 1_000_000
    """Headers without a gap back from the head: 115 days at 10 s a block."""

    def size_max(self, validator_count: int) -> int | None:
        """Bytes that the file stays below, beside the states; None: it grows as long as the chain does."""
        if self.bodies_bytes_max is None or self.headers_kept is None or self.states_kept is None:
            return None
        header_bytes = HEADER_ROOM + SIGNATURE_ROOM * validator_count
        return (self.bodies_bytes_max + self.headers_kept * header_bytes) * FILE_SHARE // 2


PLAIN = Retention()
"""What a gateway's node keeps: with 4 validators, at most 2.8 GB beside the states."""
ARCHIVE = Retention(None, None, None)
"""What a node keeps that others ask for the past."""
KINDS = {"plain": PLAIN, "archive": ARCHIVE}
OPTIONS = {
    "states_kept": "blocks back from the head whose states can be proven, at least 1",
    "bodies_bytes_max": "bytes of transactions and receipts that are kept, with their index",
    "headers_kept": "headers that are kept without a gap, at least 1",
}
"""What a node's configuration may set, each a whole number, or "all"."""


def retention_of(options: Mapping[str, object]) -> Retention:
    """What a `[storage]` table of a configuration says: `keep`, "plain" or "archive", and any of OPTIONS.

    Raises StorageError, which names the option.
    """
    kind = options.get("keep", "plain")
    if not isinstance(kind, str) or kind not in KINDS:
        raise StorageError("storage.keep", f"{kind!r} is none of {', '.join(KINDS)}")
    values: dict[str, int | None] = {name: getattr(KINDS[kind], name) for name in OPTIONS}
    for name, value in options.items():
        if name == "keep":
            continue
        if name not in OPTIONS:
            raise StorageError(f"storage.{name}", f"no such option; there are keep, {', '.join(OPTIONS)}")
        if value == "all":
            values[name] = None
        elif type(value) is int and 1 <= value <= INT_MAX:
            values[name] = value
        else:
            raise StorageError(f"storage.{name}", f'{value!r} is no whole number from 1 on, and not "all"')
    return Retention(**values)


def body_size(transactions: bytes, receipts: bytes, tx_count: int) -> int:
    """What a body counts against `bodies_bytes_max`."""
    return len(transactions) + len(receipts) + BODY_ROOM + TX_ROOM * tx_count


def prune(database: apsw.Connection, retention: Retention, height: int, added_bytes: int) -> None:
    """Delete what the block at `height`, the head, makes too much, a bounded part of it.

    Within the transaction that commits the block.  added_bytes: its `body_size`.
    """
    if retention.states_kept is not None:
        database.execute("DELETE FROM node WHERE stale_since <= ?", (height - retention.states_kept,))
    if retention.bodies_bytes_max is not None:
        _prune_bodies(database, retention.bodies_bytes_max, height, added_bytes)
    if retention.headers_kept is not None:
        _prune_headers(database, retention.headers_kept, height)


def _prune_bodies(database: apsw.Connection, bytes_max: int, height: int, added_bytes: int) -> None:
    end = database.execute("SELECT end FROM body WHERE height = ?", (height,)).get
    headers_from = database.execute("SELECT value FROM number WHERE name = 'headers_from'").get
    freed_bytes = 0
    for _ in range(STEP_MAX):
        oldest: Any = database.execute(
            "SELECT height, end - size, size FROM body ORDER BY height LIMIT 1"
        ).fetchone()
        at, begin, size = oldest
        if end - begin <= bytes_max or at == height or freed_bytes > added_bytes + STEP_BYTES:
            return
        _forget_transactions(database, at)
        database.execute("DELETE FROM body WHERE height = ?", (at,))
        if at < headers_from and at % HEADER_STEP:
            # From before a snapshot was installed: it was kept for its body alone.
            database.execute("DELETE FROM block WHERE height = ?", (at,))
        freed_bytes += size


def _forget_transactions(database: apsw.Connection, height: int) -> None:
    transactions: Any = database.execute("SELECT transactions FROM body WHERE height = ?", (height,)).get
    try:
        items: Any = cbor.decode(transactions, BODY_SIZE_MAX, BODY_DEPTH_MAX)
        hashes = [(transaction_hash(item), height) for item in items]
    except (DecodeError, TypeError):
        # A body that is damaged must not keep the chain from going on; this reads the whole index.
        database.execute("DELETE FROM tx WHERE height = ?", (height,))
        return
    database.executemany("DELETE FROM tx WHERE hash = ? AND height = ?", hashes)


def _prune_headers(database: apsw.Connection, kept: int, height: int) -> None:
    begin = database.execute("SELECT value FROM number WHERE name = 'headers_from'").get
    body = database.execute("SELECT min(height) FROM body WHERE height >= ?", (begin,)).get
    end = min(height - kept + 1, begin + STEP_MAX, height if body is None else body)
    if end > begin:
        database.execute(
            "DELETE FROM block WHERE height >= ? AND height < ? AND height % ? != 0",
            (begin, end, HEADER_STEP),
        )
        database.execute("UPDATE number SET value = ? WHERE name = 'headers_from'", (end,))
