"""Whatever is wrong in a chain's file is named, and what can be made whole again is made whole."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from chain_node import audit
from chain_node.block import Block, Certificate, Phase, Vote
from chain_node.check import DAMAGES_MAX, Damage, Report, check
from chain_node.check_repair import repair
from chain_node.errors import StorageDamaged
from chain_node.kept import Kept
from chain_node.messages import StateNodes, WantNodes
from chain_node.pruning import ARCHIVE, PLAIN, Retention
from chain_node.snapshot import SnapshotClient, answer
from chain_node.state import State
from chain_node.storage import Storage
from chain_node.transaction import SUPPLY_UCPC, Transaction
from tests.chain_node.joining import FIRST_ACCOUNTS, chain, honest, join, rich_genesis
from tests.chain_node.test_storage import GENESIS, ONE, change, extend, make, pay, seal_of, vote_for
from tests.chain_node.world import ALICE, BOB, anchor, certificate_of

HEIGHT = 6
BOTH = 2
"""Transactions in each block: one has its effect, and at height 4 the other one has not."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A chain with votes for the next block."""
    where = tmp_path / "chain.sqlite"
    with closing(Storage.open(where, GENESIS)) as storage:
        fill(storage)
        block = make(storage, pay(storage))[0]
        storage.put_votes([Kept(vote_for(block, phase=Phase.PREPARE), block, seal_of(block))])
    return where


def fill(storage: Storage) -> None:
    for height in range(1, HEIGHT + 1):
        # The same upload of the same stream with another content: on chain, and refused there.
        body = anchor(upload=height) if height != 4 else anchor(upload=3, content=b"other")
        stored = Transaction.sign(BOB, GENESIS.chain_id, height - 1, body, 1_000)
        storage.commit(*make(storage, pay(storage), stored))


@pytest.fixture
def peer(tmp_path: Path) -> Storage:
    """Somebody who has the same chain, whole, and a few blocks more."""
    storage = Storage.open(tmp_path / "peer.sqlite", GENESIS, retention=ARCHIVE)
    fill(storage)
    extend(storage, 3)
    return storage


def fetch_from(peer: Storage) -> Callable[[int, int], Sequence[tuple[Block, Certificate]]]:
    return peer.certified


def nodes_from(peer: Storage) -> Callable[[WantNodes], Sequence[bytes]]:
    def ask(message: WantNodes) -> Sequence[bytes]:
        said = answer(peer, message)
        assert isinstance(said, StateNodes)
        return said.nodes

    return ask


def look(path: Path, retention: Retention = PLAIN) -> Report:
    with closing(Storage.open(path, GENESIS, is_tolerant=True, retention=retention)) as storage:
        return check(storage)


def test_a_sound_file_is_looked_at_whole_and_nothing_is_wrong(path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    with closing(Storage.open(path, GENESIS)) as storage:
        report = check(storage, lambda table, done, total: seen.append((table, done, total)))
        nodes = storage.connection.execute("SELECT count(*) FROM node").get
        entries = len(list(audit.values(storage.entries(storage.head.state_root))))
    assert report.is_sound
    assert (report.damages, report.notes) == ([], [])
    assert report.counts == {
        "block": HEIGHT,
        "body": HEIGHT,
        "tx": BOTH * HEIGHT,
        "node": nodes,
        "vote": 1,
        "handover": 0,
        "books": entries,
    }
    assert seen[-1] == ("vote", 1, 1)
    assert ("block", HEIGHT, HEIGHT) in seen


COPY = """UPDATE block SET (hash, header, certificate) =
(SELECT hash, header, certificate FROM block WHERE height = 2) WHERE height = 3"""
LEAF = """UPDATE node SET data = CAST(data || x'00' AS BLOB)
WHERE stale_since IS NULL AND substr(data, 1, 1) = x'02'"""
DAMAGES = [
    # (statement, what is said of it, whether it is whole afterwards: alone, with a peer)
    ("UPDATE block SET header = x'00' WHERE height = 3", "block 3: no header: ", False, True),
    ("UPDATE block SET certificate = x'00' WHERE height = 3", "block 3: no certificate: ", False, True),
    (
        "UPDATE block SET certificate = (SELECT certificate FROM block WHERE height = 2) WHERE height = 3",
        "block 3: certificate of block 3: it is for block 2, ",
        False,
        True,
    ),
    (
        "UPDATE block SET hash = zeroblob(32) WHERE height = 3",
        "block 3: its hash is not that of ",
        False,
        True,
    ),
    ("DELETE FROM block WHERE height = 3", "block 3: it is missing", False, True),
    ("DELETE FROM block WHERE height = 1", "block 1: it is missing", False, True),
    (
        COPY,
        "block 3: what lies there is block 2",
        False,
        True,
    ),
    ("UPDATE body SET transactions = x'00' WHERE height = 2", "body 2: no stored list: ", False, True),
    (
        "UPDATE body SET transactions = x'80' WHERE height = 2",
        "body 2: its transactions are not ",
        False,
        True,
    ),
    ("UPDATE body SET receipts = x'80' WHERE height = 2", "body 2: its receipts are not ", False, True),
    # Not everything had its effect there: executing it again says what had.
    ("UPDATE body SET receipts = x'80' WHERE height = 4", "body 4: its receipts are not ", False, True),
    ("UPDATE body SET receipts = x'8100' WHERE height = 2", "body 2: no stored list: ", False, True),
    ("DELETE FROM body WHERE height = 3", "body 3: it is missing", False, True),
    ("DELETE FROM body WHERE height = 6", "body 6: it is missing", False, True),
    ("UPDATE body SET size = 1 WHERE height = 3", "body 3: its size is not that of its bytes", True, True),
    ("UPDATE body SET end = 1 WHERE height = 3", "body 3: its size is not that of its bytes", True, True),
    ("DELETE FROM tx WHERE height = 3 AND position = 1", "tx 3: transaction ", True, True),
    ("UPDATE tx SET position = 5 WHERE height = 3 AND position = 1", "tx 3: transaction ", True, True),
    (
        "INSERT INTO tx VALUES (zeroblob(32), 3, 7)",
        "tx: 1 entries are of no transaction that is here",
        True,
        True,
    ),
    ("UPDATE node SET data = x'00' WHERE stale_since IS NULL", "node: node ", True, True),
    (
        "UPDATE node SET data = CAST(data || x'00' AS BLOB) WHERE hash = (SELECT max(hash) FROM node)",
        "node",
        True,
        True,
    ),
    # An account of the head's state, with a bit more in it.
    (LEAF, "node: node ", True, True),
    ("DELETE FROM node", "node: node ", True, True),
    ("UPDATE node SET stale_since = 6 WHERE stale_since IS NULL", "node: node ", True, True),
    ("UPDATE node SET stale_since = NULL", "node: ", True, True),
    ("UPDATE node SET stale_since = 99 WHERE stale_since = 3", "node: node ", True, True),
    (
        "INSERT INTO node VALUES (zeroblob(32), x'00', NULL)",
        "node: 1 nodes are of no state that is ",
        True,
        True,
    ),
    ("UPDATE node SET data = x'00' WHERE stale_since = 6", "node 6: node ", True, True),
    ("DELETE FROM node WHERE stale_since = 6 AND substr(data, 1, 1) = x'02'", "node ", True, True),
    ("UPDATE vote SET data = x'00'", "vote 7: round 0, phase 1: no vote: ", False, True),
    ("UPDATE vote SET block = x'00'", "vote 7: round 0, phase 1: no block: ", False, True),
    ("UPDATE vote SET round = 2", "vote 7: round 2, phase 1: what lies there is another vote", False, True),
    ("UPDATE vote SET height = 3", "vote 3: round 0, phase 1: what lies there is another vote", True, True),
    # The head itself: the block below it is the head then, and this one is fetched as any new one.
    ("UPDATE block SET header = x'00' WHERE height = 6", "block 6: no header: ", True, True),
    ("UPDATE block SET certificate = x'00' WHERE height >= 5", "block 5: no certificate: ", True, True),
]


@pytest.mark.parametrize(("statement", "what", "alone", "helped"), DAMAGES)
def test_damage_is_named_and_repaired_from_the_rest_or_from_a_peer(
    path: Path, peer: Storage, statement: str, what: str, alone: bool, helped: bool
) -> None:
    change(path, statement)
    report = look(path)
    assert not report.is_sound
    assert any(str(damage).startswith(what) for damage in report.damages), [str(d) for d in report.damages]
    copy = path.with_name("copy.sqlite")
    copy.write_bytes(path.read_bytes())
    assert not path.with_name("chain.sqlite-wal").exists()
    with closing(Storage.open(copy, GENESIS, is_tolerant=True)) as storage:
        before, after = repair(storage)
        assert [str(damage) for damage in before.damages] == [str(damage) for damage in report.damages]
        assert after.is_sound == alone, [str(damage) for damage in after.damages]
    with closing(Storage.open(path, GENESIS, is_tolerant=True)) as storage, closing(peer):
        _, after = repair(storage, fetch_from(peer), nodes_from(peer))
        assert after.is_sound == helped, [str(damage) for damage in after.damages]
        # Nothing was lost, and it goes on from where it is.
        assert storage.head.height >= HEIGHT
        assert [storage.block(height) for height in range(1, 7)] == [
            peer.block(height) for height in range(1, 7)
        ]
        for height in range(1, 7):
            stored = peer.block(height)
            assert stored is not None
            for position, data in enumerate(stored.transactions):
                assert storage.find_transaction(Transaction.restore(data).tx_hash) == (height, position)
    with closing(Storage.open(path, GENESIS)) as storage:
        extend(storage, 1)
        assert check(storage).is_sound


def test_a_certified_header_that_continues_nothing_is_named(path: Path) -> None:
    """More than f validators have signed a fork: no repair decides who is right."""
    with closing(Storage.open(path, GENESIS)) as storage:
        link = storage.link(3)
        assert link is not None
        for changes, heights in (
            ({"parent_hash": bytes(32)}, [3, 4]),
            ({"time_ms": link.header.time_ms - 1}, [3, 4]),
        ):
            header = replace(link.header, **changes)
            certificate = certificate_of(GENESIS, header, ONE).encode()
            storage.connection.execute(
                "UPDATE block SET hash = ?, header = ?, certificate = ? WHERE height = 3",
                (header.block_hash, header.data, certificate),
            )
            said = [str(damage) for damage in check(storage).damages if damage.table == "block"]
            assert said == [f"block {each}: its header does not continue the one before" for each in heights]


def test_money_from_nowhere_is_named(path: Path) -> None:
    """More than f validators have signed it: every hash is right, and only counting finds it."""
    with closing(Storage.open(path, GENESIS)) as storage:
        state = State(storage.entries(storage.head.state_root))
        alice = state.account(ALICE.public)
        state.set_account(ALICE.public, alice.holding(alice.balance_ucpc + 7, alice.locked_ucpc))
        root = state.commit()
        block, _, execution = make(storage)
        forged = replace(block, header=replace(block.header, state_root=root))
        nodes = dict(state.entries.nodes)
        stale = frozenset(state.entries.stale)
        certificate = certificate_of(GENESIS, forged.header, ONE)
        storage.commit(
            forged, certificate, replace(execution, state_root=root, nodes_added=nodes, nodes_stale=stale)
        )
        (damage,) = check(storage).damages
        assert (damage.table, damage.height) == ("books", HEIGHT + 1)
        assert f"the supply is {SUPPLY_UCPC}" in damage.what
        (left,) = repair(storage, fetch=lambda first, count: [])[1].damages
        assert left == damage


def test_votes_for_another_chain_or_beside_another_block_are_named(path: Path) -> None:
    with closing(Storage.open(path, GENESIS)) as storage:
        mine, other = make(storage, pay(storage))[0], make(storage, pay(storage, 9))[0]
        foreign = Vote.sign(ONE[0], bytes(32), 8, 0, Phase.PREPARE, bytes(32))
        storage.put_votes([Kept(vote_for(mine), other), Kept(foreign)])
        assert [str(damage) for damage in check(storage).damages] == [
            "vote 7: round 0, phase 2: the block beside it is another one",
            "vote 8: round 0, phase 1: it is of another chain",
        ]


def test_a_state_whose_past_is_gone_is_fetched_node_by_node(path: Path, peer: Storage) -> None:
    change(path, "DELETE FROM body WHERE height < 6")
    change(path, "DELETE FROM tx WHERE height < 6")
    change(path, "DELETE FROM node WHERE stale_since IS NOT NULL OR hash IN (SELECT hash FROM node LIMIT 3)")
    asked: list[WantNodes] = []

    def ask(message: WantNodes) -> Sequence[bytes]:
        asked.append(message)
        return nodes_from(peer)(message)

    with closing(Storage.open(path, GENESIS, is_tolerant=True)) as storage:
        _, after = repair(storage)
        assert not after.is_sound
        _, after = repair(storage, fetch_nodes=lambda message: [b"\x02" + bytes(70)])
        assert not after.is_sound, "who lies is not believed"
        _, after = repair(storage, fetch_nodes=lambda message: [])
        assert not after.is_sound
        _, after = repair(storage, fetch_nodes=ask)
        assert after.is_sound
        assert 0 < sum(len(message.hashes) for message in asked) <= 6
    peer.close()


def test_a_block_from_a_liar_is_not_taken(path: Path, peer: Storage) -> None:
    change(path, "DELETE FROM block WHERE height = 3")
    (block, certificate), (other, _) = peer.certified(3, 1)[0], peer.certified(4, 1)[0]
    forged = Certificate(3, 0, block.header.block_hash, ((0, bytes(64)),))
    for lie in ([(block, forged)], [(other, certificate)], []):
        with closing(Storage.open(path, GENESIS, is_tolerant=True)) as storage:
            _, after = repair(storage, lambda first, count, lie=lie: lie)  # type: ignore[misc]
            assert str(after.damages[0]) == "block 3: it is missing"
    with closing(Storage.open(path, GENESIS, is_tolerant=True)) as storage:
        assert repair(storage, fetch_from(peer))[1].is_sound
    peer.close()


def test_a_vote_is_never_dropped_while_its_height_is_open(path: Path) -> None:
    change(path, "UPDATE vote SET data = x'00'")
    with closing(Storage.open(path, GENESIS, is_tolerant=True)) as storage:
        _, after = repair(storage)
        assert [str(damage)[:24] for damage in after.damages] == ["vote 7: round 0, phase 1"]
        with pytest.raises(StorageDamaged, match="what it holds is no vote"):
            storage.votes(7)


def test_pages_that_are_damaged_are_named(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size - 4096 * 3)
        file.write(bytes(4096))
    with closing(Storage.open(path, GENESIS, is_tolerant=True)) as storage:
        report = check(storage)
        assert report.damages[0].table == "file"
        with pytest.raises(StorageDamaged, match="restore it, or delete it and sync from peers"):
            repair(storage)


def test_more_damage_than_anybody_reads_is_counted() -> None:
    report = Report()
    for number in range(DAMAGES_MAX + 5):
        report.add(Damage("block", number, "it is missing"))
    assert (report.damage_count, len(report.damages)) == (DAMAGES_MAX + 5, DAMAGES_MAX)


def test_a_file_that_was_pruned_or_came_by_a_snapshot_is_sound(tmp_path: Path) -> None:
    with closing(Storage.open(tmp_path / "a", GENESIS, retention=Retention(2, 2_000, 4))) as storage:
        extend(storage, 20)
        assert check(storage).is_sound
    with (
        closing(chain(tmp_path / "source", 40, 5)) as source,
        closing(Storage.open(tmp_path / "b", rich_genesis(FIRST_ACCOUNTS))) as joiner,
    ):
        client = SnapshotClient(joiner, source.genesis)
        join(client, {b"a" * 32: honest(source)}, answers_max=2)
        join(SnapshotClient(joiner, source.genesis), {b"a" * 32: honest(source)})
        assert joiner.head == source.head
        report = check(joiner)
        assert report.is_sound, [str(damage) for damage in report.damages]
        assert report.counts["body"] == 0
