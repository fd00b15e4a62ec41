"""Nobody is counted twice: votes by round, phase and validator, and what they add up to."""

import pytest

from chain_node.block import Phase, certify
from chain_node.lbft_tally import Tally
from tests.chain_node.lbft_committee import Committee

ONE, OTHER = bytes([1]) * 32, bytes([2]) * 32


def test_votes_for_one_block_are_counted_by_round_and_phase() -> None:
    committee, tally = Committee(), Tally(4)
    vote = committee.vote
    counts = [
        tally.add(2, vote("v2", Phase.PREPARE, 1, ONE)),
        tally.add(0, vote("v0", Phase.PREPARE, 1, OTHER)),
        tally.add(1, vote("v1", Phase.PREPARE, 1, ONE)),
        tally.add(1, vote("v1", Phase.COMMIT, 1, ONE)),
        tally.add(1, vote("v1", Phase.PREPARE, 2, ONE)),
        tally.add(3, vote("v3", Phase.PREPARE, 1, ONE)),
    ]
    assert counts == [1, 1, 2, 1, 1, 3]
    votes = [vote(name, Phase.PREPARE, 1, ONE) for name in ("v1", "v2", "v3")]
    assert tally.certificate(1, Phase.PREPARE, ONE) == certify(votes, committee.genesis.validators)
    tally.certificate(1, Phase.PREPARE, ONE).verify(
        committee.genesis.chain_id, committee.genesis.validators, Phase.PREPARE
    )


def test_the_same_validator_cannot_be_added_twice() -> None:
    committee, tally = Committee(), Tally(4)
    tally.add(1, committee.vote("v1", Phase.PREPARE, 0, ONE))
    with pytest.raises(AssertionError, match="nobody is counted twice"):
        tally.add(1, committee.vote("v1", Phase.PREPARE, 0, OTHER))


def test_what_somebody_voted_is_found_again() -> None:
    committee, tally = Committee(), Tally(4)
    vote = committee.vote("v1", Phase.PREPARE, 3, ONE)
    tally.add(1, vote)
    assert tally.get(3, Phase.PREPARE, 1) == vote
    assert tally.get(3, Phase.PREPARE, 2) is None
    assert tally.get(3, Phase.COMMIT, 1) is None
    assert tally.get(2, Phase.PREPARE, 1) is None


def test_validators_are_seen_in_rounds_and_never_go_back() -> None:
    tally = Tally(4)
    assert not tally.see(0, 0)
    assert tally.see(0, 5)
    assert not tally.see(0, 5)
    assert not tally.see(0, 4)
    assert tally.see(1, 3)
    assert tally.see(2, 7)
    assert [tally.reached_by(count) for count in (1, 2, 3, 4)] == [7, 5, 3, 0]


def test_rounds_before_a_floor_are_forgotten() -> None:
    committee, tally = Committee(), Tally(4)
    for round_ in range(5):
        tally.add(1, committee.vote("v1", Phase.PREPARE, round_, ONE))
        tally.add(1, committee.vote("v1", Phase.COMMIT, round_, ONE))
    tally.drop_before(3)
    assert [tally.get(round_, Phase.PREPARE, 1) is None for round_ in range(5)] == [True] * 3 + [False] * 2
    assert set(tally._votes) == {(3, Phase.PREPARE), (3, Phase.COMMIT), (4, Phase.PREPARE), (4, Phase.COMMIT)}
