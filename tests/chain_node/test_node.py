"""The node: from the pool to a final block, through restarts, wild clocks and a full disk."""

import asyncio
from collections.abc import Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from chain_node import node as node_module
from chain_node.block import Phase, Vote
from chain_node.consensus import CommitteeOfOne, Decided
from chain_node.errors import CertificateError, IllicitBlock, Refused, StorageFull
from chain_node.ledger import Head
from chain_node.mempool import Pool
from chain_node.node import Node
from chain_node.reason import Reason
from chain_node.state import State
from chain_node.storage import Storage
from chain_node.transaction import Transaction, Transfer
from tests.chain_node.world import (
    ALICE,
    BOB,
    CAROL,
    PROPOSER,
    START_MS,
    VALIDATORS,
    Chain,
    anchor,
    genesis_of,
)

KEY = VALIDATORS[0]
GENESIS = genesis_of([KEY])
YEAR_MS = 365 * 86_400_000


class Clock:
    def __init__(self) -> None:
        self.now_ms = START_MS + 1_000

    def __call__(self) -> int:
        return self.now_ms


def open_node(path: Path, clock: Clock | None = None, **options: Any) -> Node:
    storage = Storage.open(path / "chain.sqlite", GENESIS)
    consensus = CommitteeOfOne(GENESIS, KEY, storage)
    return Node(storage, consensus, PROPOSER.public, clock_ms=clock or Clock(), **options)


def pay(nonce: int = 0, amount_ucpc: int = 1, fee_ucpc: int = 1_000) -> Transaction:
    return Transaction.sign(ALICE, GENESIS.chain_id, nonce, Transfer(BOB.public, amount_ucpc), fee_ucpc)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


def test_a_transaction_goes_through_the_pool_into_a_final_block(tmp_path: Path) -> None:
    node = open_node(tmp_path)
    with closing(node.storage):
        assert node.submit(pay().data) == pay().tx_hash
        assert len(node.pool) == 1
        decided = run(node.produce())
        assert [each.tx_hash for each in decided.block.transactions] == [pay().tx_hash]
        assert node.storage.find_transaction(pay().tx_hash) == (1, 0)
        assert (node.head.height, len(node.pool), node.nonce_of(ALICE.public)) == (1, 0, 1)
        assert node.submit(pay().data) == pay().tx_hash, "one that is final already is no error"
        assert len(node.pool) == 0


def test_nonces_past_the_pool_are_known(tmp_path: Path) -> None:
    node = open_node(tmp_path)
    with closing(node.storage):
        node.submit(pay(0).data)
        node.submit(pay(1).data)
        assert (node.nonce_of(ALICE.public), node.next_nonce(ALICE.public)) == (0, 2)


def test_a_refused_transaction_leaves_nothing_behind(tmp_path: Path) -> None:
    node = open_node(tmp_path)
    with closing(node.storage):
        for data, reason in (
            (b"no transaction", Reason.MALFORMED),
            (pay(fee_ucpc=1).data, Reason.FEE_TOO_LOW),
        ):
            with pytest.raises(Refused) as caught:
                node.submit(data)
            assert caught.value.reason == reason
        assert len(node.pool) == 0


def test_a_restart_goes_on_where_it_stopped(tmp_path: Path) -> None:
    node = open_node(tmp_path)
    with closing(node.storage):
        node.submit(pay().data)
        run(node.produce())
        head = node.head
    again = open_node(tmp_path)
    with closing(again.storage):
        assert again.head == head
        assert again.nonce_of(ALICE.public) == 1
        again.submit(pay(1).data)
        assert run(again.produce()).block.header.parent_hash == head.block_hash


def test_a_node_that_dies_between_vote_and_commit_finishes_that_very_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = open_node(tmp_path)
    with closing(node.storage):
        node.submit(pay().data)

        def die(*_: object) -> None:
            raise SystemError("killed before the commit")

        with monkeypatch.context() as patch:
            patch.setattr(node.storage, "commit", die)
            with pytest.raises(SystemError):
                run(node.produce())
        (kept,) = node.storage.votes(1)
    later = Clock()
    later.now_ms += 5_000
    again = open_node(tmp_path, later)
    with closing(again.storage):
        again.submit(pay(0, amount_ucpc=2).data)
        decided = run(again.produce())
        assert decided.block == kept.block
        assert decided.certificate.block_hash == kept.vote.block_hash
        assert [each.tx_hash for each in decided.block.transactions] == [pay().tx_hash]
        assert len(again.pool) == 0, "its nonce is used by the block that was finished"


def test_the_chain_never_runs_backwards_whatever_the_clock_does(tmp_path: Path) -> None:
    clock = Clock()
    node = open_node(tmp_path, clock)
    with closing(node.storage):
        times = []
        for jump_ms in (0, 1_000, -YEAR_MS, 5, 2 * YEAR_MS, -YEAR_MS, 0):
            clock.now_ms += jump_ms
            run(node.produce())
            times.append(node.head.time_ms - START_MS)
        ahead = YEAR_MS + 2_005
        assert times == [1_000, 2_000, 2_001, 2_002, ahead, ahead + 1, ahead + 2]


def test_a_wild_clock_gives_no_days_quota_twice(tmp_path: Path) -> None:
    clock = Clock()
    node = open_node(tmp_path, clock)
    with closing(node.storage):
        for nonce in range(3):
            node.submit(pay(nonce, fee_ucpc=0).data)
        run(node.produce())
        clock.now_ms -= YEAR_MS
        with pytest.raises(Refused, match="3 free transactions of this UTC day") as caught:
            node.submit(pay(3, fee_ucpc=0).data)
        assert caught.value.reason == Reason.QUOTA_USED_UP


def test_what_turns_out_impossible_while_it_waits_is_given_up_with_its_reason(tmp_path: Path) -> None:
    """Two pay from money that is enough for one fee each, and the first takes all of it."""
    node = open_node(tmp_path)
    with closing(node.storage):
        node.submit(pay(0, amount_ucpc=500_000_000_000_000 - 1_500).data)
        node.submit(pay(1).data)
        node.submit(pay(2).data)
        decided = run(node.produce())
        assert [each.nonce for each in decided.block.transactions] == [0]
        given = node.pool.refusal(pay(1).tx_hash)
        assert given is not None
        assert given.reason == Reason.FEE_NOT_COVERED
        assert node.pool.get(pay(2).tx_hash), "it may still follow another one with nonce 1"


def test_a_full_disk_stops_blocks_and_submissions_and_both_go_on_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = open_node(tmp_path)
    with closing(node.storage):
        node.submit(pay().data)
        commit = Storage.commit

        def full(*_: object) -> None:
            raise StorageFull("chain.sqlite", "the disk is full; free some space")

        with monkeypatch.context() as patch:
            patch.setattr(Storage, "commit", full)
            run(node._try_produce())
            assert node.trouble == "the disk is full; free some space"
            with pytest.raises(Refused, match=r"no transactions are taken at present: .*full") as caught:
                node.submit(pay(1).data)
            assert caught.value.reason == Reason.BUSY
            assert node.head.height == 0
        assert Storage.commit is commit
        run(node._try_produce())
        assert (node.trouble, node.head.height) == ("", 1)
        assert node.storage.find_transaction(pay().tx_hash) == (1, 0)
        node.submit(pay(1).data)


def test_a_block_is_never_longer_than_any_reader_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for two transactions and what is around them."""
    room = 2 * len(pay().data) + node_module.HEADER_ROOM + node_module.TX_ROOM * GENESIS.block_tx_max
    monkeypatch.setattr(node_module, "BLOCK_SIZE_MAX", room)
    node = open_node(tmp_path)
    with closing(node.storage):
        for nonce in range(3):
            node.submit(pay(nonce).data)
        block = run(node.produce()).block
        assert len(block.transactions) == 2
        assert len(block.encode()) <= room
        assert node._has_work.is_set(), "the third one wants a block as well"
        assert len(run(node.produce()).block.transactions) == 1


class Dictator:
    """A consensus that decides whatever it is told to."""

    def __init__(self, decided: Decided) -> None:
        self.decided = decided

    async def decide(self, parent: Head, propose: Any) -> Decided:
        return self.decided


def decided_elsewhere(*transactions: Transaction) -> Chain:
    chain = Chain(GENESIS, [KEY])
    chain.extend(*transactions)
    return chain


def follow(path: Path, decided: Decided) -> Node:
    storage = Storage.open(path / "chain.sqlite", GENESIS)
    return Node(storage, Dictator(decided), PROPOSER.public, clock_ms=Clock())


def test_a_block_of_another_proposer_is_executed_and_committed(tmp_path: Path) -> None:
    chain = decided_elsewhere(pay())
    node = follow(tmp_path, Decided(chain.blocks[0], chain.links[0].certificate))
    with closing(node.storage):
        node.submit(pay().data)
        node.submit(pay(1).data)
        run(node.produce())
        assert node.head.state_root == chain.head.state_root
        assert State(node.storage.entries(node.head.state_root)).account(ALICE.public).nonce == 1
        assert len(node.pool) == 1


def test_no_decision_makes_an_illicit_or_uncertified_block_final(tmp_path: Path) -> None:
    chain = decided_elsewhere(pay())
    illicit = Chain(GENESIS, [KEY])
    illicit.extend()
    illicit.extend()
    node = follow(tmp_path, Decided(illicit.blocks[1], illicit.links[1].certificate))
    with closing(node.storage):
        with pytest.raises(IllicitBlock, match="does not follow block 0"):
            run(node.produce())
        header = chain.blocks[0].header
        stranger = Vote.sign(VALIDATORS[1], GENESIS.chain_id, 1, 0, Phase.COMMIT, header.block_hash)
        forged = chain.links[0].certificate.__class__(1, 0, header.block_hash, ((0, stranger.signature),))
        node._consensus = Dictator(Decided(chain.blocks[0], forged))
        with pytest.raises(CertificateError, match="signature 1 is not by key"):
            run(node.produce())
        assert node.head.height == 0


def test_it_makes_a_block_at_once_heartbeats_and_one_soon_after_a_transaction(tmp_path: Path) -> None:
    """Told by heights; nothing here depends on how fast the machine is."""

    async def story() -> None:
        node = open_node(tmp_path, heartbeat_ms=40)
        with closing(node.storage):
            task = asyncio.create_task(node.run())
            assert (await node.wait_for_height(1)).height >= 1
            await node.wait_for_height(2)
            tx_hash = node.submit(pay().data)
            while not node.storage.find_transaction(tx_hash):
                await node.wait_for_height(node.head.height + 1)
            task.cancel()
            await asyncio.wait([task])

    run(story())


def test_without_heartbeats_only_a_transaction_makes_a_block(tmp_path: Path) -> None:
    async def story() -> None:
        node = open_node(tmp_path, heartbeat_ms=3_600_000)
        with closing(node.storage):
            task = asyncio.create_task(node.run())
            await node.wait_for_height(1)
            node.submit(pay(1).data)
            assert not node._has_work.is_set(), "one that must wait for an earlier nonce makes no block"
            node.submit(pay(0).data)
            head = await node.wait_for_height(2)
            block = node.storage.block(head.height)
            assert block is not None
            assert [Transaction.decode(data).nonce for data in block.transactions] == [0, 1]
            assert not node._has_work.is_set()
            task.cancel()
            await asyncio.wait([task])

    run(story())


def test_a_busy_pool_says_so_before_it_verifies_anything(tmp_path: Path) -> None:
    node = open_node(tmp_path, pool=Pool(count_max=1))
    with closing(node.storage):
        node.submit(pay().data)
        with pytest.raises(Refused) as caught:
            node.submit(b"not even a transaction")
        assert caught.value.reason == Reason.BUSY


def test_a_stream_and_its_anchors_survive(tmp_path: Path) -> None:
    node = open_node(tmp_path)
    with closing(node.storage):
        node.submit(Transaction.sign(ALICE, GENESIS.chain_id, 0, anchor(), 0).data)
        run(node.produce())
    again = open_node(tmp_path)
    with closing(again.storage):
        with pytest.raises(Refused) as caught:
            again.submit(Transaction.sign(ALICE, GENESIS.chain_id, 1, anchor(), 0).data)
        assert caught.value.reason == Reason.ANCHOR_KNOWN
        with pytest.raises(Refused) as caught:
            again.submit(Transaction.sign(CAROL, GENESIS.chain_id, 0, anchor(), 0).data)
        assert caught.value.reason == Reason.ACCOUNT_UNKNOWN
