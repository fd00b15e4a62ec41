"""LBFT at one height, told as stories: proposals fail, messages are late, and still one block is decided."""

from chain_node.block import Phase
from chain_node.lbft_states import Fate, State
from chain_node.messages import Proposal
from tests.chain_node.lbft_committee import (
    EVERYBODY,
    NAMES,
    PERIOD_MS,
    TIMEOUT_MS,
    Committee,
    ballots,
    block_on,
    in_state,
    is_ballot,
)

# Round 0


def test_a_licit_block_is_decided_by_everybody_after_exactly_three_message_delays() -> None:
    committee = Committee()
    committee.wait(PERIOD_MS)
    assert committee.states() == "v0 1/0 IDLE, v1 1/0 IDLE, v2 1/0 IDLE, v3 1/0 IDLE"
    committee.deliver()
    assert committee.states() == "v0 1/0 PREPARE, v1 1/0 PREPARE, v2 1/0 PREPARE, v3 1/0 PREPARE"
    committee.deliver()
    assert committee.states() == "v0 1/0 COMMIT, v1 1/0 COMMIT, v2 1/0 COMMIT, v3 1/0 COMMIT"
    assert committee.decided() == {}
    committee.deliver()
    assert committee.states() == "v0 2/0 IDLE, v1 2/0 IDLE, v2 2/0 IDLE, v3 2/0 IDLE"
    assert committee.decided() == dict.fromkeys(EVERYBODY, "B")
    assert {certificate.round for certificate in committee.certificates()} == {0}
    for certificate in committee.certificates():
        certificate.verify(committee.genesis.chain_id, committee.genesis.validators)


def test_a_validator_commits_only_what_it_has_and_asks_for_what_it_lacks() -> None:
    committee = Committee()
    committee.wait(PERIOD_MS)
    committee.hold("v3")
    committee.deliver()
    committee.deliver()
    assert committee.states() == "v0 1/0 COMMIT, v1 1/0 COMMIT, v2 1/0 COMMIT, v3 1/0 IDLE"
    assert ballots(committee, "v3") == []
    wants = [(letter.receiver, letter.message.KIND) for letter in committee.table if letter.sender == "v3"]
    assert wants == [("v0", 4)], "one question for the block's name, to who spoke of it first"
    committee.settle()
    assert committee.decided() == dict.fromkeys(EVERYBODY, "B")


def test_a_licit_block_whose_certificate_came_before_it_is_prepared_and_committed_at_once() -> None:
    committee = Committee()
    proposal = committee.sealed("p")
    block_hash = proposal.block.header.block_hash
    shown = committee.certificate(Phase.PREPARE, 0, block_hash, "v1 v2 v3")
    committee.hand("v0", "v1", committee.ballot("v1", Phase.COMMIT, 0, block_hash, shown))
    assert committee.states().startswith("v0 1/0 IDLE")
    committee.hand("v0", "p", proposal)
    assert committee.states().startswith("v0 1/0 COMMIT")
    assert ballots(committee, "v0") == ["PREPARE 0 B shows 0", "COMMIT 0 B shows 0"]


def test_a_commit_shows_the_certificate_it_follows_from_and_others_commit_by_it() -> None:
    """z votes to one only: were its certificate not shown, z could split every round like this."""
    committee = Committee()
    committee.wait(PERIOD_MS)
    committee.deliver_to("v0", "v1")
    committee.hold("v2", "v3", "p")
    committee.deliver_to("v0", "v1")
    block_hash = committee.sealed("p").block.header.block_hash
    committee.hand("v0", "v3", committee.ballot("v3", Phase.PREPARE, 0, block_hash))
    assert committee.states().startswith("v0 1/0 COMMIT, v1 1/0 PREPARE")
    assert ballots(committee, "v0") == ["COMMIT 0 B shows 0"]
    committee.deliver_to("v1")
    assert committee.states().startswith("v0 1/0 COMMIT, v1 1/0 COMMIT")


# Proposers that fail


def test_a_silent_proposer_is_impeached_after_the_timer_and_two_delays() -> None:
    committee = Committee()
    committee.proposes = False
    committee.wait(PERIOD_MS + TIMEOUT_MS - 1)
    assert committee.states() == "v0 1/0 IDLE, v1 1/0 IDLE, v2 1/0 IDLE, v3 1/0 IDLE"
    committee.wait(1)
    assert committee.states() == ", ".join(f"v{index} 1/1 IMPEACH_PREPARE" for index in range(4))
    assert ballots(committee, "v1") == ["PREPARE 1 I shows -"]
    committee.deliver()
    assert committee.states() == ", ".join(f"v{index} 1/1 IMPEACH_COMMIT" for index in range(4))
    committee.deliver()
    assert committee.decided() == dict.fromkeys(EVERYBODY, "I")
    assert {certificate.round for certificate in committee.certificates()} == {1}


def test_a_block_that_comes_after_the_timer_is_lost_and_returned() -> None:
    committee = Committee()
    proposal = committee.sealed("p")
    committee.proposes = False
    committee.wait(PERIOD_MS + TIMEOUT_MS)
    assert committee.hand("v0", "p", proposal) == Fate.TAKEN
    committee.settle()
    assert committee.decided() == dict.fromkeys(EVERYBODY, "I")
    assert committee["v0"].chain[0].lost == (proposal.block,)
    assert committee["v1"].chain[0].lost == ()


def test_an_illicit_block_is_impeached_without_waiting() -> None:
    committee = Committee()
    proposal = committee.sealed("p", is_illicit=True)
    for name in NAMES:
        committee.hand(name, "p", proposal)
    assert committee.states() == ", ".join(f"v{index} 1/1 IMPEACH_PREPARE" for index in range(4))
    committee.settle()
    assert committee.decided() == dict.fromkeys(EVERYBODY, "I")
    assert committee.now_ms == 0
    assert committee["v0"].evidence == []


def test_one_that_alone_finds_a_block_illicit_impeaches_alone_and_follows_the_others() -> None:
    committee = Committee()
    proposal = committee.sealed("p")
    committee.illicit.add(proposal.block.header.block_hash)
    committee.hand("v3", "p", proposal)
    committee.illicit.clear()
    for name in NAMES[:3]:
        committee.hand(name, "p", proposal)
    assert committee.states() == "v0 1/0 PREPARE, v1 1/0 PREPARE, v2 1/0 PREPARE, v3 1/1 IMPEACH_PREPARE"
    committee.settle()
    assert committee.decided() == dict.fromkeys(EVERYBODY, "B")


def test_a_block_for_another_parent_is_illicit_without_being_executed() -> None:
    committee = Committee()
    moved = block_on(committee.genesis, 1, bytes(32), proposer=committee["p"].key.public)
    seal = committee.vote("p", Phase.PROPOSE, 0, moved.header.block_hash)
    ready = committee["v0"].core.step(committee["p"].key.public, Proposal(moved, seal), 0)
    assert ready.check == ()
    assert committee["v0"].core.current.state == State.IMPEACH_PREPARE


def test_two_sealed_blocks_are_impeached_and_proven_by_all_who_saw_both() -> None:
    committee = Committee()
    first, second = committee.sealed("p"), committee.sealed("p", salt=1)
    for name in NAMES:
        committee.hand(name, "p", first if name in ("v0", "v1") else second)
    assert committee.states() == "v0 1/0 PREPARE, v1 1/0 PREPARE, v2 1/0 PREPARE, v3 1/0 PREPARE"
    committee.settle()
    assert committee.decided() == dict.fromkeys(EVERYBODY, "I")
    for name in NAMES:
        [evidence] = committee[name].evidence
        assert {evidence.first.block_hash, evidence.second.block_hash} == {
            first.block.header.block_hash,
            second.block.header.block_hash,
        }
        assert (evidence.first.voter, evidence.first.phase) == (committee["p"].key.public, Phase.PROPOSE)
        assert evidence.first.is_genuine()
        assert evidence.second.is_genuine()


def test_a_second_sealed_block_does_not_undo_a_certificate() -> None:
    committee = in_state(State.COMMIT)
    committee.hand("v0", "p", committee.sealed("p", salt=1))
    assert committee["v0"].core.current.state == State.COMMIT
    assert len(committee["v0"].evidence) == 1
    committee.settle()
    assert committee.decided() == dict.fromkeys(EVERYBODY, "B")


# What the published protocol gets wrong


def committed_but_late() -> Committee:
    """All have committed B; v0 and v1 have seen it decided, and for v2 and v3 the commits are late."""
    committee = Committee()
    committee.wait(PERIOD_MS)
    committee.deliver()
    committee.deliver()
    committee.deliver_to("v0", "v1")
    assert committee.decided() == {"v0": "B", "v1": "B"}
    committee.drop()
    return committee


def test_two_that_time_out_after_two_have_decided_decide_the_same() -> None:
    committee = committed_but_late()
    committee.wait(TIMEOUT_MS, "v2", "v3")
    assert committee.states() == "v0 2/0 IDLE, v1 2/0 IDLE, v2 1/1 IMPEACH_PREPARE, v3 1/1 IMPEACH_PREPARE"
    assert "PREPARE 1 B shows 0" in ballots(committee, "v2")
    committee.settle(lambda letter: {letter.sender, letter.receiver} <= {"v2", "v3"})
    committee.wait(100 * TIMEOUT_MS, "v2", "v3")
    committee.settle(lambda letter: {letter.sender, letter.receiver} <= {"v2", "v3"})
    assert committee.decided() == {"v0": "B", "v1": "B"}, "two are no quorum, whatever they wait"
    committee.settle()
    assert committee.decided() == dict.fromkeys(NAMES, "B")
    assert len({certificate.block_hash for certificate in committee.certificates()}) == 1


def test_three_that_are_late_decide_the_block_that_the_first_has_decided() -> None:
    committee = Committee()
    committee.wait(PERIOD_MS)
    committee.deliver()
    committee.deliver()
    committee.deliver_to("v0")
    committee.kill("v0")
    committee.drop()
    assert committee.decided() == {"v0": "B"}
    committee.wait(TIMEOUT_MS, "v1", "v2", "v3")
    committee.drop(lambda letter: is_ballot(letter, Phase.COMMIT))
    committee.settle()
    assert committee.decided() == dict.fromkeys(EVERYBODY, "B")
    assert committee["v1"].chain[0].certificate.round == 1, "the block of round 0, certified in round 1"


# The best certificate is carried


def test_what_one_alone_saw_certified_is_prepared_by_all_whom_it_reaches() -> None:
    committee = Committee()
    committee.wait(PERIOD_MS)
    committee.deliver()
    committee.deliver_to("v0")
    committee.deliver(lambda letter: letter.sender == "v0" and is_ballot(letter, Phase.COMMIT))
    committee.drop()
    committee.wait(TIMEOUT_MS)
    assert [ballots(committee, name)[-1] for name in NAMES] == ["PREPARE 1 B shows 0"] * 4
    committee.settle()
    assert committee.decided() == dict.fromkeys(EVERYBODY, "B")


def test_what_only_one_saw_certified_gives_way_to_a_quorum_that_knew_nothing_of_it() -> None:
    committee = Committee()
    committee.wait(PERIOD_MS)
    committee.deliver()
    committee.deliver_to("v0")
    assert committee["v0"].core.current.locked_round == 0
    committee.drop()
    committee.wait(TIMEOUT_MS)
    assert [ballots(committee, name)[-1] for name in NAMES] == ["PREPARE 1 B shows 0"] + [
        "PREPARE 1 I shows -"
    ] * 3
    committee.settle()
    assert committee.decided() == dict.fromkeys(EVERYBODY, "I")
    assert len(committee["v0"].chain[0].lost) == 1
