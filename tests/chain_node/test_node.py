"""The node: from the pool to a final block, through restarts, wild clocks, full disks; alone, with peers."""

import asyncio
from collections.abc import Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from chain_node import replica as replica_module
from chain_node.block import Block, Phase, Vote
from chain_node.errors import Refused, StorageFull
from chain_node.inbox import LENGTHS_MAX, NORMAL
from chain_node.local_network import LocalNetwork
from chain_node.mempool import Pool
from chain_node.messages import Ballot, WantChain
from chain_node.node import TURN_MS, Node
from chain_node.reason import Reason
from chain_node.replica import FULL_RETRY_MS
from chain_node.storage import Storage
from chain_node.transaction import Transaction, Transfer
from tests.chain_node.stepping import Clock, produce
from tests.chain_node.world import (
    ALICE,
    BOB,
    CAROL,
    START_MS,
    VALIDATORS,
    anchor,
    genesis_of,
)

KEY = VALIDATORS[0]
GENESIS = genesis_of([KEY], proposers=(KEY.public,))
YEAR_MS = 365 * 86_400_000


def open_node(path: Path, clock: Clock | None = None, **options: Any) -> Node:
    clock = clock or Clock()
    storage = Storage.open(path / "chain.sqlite", GENESIS)
    return Node(storage, KEY, clock_ms=clock.wall, steady_ms=clock.steady, **options)


def made(node: Node, clock: Clock, wait_ms: int = 10_000) -> Block:
    """The next block."""
    block = run(produce(node, clock, wait_ms))
    assert isinstance(block, Block)
    return block


def pay(nonce: int = 0, amount_ucpc: int = 1, fee_ucpc: int = 1_000) -> Transaction:
    return Transaction.sign(ALICE, GENESIS.chain_id, nonce, Transfer(BOB.public, amount_ucpc), fee_ucpc)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


def test_a_transaction_goes_through_the_pool_into_a_final_block(tmp_path: Path) -> None:
    clock = Clock()
    node = open_node(tmp_path, clock)
    with closing(node.storage):
        assert node.submit(pay().data) == pay().tx_hash
        assert len(node.pool) == 1
        block = made(node, clock)
        assert [each.tx_hash for each in block.transactions] == [pay().tx_hash]
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
    clock = Clock()
    node = open_node(tmp_path, clock)
    with closing(node.storage):
        node.submit(pay().data)
        run(produce(node, clock))
        head = node.head
    again = open_node(tmp_path, clock)
    with closing(again.storage):
        assert again.head == head
        assert again.nonce_of(ALICE.public) == 1
        again.submit(pay(1).data)
        assert made(again, clock).header.parent_hash == head.block_hash


def test_a_node_that_dies_between_vote_and_commit_finishes_that_very_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    node = open_node(tmp_path, clock)
    with closing(node.storage):
        node.submit(pay().data)

        def die(*_: object) -> None:
            raise SystemError("killed before the commit")

        with monkeypatch.context() as patch:
            patch.setattr(node.storage, "commit", die)
            with pytest.raises(SystemError):
                run(produce(node, clock))
        kept = node.storage.votes(1)
    assert [item.vote.phase for item in kept] == [Phase.PROPOSE, Phase.PREPARE, Phase.COMMIT]
    later = Clock()
    later.now_ms += 5_000
    again = open_node(tmp_path, later)
    with closing(again.storage):
        run(again.advance())
        assert again.head.block_hash == kept[0].vote.block_hash, "at once, by what it had kept"
        with pytest.raises(Refused) as caught:
            again.submit(pay(0, amount_ucpc=2).data)
        assert caught.value.reason == Reason.NONCE_USED
        assert again.storage.find_transaction(pay().tx_hash) == (1, 0)


def test_the_chain_never_runs_backwards_whatever_the_clock_does(tmp_path: Path) -> None:
    clock = Clock()
    node = open_node(tmp_path, clock)
    with closing(node.storage):
        times = []
        for jump_ms in (0, 1_000, -YEAR_MS, 5, 2 * YEAR_MS, -YEAR_MS, 0):
            clock.now_ms += jump_ms
            run(produce(node, clock))
            times.append(node.head.time_ms - START_MS)
        ahead = YEAR_MS + 2_005
        assert times == [1_000, 2_000, 2_001, 2_002, ahead, ahead + 1, ahead + 2]


def test_a_wild_clock_gives_no_days_quota_twice(tmp_path: Path) -> None:
    clock = Clock()
    node = open_node(tmp_path, clock)
    with closing(node.storage):
        for nonce in range(3):
            node.submit(pay(nonce, fee_ucpc=0).data)
        run(produce(node, clock))
        clock.now_ms -= YEAR_MS
        with pytest.raises(Refused, match="3 free transactions of this UTC day") as caught:
            node.submit(pay(3, fee_ucpc=0).data)
        assert caught.value.reason == Reason.QUOTA_USED_UP


def test_what_turns_out_impossible_while_it_waits_is_given_up_with_its_reason(tmp_path: Path) -> None:
    """Two pay from money that is enough for one fee each, and the first takes all of it."""
    clock = Clock()
    node = open_node(tmp_path, clock)
    with closing(node.storage):
        node.submit(pay(0, amount_ucpc=500_000_000_000_000 - 1_500).data)
        node.submit(pay(1).data)
        node.submit(pay(2).data)
        block = made(node, clock)
        assert [each.nonce for each in block.transactions] == [0]
        given = node.pool.refusal(pay(1).tx_hash)
        assert given is not None
        assert given.reason == Reason.FEE_NOT_COVERED
        assert node.pool.get(pay(2).tx_hash), "it may still follow another one with nonce 1"


def test_a_full_disk_stops_blocks_and_submissions_and_both_go_on_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    node = open_node(tmp_path, clock)
    with closing(node.storage):
        node.submit(pay().data)

        def full(*_: object) -> None:
            raise StorageFull("chain.sqlite", "the disk is full; free some space")

        with monkeypatch.context() as patch:
            patch.setattr(Storage, "commit", full)
            run(produce(node, clock, 0))
            assert node.trouble == "the disk is full; free some space"
            with pytest.raises(Refused, match=r"no transactions are taken at present: .*full") as caught:
                node.submit(pay(1).data)
            assert caught.value.reason == Reason.BUSY
            assert node.head.height == 0
            clock.steady_ms += FULL_RETRY_MS
            run(node.advance())
            assert node.trouble == "the disk is full; free some space"
        clock.steady_ms += FULL_RETRY_MS
        run(node.advance())
        assert (node.trouble, node.head.height) == ("", 1)
        assert node.storage.find_transaction(pay().tx_hash) == (1, 0)
        node.submit(pay(1).data)


def test_a_block_is_never_longer_than_any_reader_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for two transactions and what is around them."""
    room = 2 * len(pay().data) + replica_module.HEADER_ROOM + replica_module.TX_ROOM * GENESIS.block_tx_max
    monkeypatch.setattr(replica_module, "BLOCK_SIZE_MAX", room)
    clock = Clock()
    node = open_node(tmp_path, clock)
    with closing(node.storage):
        for nonce in range(3):
            node.submit(pay(nonce).data)
        block = made(node, clock)
        assert len(block.transactions) == 2
        assert len(block.encode()) <= room
        # The third one wants a block as well, and does not wait for a heartbeat.
        assert len(made(node, clock, GENESIS.block_period_ms).transactions) == 1


def test_without_heartbeats_only_a_transaction_makes_a_block(tmp_path: Path) -> None:
    clock = Clock()
    node = open_node(tmp_path, clock)
    with closing(node.storage):
        run(produce(node, clock, GENESIS.block_period_ms))
        assert node.head.height == 1, "the first one comes by itself: it is what proofs lead to"
        node.submit(pay(1).data)
        run(produce(node, clock, GENESIS.heartbeat_ms - 1))
        assert node.head.height == 1, "one that must wait for an earlier nonce makes no block"
        node.submit(pay(0).data)
        block = made(node, clock, GENESIS.block_period_ms)
        assert [each.nonce for each in block.transactions] == [0, 1]
        run(produce(node, clock, GENESIS.heartbeat_ms - 1))
        assert node.head.height == 2
        assert made(node, clock).transactions == ()
        assert node.head.height == 3


def test_it_runs_by_itself_and_wakes_for_a_transaction(tmp_path: Path) -> None:
    """Told by heights; nothing here depends on how fast the machine is."""

    async def story() -> None:
        storage = Storage.open(tmp_path / "chain.sqlite", GENESIS)
        node = Node(storage, KEY)
        with closing(storage):
            task = asyncio.create_task(node.run())
            assert (await node.wait_for_height(1)).height == 1
            tx_hash = node.submit(pay().data)
            await node.wait_for_height(2)
            assert storage.find_transaction(tx_hash) == (2, 0)
            task.cancel()
            await asyncio.wait([task])

    run(story())


def test_four_nodes_of_one_process_decide_together_and_one_that_was_away_catches_up(tmp_path: Path) -> None:
    keys = VALIDATORS
    publics = tuple(key.public for key in keys)
    genesis = genesis_of(keys, proposers=publics, block_period_ms=5, heartbeat_ms=5, timeout_ms=1_000)

    async def story() -> None:
        network = LocalNetwork()
        storages = [Storage.open(tmp_path / f"{index}.sqlite", genesis) for index in range(4)]
        nodes = [Node(storage, key, network) for storage, key in zip(storages, keys, strict=True)]
        for node in nodes[:3]:
            network.join(node)
        tasks = [asyncio.create_task(node.run()) for node in nodes[:3]]
        body = Transfer(BOB.public, 1)
        tx_hash = nodes[2].submit(Transaction.sign(ALICE, genesis.chain_id, 0, body, 1_000).data)
        await nodes[0].wait_for_height(3)
        network.join(nodes[3])
        tasks.append(asyncio.create_task(nodes[3].run()))
        await nodes[3].wait_for_height(5)
        assert len({storage.block(3).header.block_hash for storage in storages}) == 1  # type: ignore[union-attr]
        assert [storage.find_transaction(tx_hash) is not None for storage in storages] == [True] * 4
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for storage in storages:
            storage.close()

    run(story())


def test_a_flooded_node_loses_the_oldest_messages_and_nothing_else(tmp_path: Path) -> None:
    clock = Clock()
    node = open_node(tmp_path, clock)
    with closing(node.storage):
        for _ in range(LENGTHS_MAX[NORMAL] + 5):
            node.deliver(BOB.public, WantChain(9, 1))
        assert (len(node._inbox), node._inbox.lost_count) == (LENGTHS_MAX[NORMAL], 5)
        assert made(node, clock).header.height == 1
        assert len(node._inbox) == 0


def test_a_turn_ends_after_its_time_and_the_committees_word_and_the_clock_come_before_the_flood(
    tmp_path: Path,
) -> None:
    """Each message takes 5 ms; a block is due meanwhile."""
    clock = Clock()
    node = open_node(tmp_path, clock)
    story: list[str] = []
    with closing(node.storage):
        run(node.advance())
        replica, height = node.replica, node.head.height
        receive, tick = replica.receive, replica.tick

        def slow(sender: bytes, *rest: Any) -> Any:
            story.append("member" if sender == KEY.public else "flood")
            clock.steady_ms += 5
            return receive(sender, *rest)

        def told(*rest: Any) -> Any:
            story.append("tick")
            return tick(*rest)

        replica.receive, replica.tick = slow, told  # type: ignore[method-assign, assignment]
        vote = Vote.sign(KEY, GENESIS.chain_id, 9, 0, Phase.PREPARE, bytes(32))
        for _ in range(1_000):
            node.deliver(BOB.public, Ballot(vote))
        for _ in range(2):
            node.deliver(KEY.public, Ballot(vote))
        clock.steady_ms = node.replica.deadline_ms or 0
        run(node.advance())
        assert [each for each in story if each != "tick"] == ["member", "member", "flood", "flood"]
        assert story.index("tick") == 2
        assert TURN_MS == 4 * 5
        assert len(node._inbox) == 1_002 - 4, "the rest waits for the next turn"
        assert node.head.height == height + 1, "and the block that was due is there"


def test_a_busy_pool_says_so_before_it_verifies_anything(tmp_path: Path) -> None:
    node = open_node(tmp_path, pool=Pool(count_max=1))
    with closing(node.storage):
        node.submit(pay().data)
        with pytest.raises(Refused) as caught:
            node.submit(b"not even a transaction")
        assert caught.value.reason == Reason.BUSY


def test_a_stream_and_its_anchors_survive(tmp_path: Path) -> None:
    clock = Clock()
    node = open_node(tmp_path, clock)
    with closing(node.storage):
        node.submit(Transaction.sign(ALICE, GENESIS.chain_id, 0, anchor(), 0).data)
        run(produce(node, clock))
    again = open_node(tmp_path, clock)
    with closing(again.storage):
        with pytest.raises(Refused) as caught:
            again.submit(Transaction.sign(ALICE, GENESIS.chain_id, 1, anchor(), 0).data)
        assert caught.value.reason == Reason.ANCHOR_KNOWN
        with pytest.raises(Refused) as caught:
            again.submit(Transaction.sign(CAROL, GENESIS.chain_id, 0, anchor(), 0).data)
        assert caught.value.reason == Reason.ACCOUNT_UNKNOWN
