"""What a chain's file costs: bytes a transaction, checking it, and joining a long chain without its blocks.

Runs on CPython.  A chain of transfers among a few accounts is committed as a node does it.  Joining is
compared with executing every block: the first costs what the state costs, the second what the chain does.
"""

from contextlib import closing
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from chain_node import ledger
from chain_node.block import Block, Certificate
from chain_node.check import check
from chain_node.evidence import Link
from chain_node.light_client import verify_certificate
from chain_node.pruning import ARCHIVE
from chain_node.schedule import TakeTurns
from chain_node.snapshot import SnapshotClient
from chain_node.storage import Storage
from chain_node.transaction import Transaction, Transfer
from tests.bench.measure import FULL, TINY, Lap, Row, Stopwatch, compare, digest_of
from tests.chain_node.joining import SIGNERS, honest, join, rich_genesis
from tests.chain_node.world import ALICE, PROPOSER, certificate_of, key

BLOCK_COUNT = {TINY: 4, FULL: 30}
TX_COUNT = {TINY: 10, FULL: 400}
"""Transactions in a block."""
RECEIVER_COUNT = {TINY: 40, FULL: 4_000}
"""Accounts that are paid in turn, and so the state."""
ROUNDS = {TINY: 1, FULL: 3}
PEER = b"p" * 32
GENESIS = rich_genesis(10)


@cache
def _chain(size: str) -> tuple[TemporaryDirectory[str], list[tuple[Block, Certificate]]]:
    """The file of an archive node, and its blocks."""
    folder = TemporaryDirectory()
    nonce = 0
    receivers = [key(f"receiver {number}").public for number in range(RECEIVER_COUNT[size])]
    with closing(_open(Path(folder.name))) as storage:
        for _ in range(BLOCK_COUNT[size]):
            transactions = []
            for _ in range(TX_COUNT[size]):
                body = Transfer(receivers[nonce % len(receivers)], 5)
                transactions.append(Transaction.sign(ALICE, GENESIS.chain_id, nonce, body, 1_000))
                nonce += 1
            place = ledger.Place(
                GENESIS,
                storage.head.height + 1,
                storage.head.time_ms + 1,
                PROPOSER.public,
                TakeTurns(GENESIS.proposers),
            )
            execution = ledger.execute(storage.read_node, storage.head, place, transactions)
            block = ledger.block_of(storage.head, place, 0, execution)
            storage.commit(block, certificate_of(GENESIS, block.header, SIGNERS), execution)
        blocks = [pair for at in range(1, storage.head.height + 1) for pair in storage.certified(at, 1)]
    return folder, blocks


def _open(folder: Path, name: str = "chain.sqlite") -> Storage:
    return Storage.open(folder / name, GENESIS, retention=ARCHIVE)


def bench_bytes(size: str) -> list[Row]:
    """Bytes of the file for a transaction, of an archive, states apart; the peer: the transaction itself."""
    folder, blocks = _chain(size)
    with closing(_open(Path(folder.name))) as storage:
        rows: list[Any] = storage.connection.execute(
            "SELECT name, sum(pgsize) FROM dbstat GROUP BY name"
        ).fetchall()
        sizes: dict[str, int] = dict(rows)
        head = storage.head.block_hash
    tx_bytes = [len(each.data) for block, _ in blocks for each in block.transactions]
    ours = sum(sizes[name] for name in ("body", "tx")) / len(tx_bytes)
    bare = sum(tx_bytes) / len(tx_bytes)
    note = f"{sizes['block'] / len(blocks):,.0f} bytes a header, {sizes['node']:,} of all states"
    return [
        Row(
            "chain-storage",
            "transfer on the disk",
            "bytes",
            ours,
            "its own bytes",
            bare,
            ours / bare,
            digest_of(head, len(tx_bytes)),
            note=note,
        )
    ]


def bench_check(size: str) -> list[Row]:
    """`cpc node check`; an item is a row of any table.  The peer reads every row and hashes it."""
    folder, _ = _chain(size)

    def ours() -> Lap:
        with closing(_open(Path(folder.name))) as storage:
            with Stopwatch() as watch:
                report = check(storage)
            assert report.is_sound
            return Lap(watch.cpu_us, sum(report.counts.values()), digest_of(report.counts["block"]))

    def bare() -> Lap:
        count = 0
        with closing(_open(Path(folder.name))) as storage, Stopwatch() as watch:
            for table, column in (
                ("block", "header"),
                ("body", "transactions"),
                ("tx", "hash"),
                ("node", "data"),
            ):
                for (data,) in storage.connection.execute(f"SELECT {column} FROM {table}"):  # noqa: S608 - ours
                    sha256(data).digest()
                    count += 1
        return Lap(watch.cpu_us, count, digest_of(count))

    return compare(
        "chain-check",
        "row in the file",
        ours,
        {"reading and hashing it": bare},
        ROUNDS[size],
        note=lambda ours_us: f"{1e6 / ours_us:,.0f} a second",
    )


def bench_join(size: str) -> list[Row]:
    """Joining by the state beside executing all blocks; an item is the whole of it, in CPU time."""
    folder, blocks = _chain(size)

    def ours() -> Lap:
        with (
            TemporaryDirectory() as name,
            closing(_open(Path(folder.name))) as source,
            closing(Storage.open(Path(name) / "chain.sqlite", GENESIS)) as storage,
        ):
            client = SnapshotClient(storage, GENESIS)
            with Stopwatch() as watch:
                join(client, {PEER: honest(source)})
            assert client.installed
            return Lap(watch.cpu_us, 1, digest_of(storage.head.block_hash, storage.head.state_root))

    def replay() -> Lap:
        data = [(block.encode(), certificate) for block, certificate in blocks]
        with (
            TemporaryDirectory() as name,
            closing(Storage.open(Path(name) / "chain.sqlite", GENESIS)) as storage,
        ):
            with Stopwatch() as watch:
                for item, certificate in data:
                    block = Block.decode(item)
                    verify_certificate(GENESIS, Link(block.header, certificate))
                    execution = ledger.check_block(
                        storage.read_node, storage.head, GENESIS, block, TakeTurns(GENESIS.proposers)
                    )
                    storage.commit(block, certificate, execution)
            return Lap(watch.cpu_us, 1, digest_of(storage.head.block_hash, storage.head.state_root))

    return compare(
        "chain-join",
        f"{RECEIVER_COUNT[size]:,} accounts, {BLOCK_COUNT[size] * TX_COUNT[size]:,} transactions",
        ours,
        {"executing every block": replay},
        ROUNDS[size],
        is_same_result=True,
        note=lambda ours_us: f"{2 * RECEIVER_COUNT[size] / ours_us * 1e6:,.0f} nodes a second, both ends",
    )
