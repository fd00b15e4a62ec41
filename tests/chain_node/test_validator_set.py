"""A quorum changes who the validators are, once for each signature, and never too soon to be known."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_node import quorum, validator_set
from chain_node.block import Phase, Vote
from chain_node.errors import IllicitBlock, Refused, WireError
from chain_node.mempool import Pool
from chain_node.messages import CHAIN_COUNT_MAX
from chain_node.reason import Reason
from chain_node.transaction import TX_SIZE_LIMIT, Equivocation
from chain_node.validator_set import (
    ENTRY_SIZE_MAX,
    LEAD_BLOCKS_MAX,
    NOTICE_BLOCKS,
    VALIDATORS_MAX,
    Succession,
    ValidatorsChange,
    ValidatorsEntry,
    ValidatorSet,
    past_key,
)
from puf import cbor
from puf.ed25519 import SigningKey
from tests.chain_node.world import ALICE, BOB, NEWCOMERS, RING, STRANGERS, VALIDATORS, Chain, change_of, key

EVERYBODY = (*VALIDATORS, *NEWCOMERS)
FIVE = (*VALIDATORS, NEWCOMERS[0])


def refused(chain: Chain, body: ValidatorsChange) -> tuple[str, str]:
    """Why this cannot enter the next block, as the pool says it."""
    with pytest.raises(Refused) as caught:
        Pool().add(chain.sign(ALICE, body), chain.state(), chain.place())
    return caught.value.reason.label, str(caught.value)


def publics(keys: Sequence[SigningKey]) -> tuple[bytes, ...]:
    return tuple(each.public for each in keys)


# From one set to the next


def test_a_change_takes_over_at_its_height_and_not_before() -> None:
    chain = Chain()
    first = chain.genesis.validators_hash
    assert chain.tell(ALICE, chain.change(*FIVE)) == "applied"
    start = 1 + NOTICE_BLOCKS
    assert chain.standing.pending(1) == ValidatorSet(1, start, publics(FIVE))
    while chain.head.height < start + 1:
        chain.extend()
    assert [link.header.validators_hash == first for link in chain.links] == [True] * (start - 1) + [
        False
    ] * 2
    assert chain.links[-1].header.validators_hash == validator_set.validators_hash(publics(FIVE))
    assert len(chain.links[-2].certificate.signatures) == quorum.size(5) == 4
    assert chain.standing.pending(chain.head.height) is None


def test_a_chain_that_never_changed_has_no_entry() -> None:
    chain = Chain()
    chain.extend()
    assert chain.state().entries.get(validator_set.ENTRY_KEY) is None
    assert chain.standing.at(10**9) == ValidatorSet(0, 0, chain.genesis.validators)


def test_old_sets_stay_in_the_state() -> None:
    chain = Chain()
    sets = [FIVE, VALIDATORS[1:], NEWCOMERS, VALIDATORS]
    starts = [0]
    for keys in sets:
        chain.tell(ALICE, chain.change(*keys))
        starts.append(chain.head.height + NOTICE_BLOCKS)
        while chain.head.height < starts[-1]:
            chain.extend()
    state, genesis_keys = chain.state(), chain.genesis.validators
    for number, (start, keys) in enumerate(zip(starts, [VALIDATORS, *sets], strict=True)):
        expected = ValidatorSet(number, start, publics(keys))
        assert validator_set.at(state, genesis_keys, start) == expected
        assert validator_set.at(state, genesis_keys, start + NOTICE_BLOCKS - 1).number == number
        present = state.read(past_key(number), ValidatorSet)
        assert present == (expected if 0 < number < len(sets) - 1 else None)


@settings(deadline=None, max_examples=15)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 20),
            st.integers(0, 3),
            st.lists(st.sampled_from(EVERYBODY), min_size=1, unique=True),
        ),
        max_size=4,
    )
)
def test_a_header_always_names_the_set_in_force(changes: list[tuple[int, int, list[SigningKey]]]) -> None:
    chain, known = Chain(), Succession(publics(VALIDATORS))
    for wait, lead, keys in changes:
        for _ in range(wait):
            chain.impeach() if wait % 2 else chain.extend()
        is_free = chain.standing.pending(chain.head.height + 1) is None
        body = chain.change(*keys, lead=NOTICE_BLOCKS + lead)
        assert chain.tell(ALICE, body) == ("applied" if is_free else "validators_pending")
        if is_free:
            known.add(ValidatorSet(known.newest.number + 1, body.from_height, publics(keys)))
    chain.extend()
    state = chain.state()
    for link in chain.links:
        height, header = link.header.height, link.header
        in_force = known.at(height)
        assert header.validators_hash == in_force.hash
        link.certificate.verify(chain.genesis.chain_id, in_force.keys)
        assert validator_set.at(state, chain.genesis.validators, height) == in_force
    for block in chain.blocks:
        assert block.header.validators_hash == known.at(block.header.height).hash


def test_everybody_knows_who_certifies_what_one_question_may_bring() -> None:
    assert NOTICE_BLOCKS >= CHAIN_COUNT_MAX


# What is refused


def test_too_soon_too_late_twice_and_replayed_are_told_apart() -> None:
    chain = Chain()
    assert chain.tell(ALICE, chain.change(*FIVE, lead=NOTICE_BLOCKS - 1)) == "validators_height"
    assert chain.tell(ALICE, chain.change(*FIVE, lead=LEAD_BLOCKS_MAX + 1)) == "validators_height"
    first, other = chain.change(*FIVE, lead=40), chain.change(*NEWCOMERS, lead=41)
    assert chain.tell(ALICE, first) == "applied"
    assert chain.tell(BOB, other) == "validators_pending"
    while chain.head.height + 1 < first.from_height:
        chain.extend()
    assert chain.tell(BOB, other) == "validators_number"
    assert chain.tell(BOB, first) == "validators_number"
    again = change_of(chain.genesis, 1, chain.head.height + 30, VALIDATORS)
    assert refused(chain, again)[1].endswith("3 of 5 validators have approved, 4 must")


def test_one_block_takes_one_change() -> None:
    chain = Chain()
    receipts = chain.extend(
        chain.sign(ALICE, chain.change(*FIVE)), chain.sign(BOB, chain.change(*NEWCOMERS, lead=20))
    )
    assert [receipt.reason.label for receipt in receipts] == ["applied", "validators_pending"]
    assert chain.standing.newest.keys == publics(FIVE)


@pytest.mark.parametrize(
    ("approvers", "changes", "why"),
    [
        ({0: 0, 1: 1}, {}, "2 of 4 validators have approved, 3 must"),
        ({0: 0, 1: 1, 4: 2}, {}, "its indexes do not rise from 0 to at most 3"),
        ({1: 1, 0: 0, 2: 2}, {}, "its indexes do not rise from 0 to at most 3"),
        ({0: 0, 1: 1, 2: 3}, {}, "validator 2, {2}, has not signed this change"),
        ({0: 0, 1: 1, 2: 2}, {"from_height": 31}, "validator 0, {0}, has not signed this change"),
        ({0: 0, 1: 1, 2: 2}, {"keys": publics(STRANGERS)}, "validator 0, {0}, has not signed this change"),
    ],
)
def test_what_a_quorum_has_not_signed_enters_no_block(
    approvers: Mapping[int, int], changes: dict[str, Any], why: str
) -> None:
    chain = Chain()
    signed = change_of(
        chain.genesis, 0, 30, FIVE, {index: VALIDATORS[who] for index, who in approvers.items()}
    )
    label, message = refused(chain, replace(signed, **changes))
    assert label == "validators_approval"
    assert message.endswith(why.format(*(each.public.hex() for each in VALIDATORS)))


def test_an_approval_is_of_one_chain_and_twice_one_validators_is_not_two() -> None:
    chain, other = Chain(), Chain(replace(Chain().genesis, name="other"))
    foreign = replace(other.change(*FIVE), number=0)
    assert refused(chain, foreign)[0] == "validators_approval"
    good = chain.change(*FIVE)
    twice = replace(good, approvals=(good.approvals[0], good.approvals[0], good.approvals[1]))
    assert "do not rise" in refused(chain, twice)[1]


def test_a_block_with_a_change_that_is_not_approved_is_illicit() -> None:
    chain = Chain()
    good = chain.sign(ALICE, chain.change(*FIVE))
    bad = chain.sign(ALICE, change_of(chain.genesis, 0, 30, FIVE, {0: VALIDATORS[0]}))
    chain.extend(good)
    block = chain.blocks[-1]
    fresh = Chain()
    assert fresh.check(block).successors == ValidatorSet(1, 17, publics(FIVE))
    with pytest.raises(IllicitBlock, match="1 of 4 validators have approved"):
        fresh.check(replace(block, transactions=(bad,)))


def test_a_block_that_names_another_set_is_illicit() -> None:
    chain = Chain()
    chain.tell(ALICE, chain.change(*FIVE))
    while chain.head.height < NOTICE_BLOCKS:
        chain.extend()
    block, _ = chain.impeachment()
    old = replace(block, header=replace(block.header, validators_hash=chain.genesis.validators_hash))
    chain.check(block)
    with pytest.raises(IllicitBlock, match="its validators are not this chain's"):
        chain.check(old)


# Evidence follows the set of its height


def equivocation(chain: Chain, liar: SigningKey, height: int) -> Equivocation:
    one, two = (
        Vote.sign(liar, chain.genesis.chain_id, height, 0, Phase.PREPARE, bytes([number]) * 32).data
        for number in (1, 2)
    )
    return Equivocation(one, two)


def test_who_lied_in_its_time_is_convicted_later_and_nobody_for_another_time() -> None:
    chain = Chain()
    chain.tell(ALICE, chain.change(*NEWCOMERS))
    start = chain.head.height + NOTICE_BLOCKS
    while chain.head.height < start:
        chain.extend()
    gone, new = VALIDATORS[1], NEWCOMERS[2]
    for liar, height, is_one in ((gone, start - 1, True), (gone, start, False), (new, start, True)):
        body = equivocation(chain, liar, height)
        if is_one:
            assert chain.tell(BOB, body) == "applied"
            continue
        with pytest.raises(Refused, match=f"is no validator of this chain at height {height}"):
            Pool().add(chain.sign(BOB, body), chain.state(), chain.place())


# Bytes


def test_the_largest_change_fits() -> None:
    keys = publics([key(f"v{number}") for number in range(VALIDATORS_MAX)])
    change = ValidatorsChange(1 << 40, 1 << 50, keys, tuple((at, bytes(64)) for at in range(VALIDATORS_MAX)))
    assert len(cbor.encode(change.to_map())) < TX_SIZE_LIMIT // 4
    entry = ValidatorsEntry(ValidatorSet(1 << 52, 1 << 52, keys), ValidatorSet((1 << 52) - 1, 1 << 51, keys))
    assert len(entry.encode()) <= ENTRY_SIZE_MAX
    assert ValidatorsEntry.decode(entry.encode()) == entry


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({3: []}, "none, or one of them twice"),
        ({3: [bytes(32), bytes(32)]}, "none, or one of them twice"),
        ({3: [bytes(31)]}, "a validator's key is not 32 bytes"),
        ({3: [bytes([at]) * 32 for at in range(101)]}, "at most 100"),
        ({2: 0}, "from_height"),
        ({1: -1}, "number"),
        ({4: [[0]]}, "an approval is not a list of index and signature"),
        ({4: [[100, bytes(64)]]}, "index of a validator"),
        ({4: [[0, bytes(63)]]}, "an approval is not 64 bytes"),
        ({5: 1}, "unknown fields"),
    ],
)
def test_a_change_that_is_none_is_refused(fields: dict[int, Any], why: str) -> None:
    good = ValidatorsChange(0, 20, publics(FIVE), ((0, bytes(64)),))
    assert ValidatorsChange.from_map(good.to_map()) == good
    with pytest.raises(WireError, match=why):
        ValidatorsChange.from_map(good.to_map() | fields)


def test_the_bytes_are_these() -> None:
    change = ValidatorsChange(1, 40, (b"\x01" * 32,), ((2, b"\x07" * 64),))
    assert cbor.encode(change.to_map()).hex() == (
        "a40101021828038158200101010101010101010101010101010101010101010101010101010101010101048182025840"
        + "07" * 64
    )
    entry = ValidatorsEntry(ValidatorSet(2, 40, (b"\x01" * 32,)), ValidatorSet(1, 20, (b"\x02" * 32,)))
    assert entry.encode().hex() == ("a5010202182803815820" + "01" * 32 + "0414" + "05815820" + "02" * 32)
    assert (
        validator_set.approval_message(b"\x01" * 32, b"\x02" * 32, 1, 40, (b"\x03" * 32,))
        .hex()
        .endswith("a4015820" + "02" * 32 + "0201" + "031828" + "04815820" + "03" * 32)
    )


@pytest.mark.parametrize(
    "fields", [{1: 0}, {2: 3}, {4: 40}, {4: 0}, {3: []}, {5: [bytes(32)] * 2}, {6: 1}, {1: 1}]
)
def test_an_entry_that_cannot_be_is_refused(fields: dict[int, Any]) -> None:
    good = ValidatorsEntry(ValidatorSet(2, 40, (b"\x01" * 32,)), ValidatorSet(1, 20, (b"\x02" * 32,)))
    decoded: Any = cbor.decode(good.encode())
    with pytest.raises(WireError):
        ValidatorsEntry.decode(cbor.encode(decoded | fields))


def test_all_reasons_of_validators_are_final() -> None:
    names = [reason for reason in Reason if reason.label.startswith("validators_")]
    assert [int(reason) for reason in names] == [17, 58, 59, 60]
    assert all(reason.is_final for reason in names if reason != Reason.VALIDATORS_PENDING)


def test_the_ring_has_everybody() -> None:
    assert all(each.public in RING for each in EVERYBODY)
