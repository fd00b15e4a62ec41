"""The chain's file: whole blocks or nothing, votes for good, through power cuts, full disks and damage."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from chain_node import ledger
from chain_node import storage as storage_module
from chain_node.block import Block, Certificate, Phase, Vote, certify
from chain_node.entry import Account
from chain_node.errors import (
    StorageDamaged,
    StorageError,
    StorageFull,
    WrongChainStored,
)
from chain_node.genesis import Genesis
from chain_node.impeachment import Seen, Why
from chain_node.kept import Kept
from chain_node.ledger import Execution
from chain_node.pruning import PLAIN
from chain_node.schedule import TakeTurns
from chain_node.state import State
from chain_node.storage import Storage
from chain_node.storage_impeachments import DETAIL_MAX, KEPT_MAX
from chain_node.storage_nodes import Nodes
from chain_node.transaction import Transaction, Transfer
from tests.chain_node.world import (
    ALICE,
    BOB,
    PROPOSER,
    START_MS,
    VALIDATORS,
    anchor,
    certificate_of,
    genesis_of,
)
from tests.crash_disk import CrashLog, SpaceLeft
from tests.crash_model import Operation, Sync, Write
from tests.puf.test_merkle_map import reachable

ONE = VALIDATORS[:1]
STATES_KEPT = 64
GENESIS = genesis_of(ONE)
MADE = tuple[Block, Certificate, Execution]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chain.sqlite"


@pytest.fixture
def storage(path: Path) -> Iterator[Storage]:
    with closing(Storage.open(path, GENESIS)) as opened:
        yield opened


def pay(storage: Storage, amount_ucpc: int = 5, nonce: int | None = None) -> Transaction:
    if nonce is None:
        nonce = account_of(storage).nonce
    return Transaction.sign(ALICE, GENESIS.chain_id, nonce, Transfer(BOB.public, amount_ucpc), 1_000)


def account_of(storage: Storage) -> Account:
    return State(storage.entries(storage.head.state_root)).account(ALICE.public)


def make(storage: Storage, *transactions: Transaction, genesis: Genesis = GENESIS) -> MADE:
    """A certified block on the storage's head, not committed yet."""
    head = storage.head
    place = ledger.Place(
        genesis, head.height + 1, head.time_ms + 1, PROPOSER.public, TakeTurns(genesis.proposers)
    )
    execution = ledger.execute(storage.read_node, head, place, transactions)
    assert not execution.refused
    block = ledger.block_of(head, place, 0, execution)
    return block, certificate_of(genesis, block.header, ONE), execution


def extend(storage: Storage, count: int) -> None:
    for _ in range(count):
        storage.commit(*make(storage, pay(storage)))


def vote_for(block: Block, round_: int = 0, phase: Phase = Phase.COMMIT) -> Vote:
    header = block.header
    return Vote.sign(ONE[0], header.chain_id, header.height, round_, phase, header.block_hash)


def seal_of(block: Block) -> Vote:
    header = block.header
    return Vote.sign(PROPOSER, header.chain_id, header.height, 0, Phase.PROPOSE, header.block_hash)


def impeach(storage: Storage, seen: Seen | None) -> None:
    """Commit an impeachment block on the storage's head."""
    schedule = TakeTurns(GENESIS.proposers)
    block, execution = ledger.impeachment_block(storage.read_node, storage.head, GENESIS, schedule)
    storage.commit(block, certificate_of(GENESIS, block.header, ONE), execution, seen)


# Blocks


def test_a_new_file_begins_with_the_genesis_and_is_its_owners_alone(storage: Storage, path: Path) -> None:
    assert (storage.head.height, storage.head.block_hash) == (0, GENESIS.chain_id)
    assert account_of(storage).balance_ucpc == 500_000_000_000_000
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.stat(f"{path}-wal").st_mode & 0o777 == 0o600


def test_what_was_seen_of_an_impeachment_outlives_a_restart(storage: Storage, path: Path) -> None:
    impeach(storage, Seen(Why.ILLICIT, "its time is wrong"))
    impeach(storage, None)
    impeach(storage, Seen(Why.LATE))
    storage.close()
    with closing(Storage.open(path, GENESIS)) as again:
        assert [again.impeachments.get(height) for height in (1, 2, 3, 4)] == [
            Seen(Why.ILLICIT, "its time is wrong"),
            None,
            Seen(Why.LATE),
            None,
        ]


def test_of_impeachments_the_last_are_kept_and_of_what_is_wrong_the_beginning(storage: Storage) -> None:
    with storage.transaction():
        for height in range(1, KEPT_MAX + 3):
            storage.impeachments.insert(height, Seen(Why.ILLICIT, "x" * (DETAIL_MAX + 1)))
    assert [storage.impeachments.get(height) is None for height in (1, 2, 3)] == [True, True, False]
    seen = storage.impeachments.get(KEPT_MAX + 2)
    assert seen
    assert seen.detail == "x" * DETAIL_MAX


def test_a_file_of_before_there_was_a_table_of_impeachments_gets_one(storage: Storage, path: Path) -> None:
    impeach(storage, Seen(Why.LATE))
    storage.connection.execute("DROP TABLE impeachment")
    storage.close()
    with closing(Storage.open(path, GENESIS)) as again:
        assert again.impeachments.get(1) is None
        impeach(again, Seen(Why.NO_BLOCK))
        assert again.impeachments.get(2) == Seen(Why.NO_BLOCK)


def test_a_reason_that_nobody_knows_is_damage(storage: Storage) -> None:
    impeach(storage, Seen(Why.LATE))
    storage.connection.execute("UPDATE impeachment SET why = 'bad luck'")
    with pytest.raises(StorageDamaged, match="impeachment 1: there is no reason 'bad luck'"):
        storage.impeachments.get(1)


def test_what_is_committed_is_found_again_and_after_a_restart(storage: Storage, path: Path) -> None:
    made = [make(storage, pay(storage), Transaction.sign(BOB, GENESIS.chain_id, 0, anchor(), 0))]
    storage.commit(*made[0])
    made.append(make(storage, pay(storage)))
    storage.commit(*made[1])
    storage.close()
    with closing(Storage.open(path, GENESIS)) as again:
        assert again.head == storage.head
        assert again.head.height == 2
        for height, (block, certificate, execution) in enumerate(made, 1):
            stored = again.block(height)
            assert stored is not None
            assert (stored.header, stored.certificate) == (block.header, certificate)
            assert stored.transactions == tuple(each.data for each in block.transactions)
            assert stored.receipts == execution.receipts
            for position, transaction in enumerate(block.transactions):
                assert again.find_transaction(transaction.tx_hash) == (height, position)
        assert again.headers(1, 9) == [(block.header.data, each.encode()) for block, each, _ in made]
        assert again.headers(2, 9) == again.headers(1, 9)[1:]
        assert again.headers(1, 1) == again.headers(1, 9)[:1]
        assert (again.block(3), again.find_transaction(bytes(32)), again.headers(3, 1)) == (None, None, [])
        assert account_of(again).nonce == 2


def test_a_commit_that_is_interrupted_leaves_the_former_head(
    storage: Storage, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extend(storage, 1)
    made = make(storage, pay(storage))
    head = storage.head

    def die(*_: object) -> None:
        raise InterruptedError("between two statements of the commit")

    with monkeypatch.context() as patch:
        patch.setattr(Nodes, "write", die)
        with pytest.raises(InterruptedError):
            storage.commit(*made)
    assert storage.head == head
    assert storage.block(2) is None
    assert storage.find_transaction(made[0].transactions[0].tx_hash) is None
    storage.commit(*made)
    assert storage.head.height == 2
    storage.close()
    with closing(Storage.open(path, GENESIS)) as again:
        assert again.head.height == 2


def test_old_states_are_pruned_and_the_last_ones_stay_provable(storage: Storage) -> None:
    roots = []
    for _ in range(STATES_KEPT + 6):
        extend(storage, 1)
        roots.append(storage.head.state_root)
    fresh = [State(storage.entries(root)) for root in roots]
    assert PLAIN.states_kept == STATES_KEPT
    storage.nodes.cache.clear()
    assert [state.account(ALICE.public).nonce for state in fresh[5:]] == list(range(6, STATES_KEPT + 7))
    with (
        pytest.raises(StorageDamaged, match=r"node [0-9a-f]{64} of the Merkle map is missing"),
        storage.errors(),
    ):
        fresh[4].account(ALICE.public)
    kept = storage.connection.execute("SELECT hash FROM node WHERE stale_since IS NULL").fetchall()
    assert {row[0] for row in kept} == reachable(storage.entries(roots[-1]))


def test_it_is_synced_the_one_way_that_keeps_what_it_acknowledged(storage: Storage) -> None:
    """FULL is 2; NORMAL loses commits in WAL mode.  Source: https://sqlite.org/pragma.html."""
    pragma = storage.connection.pragma
    assert (pragma("journal_mode"), pragma("synchronous"), pragma("mmap_size")) == ("wal", 2, 0)
    assert (pragma("trusted_schema"), pragma("cell_size_check"), pragma("temp_store")) == (0, 1, 2)
    assert pragma("journal_size_limit") == 16 << 20
    assert pragma("application_id") == int.from_bytes(b"CPCn", "big")
    assert pragma("user_version") == 3


# Blocks for those that are behind


def test_final_blocks_are_read_with_their_transactions_and_certificates(storage: Storage) -> None:
    made: list[MADE] = []
    for _ in range(3):
        made.append(
            make(
                storage,
                pay(storage),
                Transaction.sign(BOB, GENESIS.chain_id, len(made), anchor(upload=len(made)), 1_000),
            )
        )
        storage.commit(*made[-1])
    expected = [(block, certificate) for block, certificate, _ in made]
    assert storage.certified(1, 9) == expected
    assert storage.certified(2, 1) == expected[1:2]
    assert storage.certified(4, 9) == []
    for block, _ in storage.certified(1, 9):
        assert Block.decode(block.encode()) == block


def test_the_last_blocks_are_not_read_anew_for_every_peer_that_is_a_little_behind(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    extend(storage, 4)
    expected = storage.certified(1, 9)
    read: list[bytes] = []
    restore = Transaction.restore

    def restored(data: bytes) -> Transaction:
        read.append(data)
        return restore(data)

    monkeypatch.setattr(Transaction, "restore", restored)
    assert storage.certified(3, 9) == expected[2:]
    assert read == []
    assert storage.certified(2, 9) == expected[1:]
    assert read == [expected[1][0].transactions[0].data]
    storage.connection.execute("DELETE FROM body WHERE height = 4")
    assert storage.certified(4, 9) == []


def test_not_more_blocks_are_read_than_memory_bears_but_always_one(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    extend(storage, 4)
    size = len(storage.certified(1, 1)[0][0].transactions[0].data)
    for room, count in ((2 * size, 2), (2 * size - 1, 1), (1, 1)):
        monkeypatch.setattr(storage_module, "BLOCK_SIZE_MAX", room)
        assert [block.header.height for block, _ in storage.certified(2, 9)] == [2, 3][:count]
    monkeypatch.setattr(storage_module, "BLOCK_SIZE_MAX", 1 << 24)
    monkeypatch.setattr(storage_module, "CERTIFIED_MAX", 3)
    assert len(storage.certified(1, 1 << 50)) == 3


# Faults


def work(storage: Storage, log: CrashLog, count: int) -> None:
    """Vote for and commit blocks, and note what is promised after each step."""
    for _ in range(count):
        block, certificate, execution = make(storage, pay(storage))
        prepare, commit = vote_for(block, phase=Phase.PREPARE), vote_for(block)
        shown = certify([prepare], GENESIS.validators)
        items = (Kept(prepare, block, seal_of(block)), Kept(commit, certificate=shown))
        storage.put_votes(items)
        log.mark("voted", items)
        storage.commit(block, certificate, execution)
        log.mark("committed", (block, certificate))


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_a_power_cut_at_any_moment_loses_no_vote_and_no_committed_block(
    tmp_path: Path, seed: int | None
) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    (root / "chain.sqlite").touch()
    with CrashLog(root) as log:
        with closing(Storage.open(root / "chain.sqlite", GENESIS, vfs=log.vfs)) as storage:
            log.mark("opened")
            work(storage, log, 6)
        assert log.differences() == []
        points = log.points(60, seed=seed or 0)
        for number, point in enumerate(points):
            image = log.image(point, seed, tmp_path / str(number))
            check_image(
                image.directory / "chain.sqlite", image.payloads("committed"), image.payloads("voted")
            )


def check_image(path: Path, committed: list[object], voted: list[object]) -> None:
    with closing(Storage.open(path, GENESIS)) as storage:
        assert storage.head.height in (len(committed), len(committed) + 1), "a commit may outrun its promise"
        for height, promised in enumerate(committed, 1):
            stored = storage.block(height)
            assert stored is not None
            assert isinstance(promised, tuple)
            assert (stored.header, stored.certificate) == (promised[0].header, promised[1])
        assert account_of(storage).nonce == storage.head.height
        kept = tuple(storage.votes(storage.head.height + 1))
        assert len(kept) in (0, 2), "both votes or neither"
        for items in voted:
            assert isinstance(items, tuple)
            if items[0].vote.height > storage.head.height:
                assert kept == items
        extend(storage, 2)


def test_a_full_disk_keeps_the_former_head_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    (root / "chain.sqlite").touch()
    with CrashLog(root) as log, closing(Storage.open(root / "chain.sqlite", GENESIS, vfs=log.vfs)) as storage:
        extend(storage, 2)
        head = storage.head
        made = make(storage, pay(storage))
        log.fault = SpaceLeft(5_000)
        with pytest.raises(StorageFull, match="the disk is full; free some space"):
            storage.commit(*made)
        assert storage.head == head
        assert storage.block(3) is None
        with pytest.raises(StorageFull):
            storage.put_votes([Kept(vote_for(made[0]), made[0])])
        log.fault = None
        storage.put_votes([Kept(vote_for(made[0]), made[0])])
        storage.commit(*made)
        assert storage.head.height == 3


def test_a_disk_that_fails_is_named_and_nothing_of_the_block_is_left(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    (root / "chain.sqlite").touch()

    def fail(operation: Operation) -> None:
        if isinstance(operation, Write | Sync):
            raise OSError(errno.EIO, "Input/output error")

    with CrashLog(root) as log, closing(Storage.open(root / "chain.sqlite", GENESIS, vfs=log.vfs)) as storage:
        extend(storage, 1)
        made = make(storage, pay(storage))
        log.fault = fail
        with pytest.raises(
            StorageError, match="disk I/O error; check its permissions and the disk"
        ) as caught:
            storage.commit(*made)
        assert not isinstance(caught.value, StorageFull)
        log.fault = None
        assert (storage.head.height, storage.block(2)) == (1, None)


def test_a_commit_is_not_called_failed_when_copying_the_log_back_is_what_failed(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    path = root / "chain.sqlite"
    path.touch()
    with (
        CrashLog(root) as log,
        closing(Storage.open(path, GENESIS, vfs=log.vfs, checkpoint_pages=4)) as storage,
    ):
        inode, failed = log.inode("chain.sqlite"), []

        def fail(operation: Operation) -> None:
            if isinstance(operation, Write) and operation.inode == inode:
                failed.append(operation)
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        log.fault = fail
        extend(storage, 2)
        assert (storage.head.height, account_of(storage).nonce) == (2, 2)
        assert len(failed) == 2
        log.fault = None
        before = path.read_bytes()
        extend(storage, 1)
        assert path.read_bytes() != before, "the log is copied back as soon as the disk lets it"
    with closing(Storage.open(path, GENESIS)) as again:
        assert again.head.height == 3


def test_a_disk_without_shared_memory_is_refused(path: Path) -> None:
    class NoSharedMemory(apsw.VFS):
        def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
            return apsw.VFSFile("unix-dotfile", name, flags)

    path.touch()
    vfs = NoSharedMemory("no-shared-memory", base="unix-dotfile")
    try:
        with pytest.raises(StorageError, match="journal mode is delete, not wal; use a local disk"):
            Storage.open(path, GENESIS, vfs="no-shared-memory")
    finally:
        vfs.unregister()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_when_the_file_is_made_is_said_as_such(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull, match=r"chain\.sqlite: the disk is full") as caught:
        Storage.open(path, GENESIS)
    assert caught.value.path == str(path)


def test_a_file_that_is_missing_is_never_made_by_sqlite_with_other_permissions(tmp_path: Path) -> None:
    with CrashLog(tmp_path) as log, pytest.raises(StorageError, match="unable to open database file"):
        Storage.open(tmp_path / "chain.sqlite", GENESIS, vfs=log.vfs)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_chain_another_program_or_garbage_is_left_alone(tmp_path: Path) -> None:
    ours, theirs, garbage = tmp_path / "ours", tmp_path / "theirs", tmp_path / "garbage"
    Storage.open(ours, GENESIS).close()
    other = genesis_of(ONE, name="other")
    with pytest.raises(WrongChainStored, match=f"holds chain {GENESIS.chain_id.hex()}") as caught:
        Storage.open(ours, other)
    assert caught.value.path == str(ours)
    with closing(sqlite3.connect(theirs)) as database:
        database.execute("CREATE TABLE a (b)")
    before = theirs.read_bytes()
    with pytest.raises(StorageDamaged, match="of another program"):
        Storage.open(theirs, GENESIS)
    assert theirs.read_bytes() == before
    garbage.write_bytes(b"no database at all, but long enough to be one" * 100)
    with pytest.raises(StorageDamaged, match="damaged: "):
        Storage.open(garbage, GENESIS)
    assert garbage.read_bytes().startswith(b"no database")
    with pytest.raises(StorageError, match="cannot be made: No such file or directory"):
        Storage.open(tmp_path / "no folder" / "chain.sqlite", GENESIS)


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement)
        database.commit()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE block SET header = x'00' WHERE height = 2", "what it holds is no header"),
        ("UPDATE block SET certificate = x'00' WHERE height = 2", "what it holds is no certificate"),
        (
            "UPDATE block SET certificate = (SELECT certificate FROM block LIMIT 1) WHERE height = 2",
            "block 2 and its certificate do not fit",
        ),
        ("UPDATE block SET hash = x'00' WHERE height = 2", "block 2 and its certificate do not fit"),
        ("PRAGMA user_version = 4", "its version is 4, this program knows 3; upgrade this program"),
        ("PRAGMA user_version = 2", "its version is 2, this program knows 3; open it with the version that"),
    ],
)
def test_damage_to_the_head_is_named_when_the_file_is_opened(
    path: Path, statement: str, message: str
) -> None:
    with closing(Storage.open(path, GENESIS)) as storage:
        extend(storage, 2)
    change(path, statement)
    with pytest.raises(StorageError, match=message):
        Storage.open(path, GENESIS)


def test_damage_to_a_block_or_a_node_is_named_when_it_is_read(path: Path) -> None:
    with closing(Storage.open(path, GENESIS)) as storage:
        extend(storage, 2)
    change(path, "UPDATE body SET transactions = x'f6' WHERE height = 1")
    change(path, "UPDATE node SET data = CAST(data || x'00' AS BLOB)")
    with closing(Storage.open(path, GENESIS)) as storage:
        with pytest.raises(StorageDamaged, match="what it holds is no stored list"):
            storage.block(1)
        with pytest.raises(StorageDamaged, match=r"node [0-9a-f]{64} .* is missing"), storage.errors():
            account_of(storage)


def test_the_time_of_the_head_survives(storage: Storage, path: Path) -> None:
    extend(storage, 3)
    storage.close()
    with closing(Storage.open(path, GENESIS)) as again:
        assert again.head.time_ms == START_MS + 3
