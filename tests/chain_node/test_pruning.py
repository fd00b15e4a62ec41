"""What a node keeps is bounded, what is kept can be proven, and the file stays within what was stated."""

from contextlib import closing
from pathlib import Path

import pytest

from chain_node import pruning
from chain_node.errors import StorageDamaged, StorageError
from chain_node.pruning import ARCHIVE, HEADER_STEP, PLAIN, Retention, retention_of
from chain_node.storage import Storage
from chain_node.transaction import Transaction, Transfer
from tests.chain_node.test_storage import GENESIS, account_of, change, extend, make, pay
from tests.chain_node.world import ALICE, BOB


def heights(storage: Storage, table: str) -> list[int]:
    rows = storage.connection.execute(f"SELECT height FROM {table} ORDER BY height")  # noqa: S608 - ours
    return [row[0] for row in rows]


def many(storage: Storage, count: int) -> list[Transaction]:
    nonce = account_of(storage).nonce
    return [pay(storage, 1 + number, nonce + number) for number in range(count)]


def open_with(path: Path, **bounds: int | None) -> Storage:
    return Storage.open(path, GENESIS, retention=Retention(**bounds))


def test_bodies_beyond_their_bytes_go_with_their_index_and_headers_stay(tmp_path: Path) -> None:
    with closing(open_with(tmp_path / "chain.sqlite", bodies_bytes_max=2_000)) as storage:
        sent = []
        for _ in range(12):
            made = make(storage, pay(storage))
            sent.append(made[0].transactions[0].tx_hash)
            storage.commit(*made)
        sizes = [row[0] for row in storage.connection.execute("SELECT size FROM body ORDER BY height")]
        kept = heights(storage, "body")
        assert sum(sizes) <= 2_000 < sum(sizes) + max(sizes)
        assert kept == list(range(13 - len(kept), 13))
        assert 2 < len(kept) < 12
        assert storage.bodies_from == kept[0]
        assert [storage.find_transaction(each) is not None for each in sent] == [
            height in kept for height in range(1, 13)
        ]
        assert storage.block(kept[0] - 1) is None
        assert storage.certified(kept[0] - 1, 5) == []
        assert len(storage.certified(kept[0], 64)) == len(kept)
        assert (storage.headers_from, len(storage.headers(1, 99))) == (1, 12)


def test_the_heads_body_stays_however_large_it_is(tmp_path: Path) -> None:
    with closing(open_with(tmp_path / "chain.sqlite", bodies_bytes_max=1)) as storage:
        extend(storage, 3)
        assert heights(storage, "body") == [3]
        assert heights(storage, "tx") == [3]


def test_headers_beyond_their_number_go_but_for_every_thousandth(tmp_path: Path) -> None:
    with closing(open_with(tmp_path / "chain.sqlite", bodies_bytes_max=1, headers_kept=4)) as storage:
        for _ in range(HEADER_STEP + 8):
            storage.commit(*make(storage))
        top = HEADER_STEP + 8
        assert heights(storage, "block") == [HEADER_STEP, *range(top - 3, top + 1)]
        assert storage.headers_from == top - 3
        assert storage.headers(HEADER_STEP, 9) == storage.headers(HEADER_STEP, 1)
        assert storage.headers(HEADER_STEP + 1, 9) == []
        assert len(storage.headers(top - 3, 9)) == 4
        link = storage.link(HEADER_STEP)
        assert link is not None
        assert link.header.height == HEADER_STEP
        assert storage.link(HEADER_STEP + 1) is None


def test_a_header_stays_as_long_as_its_body(tmp_path: Path) -> None:
    with closing(open_with(tmp_path / "chain.sqlite", headers_kept=2)) as storage:
        extend(storage, 6)
        assert heights(storage, "block") == heights(storage, "body") == [1, 2, 3, 4, 5, 6]


def test_bounds_that_were_lowered_are_reached_step_by_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "STEP_MAX", 3)
    path = tmp_path / "chain.sqlite"
    with closing(open_with(path)) as storage:
        extend(storage, 10)
    with closing(open_with(path, bodies_bytes_max=1, headers_kept=1, states_kept=1)) as storage:
        extend(storage, 1)
        assert (heights(storage, "body")[0], storage.headers_from) == (4, 4)
        extend(storage, 1)
        assert (heights(storage, "body")[0], storage.headers_from) == (7, 7)
        extend(storage, 2)
        assert (heights(storage, "body"), heights(storage, "block")) == ([13, 14], [13, 14])
        extend(storage, 1)
        assert (heights(storage, "body"), heights(storage, "block")) == ([15], [15])
        assert account_of(storage).nonce == 15


def test_a_body_that_is_damaged_does_not_keep_the_chain_from_going_on(tmp_path: Path) -> None:
    path = tmp_path / "chain.sqlite"
    with closing(open_with(path)) as storage:
        extend(storage, 3)
    change(path, "UPDATE body SET transactions = x'00' WHERE height = 1")
    change(path, "UPDATE body SET transactions = x'f6' WHERE height = 2")
    with closing(open_with(path, bodies_bytes_max=1)) as storage:
        extend(storage, 1)
        assert heights(storage, "body") == heights(storage, "tx") == [4]


def test_states_are_kept_as_many_as_were_asked_for(tmp_path: Path) -> None:
    with closing(open_with(tmp_path / "chain.sqlite", states_kept=2)) as storage:
        roots = [storage.head.state_root]
        for _ in range(5):
            extend(storage, 1)
            roots.append(storage.head.state_root)
        storage.nodes.cache.clear()
        for root in roots[3:]:
            assert sum(1 for _ in storage.nodes.walk(root)) > 2
        with pytest.raises(StorageDamaged, match="is missing"), storage.errors():
            list(storage.nodes.walk(roots[2]))


def test_an_archive_keeps_everything(tmp_path: Path) -> None:
    with closing(Storage.open(tmp_path / "chain.sqlite", GENESIS, retention=ARCHIVE)) as storage:
        roots = [storage.head.state_root]
        for _ in range(PLAIN.states_kept or 0):
            storage.commit(*make(storage))
        for _ in range(6):
            extend(storage, 1)
            roots.append(storage.head.state_root)
        assert len(heights(storage, "body")) == len(heights(storage, "block")) == 70
        storage.nodes.cache.clear()
        for root in roots:
            assert sum(1 for _ in storage.nodes.walk(root)) > 2


def test_the_file_of_a_plain_node_stays_within_what_was_stated(tmp_path: Path) -> None:
    """Three times as much goes through it as it may keep; the last half must not make it grow."""
    path = tmp_path / "chain.sqlite"
    retention = Retention(states_kept=4, bodies_bytes_max=150_000, headers_kept=20)
    stated = retention.size_max(len(GENESIS.validators))
    assert stated is not None
    with closing(Storage.open(path, GENESIS, retention=retention, checkpoint_pages=8)) as storage:
        sizes = []
        for _ in range(60):
            storage.commit(*make(storage, *many(storage, 20)))
            sizes.append(path.stat().st_size)
        written = 60 * 20 * len(pay(storage).data)
        states = storage.connection.execute("SELECT sum(length(data) + 90) FROM node").get
        assert written > 2 * 100_000
        assert max(sizes) == max(sizes[:30])
        assert max(sizes) < stated + 2 * states + 40_000


def test_the_bound_is_what_its_parts_make_it() -> None:
    assert PLAIN.size_max(4) == (2**30 + 1_000_000 * (480 + 4 * 72)) * 3 // 2
    assert ARCHIVE.size_max(4) is None
    assert Retention(states_kept=None).size_max(4) is None


@pytest.mark.parametrize(
    ("options", "retention"),
    [
        ({}, PLAIN),
        ({"keep": "plain", "headers_kept": 5}, Retention(headers_kept=5)),
        ({"keep": "archive"}, ARCHIVE),
        ({"keep": "archive", "states_kept": 7}, Retention(7, None, None)),
        ({"bodies_bytes_max": "all"}, Retention(bodies_bytes_max=None)),
    ],
)
def test_a_configuration_says_what_is_kept(options: dict[str, object], retention: Retention) -> None:
    assert retention_of(options) == retention


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": "nothing"}, "storage.keep: 'nothing' is none of plain, archive"),
        ({"keep": 1}, "storage.keep: 1 is none of plain, archive"),
        ({"heads_kept": 1}, "storage.heads_kept: no such option; there are keep, states_kept,"),
        ({"headers_kept": 0}, 'storage.headers_kept: 0 is no whole number from 1 on, and not "all"'),
        ({"headers_kept": True}, "storage.headers_kept: True is no whole number"),
        ({"states_kept": "some"}, "storage.states_kept: 'some' is no whole number"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_by_name(options: dict[str, object], message: str) -> None:
    with pytest.raises(StorageError) as caught:
        retention_of(options)
    assert str(caught.value).startswith(message)


def test_a_transfer_between_pruned_blocks_still_moves_money(tmp_path: Path) -> None:
    with closing(open_with(tmp_path / "chain.sqlite", bodies_bytes_max=1, states_kept=1)) as storage:
        extend(storage, 3)
        back = Transaction.sign(BOB, GENESIS.chain_id, 0, Transfer(ALICE.public, 7), 1_000)
        storage.commit(*make(storage, back))
        assert account_of(storage).nonce == 3
