"""A disk that forgets: what a node keeps is a log of records, and only what was synced outlives it.

Runs on CPython.  A power cut comes at a sync: before it (the record is lost), in the middle of it (half of
the record is there, and its checksum says so), or after it (all is there, and nobody was told).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from chain_node.block import Block, Certificate, Phase
from chain_node.errors import DoubleVote, StorageFull
from chain_node.genesis import Genesis
from chain_node.impeachment import Seen
from chain_node.kept import Kept
from chain_node.ledger import Execution, Head, genesis_execution
from chain_node.state import Overlay
from puf.merkle_map import MerkleMap

BEFORE, TORN, AFTER = "before", "torn", "after"
CUTS = (BEFORE, TORN, AFTER)


class PowerCut(Exception):
    """The node is gone; what is durable stays.  is_durable: whether that is also what it just wrote."""

    def __init__(self, is_durable: bool) -> None:
        super().__init__("the power is gone")
        self.is_durable = is_durable


@dataclass(frozen=True, slots=True)
class Record:
    """One write, all or nothing."""

    votes: tuple[Kept, ...]
    final: tuple[Block, Certificate, Execution] | None

    def data(self) -> bytes:
        """Bytes that stand for it."""
        parts = [kept.vote.data for kept in self.votes]
        if self.final:
            parts += [self.final[0].header.data, self.final[1].block_hash]
        return b"".join(parts)


@dataclass
class Disk:
    """What is in the machine: a log of (checksum, record, bytes), and what is about to happen to it."""

    log: list[tuple[bytes, Record, bytes]] = field(default_factory=list)
    sync_count: int = 0
    is_full: bool = False
    cut: Callable[[int], str | None] = lambda count: None
    """Asked at each sync, by its number: when the power goes there, if it does."""
    cost_us: Callable[[], int] = lambda: 0
    """How long a sync takes."""
    spent_us: int = 0

    def append(self, record: Record, name: str) -> None:
        """Write and sync.  Raises StorageFull, PowerCut."""
        if self.is_full:
            raise StorageFull(name, "the disk is full; free some space")
        self.sync_count += 1
        self.spent_us += self.cost_us()
        data = record.data()
        cut = self.cut(self.sync_count)
        if cut == BEFORE:
            raise PowerCut(is_durable=False)
        self.log.append((sha256(data).digest(), record, data[: len(data) // 2] if cut == TORN else data))
        if cut:
            raise PowerCut(is_durable=cut == AFTER)

    def recover(self) -> list[Record]:
        """The records that are whole; a torn one ends the log."""
        for index, (checksum, _, data) in enumerate(self.log):
            if sha256(data).digest() != checksum:
                del self.log[index:]
                break
        return [record for _, record, _ in self.log]


class SimStore:
    """What `Replica` keeps, over a Disk.  on_commit: told of each block that has become final here."""

    def __init__(
        self, disk: Disk, genesis: Genesis, name: str, on_commit: Callable[[Block, Certificate], None]
    ) -> None:
        self._disk = disk
        self._name = name
        self._on_commit = on_commit
        self.head, execution = genesis_execution(genesis)
        self._nodes = dict(execution.nodes_added)
        self.blocks: list[tuple[Block, Certificate]] = []
        self._votes: dict[int, dict[tuple[int, Phase], Kept]] = {}
        self._found: dict[bytes, tuple[int, int]] = {}
        for record in disk.recover():
            self._apply(record)

    def put_votes(self, items: Sequence[Kept]) -> None:
        for item in items:
            vote = item.vote
            known = self._votes.get(vote.height, {}).get((vote.round, vote.phase))
            if known and known.vote.block_hash != vote.block_hash:
                raise DoubleVote(vote.height, vote.round, known.vote.block_hash, vote.block_hash)
        record = Record(tuple(items), None)
        self._disk.append(record, self._name)
        self._apply(record)

    def votes(self, height: int) -> list[Kept]:
        votes = self._votes.get(height, {})
        return [votes[place] for place in sorted(votes)]

    def commit(self, block: Block, certificate: Certificate, execution: Execution, seen: Seen | None) -> None:
        assert block.header.height == self.head.height + 1
        assert block.header.parent_hash == self.head.block_hash
        record = Record((), (block, certificate, execution))
        try:
            self._disk.append(record, self._name)
        except PowerCut as cut:
            if cut.is_durable:
                self._on_commit(block, certificate)
            raise
        self._apply(record)
        self._on_commit(block, certificate)

    def certified(self, first: int, count: int) -> list[tuple[Block, Certificate]]:
        return self.blocks[first - 1 : first - 1 + count]

    def read_node(self, node_hash: bytes) -> bytes:
        return self._nodes[node_hash]

    def entries(self, state_root: bytes) -> MerkleMap:
        return MerkleMap(Overlay(self.read_node), state_root)

    def find_transaction(self, tx_hash: bytes) -> tuple[int, int] | None:
        return self._found.get(tx_hash)

    def _apply(self, record: Record) -> None:
        for kept in record.votes:
            vote = kept.vote
            self._votes.setdefault(vote.height, {}).setdefault((vote.round, vote.phase), kept)
        if record.final:
            block, certificate, execution = record.final
            header = block.header
            self.blocks.append((block, certificate))
            self._nodes.update(execution.nodes_added)
            for position, transaction in enumerate(block.transactions):
                self._found[transaction.tx_hash] = (header.height, position)
            self.head = Head(header.height, header.block_hash, header.time_ms, header.state_root)
            self._votes.pop(header.height - 1, None)
