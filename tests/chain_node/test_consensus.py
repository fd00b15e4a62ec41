"""The committee of one: its vote is kept before its certificate exists, and it never contradicts itself."""

import asyncio
from dataclasses import replace

import pytest

from chain_node import ledger
from chain_node.block import Block, Phase, Vote
from chain_node.consensus import CommitteeOfOne, Decided
from chain_node.errors import DoubleVote
from chain_node.genesis import Genesis
from chain_node.kept import Kept
from chain_node.ledger import Head
from chain_node.schedule import TakeTurns
from tests.chain_node.world import PROPOSER, VALIDATORS, Chain, genesis_of

KEY = VALIDATORS[0]
GENESIS = genesis_of([KEY])


class Notebook:
    """Votes in memory, and the order in which things happened."""

    def __init__(self, *, is_full: bool = False) -> None:
        self.kept: list[Kept] = []
        self.is_full = is_full

    def put_vote(self, vote: Vote, block: Block | None = None) -> None:
        if self.is_full:
            raise OSError("the disk is full")
        for each in self.kept:
            other = each.vote
            if other.height == vote.height and other.block_hash != vote.block_hash:
                raise DoubleVote(vote.height, vote.round, other.block_hash, vote.block_hash)
        self.kept.append(Kept(vote, block))

    def votes(self, height: int) -> list[Kept]:
        return [each for each in self.kept if each.vote.height == height]


def block_on(head: Head, genesis: Genesis = GENESIS, later_ms: int = 1) -> Block:
    place = ledger.Place(
        genesis, head.height + 1, head.time_ms + later_ms, PROPOSER.public, TakeTurns(genesis.proposers)
    )
    execution = ledger.execute(Chain(genesis).nodes.__getitem__, head, place, [])
    return ledger.block_of(head, place, 0, execution)


def decide(notebook: Notebook, head: Head, block: Block) -> Decided:
    return asyncio.run(CommitteeOfOne(GENESIS, KEY, notebook).decide(head, lambda: block))


def test_its_proposal_is_final_and_its_vote_is_kept_with_the_block() -> None:
    notebook, head = Notebook(), Chain(GENESIS).head
    block = block_on(head)
    decided = decide(notebook, head, block)
    assert decided.block == block
    decided.certificate.verify(GENESIS.chain_id, GENESIS.validators)
    assert [(each.vote.phase, each.vote.block_hash, each.block) for each in notebook.kept] == [
        (Phase.COMMIT, block.header.block_hash, block)
    ]


def test_without_a_kept_vote_there_is_no_certificate() -> None:
    notebook, head = Notebook(is_full=True), Chain(GENESIS).head
    with pytest.raises(OSError, match="full"):
        decide(notebook, head, block_on(head))
    assert notebook.kept == []


def test_after_a_restart_it_finishes_the_block_it_voted_for_and_asks_for_no_other() -> None:
    notebook, head = Notebook(), Chain(GENESIS).head
    first = decide(notebook, head, block_on(head))
    again = decide(notebook, head, block_on(head, later_ms=99))
    assert again == first
    assert len(notebook.kept) == 1


def test_each_height_has_its_own_vote() -> None:
    notebook, head = Notebook(), Chain(GENESIS).head
    first = decide(notebook, head, block_on(head)).block.header
    head = replace(head, height=1, block_hash=first.block_hash, time_ms=first.time_ms)
    second = decide(notebook, head, block_on(head))
    assert second.block.header.parent_hash == first.block_hash
    assert [each.vote.height for each in notebook.kept] == [1, 2]
