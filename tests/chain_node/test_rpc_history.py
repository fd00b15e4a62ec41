"""What an account sent and received: newest first, page by page, nothing twice and nothing left out."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from chain_node import rpc_history
from chain_node.fields import INT_MAX
from chain_node.node import Node
from chain_node.rpc_history import Page, page
from chain_node.storage import Storage
from chain_node.transaction import Transaction, Transfer
from puf.ed25519 import SigningKey
from tests.chain_node import stepping
from tests.chain_node.world import ALICE, BOB, CAROL, VALIDATORS, anchor, genesis_of

GENESIS = genesis_of([VALIDATORS[0]], proposers=(VALIDATORS[0].public,))
CLOCK = stepping.Clock()
NEWEST = (INT_MAX, 0)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """Blocks 1 to 4: Alice pays Bob thrice, nobody does anything, Bob pays Carol, Alice anchors."""
    with closing(Storage.open(tmp_path / "chain.sqlite", GENESIS)) as storage:
        made = Node(storage, VALIDATORS[0], clock_ms=CLOCK.wall, steady_ms=CLOCK.steady)
        for nonce in range(3):
            send(made, ALICE, nonce, Transfer(BOB.public, nonce + 1))
        produce(made)
        produce(made)
        send(made, BOB, 0, Transfer(CAROL.public, 9))
        produce(made)
        send(made, ALICE, 3, anchor())
        produce(made)
        yield made


def send(node: Node, key: SigningKey, nonce: int, body: object) -> None:
    node.submit(Transaction.sign(key, GENESIS.chain_id, nonce, body, 1_000).data)  # type: ignore[arg-type]


def produce(node: Node) -> None:
    asyncio.run(stepping.produce(node, CLOCK))


def places(found: Page) -> list[tuple[int, int]]:
    return [(entry.height, entry.index) for entry in found.entries]


def test_each_party_sees_its_own_newest_first(node: Node) -> None:
    assert node.head.height == 4
    for key, expected in (
        (ALICE, [(4, 0), (1, 2), (1, 1), (1, 0)]),
        (BOB, [(3, 0), (1, 2), (1, 1), (1, 0)]),
        (CAROL, [(3, 0)]),
        (VALIDATORS[1], []),
    ):
        found = page(node.storage, key.public, NEWEST, 100)
        assert (places(found), found.before) == (expected, None)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_pages_of_any_length_join_without_a_gap(node: Node, count: int) -> None:
    joined: list[tuple[int, int]] = []
    before: tuple[int, int] | None = NEWEST
    while before:
        found = page(node.storage, ALICE.public, before, count)
        assert len(found.entries) <= count
        joined += places(found)
        before = found.before
    assert joined == [(4, 0), (1, 2), (1, 1), (1, 0)]


def test_a_page_looks_at_a_bounded_part_of_the_chain(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_history, "SCAN_BYTES", 1)
    found = page(node.storage, CAROL.public, NEWEST, 100)
    assert (places(found), found.before) == ([], (3, 20_000))
    following = page(node.storage, CAROL.public, (3, 20_000), 100)
    assert (places(following), following.before) == ([(3, 0)], (1, 20_000))
    assert page(node.storage, CAROL.public, (1, 20_000), 100) == Page((), None)


def test_a_key_that_stands_there_as_something_else_is_no_party(node: Node) -> None:
    send(node, ALICE, 4, anchor(stream=CAROL.public))
    send(node, ALICE, 5, Transfer(BOB.public, 1, memo=CAROL.public))
    produce(node)
    assert places(page(node.storage, CAROL.public, NEWEST, 100)) == [(3, 0)]
