"""A validator that restarts stands where it stood: it never contradicts what anybody may have heard.

The committee itself watches: whatever a member ever sends must be kept before, and contradict nothing.
"""

import pytest

from chain_node.block import Phase
from chain_node.kept import Kept
from chain_node.lbft_restore import stand
from chain_node.lbft_states import State, timeout_ms
from chain_node.messages import Ballot, Proposal
from tests.chain_node.lbft_committee import (
    EVERYBODY,
    NAMES,
    PERIOD_MS,
    SEVEN,
    TIMEOUT_MS,
    Committee,
    ballots,
    in_state,
)
from tests.chain_node.world import VALIDATORS


def finish(committee: Committee) -> None:
    """Let everything arrive, for a few rounds."""
    for _ in range(4):
        committee.settle()
        committee.wait(TIMEOUT_MS)
    committee.settle()


# Where one stands by what was kept


def test_nothing_kept_is_the_beginning() -> None:
    standing = stand([])
    assert (standing.round, standing.best, standing.locked_round, standing.state) == (0, None, -1, State.IDLE)
    assert (standing.blocks, standing.coordinated, standing.messages, standing.votes) == ({}, {}, [], [])


def test_where_one_stands_follows_from_all_that_was_kept() -> None:
    committee = Committee()
    proposal = committee.sealed("p")
    block, seal, block_hash = proposal.block, proposal.seal, proposal.block.header.block_hash
    lower = committee.certificate(Phase.PREPARE, 0, block_hash)
    higher = committee.certificate(Phase.PREPARE, 2, block_hash)
    prepare_0 = Kept(committee.vote("v0", Phase.PREPARE, 0, block_hash), block, seal)
    commit_0 = Kept(committee.vote("v0", Phase.COMMIT, 0, block_hash), certificate=lower)
    prepare_1 = Kept(committee.vote("v0", Phase.PREPARE, 1, block_hash), certificate=lower)
    named_2 = Kept(committee.vote("v0", Phase.COORDINATE, 2, block_hash), certificate=lower)
    prepare_2 = Kept(committee.vote("v0", Phase.PREPARE, 2, block_hash), certificate=lower)
    commit_2 = Kept(committee.vote("v0", Phase.COMMIT, 2, block_hash), certificate=higher)
    kept = [prepare_0, commit_0, prepare_1, named_2, prepare_2, commit_2]

    standings = [stand(kept[:count]) for count in range(1, 7)]
    assert [each.state for each in standings] == [
        State.PREPARE,
        State.COMMIT,
        State.IMPEACH_PREPARE,
        State.IMPEACH_PREPARE,
        State.IMPEACH_PREPARE,
        State.IMPEACH_COMMIT,
    ]
    assert [each.round for each in standings] == [0, 0, 1, 2, 2, 2]
    assert [each.locked_round for each in standings] == [-1, 0, 0, 0, 0, 2]
    assert [each.best for each in standings] == [None, lower, lower, lower, lower, higher]
    assert [each.has_prepared for each in standings] == [True, True, True, False, True, True]
    assert [each.has_committed for each in standings] == [False, True, False, False, False, True]
    last = standings[-1]
    assert last.coordinated == {2: (block_hash, 0)}
    assert last.votes == [item.vote for item in kept]
    assert last.messages == [Ballot(item.vote, item.certificate) for item in kept[3:]]
    assert stand(kept[::-1]).best == higher, "the highest, not the last"
    assert stand(kept[::-1]).locked_round == 2
    [candidate] = last.blocks.values()
    assert (candidate.block, candidate.seal, candidate.is_licit, candidate.is_kept) == (
        block,
        seal,
        True,
        True,
    )


def test_a_proposer_stands_by_its_block_and_a_coordinator_by_having_shown_nothing() -> None:
    committee = Committee()
    proposal = committee.sealed("p")
    assert proposal.seal
    standing = stand([Kept(proposal.seal, proposal.block)])
    assert (standing.state, standing.votes, standing.messages) == (State.IDLE, [], [proposal])
    assert standing.blocks[proposal.block.header.block_hash].seal == proposal.seal
    impeachment = committee.impeachment("v0")
    standing = stand([Kept(committee.vote("v3", Phase.COORDINATE, 2, impeachment))])
    assert standing.coordinated == {2: (impeachment, -1)}


# Restarts


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("is_isolated", [False, True])
def test_a_restart_in_any_state_ends_where_it_began_and_contradicts_nothing(
    state: State, is_isolated: bool
) -> None:
    committee = in_state(state)
    before, kept = committee.states(), list(committee["v0"].disk)
    committee.kill("v0")
    if is_isolated:
        committee.drop()
    committee.revive("v0")
    assert committee.states() == before
    assert committee["v0"].disk == kept, "nothing new follows from what was kept"
    said_again = [
        letter.message.vote
        for letter in committee.table
        if letter.sender == "v0" and letter.receiver == "v1" and isinstance(letter.message, Ballot)
    ]
    round_ = committee["v0"].core.current.round
    assert {vote.data for vote in said_again} >= {
        item.vote.data for item in kept if item.vote.round == round_ and item.vote.phase != Phase.PROPOSE
    }
    if is_isolated:
        committee.drop()
    finish(committee)
    assert set(committee.decided()) >= set(NAMES)
    assert len({certificate.block_hash for certificate in committee.certificates()}) == 1
    assert all(not member.evidence for member in committee.members.values())


@pytest.mark.parametrize("state", State)
def test_all_restart_at_once_in_any_state(state: State) -> None:
    committee = in_state(state)
    for name in (*NAMES, "p"):
        committee.kill(name)
    committee.drop()
    for name in (*NAMES, "p"):
        committee.revive(name)
    finish(committee)
    assert set(committee.decided()) >= set(NAMES)
    assert len({certificate.block_hash for certificate in committee.certificates()}) == 1
    assert all(not member.evidence for member in committee.members.values())


@pytest.mark.parametrize("is_kept", [False, True])
@pytest.mark.parametrize("proposes", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [1, 4])
def test_the_power_goes_at_each_sync_of_a_proposing_validator(
    size: int, count: int, proposes: bool, is_kept: bool
) -> None:
    committee = Committee(SEVEN[:size], proposers=SEVEN[:1])
    committee.proposes = proposes
    member = committee["v0"]
    member.keeps_left, member.dies_after_keeping = count, is_kept
    while member.is_up:
        committee.wait(PERIOD_MS if proposes else PERIOD_MS + TIMEOUT_MS)
        committee.settle()
    assert len(committee.members["v0"].chain) <= count
    kept = list(member.disk)
    committee.proposes = True
    committee.revive("v0")
    assert member.disk[: len(kept)] == kept
    for _ in range(3):
        committee.wait(PERIOD_MS + TIMEOUT_MS)
        committee.settle()
    height = len(member.chain)
    assert height >= 3
    for at in range(1, height):
        assert len({certificate.block_hash for certificate in committee.certificates(at)}) == 1
    assert all(not each.evidence for each in committee.members.values())


def test_a_proposer_that_dies_before_it_keeps_its_seal_may_seal_another_and_after_that_may_not() -> None:
    for is_kept in (False, True):
        committee = Committee()
        member = committee["p"]
        member.keeps_left, member.dies_after_keeping = 1, is_kept
        committee.wait(PERIOD_MS)
        assert not member.is_up
        assert committee.table == []
        committee.revive("p")
        said_again = [Proposal(item.block, item.vote) for item in member.disk if item.block]
        assert [letter.message for letter in committee.table] == said_again * 4
        assert len(said_again) == is_kept
        committee.wait(PERIOD_MS)
        assert len(member.disk) == 1
        committee.settle()
        assert committee.decided() == dict.fromkeys(EVERYBODY, "B")


def test_who_has_committed_stays_locked_after_a_restart() -> None:
    committee = in_state(State.COMMIT)
    committee.kill("v0")
    committee.drop()
    committee.revive("v0")
    assert committee["v0"].core.current.locked_round == 0
    assert committee["v0"].core.current.best is not None
    for name in ("v1", "v2"):
        committee.hand("v0", name, committee.ballot(name, Phase.ROUND, 2, bytes(32)))
    committee.hand("v0", "v3", committee.ballot("v3", Phase.COORDINATE, 2, committee.impeachment("v0")))
    assert ballots(committee, "v0")[-1] == "ROUND 2 - shows 0", (
        "it shows its certificate, and prepares nothing"
    )


def test_a_coordinator_names_after_a_restart_what_it_named_before() -> None:
    committee = Committee()
    for name in ("v0", "v1", "v2"):
        committee.hand("v3", name, committee.ballot(name, Phase.ROUND, 2, bytes(32)))
    named = [item.vote for item in committee["v3"].disk if item.vote.phase == Phase.COORDINATE]
    assert [vote.block_hash for vote in named] == [committee.impeachment("v3")]
    committee.kill("v3")
    committee.drop()
    committee.revive("v3")
    better = committee.certificate(Phase.PREPARE, 1, committee.sealed("p").block.header.block_hash)
    for name in ("v0", "v1", "v2"):
        committee.hand("v3", name, committee.ballot(name, Phase.ROUND, 2, bytes(32), better))
    committee.wait(timeout_ms(TIMEOUT_MS, 2) // 3, "v3")
    again = [item.vote for item in committee["v3"].disk if item.vote.phase == Phase.COORDINATE]
    assert again == named
    assert "COORDINATE 2 I shows -" in ballots(committee, "v3")


def test_a_commit_that_was_due_when_the_power_went_is_made_up_for() -> None:
    """It prepared on a certificate of this very round; had it died a moment later, it had committed."""
    committee = Committee()
    impeachment = committee.impeachment("v0")
    shown = committee.certificate(Phase.PREPARE, 1, impeachment, "v1 v2 v3")
    committee.kill("v0")
    committee["v0"].disk.append(Kept(committee.vote("v0", Phase.PREPARE, 1, impeachment), certificate=shown))
    committee.revive("v0")
    assert committee["v0"].core.current.state == State.IMPEACH_COMMIT
    assert ballots(committee, "v0") == ["PREPARE 1 I shows 1", "COMMIT 1 I shows 1"]


@pytest.mark.parametrize("kept_count", [1, 2, 3])
def test_a_committee_of_one_finishes_what_it_began(kept_count: int) -> None:
    committee = Committee(VALIDATORS[:1], proposers=VALIDATORS[:1])
    committee.wait(PERIOD_MS)
    assert [item.vote.phase for item in committee["v0"].disk if item.vote.height == 1] == [
        Phase.PROPOSE,
        Phase.PREPARE,
        Phase.COMMIT,
    ]
    [block] = [decided.block for decided in committee["v0"].chain]
    committee["v0"].disk = committee["v0"].disk[:kept_count]
    committee["v0"].chain.clear()
    committee.revive("v0")
    assert [decided.block for decided in committee["v0"].chain] == [block]
