"""What each ballot and certificate is worth at one height, and the bounds on what is kept of them."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from chain_node.block import NO_BLOCK, Certificate, Phase, Vote
from chain_node.lbft_rounds import ROUNDS_KEPT
from chain_node.lbft_states import Fate, State
from chain_node.messages import Ballot, Validate
from tests.chain_node.lbft_committee import (
    SEVEN,
    Committee,
    ballots,
)
from tests.chain_node.world import STRANGERS, VALIDATORS


def forged(vote: Vote) -> Vote:
    """The vote with a signature that does not hold."""
    return replace(vote, data=vote.data[:-1] + bytes([vote.data[-1] ^ 1]))


def entered(round_: int) -> Committee:
    """A committee whose v0 is in this round."""
    committee = Committee()
    for name in ("v1", "v2"):
        committee.hand("v0", name, committee.ballot(name, Phase.ROUND, round_, NO_BLOCK))
    assert committee["v0"].core.current.round == round_
    committee.drop()
    return committee


# Ballots


def test_a_vote_is_taken_once() -> None:
    committee = Committee()
    ballot = committee.ballot("v1", Phase.PREPARE, 0, committee.sealed("p").block.header.block_hash)
    assert [committee.hand("v0", "v1", ballot) for _ in range(3)] == [
        Fate.TAKEN,
        Fate.DUPLICATE,
        Fate.DUPLICATE,
    ]
    assert committee.hand("v0", "v2", ballot) == Fate.DUPLICATE, "whoever brings it"


def test_a_vote_of_nobody_here_or_of_another_chain_is_foreign() -> None:
    committee = Committee()
    block_hash = committee.impeachment("v0")
    stranger = Vote.sign(STRANGERS[0], committee.genesis.chain_id, 1, 1, Phase.PREPARE, block_hash)
    elsewhere = Vote.sign(VALIDATORS[1], bytes(32), 1, 1, Phase.PREPARE, block_hash)
    assert committee.hand("v0", "v1", Ballot(stranger)) == Fate.FOREIGN
    assert committee.hand("v0", "v1", Ballot(elsewhere)) == Fate.FOREIGN
    assert (
        committee.hand("v0", "p", Ballot(committee.vote("p", Phase.PROPOSE, 0, block_hash))) == Fate.FOREIGN
    )


def test_a_forged_vote_counts_for_nothing() -> None:
    committee = Committee()
    block_hash = committee.impeachment("v0")
    for name in ("v1", "v2", "v3"):
        vote = forged(committee.vote(name, Phase.COMMIT, 1, block_hash))
        assert committee.hand("v0", name, Ballot(vote)) == Fate.FORGED
    assert committee["v0"].chain == []
    assert committee["v0"].core.current.round == 0


def test_votes_are_kept_of_a_window_of_rounds_and_only_seen_beyond_it() -> None:
    committee = entered(20)
    block_hash = committee.impeachment("v0")

    def fate_in(round_: int) -> Fate:
        return committee.hand("v0", "v3", committee.ballot("v3", Phase.PREPARE, round_, block_hash))

    assert fate_in(20 - ROUNDS_KEPT - 1) == Fate.LATE
    assert fate_in(20 - ROUNDS_KEPT) == Fate.TAKEN
    assert fate_in(20 + ROUNDS_KEPT) == Fate.TAKEN
    assert fate_in(20 + ROUNDS_KEPT + 1) == Fate.FUTURE
    assert fate_in(20 + ROUNDS_KEPT + 1) == Fate.FUTURE, "not kept, so not known the second time"
    # Where v3 is counts all the same: with another one there, it is joined.
    committee.hand("v0", "v1", committee.ballot("v1", Phase.ROUND, 29, NO_BLOCK))
    assert committee["v0"].core.current.round == 29


def test_what_one_validator_says_of_all_rounds_takes_a_bounded_place() -> None:
    committee = Committee(SEVEN)
    current = committee["v0"].core.current
    for round_ in range(2, 60):
        name = f"v{(1 + round_) % 7}"
        if name != "v0":
            named = committee.ballot(name, Phase.COORDINATE, round_, committee.impeachment("v0"))
            for _ in range(2):
                committee.hand("v0", name, named)
    # All six others have spoken of later rounds, so v0 is in the third highest of them.
    assert current.round == 57
    rounds_kept = {round_ for round_, _ in current._tally._votes}
    assert (min(rounds_kept), max(rounds_kept)) == (57 - ROUNDS_KEPT, 59)
    assert min(current._coordinated) >= current.round
    assert max(current._coordinated) <= current.round + ROUNDS_KEPT


def test_who_contradicts_itself_is_proven_once_and_counted_once() -> None:
    committee = Committee()
    first, second, third = (committee.sealed("p", salt).block.header.block_hash for salt in range(3))
    assert committee.hand("v0", "v1", committee.ballot("v1", Phase.PREPARE, 0, first)) == Fate.TAKEN
    assert committee.hand("v0", "v1", committee.ballot("v1", Phase.PREPARE, 0, second)) == Fate.EQUIVOCATION
    assert committee.hand("v0", "v1", committee.ballot("v1", Phase.PREPARE, 0, third)) == Fate.EQUIVOCATION
    [evidence] = committee["v0"].evidence
    assert (evidence.first, evidence.second) == (
        committee.vote("v1", Phase.PREPARE, 0, first),
        committee.vote("v1", Phase.PREPARE, 0, second),
    )
    assert evidence.first.is_genuine()
    assert evidence.second.is_genuine()


def test_a_forged_contradiction_frames_nobody() -> None:
    committee = Committee()
    first, second = (committee.sealed("p", salt).block.header.block_hash for salt in range(2))
    committee.hand("v0", "v1", committee.ballot("v1", Phase.COMMIT, 0, first))
    fake = Ballot(forged(committee.vote("v1", Phase.COMMIT, 0, second)))
    assert committee.hand("v0", "v2", fake) == Fate.FORGED
    assert committee["v0"].evidence == []


def test_another_height_round_or_phase_is_no_contradiction_and_round_never_is() -> None:
    committee = Committee()
    first, second = (committee.sealed("p", salt).block.header.block_hash for salt in range(2))
    committee.hand("v0", "v1", committee.ballot("v1", Phase.PREPARE, 0, first))
    committee.hand("v0", "v1", committee.ballot("v1", Phase.PREPARE, 1, second))
    committee.hand("v0", "v1", committee.ballot("v1", Phase.COMMIT, 0, second))
    committee.hand("v0", "v1", committee.ballot("v1", Phase.ROUND, 2, first))
    assert committee.hand("v0", "v1", committee.ballot("v1", Phase.ROUND, 2, second)) == Fate.EQUIVOCATION
    assert committee["v0"].evidence == []


def test_a_twin_of_our_own_key_counts_for_nothing_and_stops_nothing() -> None:
    committee = Committee()
    proposal, other = committee.sealed("p"), committee.sealed("p", salt=1)
    block_hash = proposal.block.header.block_hash
    shown = committee.certificate(Phase.PREPARE, 0, block_hash, "v1 v2 v3")
    committee.hand("v0", "p", proposal)
    assert (
        committee.hand("v0", "v0", committee.ballot("v0", Phase.COMMIT, 0, block_hash, shown)) == Fate.FOREIGN
    )
    twin = committee.ballot("v0", Phase.COMMIT, 0, other.block.header.block_hash)
    assert committee.hand("v0", "v0", twin) == Fate.FOREIGN
    for name in ("v1", "v2", "v3"):
        committee.hand("v0", name, committee.ballot(name, Phase.PREPARE, 0, block_hash))
    assert committee["v0"].core.current.state == State.COMMIT
    # Now that we have voted ourselves, it is a contradiction, and whoever has our key is shown to.
    assert committee.hand("v0", "v0", twin) == Fate.EQUIVOCATION
    assert [item.first.voter for item in committee["v0"].evidence] == [committee["v0"].key.public]


# Certificates that ballots show


def bad_certificates() -> dict[str, Callable[[Committee, bytes], Certificate]]:
    def copied(committee: Committee, block_hash: bytes) -> Certificate:
        one = committee.certificate(Phase.PREPARE, 1, block_hash, "v1").signatures[0]
        return Certificate(1, 1, block_hash, (one, one, one))

    def copied_under_other_names(committee: Committee, block_hash: bytes) -> Certificate:
        signature = committee.certificate(Phase.PREPARE, 1, block_hash, "v1").signatures[0][1]
        return Certificate(1, 1, block_hash, ((1, signature), (2, signature), (3, signature)))

    def unsorted(committee: Committee, block_hash: bytes) -> Certificate:
        good = committee.certificate(Phase.PREPARE, 1, block_hash)
        return replace(good, signatures=good.signatures[::-1])

    def unknown_index(committee: Committee, block_hash: bytes) -> Certificate:
        good = committee.certificate(Phase.PREPARE, 1, block_hash)
        return replace(good, signatures=(*good.signatures, (4, bytes(64))))

    def other_chain(committee: Committee, block_hash: bytes) -> Certificate:
        votes = [Vote.sign(each, bytes(32), 1, 1, Phase.PREPARE, block_hash) for each in VALIDATORS[:3]]
        return Certificate(
            1, 1, block_hash, tuple((index, vote.signature) for index, vote in enumerate(votes))
        )

    return {
        "two signatures": lambda committee, name: committee.certificate(Phase.PREPARE, 1, name, "v1 v2"),
        "one copied": copied,
        "one under three names": copied_under_other_names,
        "unsorted": unsorted,
        "index 4 of 4": unknown_index,
        "of COMMIT": lambda committee, name: committee.certificate(Phase.COMMIT, 1, name),
        "of height 2": lambda committee, name: committee.certificate(Phase.PREPARE, 1, name, height=2),
        "of height 2, renamed": lambda committee, name: replace(
            committee.certificate(Phase.PREPARE, 1, name, height=2), height=1
        ),
        "of round 2, renamed": lambda committee, name: replace(
            committee.certificate(Phase.PREPARE, 2, name), round=1
        ),
        "of another chain": other_chain,
    }


@pytest.mark.parametrize("name", bad_certificates())
def test_a_certificate_that_does_not_hold_is_refused_with_the_vote_that_shows_it(name: str) -> None:
    committee = Committee()
    block_hash = committee.impeachment("v0")
    bad = bad_certificates()[name](committee, block_hash)
    ballot = committee.ballot("v1", Phase.COMMIT, 1, block_hash, bad)
    assert committee.hand("v0", "v1", ballot) == Fate.FORGED
    current = committee["v0"].core.current
    assert (current.best, current.round) == (None, 0)
    assert committee.hand("v0", "v1", Ballot(ballot.vote)) == Fate.TAKEN, "the vote itself holds"


@pytest.mark.parametrize("name", [name for name in bad_certificates() if name != "of COMMIT"])
def test_no_certificate_that_does_not_hold_decides(name: str) -> None:
    committee = Committee()
    block_hash = committee.impeachment("v0")
    good = committee.certificate(Phase.COMMIT, 1, block_hash)
    bad = bad_certificates()[name](committee, block_hash)
    fate = committee.hand("v0", "v1", Validate(bad))
    # One of another height is a word from there, and proves nothing there either.
    assert fate == (Fate.FUTURE if bad.height == 2 else Fate.FORGED)
    assert committee["v0"].chain == []
    assert committee.hand("v0", "v1", Validate(good)) == Fate.TAKEN
    assert committee["v0"].chain[0].certificate == good


def test_a_p_certificate_does_not_decide() -> None:
    committee = Committee()
    shown = committee.certificate(Phase.PREPARE, 1, committee.impeachment("v0"))
    assert committee.hand("v0", "v1", Validate(shown)) == Fate.FORGED


def test_a_certificate_that_is_no_better_than_the_best_is_neither_verified_nor_learnt() -> None:
    committee = Committee()
    impeachment, other = committee.impeachment("v0"), committee.sealed("p").block.header.block_hash
    best = committee.certificate(Phase.PREPARE, 1, impeachment)
    committee.hand("v0", "v1", committee.ballot("v1", Phase.ROUND, 2, NO_BLOCK, best))
    signatures = committee["v0"].core._setup.signatures
    checked_count = signatures.checked_count
    for round_ in (0, 1):
        fake = Certificate(1, round_, other, tuple((index, bytes(64)) for index in range(3)))
        ballot = committee.ballot("v2", Phase.PREPARE, round_, other, fake)
        assert committee.hand("v0", "v2", ballot) == Fate.TAKEN
    assert signatures.checked_count == checked_count + 2, "the two votes"
    # Nor is one that forms late here, of an earlier round.
    for name in ("v1", "v3"):
        committee.hand("v0", name, committee.ballot(name, Phase.PREPARE, 0, other))
    assert committee["v0"].core.current.best == best


def test_a_vote_that_its_own_certificate_leaves_far_behind_is_not_kept() -> None:
    committee = Committee()
    impeachment = committee.impeachment("v0")
    shown = committee.certificate(Phase.PREPARE, ROUNDS_KEPT + 1, impeachment)
    for round_ in (0, 1):
        ballot = committee.ballot("v1", Phase.PREPARE, round_, impeachment, shown)
        assert committee.hand("v0", "v1", ballot) == Fate.TAKEN
    assert committee["v0"].core.current.round == ROUNDS_KEPT + 1
    tally = committee["v0"].core.current._tally
    kept = [tally.get(round_, Phase.PREPARE, 1) is not None for round_ in (0, 1)]
    assert kept == [False, True]


# Coordinators: at height 1 of four, round 2 is v3's


def test_only_the_coordinator_of_a_round_names_anything_and_none_before_round_2() -> None:
    committee = entered(2)
    impeachment = committee.impeachment("v0")
    named = committee.ballot("v2", Phase.COORDINATE, 2, impeachment)
    assert committee.hand("v0", "v2", named) == Fate.FOREIGN
    assert (
        committee.hand("v0", "v2", committee.ballot("v2", Phase.COORDINATE, 1, impeachment)) == Fate.FOREIGN
    )
    assert ballots(committee, "v0") == []
    named = committee.ballot("v3", Phase.COORDINATE, 2, impeachment)
    assert committee.hand("v0", "v3", named) == Fate.TAKEN
    assert ballots(committee, "v0") == ["PREPARE 2 I shows -"]
    assert committee.hand("v0", "v3", named) == Fate.DUPLICATE


def test_what_a_coordinator_named_before_we_came_to_its_round_is_prepared_when_we_do() -> None:
    committee = Committee()
    named = committee.ballot("v3", Phase.COORDINATE, 2, committee.impeachment("v0"))
    assert committee.hand("v0", "v3", named) == Fate.TAKEN
    assert committee.table == []
    committee.hand("v0", "v1", committee.ballot("v1", Phase.ROUND, 2, NO_BLOCK))
    assert ballots(committee, "v0") == ["ROUND 2 - shows -", "PREPARE 2 I shows -"]


def test_a_coordinator_names_what_it_shows_or_the_impeachment_block() -> None:
    committee = entered(2)
    impeachment, other = committee.impeachment("v0"), committee.sealed("p").block.header.block_hash
    shown = committee.certificate(Phase.PREPARE, 0, other)
    of_this_round = committee.certificate(Phase.PREPARE, 2, other)
    for block_hash, certificate in ((other, None), (impeachment, shown), (other, of_this_round)):
        ballot = committee.ballot("v3", Phase.COORDINATE, 2, block_hash, certificate)
        assert committee.hand("v0", "v3", ballot) == Fate.FORGED
    assert "PREPARE" not in str(ballots(committee, "v0"))


def test_a_coordinator_that_shows_a_certificate_no_better_than_ours_has_it_verified_all_the_same() -> None:
    committee = entered(2)
    other = committee.sealed("p").block.header.block_hash
    best = committee.certificate(Phase.PREPARE, 1, other)
    committee.hand("v0", "v1", committee.ballot("v1", Phase.ROUND, 2, NO_BLOCK, best))
    fake = replace(committee.certificate(Phase.PREPARE, 0, other), signatures=((0, bytes(64)),) * 3)
    assert committee.hand("v0", "v3", committee.ballot("v3", Phase.COORDINATE, 2, other, fake)) == Fate.FORGED
    assert ballots(committee, "v0") == []
    assert committee.hand("v0", "v3", committee.ballot("v3", Phase.COORDINATE, 2, other, best)) == Fate.TAKEN
    assert ballots(committee, "v0") == ["PREPARE 2 B shows 1"]
