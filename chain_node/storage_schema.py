"""The tables of a chain's file, and how the file is opened.

Runs on CPython.

    meta    genesis
    number  headers_from: from this height on up to the head every header is here
            joining: 1 while the nodes of a state are fetched that is not the head's
            sweeping: 1 while nodes are here that no state needs
    block   by height: hash, header, certificate; below `headers_from` only some
    body    by height: transactions and receipts, what they count as, and the sum of that up to here
    tx      by hash: height and position of a transaction whose body is here
    node    by hash: nodes of the state's Merkle map; `stale_since` is the height that no longer needs one
    handover  by number: the evidence of each change of validators (storage_handovers.py)
    impeachment  by height: why, as this node saw it (storage_impeachments.py)
    vote    by height, round, phase: our own votes, until their height is decided; each with the block it is
            for, the proposer's seal of that and a P-certificate, or NULL for what it was kept without

Bodies lie apart from headers so that whoever follows headers reads no transactions, and both are pruned
alone (pruning.py).  A node that is not stale has all that is below it in the table, also while a state is
fetched (snapshot.py): what is there needs no second look.
SQLite is opened as gateway/database.py opens it; neither folder may import the other, so keep them level.
Source: https://sqlite.org/wal.html, https://sqlite.org/pragma.html#pragma_synchronous.
"""

from hashlib import sha256

import apsw

from chain_node import storage_handovers, storage_impeachments
from chain_node.errors import StorageDamaged, StorageError, WrongChainStored
from chain_node.genesis import Genesis

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE number (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID, STRICT;
INSERT INTO number VALUES ('headers_from', 1), ('joining', 0), ('sweeping', 0);
CREATE TABLE block (
    height INTEGER PRIMARY KEY,
    hash BLOB NOT NULL,
    header BLOB NOT NULL,
    certificate BLOB NOT NULL
) STRICT;
CREATE TABLE body (
    height INTEGER PRIMARY KEY,
    size INTEGER NOT NULL,
    end INTEGER NOT NULL,
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
SCHEMA_VERSION = 3
LOG_BYTES_MAX = 16 << 20
"""What the log shrinks back to when something let it grow."""


def configure(connection: apsw.Connection, path: str) -> None:
    """Set what decides over durability.  Raises StorageError when the disk cannot do it."""
    mode = connection.pragma("journal_mode", "WAL")
    if mode != "wal":
        advice = "use a local disk: WAL needs memory that processes share"
        raise StorageError(path, f"journal mode is {mode}, not wal; {advice}")
    connection.pragma("synchronous", "FULL")
    connection.pragma("cell_size_check", True)
    connection.pragma("trusted_schema", False)
    # Memory-mapped, a dying disk would kill the process (SIGBUS) in place of an error.
    connection.pragma("mmap_size", 0)
    # Nothing of a database goes anywhere else on the disk.
    connection.pragma("temp_store", "MEMORY")
    connection.pragma("journal_size_limit", LOG_BYTES_MAX)


def check_identity(connection: apsw.Connection, path: str) -> None:
    """Check that the file is a chain's, of this version.  Raises StorageDamaged, StorageError."""
    if connection.pragma("application_id") != APPLICATION_ID:
        raise StorageDamaged(path, "this is a database of another program; check the path")
    version = connection.pragma("user_version")
    if version != SCHEMA_VERSION:
        advice = (
            "upgrade this program" if version > SCHEMA_VERSION else "open it with the version that made it"
        )
        raise StorageError(path, f"its version is {version}, this program knows {SCHEMA_VERSION}; {advice}")


def check_chain(connection: apsw.Connection, path: str, genesis: Genesis) -> None:
    """Check that the file holds this genesis's chain.  Raises WrongChainStored."""
    stored = connection.execute("SELECT value FROM meta WHERE name = 'genesis'").get
    if stored != genesis.data:
        raise WrongChainStored(
            path,
            f"holds chain {sha256(stored or b'').hexdigest()}, not {genesis.chain_id.hex()}; "
            "take the genesis it was made with, or another file",
        )


def create(connection: apsw.Connection, genesis: Genesis) -> None:
    """Make the tables of a new chain, within a transaction."""
    connection.execute(SCHEMA + storage_handovers.SCHEMA + storage_impeachments.SCHEMA)
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", SCHEMA_VERSION)
    connection.execute("INSERT INTO meta VALUES ('genesis', ?)", (genesis.data,))
