"""The chain on disk: one SQLite file that a power cut at any moment leaves at a whole block.

Runs on CPython.  WAL with synchronous=FULL: what returned is on the disk.  A block, its certificate,
its receipts, its state nodes and the index of its transactions are committed together or not at all.
A vote is committed, with the block it is for and the certificate it follows from, before `put_votes`
returns: a validator that restarts remembers what it said and why, and can stand by it.

storage_schema.py has the tables, pruning.py what is kept of them and for how long, snapshot.py how a file
comes to a late state without the blocks before it, and check.py how damage in it is found and repaired.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from chain_node import pruning, storage_schema
from chain_node.block import BLOCK_SIZE_MAX, Block, Certificate, Header, Phase, Vote
from chain_node.errors import CertificateError, DoubleVote, StorageDamaged, WireError
from chain_node.evidence import Link, StateEvidence
from chain_node.fields import INT_MAX, read
from chain_node.genesis import Genesis
from chain_node.impeachment import Seen
from chain_node.kept import Kept
from chain_node.ledger import Execution, Head, genesis_execution
from chain_node.pruning import BODY_SIZE_MAX, PLAIN, Retention
from chain_node.state import Overlay
from chain_node.storage_file import checkpoint_every, create_private, decoding, storage_errors
from chain_node.storage_handovers import HandoverTable
from chain_node.storage_impeachments import ImpeachmentTable
from chain_node.storage_nodes import Nodes
from chain_node.transaction import Receipt, Transaction
from chain_node.validator_set import ENTRY_KEY, ValidatorSet
from puf import cbor
from puf.merkle_map import MerkleMap

BUSY_MS = 5_000
"""How long it waits for another process that holds the file."""
CHECKPOINT_PAGES = 1_000
"""Length of the log, in pages of 4 KiB, at which a commit also copies it back."""
CERTIFIED_MAX = 64
"""Blocks that `certified` reads at once."""
RECENT_MAX, RECENT_TX_MAX = 2, 10_000
"""Last blocks that are kept in memory, too, and how many transactions they may have together, unless it is
one block: under load peers are often a little behind, and to read a block of thousands of transactions anew
for each of them makes us fall behind as well.  Ten thousand transfers are some 10 MiB."""


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A final block as it lies in the file."""

    header: Header
    certificate: Certificate
    transactions: tuple[bytes, ...]
    receipts: tuple[Receipt, ...]


class Storage:
    """The file of one chain, opened by one process.  Raises StorageError and what is under it everywhere."""

    def __init__(
        self, connection: apsw.Connection, path: str, genesis: Genesis, retention: Retention = PLAIN
    ) -> None:
        self.connection = connection
        """For the files of this folder that look into it."""
        self._is_joining = False
        self._recent: dict[int, Block] = {}
        """The last blocks as they were committed, by height."""
        self.path = path
        self.nodes = Nodes(connection)
        """The table of the state's nodes; around it, `errors`."""
        self.handovers = HandoverTable(connection, path, genesis)
        """The table of handovers; around it, `errors`."""
        self.impeachments = ImpeachmentTable(connection, path)
        """Why proposers were impeached, as this node saw it; around it, `errors`."""
        self.retention = retention
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
        retention: Retention = PLAIN,
        is_tolerant: bool = False,
    ) -> "Storage":
        """The chain in `path`, which is made with the genesis's state if it is not there.

        vfs: name of a registered SQLite VFS, which must have the file; tests put a disk there that forgets.
        checkpoint_pages: see CHECKPOINT_PAGES.  retention: what is kept; it may be another each time.
        is_tolerant: a damaged head is passed over for the one below, for who repairs it.
        Raises WrongChainStored, StorageDamaged, StorageFull, StorageError.
        """
        name = os.path.abspath(path)
        if vfs is None:
            # Made here, not by SQLite, for the permissions; its -wal and -shm files take theirs from it.
            create_private(name)
        with storage_errors(name):
            connection = apsw.Connection(name, flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)
        storage = cls(connection, name, genesis, retention)
        try:
            with storage.errors(), decoding(name):
                connection.set_busy_timeout(BUSY_MS)
                # Before anything is changed in it: it may be somebody else's.
                is_new = connection.execute("SELECT count(*) = 0 FROM sqlite_schema").get
                if not is_new:
                    storage_schema.check_identity(connection, name)
                storage_schema.configure(connection, name)
                connection.set_wal_hook(checkpoint_every(checkpoint_pages))
                if is_new:
                    storage._begin()
                storage.resume(is_tolerant)
        except BaseException:
            connection.close()
            raise
        return storage

    def close(self) -> None:
        """Close the file; nothing else may be called afterwards."""
        self.connection.close()

    # Blocks

    def commit(
        self, block: Block, certificate: Certificate, execution: Execution, seen: Seen | None = None
    ) -> None:
        """Make `block` the new head, with all that belongs to it, in one synced transaction.

        seen: what this node saw of its impeachment.

        Raises StorageFull when there is no room; the former head then stands, and it may be tried again.
        """
        header, handovers = block.header, []
        if self._is_joining:
            # A snapshot was begun and given up: its nodes would be taken for the state's.
            self.sweep()
        with self.transaction() as database:
            self._insert_link(Link(header, certificate))
            self.insert_body(block, execution.leaves)
            self.nodes.write(execution, header.height)
            database.execute("DELETE FROM vote WHERE height < ?", (header.height,))
            size = database.execute("SELECT size FROM body WHERE height = ?", (header.height,)).get
            if execution.successors:
                proof = MerkleMap(Overlay(self.nodes.read), header.state_root).prove(ENTRY_KEY)
                handovers = [StateEvidence(Link(header, certificate), proof)]
                self.handovers.insert(handovers)
            if seen:
                self.impeachments.insert(header.height, seen)
            pruning.prune(database, self.retention, header.height, size)
        self.handovers.note(handovers)
        self.nodes.remember(execution)
        self.head = head_of(header)
        self._remember(block)

    def headers(self, first: int, count: int) -> list[tuple[bytes, bytes]]:
        """(header, certificate) as bytes, from height `first` on, at most `count`, without a gap."""
        with self.errors():
            rows: list[Any] = self.connection.execute(
                "SELECT header, certificate, height FROM block WHERE height >= ? ORDER BY height LIMIT ?",
                (first, count),
            ).fetchall()
        return [
            (header, certificate)
            for at, (header, certificate, height) in enumerate(rows, first)
            if at == height
        ]

    def link(self, height: int) -> Link | None:
        """Header and certificate of this height, if they are kept."""
        rows = self.headers(height, 1)
        with decoding(self.path):
            return Link.decode(*rows[0]) if rows else None

    @property
    def headers_from(self) -> int:
        """From this height on up to the head every header is here."""
        return self._number("headers_from")

    @property
    def bodies_from(self) -> int:
        """From this height on up to the head every block is here with its transactions."""
        with self.errors():
            body: int | None = self.connection.execute(
                "SELECT min(height) FROM body WHERE height >= ?", (self.headers_from,)
            ).get
        return self.head.height + 1 if body is None else body

    def block(self, height: int) -> StoredBlock | None:
        """The block at this height, if it is final and its body is kept."""
        with self.errors():
            row = self.connection.execute(
                "SELECT header, certificate, transactions, receipts "
                "FROM block JOIN body USING (height) WHERE height = ?",
                (height,),
            ).fetchone()
        with decoding(self.path):
            return _stored_block(*row) if row else None

    def certified(self, first: int, count: int) -> list[tuple[Block, Certificate]]:
        """Final blocks from height `first` on, for peers that are behind: rising, without a gap.

        At most `count`, CERTIFIED_MAX and BLOCK_SIZE_MAX bytes of transactions, but one if there is one.
        """
        found: list[tuple[Block, Certificate]] = []
        room = BLOCK_SIZE_MAX
        for height in range(first, first + min(count, CERTIFIED_MAX)):
            pair = self._certified(height)
            room -= sum(len(transaction.data) for transaction in pair[0].transactions) if pair else 0
            if not pair or (found and room < 0):
                break
            found.append(pair)
        return found

    def validators_at(self, height: int) -> ValidatorSet:
        """Who certifies the block of this height, at most NOTICE_BLOCKS after the head."""
        return self.handovers.sets.at(height)

    def changes(self, first: int, count: int) -> list[bytes]:
        """Evidence of changes of validators (handover.py), from that to set `first` on, at most `count`."""
        with self.errors():
            return self.handovers.read(first, count)

    def put_handovers(self, handovers: Sequence[StateEvidence]) -> None:
        """Keep evidence of changes of validators, checked and in their order, for whoever joins late."""
        with self.transaction():
            self.handovers.insert(handovers)
        self.handovers.note(handovers)

    def find_transaction(self, tx_hash: bytes) -> tuple[int, int] | None:
        """(height, position in the block) of a final transaction, as long as its body is kept."""
        with self.errors():
            row: tuple[int, int] | None = self.connection.execute(
                "SELECT height, position FROM tx WHERE hash = ?", (tx_hash,)
            ).fetchone()
            return row

    def read_node(self, node_hash: bytes) -> bytes:
        """A node of the state's Merkle map.  Raises KeyError when there is none of this hash."""
        node = self.nodes.cache.get(node_hash)
        if node is None:
            with self.errors():
                node = self.nodes.read(node_hash)
        return node

    def entries(self, state_root: bytes) -> MerkleMap:
        """The state with this root, to read and to prove: the head's, or of the last `states_kept` blocks."""
        return MerkleMap(Overlay(self.read_node), state_root)

    def errors(self) -> contextlib.AbstractContextManager[None]:
        """Around readers of `entries`: StorageError for all that only a broken disk or file brings."""
        return storage_errors(self.path, self.connection)

    # Votes

    def put_votes(self, items: Sequence[Kept]) -> None:
        """Remember our votes, with all that goes with them, for good: all of them or none.

        Only then may any of them be shown to anyone.  The same vote again is no error.  Raises
        DoubleVote when a height, round and phase has another one, or the height is decided otherwise.
        """
        with self.transaction() as database:
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
            rows: list[Any] = self.connection.execute(
                "SELECT data, block, seal, certificate FROM vote WHERE height = ? ORDER BY round, phase",
                (height,),
            ).fetchall()
        with decoding(self.path):
            return [self.kept(*row) for row in rows]

    # A state from elsewhere

    def put_nodes(self, nodes: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep nodes of a state that is not the head's yet: (hash, node), each after all that is below it.

        Synced, all or none.  Then either `install` its block, or go on from the head as if nothing had been.
        """
        with self.transaction() as database:
            if not self._is_joining:
                database.execute("UPDATE number SET value = 1 WHERE name = 'joining'")
            self.nodes.put(nodes)
        self._is_joining = True

    @property
    def is_joining(self) -> bool:
        """Whether some of a state that is not the head's is here."""
        return self._is_joining

    def install(self, link: Link) -> None:
        """Make a block the head without its body and those before it; the nodes of its state are all here.

        Blocks from before stay until they are pruned.  Votes up to this height are forgotten: it is decided.
        The caller has verified the certificate.  Raises NodeMissing when the state is not whole.
        """
        header = link.header
        assert header.height > self.head.height, "a chain does not go back"  # noqa: S101 - only a bug asks
        with self.errors():
            if not self.nodes.is_live(header.state_root):
                raise StorageDamaged(self.path, f"the state of block {header.height} is not whole; fetch it")
        with self.transaction() as database:
            self._insert_link(link)
            database.execute("DELETE FROM vote WHERE height <= ?", (header.height,))
            database.execute("UPDATE number SET value = ? WHERE name = 'headers_from'", (header.height,))
            database.execute("UPDATE number SET value = 1 WHERE name = 'sweeping'")
        self.head = head_of(header)
        self.sweep()

    def sweep(self) -> int:
        """Delete all nodes that the head's state does not need; how many.  Interrupted, `open` does it."""
        with self.transaction() as database:
            database.execute("UPDATE number SET value = 1 WHERE name = 'sweeping'")
        with self.errors():
            count = self.nodes.sweep(self.head.state_root, self.transaction)
        with self.transaction() as database:
            database.execute("UPDATE number SET value = 0 WHERE name IN ('joining', 'sweeping')")
        self._is_joining = False
        return count

    # For check.py, too

    @contextlib.contextmanager
    def transaction(self) -> Iterator[apsw.Connection]:
        """All of what is inside is on the disk afterwards or, when anything is raised, none of it."""
        with self.errors():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                # After some errors SQLite has rolled back by itself.
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def insert_body(self, block: Block, receipts: Sequence[bytes]) -> None:
        """The body of a block whose header is here, and its transactions' index, within a `transaction`."""
        height = block.header.height
        body = cbor.encode([transaction.data for transaction in block.transactions])
        encoded = cbor.encode(list(receipts))
        size = pruning.body_size(body, encoded, len(block.transactions))
        before = (
            self.connection.execute(
                "SELECT end FROM body WHERE height < ? ORDER BY height DESC LIMIT 1", (height,)
            ).get
            or 0
        )
        self.connection.execute(
            "INSERT INTO body VALUES (?, ?, ?, ?, ?)",
            (height, size, before + size, body, encoded),
        )
        self.connection.executemany(
            "INSERT INTO tx VALUES (?, ?, ?)",
            [(tx.tx_hash, height, position) for position, tx in enumerate(block.transactions)],
        )

    # Inside

    def _remember(self, block: Block) -> None:
        recent = self._recent
        recent[block.header.height] = block
        while len(recent) > 1 and (
            len(recent) > RECENT_MAX
            or sum(len(each.transactions) for each in recent.values()) > RECENT_TX_MAX
        ):
            del recent[min(recent)]

    def _certified(self, height: int) -> tuple[Block, Certificate] | None:
        if block := self._recent.get(height):
            with self.errors():
                is_here: bool = self.connection.execute(
                    "SELECT count(*) FROM body WHERE height = ?", (height,)
                ).get
            link = self.link(height)
            return (block, link.certificate) if is_here and link else None
        stored = self.block(height)
        if not stored:
            return None
        with decoding(self.path):
            transactions = tuple(map(Transaction.restore, stored.transactions))
        return Block(stored.header, transactions), stored.certificate

    def _insert_link(self, link: Link) -> None:
        header = link.header
        self.connection.execute(
            "INSERT INTO block VALUES (?, ?, ?, ?)",
            (header.height, header.block_hash, header.data, link.certificate.encode()),
        )

    def _number(self, name: str) -> int:
        with self.errors():
            value: int = self.connection.execute("SELECT value FROM number WHERE name = ?", (name,)).get
            return value

    def kept(self, vote: bytes, block: bytes | None, seal: bytes | None, certificate: bytes | None) -> Kept:
        """A vote as its row has it.  Raises WireError, CertificateError."""
        shown = Certificate.decode(certificate) if certificate else None
        if shown:
            shown.verify(self.genesis.chain_id, self.validators_at(shown.height).keys, Phase.PREPARE)
        return Kept(
            vote=Vote.decode(vote),
            block=Block.decode(block) if block else None,
            seal=Vote.decode(seal) if seal else None,
            certificate=shown,
        )

    def resume(self, is_tolerant: bool) -> None:
        """Go by what is in the file now; for `open`, and for who has changed it."""
        storage_schema.check_chain(self.connection, self.path, self.genesis)
        self.handovers.load(is_tolerant=is_tolerant)
        self.impeachments.load()
        self.head, _ = genesis_execution(self.genesis)
        below = INT_MAX
        while row := self._top_below(below):
            below, *parts = row
            try:
                self.head = self._head_in(*parts)
                break
            except (WireError, CertificateError, StorageDamaged):
                if not is_tolerant:
                    raise
        self._is_joining = bool(self._number("joining"))
        if self._number("sweeping") and not is_tolerant:
            self.sweep()

    def _top_below(self, height: int) -> Any:
        # One row at a time: a statement that is not read to its end locks the table that a sweep drops.
        return self.connection.execute(
            "SELECT height, header, certificate, hash FROM block WHERE height < ? "
            "ORDER BY height DESC LIMIT 1",
            (height,),
        ).fetchone()

    def _head_in(self, header_data: bytes, certificate_data: bytes, block_hash: bytes) -> Head:
        header, certificate = Header.decode(header_data), Certificate.decode(certificate_data)
        certificate.verify(self.genesis.chain_id, self.validators_at(header.height).keys)
        if not block_hash == header.block_hash == certificate.block_hash:
            raise StorageDamaged(self.path, f"block {header.height} and its certificate do not fit")
        return head_of(header)

    def _begin(self) -> None:
        _, execution = genesis_execution(self.genesis)
        with self.transaction() as database:
            storage_schema.create(database, self.genesis)
            self.nodes.write(execution, 0)


def head_of(header: Header) -> Head:
    """What a final block is to the next one."""
    return Head(header.height, header.block_hash, header.time_ms, header.state_root)


def _stored_block(header: bytes, certificate: bytes, transactions: bytes, receipts: bytes) -> StoredBlock:
    return StoredBlock(
        Header.decode(header),
        Certificate.decode(certificate),
        decode_list(transactions),
        tuple(Receipt.decode(item) for item in decode_list(receipts)),
    )


def decode_list(data: bytes) -> tuple[bytes, ...]:
    """The transactions or receipts of a stored body.  Raises WireError."""
    items = read(data, "stored list", BODY_SIZE_MAX)
    if not isinstance(items, list) or not all(isinstance(item, bytes) for item in items):
        raise WireError("stored list", "it is no list of bytes")
    return tuple(items)
