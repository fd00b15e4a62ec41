"""What proposals, final blocks and questions are worth at one height, and who votes for none of them."""

from dataclasses import replace

import pytest

from chain_node.block import NO_BLOCK, Phase, Vote
from chain_node.lbft_ready import NOTHING
from chain_node.lbft_states import Fate, State
from chain_node.messages import Ballot, Proposal, Validate, WantBlock, WantChain
from tests.chain_node.lbft_committee import (
    NAMES,
    PERIOD_MS,
    TIMEOUT_MS,
    Committee,
    block_on,
    in_state,
)
from tests.chain_node.world import VALIDATORS, key


def forged(vote: Vote) -> Vote:
    """The vote with a signature that does not hold."""
    return replace(vote, data=vote.data[:-1] + bytes([vote.data[-1] ^ 1]))


# Proposals


def test_a_proposal_is_taken_once_from_the_scheduled_proposer_only() -> None:
    committee = Committee(proposers=(key("first"), key("second")))
    proposal = committee.sealed("p")
    assert committee.hand("v0", "p1", committee.sealed("p1")) == Fate.FOREIGN
    assert committee.hand("v0", "v1", committee.sealed("v1")) == Fate.FOREIGN
    assert committee.hand("v0", "v1", Proposal(proposal.block, None)) == Fate.UNASKED
    assert proposal.seal
    assert committee.hand("v0", "p", Proposal(proposal.block, forged(proposal.seal))) == Fate.FORGED
    assert committee["v0"].core.current.state == State.IDLE
    assert committee.hand("v0", "v1", proposal) == Fate.TAKEN, "whoever brings it"
    assert committee.hand("v0", "p", proposal) == Fate.DUPLICATE


@pytest.mark.parametrize(
    ("phase", "round_", "of_this_block"), [(Phase.PREPARE, 0, True), (Phase.PROPOSE, 0, False)]
)
def test_a_seal_is_of_its_block_and_no_other_vote(phase: Phase, round_: int, of_this_block: bool) -> None:
    committee = Committee()
    block = committee.sealed("p").block
    block_hash = block.header.block_hash if of_this_block else bytes(32)
    seal = committee.vote("p", phase, round_, block_hash)
    assert committee.hand("v0", "p", Proposal(block, seal)) == Fate.FOREIGN


def test_a_block_of_a_later_round_is_illicit_even_sealed() -> None:
    committee = Committee()
    block = block_on(
        committee.genesis, 1, committee.genesis.chain_id, round_=1, proposer=committee["p"].key.public
    )
    seal = committee.vote("p", Phase.PROPOSE, 0, block.header.block_hash)
    assert committee.hand("v0", "p", Proposal(block, seal)) == Fate.TAKEN
    assert committee["v0"].core.current.state == State.IMPEACH_PREPARE


def test_of_blocks_that_a_cheat_seals_two_are_kept() -> None:
    committee = Committee()
    fates = [committee.hand("v0", "p", committee.sealed("p", salt)) for salt in range(5)]
    assert fates == [Fate.TAKEN, Fate.TAKEN, Fate.EQUIVOCATION, Fate.EQUIVOCATION, Fate.EQUIVOCATION]
    assert len(committee["v0"].evidence) == 1
    assert len(committee["v0"].core.current._blocks) == 3
    # One more that a quorum vouches for is taken, with or without its seal.
    vouched, other = committee.sealed("p", 7), committee.sealed("p", 8)
    shown = committee.certificate(Phase.PREPARE, 1, vouched.block.header.block_hash)
    committee.hand("v0", "v1", committee.ballot("v1", Phase.ROUND, 2, NO_BLOCK, shown))
    assert committee.hand("v0", "p", other) == Fate.EQUIVOCATION
    assert committee.hand("v0", "p", vouched) == Fate.TAKEN
    assert len(committee["v0"].core.current._blocks) == 4


def test_a_proposer_seals_no_second_block_beside_one_that_its_key_has_sealed_elsewhere() -> None:
    committee = Committee()
    committee.hand("p", "v1", committee.sealed("p", salt=1))
    committee.wait(PERIOD_MS)
    assert committee["p"].disk == []
    assert committee["p"].said == {}


def test_a_proposer_proposes_once_and_asks_again_while_it_has_nothing() -> None:
    committee = Committee()
    committee.proposes = False
    core = committee["p"].core
    assert core.deadline_ms == PERIOD_MS
    assert core.tick(PERIOD_MS - 1).is_proposal_due is False
    assert core.tick(PERIOD_MS).is_proposal_due is True
    assert core.propose(None, PERIOD_MS).send == ()
    assert core.deadline_ms == PERIOD_MS + TIMEOUT_MS // 4
    assert core.tick(PERIOD_MS + TIMEOUT_MS // 4).is_proposal_due is True
    proposal = committee.sealed("p")
    assert core.propose(proposal.block, 400).send == ((None, proposal),)
    assert core.propose(committee.sealed("p", salt=1).block, 401).send == ()
    assert core.tick(500).is_proposal_due is False


def test_a_block_on_another_parent_is_not_proposed() -> None:
    committee = Committee()
    stale = block_on(committee.genesis, 1, bytes(32), proposer=committee["p"].key.public)
    assert committee["p"].core.propose(stale, 0).persist == ()


def test_work_hurries_the_proposer_and_the_timer_and_never_before_the_block_is_due() -> None:
    committee = Committee()
    start = replace(committee["v0"].core.current._start, has_work=False, latest_ms=50_000)
    for name, timer_ms in (("p", 0), ("v0", TIMEOUT_MS)):
        core = committee._core(committee[name].key)
        core.begin(start, 0)
        assert core.deadline_ms == 50_000 + timer_ms
        core.work_waits(60)
        assert core.deadline_ms == PERIOD_MS + timer_ms
        core.work_waits(PERIOD_MS + 5)
        assert core.deadline_ms == PERIOD_MS + timer_ms, "hurried already"
        core = committee._core(committee[name].key)
        core.begin(replace(start, has_work=True), 0)
        assert core.deadline_ms == PERIOD_MS + timer_ms
        core = committee._core(committee[name].key)
        core.begin(start, 0)
        core.work_waits(PERIOD_MS + 5)
        assert core.deadline_ms == PERIOD_MS + 5 + timer_ms


def test_a_judgement_counts_once_and_of_known_blocks_only() -> None:
    committee = Committee()
    proposal = committee.sealed("p")
    core, block_hash = committee["v0"].core, proposal.block.header.block_hash
    assert core.judge(block_hash, True, 0).persist == ()
    assert core.step(committee["p"].key.public, proposal, 0).check == (proposal.block,)
    assert committee.states().startswith("v0 1/0 IDLE")
    ready = core.judge(block_hash, True, 0)
    assert [item.vote.phase for item in ready.persist] == [Phase.PREPARE]
    assert (ready.persist[0].block, ready.persist[0].seal) == (proposal.block, proposal.seal)
    core.judge(block_hash, False, 0)
    assert committee.states().startswith("v0 1/0 PREPARE")


def test_a_block_that_was_found_illicit_or_is_not_judged_yet_is_committed_by_no_certificate() -> None:
    for is_judged in (True, False):
        committee = Committee()
        proposal = committee.sealed("p")
        block_hash = proposal.block.header.block_hash
        core = committee["v0"].core
        assert core.step(committee["p"].key.public, proposal, 0).check == (proposal.block,)
        if is_judged:
            core.judge(block_hash, is_licit=False, now_ms=0)
        shown = committee.certificate(Phase.PREPARE, 5, block_hash, "v1 v2 v3")
        ballot = committee.ballot("v1", Phase.COMMIT, 5, block_hash, shown)
        assert core.step(committee["v1"].key.public, ballot, 0).persist == ()
        assert (core.current.best, core.current.locked_round) == (shown, -1)
        ready = core.judge(block_hash, is_licit=True, now_ms=0)
        assert [item.vote.phase for item in ready.persist] == ([] if is_judged else [Phase.COMMIT])


def test_what_was_said_is_said_again_when_it_is_time_and_not_at_every_tick() -> None:
    committee = in_state(State.PREPARE)
    core = committee["v0"].core
    assert core.tick(PERIOD_MS + TIMEOUT_MS // 4 - 1) == NOTHING
    [(peer, message)] = core.tick(PERIOD_MS + TIMEOUT_MS // 4).send
    assert peer is None
    assert isinstance(message, Ballot)
    assert message.vote == committee["v0"].disk[0].vote
    assert core.tick(PERIOD_MS + TIMEOUT_MS // 4 + 1) == NOTHING


# Final blocks, and questions


def test_a_final_block_must_be_the_certified_one() -> None:
    committee = Committee()
    proposal = committee.sealed("p")
    certificate = committee.certificate(Phase.COMMIT, 0, proposal.block.header.block_hash)
    other = committee.sealed("p", salt=1).block
    assert committee.hand("v0", "v1", Validate(certificate, other)) == Fate.FORGED
    assert committee["v0"].chain == []
    assert committee.hand("v0", "v1", Validate(certificate, proposal.block)) == Fate.TAKEN
    assert committee["v0"].chain[0].block == proposal.block
    assert committee.hand("v0", "v1", Validate(certificate, proposal.block)) == Fate.LATE


def test_a_final_block_that_is_not_here_is_asked_for_until_it_comes() -> None:
    committee = Committee()
    proposal = committee.sealed("p")
    block_hash = proposal.block.header.block_hash
    certificate = committee.certificate(Phase.COMMIT, 0, block_hash)
    assert committee.hand("v0", "v1", Validate(certificate)) == Fate.TAKEN
    assert [(letter.receiver, letter.message) for letter in committee.table] == [
        ("v1", WantBlock(1, block_hash))
    ]
    committee.drop()
    committee.wait(TIMEOUT_MS // 4, "v0")
    asked = [letter.receiver for letter in committee.table if letter.message == WantBlock(1, block_hash)]
    assert asked == ["v1", "v2", "v3", "p"]
    assert committee.hand("v0", "v2", Proposal(proposal.block, None)) == Fate.TAKEN
    assert committee["v0"].chain[0].certificate == certificate


def test_who_asks_for_a_block_is_sent_it_by_who_has_it() -> None:
    committee = in_state(State.PREPARE)
    committee.drop()
    proposal = committee.sealed("p")
    assert committee.hand("v0", "v2", WantBlock(1, proposal.block.header.block_hash)) == Fate.TAKEN
    assert [(letter.receiver, letter.message) for letter in committee.table] == [("v2", proposal)]
    committee.drop()
    assert committee.hand("v0", "v2", WantBlock(1, bytes(32))) == Fate.TAKEN
    assert committee.hand("v0", "v2", WantBlock(1, committee.impeachment("v0"))) == Fate.TAKEN
    assert committee.table == [], "everybody can compute the impeachment block"


def test_a_vote_for_a_block_that_is_not_here_asks_for_it_and_a_repeated_one_again() -> None:
    committee = Committee()
    block_hash = committee.sealed("p").block.header.block_hash
    for name in ("v1", "v2"):
        committee.hand("v0", name, committee.ballot(name, Phase.PREPARE, 0, block_hash))
    assert [letter.receiver for letter in committee.table] == ["v1"]
    committee.drop()
    committee.now_ms += TIMEOUT_MS // 4
    committee.hand("v0", "v2", committee.ballot("v2", Phase.PREPARE, 0, block_hash))
    assert [letter.receiver for letter in committee.table] == ["v2"], "v1 may be the liar"


def test_a_question_for_the_chain_from_here_has_no_answer() -> None:
    committee = Committee()
    assert committee.hand("v0", "v1", WantChain(1, 1)) == Fate.DUPLICATE
    assert committee.table == []


# Those who do not vote


def test_a_proposer_that_is_no_validator_and_observers_vote_for_nothing_and_decide_all() -> None:
    committee = Committee(observers=(key("watcher"),))
    for height in range(1, 4):
        committee.wait(PERIOD_MS)
        committee.settle()
        assert committee.decided(height) == dict.fromkeys((*NAMES, "p", "o"), "B")
    committee.proposes = False
    committee.wait(PERIOD_MS + TIMEOUT_MS)
    committee.settle()
    assert committee.decided(4) == dict.fromkeys((*NAMES, "p", "o"), "I")
    assert {phase for _, _, phase in committee["p"].said} == {Phase.PROPOSE}
    assert committee["o"].said == {}
    assert committee["o"].disk == []
    assert committee["o"].core.deadline_ms is None
    for name in NAMES:
        committee.hand("o", name, committee.ballot(name, Phase.ROUND, 2, NO_BLOCK, height=5))
    assert committee["o"].core.current.round == 2
    assert committee["o"].core.deadline_ms is None, "it follows, and times nothing"


def test_an_observer_that_missed_a_block_asks_for_it() -> None:
    committee = Committee(observers=(key("watcher"),))
    committee.wait(PERIOD_MS)
    committee.hold("o")
    committee.settle()
    assert committee.decided()["o"] == "B"


def test_a_validator_that_proposes_votes_for_its_own_block() -> None:
    committee = Committee(proposers=VALIDATORS[:1])
    committee.wait(PERIOD_MS)
    assert [item.vote.phase for item in committee["v0"].disk] == [Phase.PROPOSE, Phase.PREPARE]
    committee.settle()
    assert committee.decided() == dict.fromkeys(NAMES, "B")
