"""LBFT beyond round 1: coordinators, locks, joining, timers; and what holds in every state and committee."""

import pytest

from chain_node.block import NO_BLOCK, Phase
from chain_node.lbft_states import Fate, State, timeout_ms
from chain_node.messages import Ballot, Proposal, Validate
from tests.chain_node.lbft_committee import (
    EVERYBODY,
    NAMES,
    PERIOD_MS,
    SEVEN,
    TIMEOUT_MS,
    Committee,
    ballots,
    in_state,
    is_ballot,
)

# Rounds with a coordinator: at height 1 of four, round 2 is v3's, round 3 is v0's


def in_round_2() -> Committee:
    """v0 and v1 prepared B in round 1, v2 and v3 I; the timer of round 1 has run out for all."""
    committee = Committee()
    proposal = committee.sealed("p")
    committee.proposes = False
    shown = committee.certificate(Phase.PREPARE, 0, proposal.block.header.block_hash, "v0 v1 v2")
    for name in ("v0", "v1"):
        committee.hand(name, "p", proposal)
        committee.hand(name, "v2", Ballot(committee.vote("v2", Phase.PREPARE, 0, shown.block_hash), shown))
        assert committee[name].core.current.locked_round == 0
    committee.drop()
    committee.wait(PERIOD_MS + TIMEOUT_MS)
    # They see who is in round 1, not what he shows.
    for letter in committee.table:
        if isinstance(letter.message, Ballot) and letter.message.vote.round == 1:
            letter.message = Ballot(letter.message.vote)
    committee.settle(lambda letter: is_ballot(letter, Phase.PREPARE))
    committee.drop()
    committee.wait(timeout_ms(TIMEOUT_MS, 1))
    assert committee.states() == ", ".join(f"{name} 1/2 IMPEACH_PREPARE" for name in NAMES)
    return committee


def test_the_coordinator_names_the_best_certificate_of_all_as_soon_as_all_have_shown_theirs() -> None:
    committee = in_round_2()
    committee.drop(lambda letter: not is_ballot(letter, Phase.ROUND))
    assert sorted({(letter.sender, *ballots(committee, letter.sender)) for letter in committee.table}) == [
        ("v0", "ROUND 2 - shows 0"),
        ("v1", "ROUND 2 - shows 0"),
        ("v2", "ROUND 2 - shows -"),
        ("v3", "ROUND 2 - shows -"),
    ]
    committee.deliver_to("v3")
    assert ballots(committee, "v3")[:2] == ["COORDINATE 2 B shows 0", "PREPARE 2 B shows 0"]
    assert "COORDINATE" not in str([ballots(committee, name) for name in NAMES[:3]])
    committee.settle()
    assert committee.decided() == dict.fromkeys(EVERYBODY, "B")
    assert {certificate.round for certificate in committee.certificates()} == {2}


def test_with_a_quorum_only_the_coordinator_waits_a_third_of_the_round() -> None:
    committee = in_round_2()
    committee.drop(lambda letter: not is_ballot(letter, Phase.ROUND))
    committee.deliver(lambda letter: letter.receiver == "v3" and letter.sender != "v1")
    third_ms = timeout_ms(TIMEOUT_MS, 2) // 3
    committee.wait(third_ms - 1, "v3")
    assert "COORDINATE" not in str(ballots(committee, "v3"))
    committee.wait(1, "v3")
    assert "COORDINATE 2 B shows 0" in ballots(committee, "v3")
    committee.settle()
    assert committee.decided() == dict.fromkeys(EVERYBODY, "B")


def test_without_a_quorum_the_coordinator_says_nothing_however_long_it_waits() -> None:
    committee = in_round_2()
    committee.drop(lambda letter: not is_ballot(letter, Phase.ROUND))
    committee.deliver(lambda letter: letter.receiver == "v3" and letter.sender == "v1")
    committee.wait(100 * TIMEOUT_MS, "v3")
    assert "COORDINATE" not in str(ballots(committee, "v3"))
    assert committee["v3"].core.current.round == 2


def test_a_round_that_another_brings_without_its_certificate_hurries_no_coordinator() -> None:
    committee = in_round_2()
    committee.drop(lambda letter: not is_ballot(letter, Phase.ROUND))
    for name in ("v0", "v1", "v2"):
        stripped = committee.ballot(name, Phase.ROUND, 2, NO_BLOCK)
        assert committee.hand("v3", "v2", stripped) == Fate.TAKEN
    assert "COORDINATE" not in str(ballots(committee, "v3"))
    committee.deliver_to("v3")
    assert "COORDINATE 2 B shows 0" in ballots(committee, "v3")


def test_a_silent_coordinator_is_followed_by_the_next_one() -> None:
    committee = in_round_2()
    committee.kill("v3")
    committee.settle()
    committee.wait(timeout_ms(TIMEOUT_MS, 2))
    committee.settle()
    assert committee.states().startswith("v0 1/3 IMPEACH_PREPARE, v1 1/3 IMPEACH_PREPARE")
    committee.wait(timeout_ms(TIMEOUT_MS, 3) // 3)
    committee.settle()
    assert committee.decided() == dict.fromkeys(EVERYBODY - {"v3"}, "B")
    assert {certificate.round for certificate in committee.certificates()} == {3}


def test_who_has_committed_follows_no_lower_certificate_and_who_has_not_follows_any() -> None:
    committee = in_round_2()
    impeachment = committee.impeachment("v0")
    named = committee.ballot("v3", Phase.COORDINATE, 2, impeachment)
    committee.drop()
    for name in ("v0", "v2"):
        assert committee.hand(name, "v3", named) == Fate.TAKEN
    assert ballots(committee, "v0") == [], "locked in round 0, and nothing is shown"
    assert ballots(committee, "v2") == ["PREPARE 2 I shows -"]
    higher = committee.certificate(Phase.PREPARE, 1, impeachment, "v1 v2 v3")
    committee.drop()
    for name in ("v0", "v2"):
        assert committee.hand(name, "v0", committee.ballot("v1", Phase.ROUND, 3, NO_BLOCK)) == Fate.TAKEN, (
            "one alone is not joined"
        )
        assert committee.hand(name, "v2", committee.ballot("v3", Phase.ROUND, 3, NO_BLOCK)) == Fate.TAKEN
        assert committee[name].core.current.round == 3
    committee.drop()
    committee.hand("v2", "v0", committee.ballot("v0", Phase.COORDINATE, 3, impeachment, higher))
    assert ballots(committee, "v2") == ["PREPARE 3 I shows 1"]


def test_a_certificate_shown_late_to_one_does_not_make_it_refuse() -> None:
    """What z alone holds back raises what v2 offers, never what v2 refuses: else z stops every round."""
    committee = Committee()
    proposal = committee.sealed("p")
    block_hash, impeachment = proposal.block.header.block_hash, committee.impeachment("v0")
    lower = committee.certificate(Phase.PREPARE, 0, block_hash, "v0 v1 v2")
    hidden = committee.certificate(Phase.PREPARE, 1, impeachment, "v1 v2 v3")
    committee.kill("v3")
    for name in NAMES[:3]:
        committee.hand(name, "p", proposal)
        committee.hand(name, "v3", committee.ballot("v3", Phase.PREPARE, 0, block_hash, lower))
        assert committee[name].core.current.locked_round == 0
    committee.drop()
    for name in NAMES[:3]:
        for other in [other for other in NAMES[:3] if other != name]:
            committee.hand(name, other, committee.ballot(other, Phase.ROUND, 3, NO_BLOCK, lower))
    committee.drop()
    committee.hand("v2", "v3", committee.ballot("v3", Phase.ROUND, 3, NO_BLOCK, hidden))
    assert committee["v2"].core.current.best == hidden
    assert committee["v2"].core.current.locked_round == 0
    committee.wait(timeout_ms(TIMEOUT_MS, 3) // 3, "v0")
    assert "COORDINATE 3 B shows 0" in ballots(committee, "v0")
    committee.deliver(lambda letter: letter.sender == "v0" and letter.receiver == "v2")
    assert "PREPARE 3 B shows 1" in ballots(committee, "v2"), (
        "it offers the hidden one, and follows all the same"
    )
    committee.settle()
    assert committee.decided() == dict.fromkeys(EVERYBODY - {"v3"}, "B")


def test_who_learns_of_a_certificate_in_a_later_round_goes_there_and_commits() -> None:
    committee = Committee()
    impeachment = committee.impeachment("v0")
    shown = committee.certificate(Phase.PREPARE, 5, impeachment, "v1 v2 v3")
    committee.hand("v0", "v1", committee.ballot("v1", Phase.COMMIT, 5, impeachment, shown))
    current = committee["v0"].core.current
    assert (current.round, current.state, current.locked_round) == (5, State.IMPEACH_COMMIT, 5)
    assert ballots(committee, "v0") == ["ROUND 5 - shows 5", "COMMIT 5 I shows 5"]


# Joining and timers


@pytest.mark.parametrize(("validators", "join"), [(None, 2), (SEVEN, 3)])
def test_f_plus_1_in_later_rounds_are_joined_in_the_highest_that_one_honest_has_reached_and_f_are_not(
    validators: tuple[object, ...] | None, join: int
) -> None:
    committee = Committee() if validators is None else Committee(SEVEN)
    current = committee["v0"].core.current
    for index in range(1, join):
        committee.hand("v0", f"v{index}", committee.ballot(f"v{index}", Phase.ROUND, 7, NO_BLOCK))
        assert (current.round, current.state) == (0, State.IDLE)
    committee.hand("v0", f"v{join}", committee.ballot(f"v{join}", Phase.ROUND, 4, NO_BLOCK))
    assert (current.round, current.state) == (4, State.IMPEACH_PREPARE)


def test_joining_round_1_means_preparing_in_it() -> None:
    committee = Committee()
    for name in ("v1", "v2"):
        committee.hand("v0", name, committee.ballot(name, Phase.PREPARE, 1, committee.impeachment("v0")))
    assert ballots(committee, "v0") == ["PREPARE 1 I shows -", "COMMIT 1 I shows 1"]


def test_who_is_alone_in_a_round_does_not_run_ahead_of_the_others() -> None:
    committee = Committee()
    committee.proposes = False
    committee.wait(1_000 * TIMEOUT_MS, "v0")
    assert committee["v0"].core.current.round == 1
    block_hash = committee.sealed("p").block.header.block_hash
    committee.hand("v0", "v1", committee.ballot("v1", Phase.PREPARE, 1, block_hash))
    committee.wait(1_000 * TIMEOUT_MS, "v0")
    assert committee["v0"].core.current.round == 1, "two of four do not finish a round"


def test_each_round_lasts_twice_as_long_as_the_one_before_up_to_32_times_the_first() -> None:
    committee = Committee()
    committee.proposes = False
    current = committee["v0"].core.current
    committee.wait(PERIOD_MS + TIMEOUT_MS, "v0")
    lengths = []
    for round_ in range(1, 9):
        assert current.round == round_
        for name in ("v1", "v2"):
            other_hash = committee.sealed("p", salt=int(name[1])).block.header.block_hash
            phase, block_hash = (Phase.PREPARE, other_hash) if round_ == 1 else (Phase.ROUND, NO_BLOCK)
            committee.hand("v0", name, committee.ballot(name, phase, round_, block_hash))
        began_ms = committee.now_ms
        while current.round == round_:
            committee.wait(1_000, "v0")
        lengths.append(committee.now_ms - began_ms)
    assert lengths == [2_000, 4_000, 8_000, 16_000, 32_000, 32_000, 32_000, 32_000]


# In every state


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("kind", ["B", "I"])
@pytest.mark.parametrize("is_whole", [True, False])
def test_a_shown_c_certificate_is_honoured_in_every_state(state: State, kind: str, is_whole: bool) -> None:
    committee = in_state(state)
    proposal = committee.sealed("p")
    block_hash = proposal.block.header.block_hash if kind == "B" else committee.impeachment("v0")
    certificate = committee.certificate(Phase.COMMIT, 3, block_hash, "v1 v2 v3")
    block = proposal.block if kind == "B" and is_whole else None
    assert committee.hand("v0", "v1", Validate(certificate, block)) == Fate.TAKEN
    if not committee["v0"].chain:
        assert committee.hand("v0", "v1", Proposal(proposal.block, None)) == Fate.TAKEN
    assert committee["v0"].chain[0].certificate == certificate
    assert committee["v0"].chain[0].block.header.block_hash == block_hash
    assert committee["v0"].core.current.height == 2


@pytest.mark.parametrize("state", State)
def test_a_quorum_of_commits_decides_in_every_state(state: State) -> None:
    committee = in_state(state)
    # In IMPEACH_COMMIT its own is one of them.
    for name in ("v1", "v2") if state == State.IMPEACH_COMMIT else ("v1", "v2", "v3"):
        assert committee["v0"].chain == []
        committee.hand("v0", name, committee.ballot(name, Phase.COMMIT, 1, committee.impeachment("v0")))
    assert committee["v0"].chain[0].certificate.round == 1


# Committees of other sizes


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("proposes", [True, False])
def test_a_committee_of_any_size_decides_with_f_silent_ones(count: int, proposes: bool) -> None:
    committee = Committee(SEVEN[:count])
    committee.proposes = proposes
    silent = {f"v{index}" for index in range(count - (count - 1) // 3, count)}
    for name in silent:
        committee.kill(name)
    committee.wait(PERIOD_MS + (0 if proposes else TIMEOUT_MS))
    committee.settle()
    kind = "B" if proposes else "I"
    everybody = {"p"} | {f"v{index}" for index in range(count)}
    assert committee.decided() == dict.fromkeys(everybody - silent, kind)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 7])
def test_a_committee_of_any_size_stops_when_one_more_is_silent(count: int) -> None:
    committee = Committee(SEVEN[:count])
    for index in range(count - (count - 1) // 3 - 1, count):
        committee.kill(f"v{index}")
    for _ in range(20):
        committee.wait(TIMEOUT_MS)
        committee.settle()
    assert committee.decided() == {}


# What a mutation found untold


def test_two_sealed_blocks_impeach_nobody_once_one_is_known_to_be_certified() -> None:
    committee = Committee()
    first, second = committee.sealed("p"), committee.sealed("p", salt=1)
    shown = committee.certificate(Phase.PREPARE, 0, first.block.header.block_hash, "v1 v2 v3")
    committee.hand("v0", "v1", committee.ballot("v1", Phase.COMMIT, 0, shown.block_hash, shown))
    committee["v0"].core.step(committee["p"].key.public, first, 0)
    committee["v0"].core.step(committee["p"].key.public, second, 0)
    assert committee.states().startswith("v0 1/0 IDLE")


def test_a_block_is_kept_with_the_first_vote_for_it_only() -> None:
    committee = in_state(State.COMMIT)
    assert [(item.vote.phase, item.block is None) for item in committee["v0"].disk] == [
        (Phase.PREPARE, False),
        (Phase.COMMIT, True),
    ]


def test_who_is_alone_after_a_restart_does_not_run_ahead_either() -> None:
    committee = in_state(State.IMPEACH_PREPARE)
    committee.kill("v0")
    committee.revive("v0")
    committee.wait(20 * TIMEOUT_MS, "v0")
    assert committee["v0"].core.current.round == 1


def test_a_round_lasts_no_longer_because_another_comes_to_it_late() -> None:
    committee = in_state(State.IMPEACH_PREPARE)
    for salt, name in enumerate(("v1", "v2", "v3")):
        if name == "v3":
            committee.wait(timeout_ms(TIMEOUT_MS, 1) // 2, "v0")
        other_hash = committee.sealed("p", salt).block.header.block_hash
        committee.hand("v0", name, committee.ballot(name, Phase.PREPARE, 1, other_hash))
    committee.wait(timeout_ms(TIMEOUT_MS, 1) // 2 - 1, "v0")
    assert committee.states().startswith("v0 1/1 IMPEACH_PREPARE")
    committee.wait(1, "v0")
    assert committee.states().startswith("v0 1/2 IMPEACH_PREPARE")
