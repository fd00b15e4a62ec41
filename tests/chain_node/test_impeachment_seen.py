"""Why a proposer was impeached, as a node saw it: each reason, and none of what it was not there to see."""

from dataclasses import replace

from chain_node.block import Block
from chain_node.impeachment import Impeachments, Seen, Why
from chain_node.lbft_ready import Decided
from tests.chain_node.world import PROPOSER, Chain, certificate_of, genesis_of

GENESIS = genesis_of()
IMPEACHED, _ = Chain().impeachment()


def impeached(height: int = 1) -> Block:
    return Block(replace(IMPEACHED.header, height=height), ())


def proposed(number: int) -> Block:
    header = replace(impeached().header, round=0, proposer=PROPOSER.public, time_ms=GENESIS.time_ms + number)
    return Block(header, ())


def after(impeachments: Impeachments, waited_ms: int, *lost: Block, height: int = 1) -> Seen | None:
    certificate = certificate_of(GENESIS, impeached(height).header)
    return impeachments.decided(Decided(impeached(height), certificate, lost), waited_ms)


def test_no_block_came_while_the_node_waited() -> None:
    assert after(Impeachments(40), 40) == Seen(Why.NO_BLOCK)


def test_a_node_that_was_not_there_says_nothing() -> None:
    assert after(Impeachments(40), 39) is None


def test_a_licit_block_was_late() -> None:
    assert after(Impeachments(40), 0, proposed(1)) == Seen(Why.LATE)


def test_an_illicit_block_is_named_with_what_is_wrong() -> None:
    impeachments = Impeachments(40)
    impeachments.illicit(proposed(1).header.block_hash, "its time is wrong")
    assert after(impeachments, 0, proposed(1)) == Seen(Why.ILLICIT, "its time is wrong")


def test_two_sealed_blocks_come_before_what_is_wrong_with_them() -> None:
    impeachments = Impeachments(40)
    impeachments.illicit(proposed(1).header.block_hash, "its time is wrong")
    assert after(impeachments, 0, proposed(1), proposed(2)) == Seen(Why.TWO_BLOCKS)


def test_a_new_height_forgets_the_faults_of_the_last_one() -> None:
    impeachments = Impeachments(40)
    impeachments.illicit(proposed(1).header.block_hash, "its time is wrong")
    impeachments.begin(100)
    assert after(impeachments, 139) is None
    assert after(impeachments, 100, proposed(1)) == Seen(Why.LATE)


def test_a_proposers_block_is_no_impeachment() -> None:
    impeachments = Impeachments(40)
    block = proposed(1)
    assert impeachments.decided(Decided(block, certificate_of(GENESIS, block.header)), 1_000) is None
