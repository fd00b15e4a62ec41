"""Votes and certificates as one node makes and checks them: each signature once, none never."""

from dataclasses import replace

import pytest

from chain_node.block import Certificate, Phase, Vote
from chain_node.signatures import REMEMBERED_MAX, Signatures
from tests.chain_node.world import STRANGERS, VALIDATORS, genesis_of, key

CHAIN_ID = genesis_of().chain_id
KEYS = tuple(each.public for each in VALIDATORS)
BLOCK_HASH = bytes([7]) * 32


def signatures(signer: int | None = None) -> Signatures:
    return Signatures(CHAIN_ID, KEYS, None if signer is None else VALIDATORS[signer])


def vote(index: int, phase: Phase = Phase.PREPARE, round_: int = 1, height: int = 5) -> Vote:
    return Vote.sign(VALIDATORS[index], CHAIN_ID, height, round_, phase, BLOCK_HASH)


def certificate(*indexes: int, phase: Phase = Phase.PREPARE) -> Certificate:
    return Certificate(5, 1, BLOCK_HASH, tuple((index, vote(index, phase).signature) for index in indexes))


def test_a_vote_that_was_signed_here_holds_everywhere_and_costs_nothing_here() -> None:
    ours = signatures(1)
    made = ours.sign(5, 1, Phase.PREPARE, BLOCK_HASH)
    assert made == vote(1)
    assert ours.holds(made)
    assert ours.checked_count == 0
    others = signatures()
    assert others.holds(made)
    assert others.checked_count == 1


def test_who_only_follows_signs_nothing() -> None:
    assert signatures().public is None
    assert signatures(2).public == KEYS[2]
    with pytest.raises(AssertionError, match="only who has a key votes"):
        signatures().sign(5, 1, Phase.PREPARE, BLOCK_HASH)


@pytest.mark.parametrize(
    "changes",
    [
        {"height": 6},
        {"round": 2},
        {"phase": Phase.COMMIT},
        {"block_hash": bytes(32)},
        {"voter": KEYS[2]},
        {"chain_id": bytes(32)},
        {"data": vote(1).data[:-1] + bytes([vote(1).data[-1] ^ 1])},
        {"data": vote(2).data},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_vote_whose_least_part_was_changed_does_not_hold_even_when_the_true_one_is_known(
    changes: dict[str, object],
) -> None:
    checker = signatures()
    changed = replace(vote(1), **changes)  # type: ignore[arg-type]  # each name is that of a field
    assert not checker.holds(changed)
    assert checker.holds(vote(1))
    assert not checker.holds(changed)


def test_a_vote_of_another_chain_does_not_hold_although_its_voter_signed_it() -> None:
    foreign = Vote.sign(VALIDATORS[1], bytes(32), 5, 1, Phase.PREPARE, BLOCK_HASH)
    assert foreign.is_genuine()
    assert not signatures().holds(foreign)


def test_a_signature_is_verified_once_however_often_it_comes() -> None:
    checker = signatures()
    for _ in range(3):
        assert checker.holds(vote(0))
        assert checker.certifies(certificate(0, 1, 2), Phase.PREPARE)
    assert checker.checked_count == 3
    checker.forget()
    assert checker.certifies(certificate(0, 1, 2), Phase.PREPARE)
    assert checker.checked_count == 6


def test_one_that_does_not_hold_is_not_remembered_as_one_that_does() -> None:
    checker = signatures()
    fake = replace(vote(1), data=vote(1).data[:-1] + bytes([vote(1).data[-1] ^ 1]))
    assert [checker.holds(fake) for _ in range(3)] == [False] * 3
    assert checker.checked_count == 3


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    checker = signatures()
    monkeypatch.setattr(checker, "_verify", lambda voter, payload, signature: True)
    for round_ in range(REMEMBERED_MAX + 10):
        checker.holds(replace(vote(0), round=round_))
        assert len(checker._held) <= REMEMBERED_MAX
    assert checker.checked_count == REMEMBERED_MAX + 10


def test_a_quorum_of_distinct_validators_certifies() -> None:
    checker = signatures()
    assert checker.certifies(certificate(0, 1, 2), Phase.PREPARE)
    assert checker.certifies(certificate(1, 2, 3), Phase.PREPARE)
    assert checker.certifies(certificate(0, 1, 2, 3), Phase.PREPARE)


def test_less_than_a_quorum_does_not_certify_and_costs_nothing() -> None:
    checker = signatures()
    for indexes in ((), (0,), (0, 1)):
        assert not checker.certifies(certificate(*indexes), Phase.PREPARE)
    assert checker.checked_count == 0


@pytest.mark.parametrize("indexes", [(0, 0, 0), (0, 1, 1), (1, 0, 2), (2, 1, 0), (0, 1, 1, 2)])
def test_nobody_counts_twice_and_the_order_is_fixed(indexes: tuple[int, ...]) -> None:
    assert not signatures().certifies(certificate(*indexes), Phase.PREPARE)


def test_a_certificate_of_another_phase_height_round_block_or_chain_does_not_hold() -> None:
    checker, good = signatures(), certificate(0, 1, 2)
    assert not checker.certifies(good, Phase.COMMIT)
    assert not checker.certifies(certificate(0, 1, 2, phase=Phase.COMMIT), Phase.PREPARE)
    assert not checker.certifies(replace(good, height=6), Phase.PREPARE)
    assert not checker.certifies(replace(good, round=0), Phase.PREPARE)
    assert not checker.certifies(replace(good, block_hash=bytes(32)), Phase.PREPARE)
    assert not Signatures(bytes(32), KEYS, None).certifies(good, Phase.PREPARE)
    assert checker.certifies(good, Phase.PREPARE)


def test_indexes_beyond_the_validators_and_signatures_of_strangers_do_not_certify() -> None:
    good = certificate(0, 1, 2)
    stranger = Vote.sign(STRANGERS[0], CHAIN_ID, 5, 1, Phase.PREPARE, BLOCK_HASH)
    for index in (3, 4, 99):
        bad = replace(good, signatures=(*good.signatures[:2], (index, stranger.signature)))
        assert not signatures().certifies(bad, Phase.PREPARE)
    beyond_the_quorum = replace(good, signatures=(*good.signatures, (3, stranger.signature)))
    assert not signatures().certifies(beyond_the_quorum, Phase.PREPARE), "each must hold, not only a quorum"


@pytest.mark.parametrize(("count", "needed"), [(1, 1), (2, 2), (3, 3), (5, 4), (7, 5)])
def test_a_quorum_of_committees_of_other_sizes(count: int, needed: int) -> None:
    signers = [key(f"validator {index}") for index in range(count)]
    checker = Signatures(CHAIN_ID, [each.public for each in signers], None)
    votes = [Vote.sign(each, CHAIN_ID, 5, 1, Phase.COMMIT, BLOCK_HASH) for each in signers]
    pairs = tuple((index, each.signature) for index, each in enumerate(votes))
    assert checker.certifies(Certificate(5, 1, BLOCK_HASH, pairs[:needed]), Phase.COMMIT)
    assert not checker.certifies(Certificate(5, 1, BLOCK_HASH, pairs[: needed - 1]), Phase.COMMIT)
