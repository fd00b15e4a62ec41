"""Duties are gathered, taken once, and say their order by that of their fields."""

from dataclasses import fields, replace

from chain_node.block import Phase
from chain_node.kept import Kept
from chain_node.lbft_ready import NOTHING, Decided, Duties, Equivocation, Ready, Serve, Setup
from chain_node.messages import WantChain
from chain_node.schedule import TakeTurns
from chain_node.signatures import Signatures
from tests.chain_node.lbft_committee import Committee


def test_duties_are_in_the_order_in_which_they_must_be_done() -> None:
    names = [field.name for field in fields(Ready)]
    assert names == ["persist", "send", "check", "is_proposal_due", "decided", "serve", "evidence"]


def test_what_was_gathered_is_taken_once() -> None:
    committee = Committee()
    block = committee.proposal(committee["p"])
    vote = committee.vote("v0", Phase.PREPARE, 0, block.header.block_hash)
    decided = Decided(block, committee.certificate(Phase.COMMIT, 0, block.header.block_hash))
    duties = Duties()
    assert [duties.is_empty] == [True]
    gathered = Ready(
        (Kept(vote),),
        ((None, WantChain(1, 1)),),
        (block,),
        True,
        decided,
        (Serve(b"", 1, 1),),
        (Equivocation(vote, vote),),
    )
    for field in fields(Ready):
        value = getattr(gathered, field.name)
        setattr(duties, field.name, list(value) if isinstance(value, tuple) else value)
        assert [duties.is_empty] == [False]
        assert duties.take() == replace(NOTHING, **{field.name: value})
        assert [duties.is_empty] == [True]
    for field in fields(Ready):
        value = getattr(gathered, field.name)
        setattr(duties, field.name, list(value) if isinstance(value, tuple) else value)
    assert duties.take() == gathered
    assert duties.take() == NOTHING


def test_a_seal_is_the_scheduled_proposers_word_for_this_very_block() -> None:
    committee = Committee()
    genesis = committee.genesis
    setup = Setup(
        Signatures(genesis.chain_id, genesis.validators, None), TakeTurns(genesis.proposers), 1_000, 250
    )
    proposal = committee.sealed("p")
    block, seal = proposal.block, proposal.seal
    assert seal
    assert setup.is_seal_of(seal, block.header)
    for wrong in (
        replace(seal, phase=Phase.PREPARE),
        replace(seal, round=1),
        replace(seal, height=2),
        replace(seal, block_hash=bytes(32)),
        replace(seal, chain_id=bytes(32)),
        replace(seal, voter=committee["v0"].key.public),
    ):
        assert not setup.is_seal_of(wrong, block.header)
    foreign = replace(block, header=replace(block.header, chain_id=bytes(32)))
    assert not setup.is_seal_of(replace(seal, block_hash=foreign.header.block_hash), foreign.header)
