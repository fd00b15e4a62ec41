"""What a validator has said is kept with all that it needs to stand by it, and never contradicted."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from chain_node.block import Certificate, Phase, Vote, certify
from chain_node.errors import DoubleVote, StorageDamaged
from chain_node.kept import Kept
from chain_node.storage import Storage
from tests.chain_node.test_storage import GENESIS, change, extend, make, pay, seal_of, vote_for
from tests.chain_node.world import VALIDATORS, genesis_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chain.sqlite"


@pytest.fixture
def storage(path: Path) -> Iterator[Storage]:
    with closing(Storage.open(path, GENESIS)) as opened:
        yield opened


def test_votes_are_remembered_with_block_seal_and_certificate_until_their_height_is_decided(
    storage: Storage, path: Path
) -> None:
    made = make(storage, pay(storage))
    block, other = made[0], make(storage, pay(storage, 6))[0]
    prepare = vote_for(block, phase=Phase.PREPARE)
    shown = certify([prepare], GENESIS.validators)
    kept = [
        Kept(seal_of(block), block),
        Kept(prepare, block, seal_of(block)),
        Kept(vote_for(block), certificate=shown),
        Kept(vote_for(other, 1, Phase.PREPARE), other, certificate=shown),
        Kept(vote_for(block, 2, Phase.COORDINATE), certificate=shown),
    ]
    storage.put_votes(kept[:2])
    storage.put_votes(kept[2:])
    storage.close()
    with closing(Storage.open(path, GENESIS)) as again:
        assert again.votes(1) == kept
        assert again.votes(2) == []
        again.commit(*made)
        extend(again, 1)
        assert again.votes(1) == []


def test_the_same_vote_again_is_no_error_and_changes_nothing(storage: Storage) -> None:
    block = make(storage, pay(storage))[0]
    kept = Kept(vote_for(block), block)
    storage.put_votes([kept, kept])
    storage.put_votes([Kept(vote_for(block))])
    assert storage.votes(1) == [kept]


def test_no_second_vote_in_one_height_round_and_phase(storage: Storage) -> None:
    first, second = make(storage, pay(storage, 5))[0], make(storage, pay(storage, 6))[0]
    storage.put_votes([Kept(vote_for(first), first)])
    with pytest.raises(DoubleVote) as caught:
        storage.put_votes([Kept(vote_for(second), second)])
    assert (caught.value.height, caught.value.round) == (1, 0)
    assert (caught.value.voted, caught.value.asked) == (first.header.block_hash, second.header.block_hash)
    storage.put_votes([Kept(vote_for(second, 1)), Kept(vote_for(second, phase=Phase.PREPARE))])
    assert [(kept.vote.form, kept.vote.block_hash) for kept in storage.votes(1)] == [
        ("PREPARE", second.header.block_hash),
        ("COMMIT", first.header.block_hash),
        ("IMPEACH COMMIT", second.header.block_hash),
    ]


def test_of_several_votes_all_are_kept_or_none(storage: Storage) -> None:
    first, second = make(storage, pay(storage, 5))[0], make(storage, pay(storage, 6))[0]
    storage.put_votes([Kept(vote_for(first))])
    with pytest.raises(DoubleVote):
        storage.put_votes([Kept(vote_for(second, 1)), Kept(vote_for(second))])
    assert [kept.vote for kept in storage.votes(1)] == [vote_for(first)]
    with pytest.raises(DoubleVote):
        storage.put_votes([Kept(vote_for(first, 2)), Kept(vote_for(second, 2))])
    assert [kept.vote for kept in storage.votes(1)] == [vote_for(first)]


def test_no_vote_against_a_block_that_is_decided(storage: Storage) -> None:
    first, second = make(storage, pay(storage, 5)), make(storage, pay(storage, 6))
    storage.commit(*first)
    with pytest.raises(DoubleVote):
        storage.put_votes([Kept(vote_for(second[0], 3), second[0])])


def test_what_may_be_said_again_is_not_kept(storage: Storage) -> None:
    vote = Vote.sign(VALIDATORS[0], GENESIS.chain_id, 1, 2, Phase.ROUND, bytes(32))
    with pytest.raises(AssertionError):
        storage.put_votes([Kept(vote)])
    assert storage.votes(1) == []


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE vote SET data = x'00'", "what it holds is no vote"),
        ("UPDATE vote SET seal = x'00'", "what it holds is no vote"),
        ("UPDATE vote SET block = x'00'", "what it holds is no block"),
        ("UPDATE vote SET certificate = x'00'", "what it holds is no certificate"),
    ],
)
def test_damage_to_a_vote_is_named(path: Path, statement: str, message: str) -> None:
    with closing(Storage.open(path, GENESIS)) as storage:
        block = make(storage, pay(storage))[0]
        storage.put_votes([Kept(vote_for(block), block, seal_of(block))])
    change(path, statement)
    with closing(Storage.open(path, GENESIS)) as storage, pytest.raises(StorageDamaged, match=message):
        storage.votes(1)


def test_a_certificate_that_was_kept_must_still_be_one_of_prepares(storage: Storage) -> None:
    """A flipped bit must not become a lock on something else."""
    block = make(storage, pay(storage))[0]
    commits = certify([vote_for(block)], GENESIS.validators)
    none = Certificate(1, 0, block.header.block_hash, ())
    for round_, certificate in enumerate((commits, none)):
        storage.put_votes([Kept(vote_for(block, round_), certificate=certificate)])
        with pytest.raises(StorageDamaged, match="what it holds is certificate of block 1"):
            storage.votes(1)


def test_votes_of_a_larger_committee_are_kept_alike(tmp_path: Path) -> None:
    genesis = genesis_of()
    with closing(Storage.open(tmp_path / "four.sqlite", genesis)) as storage:
        votes = [Vote.sign(each, genesis.chain_id, 1, 1, Phase.PREPARE, bytes(32)) for each in VALIDATORS[:3]]
        kept = Kept(votes[0], certificate=certify(votes, genesis.validators))
        storage.put_votes([kept])
        assert storage.votes(1) == [kept]
