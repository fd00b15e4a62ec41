"""A glance at what vouches for a block: what is not wanted is told by it, and is what `step` would say."""

from dataclasses import replace

import pytest

from chain_node.block import Phase, Vote
from chain_node.lbft_ready import NOTHING, Serve
from chain_node.lbft_states import Fate
from chain_node.messages import Proposal, Validate, WantChain
from tests.chain_node.lbft_committee import PERIOD_MS, Committee
from tests.chain_node.world import STRANGERS


def glance(committee: Committee, message: Proposal | Validate, sender: str = "p") -> Fate:
    """What v0 thinks of it, before it reads it."""
    assert message.block
    proof = message.seal if isinstance(message, Proposal) else message.certificate
    core = committee["v0"].core
    before = sum(core.fates)
    fate = core.glance(committee[sender].key.public, message.block.header, proof)
    assert sum(core.fates) - before == (fate != Fate.TAKEN), "what is not read is counted here"
    return fate


def forged(vote: Vote) -> Vote:
    return replace(vote, data=vote.data[:-1] + bytes([vote.data[-1] ^ 1]))


def sealed_by(committee: Committee, proposal: Proposal, name: str) -> Proposal:
    header = proposal.block.header
    return Proposal(proposal.block, committee.vote(name, Phase.PROPOSE, 0, header.block_hash, header.height))


def test_a_sealed_block_is_wanted_once() -> None:
    committee = Committee()
    proposal = committee.sealed("p")
    assert glance(committee, proposal) == Fate.TAKEN
    assert committee.hand("v0", "p", proposal) == Fate.TAKEN
    assert glance(committee, proposal) == Fate.DUPLICATE


def test_a_seal_that_does_not_hold_or_is_not_the_proposers_costs_no_reading() -> None:
    committee = Committee()
    proposal = committee.sealed("p")
    assert proposal.seal
    assert glance(committee, Proposal(proposal.block, forged(proposal.seal))) == Fate.FORGED
    assert glance(committee, sealed_by(committee, proposal, "v1")) == Fate.FOREIGN
    other = committee.sealed("p", salt=1)
    assert glance(committee, Proposal(proposal.block, other.seal)) == Fate.FOREIGN
    assert glance(committee, Proposal(proposal.block, None)) == Fate.UNASKED
    assert glance(committee, proposal) == Fate.TAKEN


def test_a_block_that_a_quorum_vouches_for_is_wanted_without_its_seal() -> None:
    committee = Committee()
    proposal = committee.sealed("p")
    block_hash = proposal.block.header.block_hash
    shown = committee.certificate(Phase.PREPARE, 0, block_hash, "v1 v2 v3")
    committee.hand("v0", "v1", committee.ballot("v1", Phase.COMMIT, 0, block_hash, shown))
    assert glance(committee, Proposal(proposal.block, None)) == Fate.TAKEN


def test_of_a_cheats_blocks_two_are_read() -> None:
    committee = Committee()
    fates = []
    for salt in range(3):
        proposal = committee.sealed("p", salt)
        fates.append(glance(committee, proposal))
        committee.hand("v0", "p", proposal)
    assert fates == [Fate.TAKEN, Fate.TAKEN, Fate.EQUIVOCATION]


def test_a_final_block_is_wanted_with_its_certificate_and_once() -> None:
    committee = Committee()
    block = committee.sealed("p").block
    final = committee.certificate(Phase.COMMIT, 0, block.header.block_hash)
    few = replace(final, signatures=final.signatures[:2])
    wrong = replace(final, signatures=(*final.signatures[:2], (2, bytes(64))))
    prepared = committee.certificate(Phase.PREPARE, 0, block.header.block_hash)
    other = committee.certificate(Phase.COMMIT, 0, committee.sealed("p", 1).block.header.block_hash)
    for certificate in (few, wrong, prepared, other):
        assert glance(committee, Validate(certificate, block)) == Fate.FORGED
    assert glance(committee, Validate(final, block)) == Fate.TAKEN
    committee.hand("v0", "p", Proposal(block, committee.vote("p", Phase.PROPOSE, 0, final.block_hash)))
    assert glance(committee, Validate(final, block)) == Fate.DUPLICATE


@pytest.mark.parametrize("height", [0, 1])
def test_what_is_decided_is_late(height: int) -> None:
    committee = Committee()
    proposal = committee.sealed("p")
    committee.wait(PERIOD_MS)
    committee.settle()
    assert committee["v0"].core.current.height == 2
    assert glance(committee, proposal) == Fate.LATE
    final = committee.certificate(Phase.COMMIT, 0, proposal.block.header.block_hash)
    assert glance(committee, Validate(final, proposal.block)) == Fate.LATE


def test_of_the_next_height_two_sealed_blocks_are_read_and_of_later_ones_none() -> None:
    committee = Committee()
    committee.kill("v0")
    committee.wait(PERIOD_MS)
    committee.settle()
    committee.drop()
    committee["v0"].is_up = True
    early = [committee.sealed("p", salt) for salt in range(3)]
    assert {each.height for each in early} == {2}
    assert early[0].seal
    assert glance(committee, Proposal(early[0].block, forged(early[0].seal))) == Fate.FORGED
    assert glance(committee, sealed_by(committee, early[0], "v1")) == Fate.FOREIGN
    assert glance(committee, Proposal(early[0].block, None)) == Fate.FUTURE
    fates = []
    for proposal in (early[0], *early):
        fates.append(glance(committee, proposal))
        committee.hand("v0", "p", proposal)
    assert fates == [Fate.TAKEN, Fate.DUPLICATE, Fate.TAKEN, Fate.FUTURE]
    committee.wait(PERIOD_MS, "p", "v1", "v2", "v3")
    committee.settle(lambda letter: letter.receiver != "v0")
    assert glance(committee, committee.sealed("p")) == Fate.FUTURE


def test_final_blocks_from_ahead_are_read_of_who_was_asked_and_if_they_hold() -> None:
    committee = Committee()
    committee.kill("v0")
    for _ in range(4):
        committee.wait(PERIOD_MS, "p", "v1", "v2", "v3")
        committee.settle()
    committee.drop()
    committee["v0"].is_up = True
    third = committee["v1"].chain[2]
    final = Validate(third.certificate, third.block)
    assert glance(committee, final, "v1") == Fate.FUTURE, "nobody was asked"
    core, v1 = committee["v0"].core, committee["v1"].key.public
    ready = core.hear(v1, 5, committee.now_ms)
    assert ready.send == ((v1, WantChain(1, 4)),)
    assert glance(committee, final, "v2") == Fate.FUTURE
    assert glance(committee, final, "v1") == Fate.TAKEN
    wrong = replace(third.certificate, signatures=third.certificate.signatures[:2])
    assert glance(committee, Validate(wrong, third.block), "v1") == Fate.FORGED
    committee.hand("v0", "v1", final)
    assert glance(committee, final, "v1") == Fate.DUPLICATE


# Heights that are only spoken of


def test_who_speaks_of_an_earlier_height_is_served_and_not_twice_in_a_while() -> None:
    committee = Committee()
    for _ in range(2):
        committee.wait(PERIOD_MS)
        committee.settle()
    core, stranger = committee["v0"].core, STRANGERS[0].public
    assert core.hear(stranger, 1, committee.now_ms).serve == (Serve(stranger, 1, 1, is_asked=False),)
    assert core.hear(stranger, 1, committee.now_ms) == NOTHING
    assert core.hear(STRANGERS[1].public, 0, committee.now_ms) == NOTHING
    assert core.hear(STRANGERS[1].public, 3, committee.now_ms) == NOTHING, "it is where we are"


def test_what_becomes_of_each_message_is_told() -> None:
    committee = Committee()
    told: list[tuple[bytes, int, Fate]] = []
    core = committee["v0"].core
    core.judged = lambda sender, message, fate: told.append((sender, message.KIND, fate))
    proposal = committee.sealed("p")
    for _ in range(2):
        committee.hand("v0", "p", proposal)
    public = committee["p"].key.public
    assert told == [(public, 1, Fate.TAKEN), (public, 1, Fate.DUPLICATE)]
