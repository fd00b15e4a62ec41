"""`cpc node check`: is everything in a chain's file what it must be, and what can be made whole again?

Runs on CPython.  Reads the whole file once, in bounded memory, and trusts nothing in it but the genesis:

    file    SQLite's own check of its pages and indexes
    handover  each change of validators is proven, by those before it
    block   each header continues the one before; its hash and its certificate hold; none is missing
    body    transactions and receipts are those of the header's roots; sizes and their sums are right
    tx      each transaction of each body is found, and nothing else
    node    every node has its hash, and what is below it; those of the head's state are live, no others are
    books   all money of the head's state is there once, and what is put aside is in open escrows (audit.py)
    vote    signatures hold, heights are open, each lies where it says, certificates are certificates

What is wrong is a `Damage`: table, place, what.  Repair is check_repair.py's.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import apsw

from chain_node import audit, validator_set
from chain_node.block import Header, list_root
from chain_node.errors import BooksWrong, CertificateError, HeaderError, StorageDamaged, TrustError, WireError
from chain_node.evidence import Link, StateEvidence
from chain_node.handover import Handovers
from chain_node.pruning import body_size
from chain_node.state import Overlay, State
from chain_node.storage import Storage, decode_list
from chain_node.storage_handovers import entry_of
from chain_node.transaction import Receipt, transaction_hash
from puf.merkle_map import EMPTY, MerkleMap, NodeMissing, open_node

PROGRESS_EVERY = 1_000
"""Rows between two reports of progress."""
DAMAGES_MAX = 1_000
"""Damages that are told one by one; more are only counted."""


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing in the file that is not what it must be."""

    table: str
    """"file", or the table."""
    height: int | None
    """Of the block it belongs to, where it belongs to one."""
    what: str
    """For people."""
    key: bytes = b""
    """The hash of a node or a transaction."""

    def __str__(self) -> str:
        place = "" if self.height is None else f" {self.height}"
        return f"{self.table}{place}: {self.what}"


@dataclass(slots=True)
class Report:
    """What was looked at, and what is wrong."""

    counts: dict[str, int] = field(default_factory=dict)
    """Rows looked at, by table."""
    damages: list[Damage] = field(default_factory=list)
    """In the order of the tables; at most DAMAGES_MAX."""
    damage_count: int = 0
    """Of all."""
    notes: list[str] = field(default_factory=list)
    """What is no damage, and worth knowing."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damage_count

    def add(self, damage: Damage) -> None:
        """Note what is wrong."""
        self.damage_count += 1
        if len(self.damages) < DAMAGES_MAX:
            self.damages.append(damage)


Progress = Callable[[str, int, int], None]
"""(table, rows done, rows there are)."""


def check(storage: Storage, progress: Progress = lambda table, done, total: None) -> Report:
    """Look at everything.  Raises StorageError when the file cannot be read at all."""
    return _Check(storage, progress).run()


class _Check:
    def __init__(self, storage: Storage, progress: Progress) -> None:
        self._storage = storage
        self._progress = progress
        self._report = Report()
        self._database = storage.connection
        self._known = Handovers(storage.genesis)
        """Who certifies which height, proven."""
        self._indexed = 0
        """Transactions that are found where they are."""

    def run(self) -> Report:
        with self._storage.errors():
            for table, look in (
                ("file", self._check_file),
                ("handover", self._check_handovers),
                ("block", self._check_blocks),
                ("body", self._check_bodies),
                ("tx", self._check_index),
                ("node", self._check_nodes),
                ("books", self._check_books),
                ("vote", self._check_votes),
            ):
                try:
                    look()
                except (apsw.CorruptError, UnicodeDecodeError) as error:
                    self._wrong("file", None, f"{table} cannot be read to its end: {error}")
        return self._report

    def _wrong(self, table: str, height: int | None, what: str, key: bytes = b"") -> None:
        self._report.add(Damage(table, height, what, key))

    def _rows(self, table: str, statement: str) -> Iterator[Any]:
        total: int = self._database.execute(f"SELECT count(*) FROM {table}").get  # noqa: S608 - a name of ours
        done = 0
        for row in self._database.execute(statement):
            yield row
            done += 1
            if done % PROGRESS_EVERY == 0:
                self._progress(table, done, total)
        self._report.counts[table] = done
        self._progress(table, done, total)

    def _check_file(self) -> None:
        for (line,) in self._database.execute("PRAGMA integrity_check(100)"):
            if line != "ok":
                self._wrong("file", None, str(line))

    def _check_handovers(self) -> None:
        sets = self._storage.handovers.sets
        statement = "SELECT number, entry, data FROM handover ORDER BY number"
        for number, kept, data in self._rows("handover", statement):
            try:
                newest = self._known.learn(StateEvidence.decode(data))
                if newest.number != number or kept != entry_of(StateEvidence.decode(data)).encode():
                    raise WireError("handover", "it is not what stands beside it")
            except (WireError, TrustError) as error:
                self._wrong("handover", None, f"change {number}: {error}", number.to_bytes(8, "big"))
                break
        if sets.newest.number > self._known.sets.newest.number:
            # By what stands beside the evidence, the rest can be looked at all the same.
            self._known.sets = sets
        state = State(self._storage.entries(self._storage.head.state_root))
        try:
            newest = validator_set.present(state, self._storage.genesis.validators).newest
        except (NodeMissing, WireError, StorageDamaged):
            # It is named as the state's damage.
            return
        if newest.number > sets.newest.number:
            missing = sets.newest.number + 1
            self._wrong("handover", None, f"change {missing} is missing", missing.to_bytes(8, "big"))

    # Headers and certificates

    def _check_blocks(self) -> None:
        storage = self._storage
        headers_from = storage.headers_from
        before: Header | None = None
        expected = headers_from
        statement = "SELECT height, hash, header, certificate FROM block ORDER BY height"
        for height, block_hash, header_data, certificate_data in self._rows("block", statement):
            if height >= headers_from:
                self._miss_blocks(max(expected, headers_from), height)
            expected = height + 1
            try:
                link = Link.decode(header_data, certificate_data)
                self._known.verify(link)
            except (WireError, HeaderError, CertificateError) as error:
                self._wrong("block", height, str(error))
                before = None
                continue
            header = link.header
            if header.height != height:
                self._wrong("block", height, f"what lies there is block {header.height}")
            elif header.block_hash != block_hash:
                self._wrong("block", height, "its hash is not that of its header")
            elif not self._continues(header, before):
                self._wrong("block", height, "its header does not continue the one before")
            before = header
        self._miss_blocks(max(expected, headers_from), storage.head.height + 1)

    def _miss_blocks(self, first: int, end: int) -> None:
        for height in range(first, end):
            self._wrong("block", height, "it is missing")

    def _continues(self, header: Header, before: Header | None) -> bool:
        genesis = self._storage.genesis
        if header.height == 1:
            return header.parent_hash == genesis.chain_id and header.time_ms > genesis.time_ms
        if before is None or before.height != header.height - 1:
            return True
        return header.parent_hash == before.block_hash and header.time_ms > before.time_ms

    # Bodies and their index

    def _check_bodies(self) -> None:
        end = None
        expected = None
        statement = (
            "SELECT body.height, size, end, transactions, receipts, header FROM body "
            "LEFT JOIN block USING (height) ORDER BY body.height"
        )
        for height, size, at, transactions, receipts, header_data in self._rows("body", statement):
            self._miss_bodies(expected or height, height)
            expected = height + 1
            if header_data is None:
                self._wrong("body", height, "its header is missing")
                end = at
                continue
            try:
                header = Header.decode(header_data)
            except WireError:
                # It is named as the block's damage; nothing can be said of a body without it.
                end = at
                continue
            if why := wrong_in_body(header, transactions, receipts):
                self._wrong("body", height, why)
                end = at
                continue
            count = len(decode_list(transactions))
            if size != body_size(transactions, receipts, count) or (end is not None and at < end):
                self._wrong("body", height, "its size is not that of its bytes")
            end = at
            self._check_index_of(height, transactions)
        head = self._storage.head.height
        self._miss_bodies(expected or head, head + 1)

    def _miss_bodies(self, first: int, end: int) -> None:
        # The block of a snapshot has none.
        headers_from = self._storage.headers_from
        for height in range(max(first, headers_from + (headers_from > 1)), end):
            self._wrong("body", height, "it is missing")

    def _check_index_of(self, height: int, transactions: bytes) -> None:
        for position, item in enumerate(decode_list(transactions)):
            tx_hash = transaction_hash(item)
            found = self._database.execute(
                "SELECT height, position FROM tx WHERE hash = ?", (tx_hash,)
            ).fetchone()
            if found == (height, position):
                self._indexed += 1
            else:
                what = f"transaction {tx_hash.hex()}, number {position}, is not found"
                self._wrong("tx", height, what, tx_hash)

    def _check_index(self) -> None:
        count: int = self._database.execute("SELECT count(*) FROM tx").get
        self._report.counts["tx"] = count
        # Of a damaged body nobody can say what belongs to it.
        if count > self._indexed and not any(damage.table == "body" for damage in self._report.damages):
            self._wrong("tx", None, f"{count - self._indexed} entries are of no transaction that is here")

    # Nodes

    def _check_nodes(self) -> None:
        database = self._database
        live: int = database.execute("SELECT count(*) FROM node WHERE stale_since IS NULL").get
        before = self._report.damage_count
        done = self._check_head_state(live)
        statement = "SELECT hash, data, stale_since FROM node WHERE stale_since IS NOT NULL"
        for node_hash, node, stale_since in database.execute(statement):
            done += 1
            self._check_stale(node_hash, node, stale_since)
        total: int = database.execute("SELECT count(*) FROM node").get
        orphans = total - done
        if self._storage.is_joining:
            self._report.notes.append(f"{orphans} nodes are of a state that is still being fetched")
        elif orphans > 0 and self._report.damage_count == before:
            self._wrong("node", None, f"{orphans} nodes are of no state that is here")
        self._report.counts["node"] = total
        self._progress("node", total, total)

    def _check_head_state(self, total: int) -> int:
        """Walk the head's state past all damage; how many nodes of it are right and live."""
        root = self._storage.head.state_root
        waiting = [] if root == EMPTY else [root]
        done = 0
        while waiting:
            node_hash = waiting.pop()
            row = self._database.execute(
                "SELECT data, stale_since FROM node WHERE hash = ?", (node_hash,)
            ).fetchone()
            try:
                if row is None:
                    raise NodeMissing(node_hash)
                waiting += reversed(open_node(node_hash, row[0]))
            except NodeMissing:
                what = "missing" if row is None else "damaged"
                self._wrong("node", None, f"node {node_hash.hex()} of the head's state is {what}", node_hash)
                continue
            if row[1] is not None:
                what = f"node {node_hash.hex()} of the head's state is marked as stale since block {row[1]}"
                self._wrong("node", None, what, node_hash)
                continue
            done += 1
            if done % PROGRESS_EVERY == 0:
                self._progress("node", done, total)
        return done

    def _check_stale(self, node_hash: bytes, node: bytes, stale_since: int) -> None:
        name = f"node {node_hash.hex()} of a state before block {stale_since}"
        if not 0 < stale_since <= self._storage.head.height:
            self._wrong("node", None, f"node {node_hash.hex()} is stale since block {stale_since}", node_hash)
        try:
            for child in open_node(node_hash, node):
                if self._database.execute("SELECT 1 FROM node WHERE hash = ?", (child,)).get is None:
                    self._wrong("node", stale_since, f"{name} lacks node {child.hex()} below it", child)
        except NodeMissing:
            self._wrong("node", stale_since, f"{name} is damaged", node_hash)

    def _check_books(self) -> None:
        # A state that is not whole cannot be counted, and its damage is told already.
        if any(damage.table == "node" for damage in self._report.damages):
            return
        head = self._storage.head
        try:
            totals = audit.check(MerkleMap(Overlay(self._read_node), head.state_root))
        except (BooksWrong, NodeMissing, WireError) as error:
            self._wrong("books", head.height, str(error))
        else:
            self._report.counts["books"] = sum(totals.counts.values())

    def _read_node(self, node_hash: bytes) -> bytes:
        node = self._storage.nodes.find(node_hash)
        if node is None:
            raise KeyError(node_hash)
        return node

    # Votes

    def _check_votes(self) -> None:
        head = self._storage.head.height
        statement = "SELECT height, round, phase, block_hash, data, block, seal, certificate FROM vote"
        for height, round_, phase, block_hash, *parts in self._rows("vote", statement):
            place = f"round {round_}, phase {phase}"
            try:
                kept = self._storage.kept(*parts)
            except (WireError, CertificateError) as error:
                self._wrong("vote", height, f"{place}: {error}")
                continue
            vote = kept.vote
            if (vote.height, vote.round, int(vote.phase), vote.block_hash) != (
                height,
                round_,
                phase,
                block_hash,
            ):
                self._wrong("vote", height, f"{place}: what lies there is another vote")
            elif vote.chain_id != self._storage.genesis.chain_id:
                self._wrong("vote", height, f"{place}: it is of another chain")
            elif kept.block and kept.block.header.block_hash != block_hash:
                self._wrong("vote", height, f"{place}: the block beside it is another one")
            elif height < head:
                self._wrong("vote", height, f"{place}: its height was decided long ago")


def wrong_in_body(header: Header, transactions: bytes, receipts: bytes) -> str:
    """What of these is not what the header says; empty when all is right."""
    try:
        items, said = decode_list(transactions), decode_list(receipts)
        decoded = [Receipt.decode(item) for item in said]
    except WireError as error:
        return str(error)
    if len(items) != header.tx_count or list_root(items) != header.tx_root:
        return "its transactions are not those of its header"
    if len(said) != header.tx_count or list_root(said) != header.receipts_root:
        return "its receipts are not those of its header"
    if [receipt.tx_hash for receipt in decoded] != [transaction_hash(item) for item in items]:
        return "its receipts are not those of its transactions"
    return ""
