"""A running node that is far behind takes a late state from its peers, and blocks from there on."""

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from chain_node.check import check
from chain_node.local_network import LocalNetwork
from chain_node.messages import Links, Message, WantLinks, WantNodes
from chain_node.node import JOIN_AGAIN_MS, JOIN_GAP, Node
from chain_node.pruning import ARCHIVE
from chain_node.storage import Storage
from chain_node.transaction import Transaction, Transfer
from tests.chain_node.joining import FIRST_ACCOUNTS, extend, rich_genesis
from tests.chain_node.peering import Net, until
from tests.chain_node.stepping import Clock, produce
from tests.chain_node.world import ALICE, BOB, PROPOSER, VALIDATORS, genesis_of, key

KEY = VALIDATORS[0]
GENESIS = genesis_of([KEY], proposers=(KEY.public,))
GAP = 5
STRANGER = b"s" * 32


class Wire(LocalNetwork):
    """Notes what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[Message] = []

    def send(self, sender: bytes, receiver: bytes | None, message: Message) -> None:
        self.said.append(message)
        super().send(sender, receiver, message)


def pay(nonce: int) -> bytes:
    return Transaction.sign(ALICE, GENESIS.chain_id, nonce, Transfer(BOB.public, 1), 1_000).data


async def producing(folder: Path, clock: Clock, network: LocalNetwork, blocks: int) -> Node:
    """The only validator, with so many blocks."""
    node = Node(
        Storage.open(folder / "validator.sqlite", GENESIS),
        KEY,
        network,
        clock_ms=clock.wall,
        steady_ms=clock.steady,
    )
    network.join(node)
    for nonce in range(blocks):
        node.submit(pay(nonce))
        assert await produce(node, clock)
        clock.now_ms += 1_000
    return node


def newcomer(folder: Path, clock: Clock, network: LocalNetwork, join_gap: int | None = GAP) -> Node:
    node = Node(
        Storage.open(folder / "newcomer.sqlite", GENESIS),
        PROPOSER,
        network,
        clock_ms=clock.wall,
        steady_ms=clock.steady,
        join_gap=join_gap,
    )
    network.join(node)
    return node


async def talk(*nodes: Node) -> None:
    """Until nobody has anything more to say."""
    while any(node._inbox for node in nodes):
        for node in nodes:
            await node.advance()


def test_a_newcomer_takes_the_state_and_then_blocks_one_by_one(tmp_path: Path) -> None:
    async def story() -> None:
        clock, network = Clock(), Wire()
        validator = await producing(tmp_path, clock, network, 8)
        node = newcomer(tmp_path, clock, network)
        node.submit(pay(3))
        node.submit(pay(8))
        with closing(validator.storage), closing(node.storage):
            node.hear(validator.public, 9)
            await talk(node, validator)
            assert node.head == validator.head
            assert node.storage.headers_from == 8
            assert node.nonce_of(ALICE.public) == 8
            assert [len(node.pool), node.next_nonce(ALICE.public)] == [1, 9], (
                "what was spent is no more in the pool"
            )
            assert any(isinstance(message, WantNodes) for message in network.said)
            # From here on it follows: the block comes as a block.
            clock.now_ms += 1_000
            await produce(validator, clock)
            await talk(node, validator)
            assert (node.head.height, node.head) == (9, validator.head)
            assert node.storage.bodies_from == 9
            assert check(node.storage).is_sound

    asyncio.run(story())


def test_a_node_that_is_a_little_behind_or_keeps_all_executes_every_block(tmp_path: Path) -> None:
    async def story() -> None:
        clock, network = Clock(), Wire()
        validator = await producing(tmp_path, clock, network, 8)
        with closing(validator.storage):
            for name, join_gap, retention in (
                ("near", 9, {}),
                ("never", None, {}),
                ("archive", 1, {"retention": ARCHIVE}),
            ):
                (tmp_path / name).mkdir()
                storage = Storage.open(tmp_path / name / "chain.sqlite", GENESIS, **retention)  # type: ignore[arg-type]
                node = Node(
                    storage, None, network, clock_ms=clock.wall, steady_ms=clock.steady, join_gap=join_gap
                )
                network.join(node)
                with closing(storage):
                    node.hear(validator.public, 9)
                    await talk(node, validator)
                    clock.steady_ms += 1_000
                    await node.advance()
                    await talk(node, validator)
                    assert node.head == validator.head
                    assert (storage.headers_from, storage.bodies_from) == (1, 1)
                network.leave(node)
            assert not any(isinstance(message, WantNodes) for message in network.said)

    asyncio.run(story())


def test_who_claims_to_be_far_ahead_and_cannot_show_it_stops_nobody(tmp_path: Path) -> None:
    async def story() -> None:
        clock, network = Clock(), Wire()
        node = await producing(tmp_path, clock, network, 2)
        with closing(node.storage):
            node._join_gap = GAP
            node.hear(STRANGER, 10**9)
            await node.advance()
            assert [message for message in network.said if isinstance(message, WantLinks)] == [
                WantLinks(0, 1)
            ]
            node.submit(pay(2))
            clock.now_ms += 1_000
            assert await produce(node, clock), "blocks go on while the claim is open"
            # What it shows is the head that everybody has: nothing to fetch, and no reason to ask again soon.
            link = node.storage.link(3)
            assert link is not None
            node.deliver(STRANGER, Links(0, (link,)))
            await node.advance()
            assert node._joining is None
            node.hear(STRANGER, 10**9)
            await node.advance()
            assert node._joining is None
            clock.steady_ms += JOIN_AGAIN_MS
            node.hear(STRANGER, 10**9)
            await node.advance()
            assert sum(isinstance(message, WantLinks) for message in network.said) == 2

    asyncio.run(story())


def test_a_node_asks_for_a_state_only_when_it_is_far_behind() -> None:
    assert JOIN_GAP == 1_000


@pytest.mark.parametrize("height", [8, 7])
def test_blocks_do_not_disturb_a_state_that_is_being_fetched(tmp_path: Path, height: int) -> None:
    async def story() -> None:
        clock, network = Clock(), Wire()
        validator = await producing(tmp_path, clock, network, 8)
        node = newcomer(tmp_path, clock, network)
        with closing(validator.storage), closing(node.storage):
            node.hear(validator.public, 9)
            await node.advance()
            await validator.advance()
            await node.advance()
            assert node._is_fetching
            assert any(isinstance(message, WantNodes) for message in network.said)
            block, certificate = validator.storage.certified(height, 1)[0]
            assert node.glance(validator.public, block.header, certificate).name == "FUTURE"
            await talk(node, validator)
            assert node.head == validator.head

    asyncio.run(story())


def test_a_newcomer_joins_over_the_network_of_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genesis = rich_genesis(FIRST_ACCOUNTS)
    with closing(Storage.open(tmp_path / "old.sqlite", genesis)) as storage:
        extend(storage, 30, 10, 300)
    # Some blocks may come before the answer that makes it fetch a state.
    monkeypatch.setattr(
        Node.__init__, "__kwdefaults__", (Node.__init__.__kwdefaults__ or {}) | {"join_gap": 5}
    )
    monkeypatch.setattr("chain_node.snapshot.NODES_COUNT_MAX", 100)

    async def story() -> None:
        net = Net(tmp_path, genesis)
        await net.start("old", key("old"))
        newcomer = await net.start("new", key("new"), ["old"])
        try:
            # It takes the state, and of the chain nothing else.
            await until(lambda: newcomer.node.head.height == 30)
            storage = newcomer.node.storage
            assert (storage.headers_from, storage.bodies_from) == (30, 31)
            assert check(storage).is_sound
            assert newcomer.node.nonce_of(ALICE.public) == 300
        finally:
            for name in ("new", "old"):
                await net.stop(name)

    asyncio.run(story())
