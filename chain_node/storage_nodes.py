"""The nodes of the state's Merkle map in the chain's file.

Runs on CPython.  What the head's state needs is live; what only earlier states need is stale, since the
height that replaced it, and is deleted in its time.  Of a node that is live all below it is here.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import apsw

from chain_node.ledger import Execution
from puf.merkle_map import EMPTY, NodeMissing, open_node

NODES_CACHED = 1 << 14
"""Nodes kept in memory, some 4 MiB."""
BATCH = 4_096
"""Nodes that one transaction of a sweep takes."""


class Nodes:
    """The table of nodes.  Raises what apsw raises; Storage makes its own errors of that."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.cache: dict[bytes, bytes] = {}
        """Nodes read or written of late; they are what they are as long as they exist."""

    def read(self, node_hash: bytes) -> bytes:
        """A node, live or stale.  Raises KeyError when there is none of this hash."""
        node = self.cache.get(node_hash)
        if node is None:
            node = self.find(node_hash)
            if node is None:
                raise KeyError(node_hash)
            if len(self.cache) >= NODES_CACHED:
                self.cache.clear()
            self.cache[node_hash] = node
        return node

    def find(self, node_hash: bytes) -> bytes | None:
        """A node, past the cache: for those who read all of them once."""
        node: bytes | None = self._connection.execute(
            "SELECT data FROM node WHERE hash = ?", (node_hash,)
        ).get
        return node

    def is_live(self, node_hash: bytes) -> bool:
        """Whether this node, and so all below it, is here and is not about to go."""
        row = self._connection.execute(
            "SELECT stale_since IS NULL FROM node WHERE hash = ?", (node_hash,)
        ).get
        return bool(row)

    def write(self, execution: Execution, height: int) -> None:
        """What a block adds to the state, and what it needs no more."""
        self.put(list(execution.nodes_added.items()))
        self._connection.executemany(
            "UPDATE node SET stale_since = ? WHERE hash = ?",
            [(height, node_hash) for node_hash in execution.nodes_stale],
        )

    def put(self, nodes: Sequence[tuple[bytes, bytes]]) -> None:
        """(hash, node) of each: they are live from now on."""
        # One that comes back is no longer stale: REPLACE clears the mark.
        self._connection.executemany("INSERT OR REPLACE INTO node VALUES (?, ?, NULL)", nodes)

    def remember(self, execution: Execution) -> None:
        """Take what a block has added into memory, once that is committed."""
        if len(self.cache) + len(execution.nodes_added) > NODES_CACHED:
            self.cache.clear()
        else:
            self.cache.update(execution.nodes_added)

    def walk(self, root: bytes) -> Iterator[tuple[bytes, bytes]]:
        """(hash, node) of every node under `root`, from left to right.  Raises NodeMissing at damage."""
        waiting = [] if root == EMPTY else [root]
        while waiting:
            node_hash = waiting.pop()
            node = self.find(node_hash)
            if node is None:
                raise NodeMissing(node_hash)
            waiting += reversed(open_node(node_hash, node))
            yield node_hash, node

    def sweep(self, root: bytes, transaction: Callable[[], AbstractContextManager[apsw.Connection]]) -> int:
        """Delete all that the state under `root` does not need, and let the rest be live; how many went.

        In many short transactions; interrupted, it is begun again.  Raises NodeMissing before anything is
        deleted.
        """
        with transaction() as database:
            database.execute("DROP TABLE IF EXISTS reached")
            database.execute("CREATE TABLE reached (hash BLOB PRIMARY KEY) WITHOUT ROWID, STRICT")
        batch: list[tuple[bytes]] = []
        for node_hash, _ in self.walk(root):
            batch.append((node_hash,))
            if len(batch) == BATCH:
                self._reach(batch, transaction)
                batch = []
        self._reach(batch, transaction)
        count = 0
        for first in range(256):
            low, high = bytes((first,)), bytes((first + 1,)) if first < 255 else b"\xff" * 33
            with transaction() as database:
                database.execute(
                    "DELETE FROM node WHERE hash >= ? AND hash < ? "
                    "AND hash NOT IN (SELECT hash FROM reached)",
                    (low, high),
                )
                count += database.changes()
        with transaction() as database:
            database.execute("UPDATE node SET stale_since = NULL WHERE stale_since IS NOT NULL")
            database.execute("DROP TABLE reached")
        self.cache.clear()
        return count

    @staticmethod
    def _reach(
        batch: list[tuple[bytes]], transaction: Callable[[], AbstractContextManager[apsw.Connection]]
    ) -> None:
        with transaction() as database:
            database.executemany("INSERT INTO reached VALUES (?)", batch)
