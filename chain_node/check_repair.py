"""Repair of a chain's file: what can be rebuilt from the rest of it is, and what peers have is fetched.

Runs on CPython.  Nothing is taken on trust: a block counts by its certificate and its place between its
neighbours, a body by its header's roots, a node by its hash.  So any source will do.  In this order:

    file    indexes are built anew
    handover  evidence of changes of validators is fetched
    head    a last block that is damaged is dropped; it is fetched again, or comes as any new one does
    block   headers and certificates are fetched
    body    transactions are fetched; receipts follow from executing them, or from all having had their effect
    tx      the index is built anew from the bodies
    node    the head's state is executed anew from the last whole one, from the genesis if all blocks are
            here, or else fetched node by node
    vote    heights are decided with blocks that are fetched; a vote is never dropped while its height is
            open: who forgets a vote may contradict it

What stays damaged is in the Report of the check that follows.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from chain_node import ledger, validator_set
from chain_node.block import Block, Certificate, Header
from chain_node.check import Progress, Report, check, wrong_in_body
from chain_node.errors import IllicitBlock, StorageDamaged, TrustError, WireError
from chain_node.evidence import Link, StateEvidence
from chain_node.handover import Handovers, verify_certificate
from chain_node.ledger import Execution, Head
from chain_node.messages import NODES_COUNT_MAX, WantNodes
from chain_node.pruning import body_size
from chain_node.reason import Reason
from chain_node.schedule import GenesisTurns, Schedule
from chain_node.state import State
from chain_node.storage import Storage, decode_list, head_of
from chain_node.transaction import Receipt, Transaction, transaction_hash
from puf import cbor
from puf.merkle_map import NodeMissing, open_node

Fetch = Callable[[int, int], Sequence[tuple[Block, Certificate]]]
"""(first height, count) -> final blocks from there on, as many as the source likes; it is not trusted."""
FetchNodes = Callable[[WantNodes], Sequence[bytes]]
"""What a peer answers; see snapshot.answer."""
FetchChanges = Callable[[int], Sequence[StateEvidence]]
"""Number of a set -> evidence of the change to it, and of those after it, as many as the source likes."""


def repair(
    storage: Storage,
    fetch: Fetch | None = None,
    fetch_nodes: FetchNodes | None = None,
    progress: Progress = lambda table, done, total: None,
    fetch_changes: FetchChanges | None = None,
) -> tuple[Report, Report]:
    """What was wrong, and what still is.  storage: opened tolerantly.  Raises StorageError, PeerError."""
    before = check(storage, progress)
    if before.is_sound:
        return before, before
    with storage.errors():
        _Repair(storage, before, fetch, fetch_nodes, fetch_changes).run()
    return before, check(storage, progress)


class _Repair:
    def __init__(
        self,
        storage: Storage,
        report: Report,
        fetch: Fetch | None,
        fetch_nodes: FetchNodes | None,
        fetch_changes: FetchChanges | None,
    ) -> None:
        self._storage = storage
        self._database = storage.connection
        self._report = report
        self._fetch = fetch
        self._fetch_nodes = fetch_nodes
        self._fetch_changes = fetch_changes
        self._dropped = 0
        """The last block that was dropped."""
        self._schedule: Schedule = GenesisTurns(storage.genesis, storage.validators_at)

    def run(self) -> None:
        storage = self._storage
        if self._heights("file", is_any=True):
            with storage.transaction() as database:
                database.execute("REINDEX")
        if self._heights("handover", is_any=True):
            self._repair_handovers()
            if self._lacks_validators():
                # What seems to be nobody's block may be that of a set that is not known: drop nothing.
                return
        self._drop_above_head()
        for height in self._heights("block"):
            self._repair_block(height)
        for height in self._heights("body"):
            self._repair_body(height)
        self._rebuild_index()
        # What a dropped block had replaced is needed again, and what it had added is not.
        if self._dropped or self._heights("node", is_any=True):
            self._repair_state()
        self._catch_up(max([self._dropped, *(height + 1 for height in self._heights("vote"))]))
        with storage.transaction() as database:
            database.execute("DELETE FROM vote WHERE height < ?", (storage.head.height,))

    def _heights(self, table: str, is_any: bool = False) -> list[int]:
        """Of what is damaged in a table, rising; is_any: also what has no height, as -1."""
        found = {
            -1 if damage.height is None else damage.height
            for damage in self._report.damages
            if damage.table == table and (is_any or damage.height is not None)
        }
        return sorted(found)

    def _verify(self, link: Link) -> None:
        storage = self._storage
        verify_certificate(storage.genesis, link, storage.validators_at(link.header.height))

    # Validators

    def _repair_handovers(self) -> None:
        """Put what proves each change in its place again, as far as it is here or somebody has it."""
        storage, known = self._storage, Handovers(self._storage.genesis)
        rows: list[Any] = self._database.execute("SELECT data FROM handover ORDER BY number").fetchall()
        with contextlib.suppress(TrustError, WireError):
            for (data,) in rows:
                known.learn(StateEvidence.decode(data))
        with contextlib.suppress(TrustError, WireError):
            while self._fetch_changes:
                number = known.sets.newest.number
                for handover in self._fetch_changes(number + 1):
                    known.learn(handover)
                if known.sets.newest.number == number:
                    break
        good = known.proofs()
        with storage.transaction() as database:
            database.execute("DELETE FROM handover WHERE number <= ?", (len(good),))
            storage.handovers.insert(good)
        # Without it the last blocks may have seemed to be nobody's.
        storage.resume(is_tolerant=True)

    def _lacks_validators(self) -> bool:
        storage = self._storage
        state = State(storage.entries(storage.head.state_root))
        try:
            newest = validator_set.present(state, storage.genesis.validators).newest
        except (NodeMissing, StorageDamaged):
            return True
        return newest.number > storage.handovers.sets.newest.number

    # Blocks

    def _drop_above_head(self) -> None:
        height = self._storage.head.height
        with self._storage.transaction() as database:
            database.execute("DELETE FROM block WHERE height > ?", (height,))
            is_dropped = database.changes() > 0
            database.execute("DELETE FROM body WHERE height > ?", (height,))
            database.execute("DELETE FROM tx WHERE height > ?", (height,))
        if is_dropped:
            self._dropped = max(self._heights("block"))

    def _repair_block(self, height: int) -> None:
        found = self._fetched(height)
        if found is None or height > self._storage.head.height:
            return
        block, certificate = found
        header = block.header
        with self._storage.transaction() as database:
            database.execute(
                "INSERT OR REPLACE INTO block VALUES (?, ?, ?, ?)",
                (height, header.block_hash, header.data, certificate.encode()),
            )

    def _fetched(self, height: int) -> tuple[Block, Certificate] | None:
        """A final block from elsewhere that fits between those that are here."""
        for block, certificate in self._fetch(height, 1) if self._fetch else ():
            header = block.header
            if header.height != height:
                continue
            try:
                self._verify(Link(header, certificate))
            except TrustError:
                continue
            after = self._header(height + 1)
            if after is None or after.parent_hash == header.block_hash:
                return block, certificate
        return None

    def _repair_body(self, height: int) -> None:
        header = self._header(height)
        found = self._fetched(height)
        if header is None or found is None or found[0].header != header:
            return
        block = found[0]
        receipts = self._receipts(block)
        if receipts is None:
            return
        with self._storage.transaction() as database:
            database.execute("DELETE FROM body WHERE height = ?", (height,))
            database.execute("DELETE FROM tx WHERE height = ?", (height,))
            database.executemany(
                "DELETE FROM tx WHERE hash = ?", [(each.tx_hash,) for each in block.transactions]
            )
            self._storage.insert_body(block, [receipt.encode() for receipt in receipts])

    def _receipts(self, block: Block) -> Sequence[Receipt] | None:
        body = cbor.encode([transaction.data for transaction in block.transactions])
        applied = [Receipt(each.tx_hash, Reason.APPLIED, each.fee_ucpc) for each in block.transactions]
        for receipts in (applied, self._executed(block)):
            if receipts is not None:
                encoded = cbor.encode([receipt.encode() for receipt in receipts])
                if not wrong_in_body(block.header, body, encoded):
                    return receipts
        return None

    def _executed(self, block: Block) -> Sequence[Receipt] | None:
        parent = self._head_at(block.header.height - 1)
        if parent is None:
            return None
        try:
            return self._execute(parent, block).receipts
        except (NodeMissing, IllicitBlock):
            return None

    def _rebuild_index(self) -> None:
        if not any(self._heights(table, is_any=True) for table in ("tx", "body", "file")):
            return
        end = 0
        with self._storage.transaction() as database:
            database.execute("DELETE FROM tx")
            heights = [row[0] for row in database.execute("SELECT height FROM body ORDER BY height")]
            for height in heights:
                row: Any = database.execute(
                    "SELECT transactions, receipts FROM body WHERE height = ?", (height,)
                ).fetchone()
                transactions, receipts = row
                try:
                    items = decode_list(transactions)
                except WireError:
                    # It could not be repaired, and is told of as a body.
                    items = ()
                size = body_size(transactions, receipts, len(items))
                end += size
                database.execute("UPDATE body SET size = ?, end = ? WHERE height = ?", (size, end, height))
                database.executemany(
                    "INSERT OR REPLACE INTO tx VALUES (?, ?, ?)",
                    [(transaction_hash(item), height, position) for position, item in enumerate(items)],
                )

    # States

    def _repair_state(self) -> None:
        storage = self._storage
        storage.nodes.cache.clear()
        if not self._is_whole(storage.head.state_root) and not self._replay() and self._fetch_nodes:
            self._fetch_missing(self._fetch_nodes)
        if self._is_whole(storage.head.state_root):
            # Marks, and what is left over. Earlier states cannot be proven any more then.
            storage.sweep()

    def _is_whole(self, root: bytes) -> bool:
        try:
            for _ in self._storage.nodes.walk(root):
                pass
        except NodeMissing:
            return False
        return True

    def _replay(self) -> bool:
        """Execute blocks again from the last state that is whole; whether there was one."""
        storage = self._storage
        for height in range(storage.head.height - 1, storage.bodies_from - 2, -1):
            parent = self._head_at(height)
            if parent and self._is_whole(parent.state_root):
                return self._replay_from(parent)
        if storage.bodies_from > 1:
            return False
        parent, execution = ledger.genesis_execution(storage.genesis)
        with storage.transaction():
            storage.nodes.put(list(execution.nodes_added.items()))
        return self._replay_from(parent)

    def _replay_from(self, parent: Head) -> bool:
        storage = self._storage
        with (
            contextlib.suppress(NodeMissing, IllicitBlock, StorageDamaged),
            storage.transaction() as database,
        ):
            while parent.height < storage.head.height:
                height = parent.height + 1
                stored = storage.block(height)
                if stored is None:
                    raise StorageDamaged(storage.path, f"block {height} is not here")
                transactions = tuple(map(Transaction.restore, stored.transactions))
                execution = self._execute(parent, Block(stored.header, transactions))
                storage.nodes.write(execution, height)
                # As it was when they were committed, or a chain's whole past would lie in the file.
                database.execute("DELETE FROM node WHERE stale_since < ?", (height,))
                parent = head_of(stored.header)
            return True
        return False

    def _execute(self, parent: Head, block: Block) -> Execution:
        def read_node(node_hash: bytes) -> bytes:
            node = self._storage.nodes.find(node_hash)
            if node is None:
                raise KeyError(node_hash)
            return node

        return ledger.check_block(read_node, parent, self._storage.genesis, block, self._schedule)

    def _fetch_missing(self, fetch_nodes: FetchNodes) -> None:
        """Ask for what is missing or damaged of the head's state, and for what is missing below that."""
        nodes = self._storage.nodes
        waiting = [self._storage.head.state_root]
        missing: list[bytes] = []
        while waiting or missing:
            if missing and (not waiting or len(missing) == NODES_COUNT_MAX):
                asked, missing = missing, []
                said = fetch_nodes(WantNodes(False, tuple(asked)))
                if not said:
                    return
                try:
                    for node_hash, node in zip(asked, said, strict=False):
                        waiting += open_node(node_hash, node)
                except NodeMissing:
                    # It lies; ask another source.
                    return
                with self._storage.transaction():
                    nodes.put(list(zip(asked, said, strict=False)))
                missing = asked[len(said) :]
                continue
            node_hash = waiting.pop()
            found = nodes.find(node_hash)
            try:
                waiting += open_node(node_hash, found or b"")
            except NodeMissing:
                missing.append(node_hash)

    # The chain goes on

    def _catch_up(self, height: int) -> None:
        """Commit blocks from elsewhere until the head is this high, or the source has no more."""
        storage = self._storage
        if not self._is_whole(storage.head.state_root):
            return
        while self._fetch and storage.head.height < height:
            first = storage.head.height + 1
            found = self._fetch(first, height - storage.head.height)
            for block, certificate in found:
                if block.header.height != storage.head.height + 1:
                    continue
                self._verify(Link(block.header, certificate))
                storage.commit(block, certificate, self._execute(storage.head, block))
            if storage.head.height < first:
                return

    def _header(self, height: int) -> Header | None:
        """The header of this height, if it is here and certified."""
        try:
            link = self._storage.link(height)
            if link is None or link.header.height != height:
                return None
            self._verify(link)
        except (StorageDamaged, TrustError):
            return None
        return link.header

    def _head_at(self, height: int) -> Head | None:
        if height == 0:
            return ledger.genesis_execution(self._storage.genesis)[0]
        header = self._header(height)
        return head_of(header) if header else None
