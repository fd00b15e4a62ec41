"""The chain on disk: one SQLite file that a power cut at any moment leaves at a whole block.

Runs on CPython.  WAL with synchronous=FULL: what returned is on the disk.  A block, its certificate,
its receipts, its state nodes and the index of its transactions are committed together or not at all.
A vote is committed, with the block it is for and the certificate it follows from, before `put_votes`
returns: a validator that restarts remembers what it said and why, and can stand by it.

    meta    genesis
    block   by height: hash, header, certificate, transactions, receipts
    tx      by hash: height and position of a transaction
    node    by hash: nodes of the state's Merkle map; `stale_since` is the height that no longer needs one
    vote    by height, round, phase: our own votes, until their height is decided; each with the block it is
            for, the proposer's seal of that and a P-certificate, or NULL for what it was kept without

SQLite is opened as gateway/database.py opens it; neither folder may import the other, so keep them level.
Source: https://sqlite.org/wal.html, https://sqlite.org/pragma.html#pragma_synchronous.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import apsw

from chain_node.block import BLOCK_SIZE_MAX, Block, Certificate, Header, Phase, Vote
from chain_node.errors import DoubleVote, StorageDamaged, StorageError, WireError, WrongChainStored
from chain_node.fields import read
from chain_node.genesis import Genesis
from chain_node.kept import Kept
from chain_node.ledger import Execution, Head, genesis_execution
from chain_node.state import Overlay
from chain_node.storage_file import checkpoint_every, create_private, decoding, storage_errors
from chain_node.transaction import Receipt, Transaction
from puf import cbor
from puf.merkle_map import MerkleMap

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE block (
    height INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    header BLOB NOT NULL,
    certificate BLOB NOT NULL,
    transactions BLOB NOT NULL,
    receipts BLOB NOT NULL
) STRICT;
CREATE TABLE tx (
    hash BLOB PRIMARY KEY,
    height INTEGER NOT NULL,
    position INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE TABLE node (hash BLOB PRIMARY KEY, data BLOB NOT NULL, stale_since INTEGER) WITHOUT ROWID, STRICT;
CREATE INDEX node_stale ON node (stale_since) WHERE stale_since IS NOT NULL;
CREATE TABLE vote (
    height INTEGER NOT NULL,
    round INTEGER NOT NULL,
    phase INTEGER NOT NULL,
    block_hash BLOB NOT NULL,
    data BLOB NOT NULL,
    block BLOB,
    seal BLOB,
    certificate BLOB,
    PRIMARY KEY (height, round, phase)
) WITHOUT ROWID, STRICT;
"""
APPLICATION_ID = 0x4350436E
"""Marks our files in SQLite's header: "CPCn"."""
SCHEMA_VERSION = 2
BUSY_MS = 5_000
"""How long it waits for another process that holds the file."""
CHECKPOINT_PAGES = 1_000
"""Length of the log, in pages of 4 KiB, at which a commit also copies it back."""
LOG_BYTES_MAX = 16 << 20
"""What the log shrinks back to when something let it grow."""
STATES_KEPT = 64
"""Blocks back from the head whose states can still be proven; older nodes are deleted."""
NODES_CACHED = 1 << 14
"""State nodes kept in memory, some 4 MiB."""
CERTIFIED_MAX = 64
"""Blocks that `certified` reads at once."""
BODY_SIZE_MAX = 1 << 26
"""Bytes of a block's transactions or receipts as we stored them ourselves."""


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A final block as it lies in the file."""

    header: Header
    certificate: Certificate
    transactions: tuple[bytes, ...]
    receipts: tuple[Receipt, ...]


class Storage:
    """The file of one chain, opened by one process.  Raises StorageError and what is under it everywhere."""

    def __init__(self, connection: apsw.Connection, path: str, genesis: Genesis) -> None:
        self._connection = connection
        self._path = path
        self._nodes: dict[bytes, bytes] = {}
        self.genesis = genesis
        self.head = Head(0, genesis.chain_id, genesis.time_ms, b"")
        """The last block that is committed."""

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        genesis: Genesis,
        vfs: str | None = None,
        checkpoint_pages: int = CHECKPOINT_PAGES,
    ) -> "Storage":
        """The chain in `path`, which is made with the genesis's state if it is not there.

        vfs: name of a registered SQLite VFS, which must have the file; tests put a disk there that forgets.
        checkpoint_pages: see CHECKPOINT_PAGES.
        Raises WrongChainStored, StorageDamaged, StorageFull, StorageError.
        """
        name = os.path.abspath(path)
        if vfs is None:
            # Made here, not by SQLite, for the permissions; its -wal and -shm files take theirs from it.
            create_private(name)
        with storage_errors(name):
            connection = apsw.Connection(name, flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)
        storage = cls(connection, name, genesis)
        try:
            with storage.errors(), decoding(name):
                connection.set_busy_timeout(BUSY_MS)
                # Before anything is changed in it: it may be somebody else's.
                is_new = connection.execute("SELECT count(*) = 0 FROM sqlite_schema").get
                if not is_new:
                    storage._check_identity()
                storage._configure()
                connection.set_wal_hook(checkpoint_every(checkpoint_pages))
                if is_new:
                    storage._begin()
                storage._resume()
        except BaseException:
            connection.close()
            raise
        return storage

    def close(self) -> None:
        """Close the file; nothing else may be called afterwards."""
        self._connection.close()

    # Blocks

    def commit(self, block: Block, certificate: Certificate, execution: Execution) -> None:
        """Make `block` the new head, with all that belongs to it, in one synced transaction.

        Raises StorageFull when there is no room; the former head then stands, and it may be tried again.
        """
        header = block.header
        body = cbor.encode([transaction.data for transaction in block.transactions])
        receipts = cbor.encode([receipt.encode() for receipt in execution.receipts])
        with self._transaction() as database:
            database.execute(
                "INSERT INTO block VALUES (?, ?, ?, ?, ?, ?)",
                (header.height, header.block_hash, header.data, certificate.encode(), body, receipts),
            )
            database.executemany(
                "INSERT INTO tx VALUES (?, ?, ?)",
                [(tx.tx_hash, header.height, position) for position, tx in enumerate(block.transactions)],
            )
            self._write_nodes(execution, header.height)
            database.execute("DELETE FROM node WHERE stale_since <= ?", (header.height - STATES_KEPT,))
            database.execute("DELETE FROM vote WHERE height < ?", (header.height,))
        # Nodes that are stale stay readable here: they are what they are as long as they exist.
        if len(self._nodes) + len(execution.nodes_added) > NODES_CACHED:
            self._nodes.clear()
        else:
            self._nodes.update(execution.nodes_added)
        self.head = Head(header.height, header.block_hash, header.time_ms, header.state_root)

    def headers(self, first: int, count: int) -> list[tuple[bytes, bytes]]:
        """(header, certificate) as bytes, from height `first` on, at most `count`."""
        with self.errors():
            return list(
                self._connection.execute(
                    "SELECT header, certificate FROM block WHERE height >= ? ORDER BY height LIMIT ?",
                    (first, count),
                )
            )

    def block(self, height: int) -> StoredBlock | None:
        """The block at this height, if it is final."""
        with self.errors():
            row = self._connection.execute(
                "SELECT header, certificate, transactions, receipts FROM block WHERE height = ?", (height,)
            ).fetchone()
        with decoding(self._path):
            return _stored_block(*row) if row else None

    def certified(self, first: int, count: int) -> list[tuple[Block, Certificate]]:
        """Final blocks from height `first` on, for peers that are behind: rising, without a gap.

        At most `count`, CERTIFIED_MAX and BLOCK_SIZE_MAX bytes of transactions, but one if there is one.
        """
        found: list[tuple[Block, Certificate]] = []
        room = BLOCK_SIZE_MAX
        for height in range(first, first + min(count, CERTIFIED_MAX)):
            stored = self.block(height)
            room -= sum(map(len, stored.transactions)) if stored else 0
            if not stored or (found and room < 0):
                break
            with decoding(self._path):
                transactions = tuple(map(Transaction.restore, stored.transactions))
            found.append((Block(stored.header, transactions), stored.certificate))
        return found

    def find_transaction(self, tx_hash: bytes) -> tuple[int, int] | None:
        """(height, position in the block) of a final transaction."""
        with self.errors():
            row: tuple[int, int] | None = self._connection.execute(
                "SELECT height, position FROM tx WHERE hash = ?", (tx_hash,)
            ).fetchone()
            return row

    def read_node(self, node_hash: bytes) -> bytes:
        """A node of the state's Merkle map.  Raises KeyError when there is none of this hash."""
        node = self._nodes.get(node_hash)
        if node is None:
            with self.errors():
                row = self._connection.execute(
                    "SELECT data FROM node WHERE hash = ?", (node_hash,)
                ).fetchone()
            if row is None:
                raise KeyError(node_hash)
            node = row[0]
            if len(self._nodes) >= NODES_CACHED:
                self._nodes.clear()
            self._nodes[node_hash] = node
        return node

    def entries(self, state_root: bytes) -> MerkleMap:
        """The state with this root, to read and to prove: the head's, or of the last STATES_KEPT blocks."""
        return MerkleMap(Overlay(self.read_node), state_root)

    def errors(self) -> contextlib.AbstractContextManager[None]:
        """Around readers of `entries`: StorageError for all that only a broken disk or file brings."""
        return storage_errors(self._path, self._connection)

    # Votes

    def put_votes(self, items: Sequence[Kept]) -> None:
        """Remember our votes, with all that goes with them, for good: all of them or none.

        Only then may any of them be shown to anyone.  The same vote again is no error.  Raises
        DoubleVote when a height, round and phase has another one, or the height is decided otherwise.
        """
        with self._transaction() as database:
            for kept in items:
                vote = kept.vote
                assert vote.phase != Phase.ROUND, "it may be said again"  # noqa: S101 - only a bug keeps one
                place = (vote.height, vote.round, int(vote.phase))
                row = (
                    database.execute("SELECT hash FROM block WHERE height = ?", place[:1]).fetchone()
                    or database.execute(
                        "SELECT block_hash FROM vote WHERE height = ? AND round = ? AND phase = ?", place
                    ).fetchone()
                )
                if row and row[0] != vote.block_hash:
                    raise DoubleVote(vote.height, vote.round, row[0], vote.block_hash)
                if not row:
                    database.execute(
                        "INSERT INTO vote VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                        (
                            *place,
                            vote.block_hash,
                            vote.data,
                            kept.block.encode() if kept.block else None,
                            kept.seal.data if kept.seal else None,
                            kept.certificate.encode() if kept.certificate else None,
                        ),
                    )

    def votes(self, height: int) -> list[Kept]:
        """Our votes at this height with what was kept with them, by round and phase."""
        with self.errors():
            rows: list[Any] = self._connection.execute(
                "SELECT data, block, seal, certificate FROM vote WHERE height = ? ORDER BY round, phase",
                (height,),
            ).fetchall()
        with decoding(self._path):
            return [self._kept(*row) for row in rows]

    # Inside

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[apsw.Connection]:
        """All of what is inside is on the disk afterwards or, when anything is raised, none of it."""
        with self.errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # After some errors SQLite has rolled back by itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _kept(self, vote: bytes, block: bytes | None, seal: bytes | None, certificate: bytes | None) -> Kept:
        shown = Certificate.decode(certificate) if certificate else None
        if shown:
            shown.verify(self.genesis.chain_id, self.genesis.validators, Phase.PREPARE)
        return Kept(
            vote=Vote.decode(vote),
            block=Block.decode(block) if block else None,
            seal=Vote.decode(seal) if seal else None,
            certificate=shown,
        )

    def _configure(self) -> None:
        mode = self._connection.pragma("journal_mode", "WAL")
        if mode != "wal":
            advice = "use a local disk: WAL needs memory that processes share"
            raise StorageError(self._path, f"journal mode is {mode}, not wal; {advice}")
        self._connection.pragma("synchronous", "FULL")
        self._connection.pragma("cell_size_check", True)
        self._connection.pragma("trusted_schema", False)
        # Memory-mapped, a dying disk would kill the process (SIGBUS) in place of an error.
        self._connection.pragma("mmap_size", 0)
        # Nothing of a database goes anywhere else on the disk.
        self._connection.pragma("temp_store", "MEMORY")
        self._connection.pragma("journal_size_limit", LOG_BYTES_MAX)

    def _check_identity(self) -> None:
        if self._connection.pragma("application_id") != APPLICATION_ID:
            raise StorageDamaged(self._path, "this is a database of another program; check the path")
        version = self._connection.pragma("user_version")
        if version != SCHEMA_VERSION:
            advice = (
                "upgrade this program"
                if version > SCHEMA_VERSION
                else "open it with the version that made it"
            )
            raise StorageError(
                self._path, f"its version is {version}, this program knows {SCHEMA_VERSION}; {advice}"
            )

    def _resume(self) -> None:
        stored = self._connection.execute("SELECT value FROM meta WHERE name = 'genesis'").get
        if stored != self.genesis.data:
            raise WrongChainStored(
                self._path,
                f"holds chain {sha256(stored or b'').hexdigest()}, not {self.genesis.chain_id.hex()}; "
                "take the genesis it was made with, or another file",
            )
        self.head, _ = genesis_execution(self.genesis)
        row = self._connection.execute(
            "SELECT header, certificate, hash FROM block ORDER BY height DESC LIMIT 1"
        ).fetchone()
        if row:
            header, certificate = Header.decode(row[0]), Certificate.decode(row[1])
            certificate.verify(self.genesis.chain_id, self.genesis.validators)
            if not row[2] == header.block_hash == certificate.block_hash:
                raise StorageDamaged(self._path, f"block {header.height} and its certificate do not fit")
            self.head = Head(header.height, header.block_hash, header.time_ms, header.state_root)

    def _begin(self) -> None:
        _, execution = genesis_execution(self.genesis)
        with self._transaction() as database:
            database.execute(SCHEMA)
            database.pragma("application_id", APPLICATION_ID)
            database.pragma("user_version", SCHEMA_VERSION)
            database.execute("INSERT INTO meta VALUES ('genesis', ?)", (self.genesis.data,))
            self._write_nodes(execution, 0)

    def _write_nodes(self, execution: Execution, height: int) -> None:
        # A node that comes back is no longer stale: REPLACE clears the mark.
        self._connection.executemany(
            "INSERT OR REPLACE INTO node VALUES (?, ?, NULL)", execution.nodes_added.items()
        )
        self._connection.executemany(
            "UPDATE node SET stale_since = ? WHERE hash = ?",
            [(height, node_hash) for node_hash in execution.nodes_stale],
        )


def _stored_block(header: bytes, certificate: bytes, transactions: bytes, receipts: bytes) -> StoredBlock:
    return StoredBlock(
        Header.decode(header),
        Certificate.decode(certificate),
        _decode_list(transactions),
        tuple(Receipt.decode(item) for item in _decode_list(receipts)),
    )


def _decode_list(data: bytes) -> tuple[bytes, ...]:
    items = read(data, "stored list", BODY_SIZE_MAX)
    if not isinstance(items, list) or not all(isinstance(item, bytes) for item in items):
        raise WireError("stored list", "it is no list of bytes")
    return tuple(items)
