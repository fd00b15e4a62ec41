"""Impeachment blocks: everybody makes the same one, and it counts against whose turn it was."""

import re
from dataclasses import replace
from typing import Any

import pytest

from chain_node.block import NO_PROPOSER, Block
from chain_node.entry import Conduct
from chain_node.errors import IllicitBlock
from chain_node.transaction import SUPPLY_UCPC, Transfer
from tests.chain_node.world import ALICE, BOB, CAROL, PROPOSER, START_MS, Chain, genesis_of


def test_everybody_makes_the_same_impeachment_block_and_it_counts_against_the_proposer() -> None:
    chain, other = Chain(), Chain()
    for each in (chain, other):
        each.extend(each.sign(ALICE, Transfer(BOB.public, 5)))
    parent = chain.head
    block, execution = other.impeachment()
    header = block.header
    assert (header.height, header.round, header.proposer, header.tx_count) == (2, 1, NO_PROPOSER, 0)
    assert header.time_ms == parent.time_ms + 10 + 40, "its parent's, and period and timeout of the genesis"
    assert chain.check(Block.decode(block.encode())) == execution
    assert chain.impeach() == block
    assert chain.state().conduct(PROPOSER.public) == Conduct(impeached_count=1, last_height=2)
    assert sum(chain.balance(who) for who in (ALICE, BOB, CAROL, PROPOSER)) == SUPPLY_UCPC
    chain.extend()
    chain.impeach()
    assert chain.state().conduct(PROPOSER.public) == Conduct(impeached_count=2, last_height=4)
    assert chain.state().conduct(ALICE.public) == Conduct()


def test_the_impeached_one_is_whose_turn_it_was() -> None:
    chain = Chain(genesis_of(proposers=(PROPOSER.public, ALICE.public, BOB.public)))
    for _ in range(5):
        chain.impeach()
    counts = [chain.state().conduct(who.public).impeached_count for who in (PROPOSER, ALICE, BOB)]
    assert counts == [2, 2, 1]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"time_ms": START_MS + 51}, "time_ms not what this parent's impeachment block has"),
        ({"proposer": PROPOSER.public}, "proposer not what"),
        ({"state_root": bytes(32)}, "state_root not what"),
        ({"round": 0}, f"it is the turn of {PROPOSER.public.hex()}"),
        ({"round": 2}, "its round is 2, which only votes may have"),
    ],
)
def test_a_block_that_nobody_proposed_is_the_impeachment_block_to_the_byte(
    changes: dict[str, Any], why: str
) -> None:
    chain = Chain()
    block, _ = chain.impeachment()
    with pytest.raises(IllicitBlock, match=re.escape(why)):
        chain.check(replace(block, header=replace(block.header, **changes)))


def test_an_impeachment_block_does_not_punish_without_an_impeachment() -> None:
    """A round-0 block whose state carries a penalty is not what its transactions make of its parent."""
    chain = Chain()
    block, _ = chain.impeachment()
    with pytest.raises(IllicitBlock, match="state_root not what its transactions make"):
        chain.check(replace(block, header=replace(block.header, round=0, proposer=PROPOSER.public)))
