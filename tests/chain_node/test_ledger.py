"""The ledger as stories, and money and anchors under arbitrary sequences of transactions."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_node import ledger
from chain_node.block import NO_PROPOSER, Block, list_root
from chain_node.book import DAY_MS
from chain_node.entry import AnchorEntry, StreamEntry
from chain_node.errors import IllicitBlock, Refused
from chain_node.ledger import next_time_ms
from chain_node.reason import Reason
from chain_node.transaction import SUPPLY_UCPC, Body, Transaction, Transfer
from puf.ed25519 import SigningKey
from puf.merkle_map import EMPTY, MerkleMap
from tests.chain_node.world import (
    ALICE,
    BOB,
    CAROL,
    FEE_UCPC,
    PROPOSER,
    START_MS,
    Chain,
    anchor,
    genesis_of,
    key,
)

HALF = SUPPLY_UCPC // 2
PEOPLE = (ALICE, BOB, CAROL, PROPOSER)


def total(chain: Chain) -> int:
    return sum(chain.balance(who) for who in PEOPLE)


def reasons(chain: Chain, *transactions: Transaction) -> list[str]:
    return [receipt.reason.label for receipt in chain.extend(*transactions)]


def refusal(chain: Chain, transaction: Transaction, time_ms: int | None = None) -> tuple[Reason, str]:
    """Why a transaction cannot stand in the next block; the state does not change by trying."""
    state, before = chain.state(), chain.head.state_root
    with pytest.raises(Refused) as caught:
        ledger.apply(state, transaction, chain.place(time_ms))
    assert state.commit() == before
    return caught.value.reason, str(caught.value)


# Stories


def test_alice_pays_bob_and_the_fee_is_the_proposers() -> None:
    chain = Chain()
    pay = chain.sign(ALICE, Transfer(BOB.public, 5_000_000, b"parking"), fee_ucpc=2_000)
    (receipt,) = chain.extend(pay)
    assert (receipt.tx_hash, receipt.reason, receipt.fee_ucpc) == (pay.tx_hash, Reason.APPLIED, 2_000)
    assert chain.balance(ALICE) == HALF - 5_002_000
    assert chain.balance(BOB) == HALF + 5_000_000
    assert chain.balance(PROPOSER) == 2_000
    assert chain.state().account(ALICE.public).nonce == 1


def test_a_transaction_applies_once() -> None:
    chain = Chain()
    pay = chain.sign(ALICE, Transfer(BOB.public, 1))
    chain.extend(pay)
    assert refusal(chain, pay) == (Reason.NONCE_USED, "nonce 0 is used; the next is 1")
    execution = ledger.execute(chain.nodes.__getitem__, chain.head, chain.place(), [pay, pay])
    assert execution.transactions == ()
    assert [error.reason for _, error in execution.refused] == [Reason.NONCE_USED] * 2


def test_nonces_come_in_order() -> None:
    chain = Chain()
    assert refusal(chain, chain.sign(ALICE, Transfer(BOB.public, 1), nonce=2)) == (
        Reason.NONCE_AHEAD,
        "nonce 2 comes too early; the next is 0",
    )
    assert (
        reasons(chain, *(chain.sign(ALICE, Transfer(BOB.public, 1), nonce=n) for n in range(3)))
        == ["applied"] * 3
    )


def test_a_transaction_for_another_chain_is_none_for_this_one() -> None:
    chain, other = Chain(), Chain(genesis_of(name="other"))
    reason, why = refusal(chain, other.sign(ALICE, Transfer(BOB.public, 1)))
    assert reason == Reason.WRONG_CHAIN
    assert other.genesis.chain_id.hex() in why
    assert chain.genesis.chain_id.hex() in why


def test_a_transaction_expires_after_the_height_it_names() -> None:
    chain = Chain()
    chain.extend()
    assert refusal(chain, chain.sign(ALICE, Transfer(BOB.public, 1), valid_until=1)) == (
        Reason.EXPIRED,
        "valid until block 1, the next is 2",
    )
    assert reasons(chain, chain.sign(ALICE, Transfer(BOB.public, 1), valid_until=2)) == ["applied"]


def test_a_transaction_longer_than_the_chain_takes_is_refused() -> None:
    chain = Chain(genesis_of(tx_size_max=256))
    assert refusal(chain, chain.sign(ALICE, anchor())) == (
        Reason.TOO_LARGE,
        f"{len(chain.sign(ALICE, anchor()).data)} bytes; this chain takes 256",
    )


def test_what_is_exactly_at_a_bound_is_taken() -> None:
    size = len(Chain(genesis_of(tx_size_max=256)).sign(ALICE, anchor()).data)
    chain = Chain(genesis_of(tx_size_max=size, block_tx_max=2))
    pay = chain.sign(CAROL, Transfer(BOB.public, 1), fee_ucpc=5_000)
    chain.extend(chain.sign(ALICE, anchor()), chain.sign(ALICE, Transfer(CAROL.public, 5_000), nonce=1))
    place = chain.place()
    execution = ledger.execute(chain.nodes.__getitem__, chain.head, place, [pay, chain.sign(ALICE, anchor())])
    assert [receipt.reason.label for receipt in execution.receipts] == ["balance_too_low", "anchor_known"]
    block = ledger.block_of(chain.head, place, 0, execution)
    assert chain.check(block) == execution
    assert len(block.transactions) == chain.genesis.block_tx_max


def test_a_fee_is_the_least_one_or_more_or_nothing() -> None:
    chain = Chain()
    assert refusal(chain, chain.sign(ALICE, Transfer(BOB.public, 1), fee_ucpc=FEE_UCPC - 1)) == (
        Reason.FEE_TOO_LOW,
        "a fee of 999 ucpc; the least is 1000, or 0 for a free one",
    )
    assert refusal(chain, chain.sign(ALICE, Transfer(BOB.public, 1), fee_ucpc=HALF + 1)) == (
        Reason.FEE_NOT_COVERED,
        f"the fee of {HALF + 1} ucpc is more than the balance of {HALF}",
    )
    assert refusal(chain, chain.sign(CAROL, Transfer(BOB.public, 1))) == (
        Reason.FEE_NOT_COVERED,
        "the fee of 1000 ucpc is more than the balance of 0",
    )


def test_an_account_with_money_has_three_free_transactions_a_utc_day() -> None:
    chain = Chain()
    midnight_ms = (START_MS // DAY_MS + 1) * DAY_MS
    free = [chain.sign(ALICE, Transfer(BOB.public, 1), nonce=n, fee_ucpc=0) for n in range(5)]
    assert [receipt.fee_ucpc for receipt in chain.extend(*free[:3])] == [0, 0, 0]
    assert chain.balance(PROPOSER) == 0
    reason, why = refusal(chain, free[3], midnight_ms - 1)
    assert reason == Reason.QUOTA_USED_UP
    assert "all 3 free transactions of this UTC day" in why
    assert len(chain.extend(free[3], time_ms=midnight_ms)) == 1
    account = chain.state().account(ALICE.public)
    assert (account.quota_day, account.quota_used) == (midnight_ms // DAY_MS, 1)
    chain.extend(chain.sign(ALICE, Transfer(BOB.public, 1), nonce=4), time_ms=midnight_ms + 1)
    assert chain.state().account(ALICE.public).quota_used == 1, "one with a fee costs no quota"


def test_an_account_without_money_has_no_free_transactions() -> None:
    chain = Chain()
    reason, _ = refusal(chain, chain.sign(CAROL, anchor(), fee_ucpc=0))
    assert reason == Reason.ACCOUNT_UNKNOWN
    chain.extend(chain.sign(ALICE, Transfer(CAROL.public, 1)))
    assert reasons(chain, chain.sign(CAROL, anchor(), fee_ucpc=0)) == ["applied"]


def test_paying_more_than_is_left_costs_the_fee_and_the_nonce_and_does_nothing_else() -> None:
    chain = Chain()
    (receipt,) = chain.extend(chain.sign(ALICE, Transfer(BOB.public, HALF)))
    assert (receipt.reason, receipt.fee_ucpc) == (Reason.BALANCE_TOO_LOW, FEE_UCPC)
    assert (chain.balance(ALICE), chain.balance(BOB)) == (HALF - FEE_UCPC, HALF)
    assert chain.state().account(ALICE.public).nonce == 1
    assert reasons(chain, chain.sign(ALICE, Transfer(BOB.public, HALF - 2 * FEE_UCPC))) == ["applied"]
    assert chain.balance(ALICE) == 0


def test_paying_oneself_moves_nothing() -> None:
    chain = Chain()
    chain.extend(chain.sign(ALICE, Transfer(ALICE.public, HALF - FEE_UCPC)))
    assert (chain.balance(ALICE), total(chain)) == (HALF - FEE_UCPC, SUPPLY_UCPC)


def test_a_proposer_that_pays_a_fee_pays_itself() -> None:
    chain = Chain()
    chain.extend(chain.sign(ALICE, Transfer(PROPOSER.public, 10_000)))
    chain.extend(chain.sign(PROPOSER, Transfer(BOB.public, 3)))
    assert chain.balance(PROPOSER) == FEE_UCPC + 10_000 - 3


def test_money_received_in_a_block_can_be_spent_in_it() -> None:
    chain = Chain()
    assert reasons(
        chain,
        chain.sign(ALICE, Transfer(CAROL.public, 5_000)),
        chain.sign(CAROL, Transfer(BOB.public, 4_000)),
    ) == ["applied", "applied"]
    assert chain.balance(CAROL) == 0


# Anchors


def test_an_anchor_says_what_was_anchored_by_which_transaction_at_which_height() -> None:
    chain = Chain()
    body = anchor(upload=4)
    transaction = chain.sign(ALICE, body)
    chain.extend()
    assert reasons(chain, transaction) == ["applied"]
    state = chain.state()
    assert state.anchor(ALICE.public, body.stream, 4) == AnchorEntry(
        body.chunk_count, body.cipher_root, body.plain_root, body.manifest_hash, transaction.tx_hash, 2
    )
    assert state.anchor(ALICE.public, body.stream, 3) is None
    assert state.stream(ALICE.public, body.stream) == StreamEntry(4)
    assert state.stream(BOB.public, body.stream) is None


def test_an_anchor_never_changes_and_uploads_only_rise() -> None:
    chain = Chain()
    chain.extend(chain.sign(ALICE, anchor(upload=4)))
    first = chain.state().anchor(ALICE.public, anchor().stream, 4)
    assert first is not None
    told = [
        (ALICE, anchor(upload=4), "anchor_known"),
        (ALICE, anchor(upload=4, content=b"other"), "anchor_conflict"),
        (ALICE, anchor(upload=3), "anchor_behind"),
        (ALICE, anchor(b"another stream", upload=0), "applied"),
        (ALICE, anchor(upload=5), "applied"),
        (ALICE, anchor(upload=900), "applied"),
        (ALICE, anchor(upload=899), "anchor_behind"),
    ]
    for who, body, expected in told:
        assert reasons(chain, chain.sign(who, body)) == [expected]
        assert chain.state().anchor(ALICE.public, anchor().stream, 4) == first


def test_a_squatter_that_anchors_to_alices_stream_id_first_has_a_stream_of_its_own() -> None:
    chain = Chain()
    told = [
        (BOB, anchor(upload=0, content=b"squatter"), "applied"),
        (BOB, anchor(upload=900, content=b"squatter"), "applied"),
        (ALICE, anchor(upload=0), "applied"),
        (BOB, anchor(upload=0), "anchor_conflict"),
        (BOB, anchor(upload=1), "anchor_behind"),
        (ALICE, anchor(upload=1), "applied"),
        (ALICE, anchor(upload=1), "anchor_known"),
    ]
    for who, body, expected in told:
        assert reasons(chain, chain.sign(who, body)) == [expected]
    state, stream = chain.state(), anchor().stream
    assert state.stream(ALICE.public, stream) == StreamEntry(1)
    assert state.stream(BOB.public, stream) == StreamEntry(900)
    mine, theirs = (state.anchor(who.public, stream, 0) for who in (ALICE, BOB))
    assert mine is not None
    assert theirs is not None
    assert mine.is_of(anchor(upload=0))
    assert theirs.is_of(anchor(upload=0, content=b"squatter"))
    assert state.anchor(ALICE.public, stream, 900) is None


def test_the_same_upload_twice_in_one_block_is_anchored_once() -> None:
    chain = Chain()
    assert reasons(chain, chain.sign(ALICE, anchor()), chain.sign(ALICE, anchor(), nonce=1)) == [
        "applied",
        "anchor_known",
    ]


# Arbitrary sequences

AMOUNTS = st.integers(1, 20_000) | st.sampled_from([HALF, HALF - FEE_UCPC, SUPPLY_UCPC])
BODIES: st.SearchStrategy[Body] = st.builds(
    Transfer, st.sampled_from([who.public for who in PEOPLE]), AMOUNTS
) | st.builds(anchor, st.sampled_from([b"s", b"t"]), st.integers(0, 5), st.sampled_from([b"one", b"two"]))
STEPS = st.tuples(
    st.sampled_from(PEOPLE),
    BODIES,
    st.sampled_from([0, 0, 0, 0, 1, -1, 2]),
    st.sampled_from([FEE_UCPC, FEE_UCPC, 0, 1, 5 * FEE_UCPC]),
    st.sampled_from([1, 1_000, DAY_MS]),
    st.booleans(),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(STEPS, max_size=25))
def test_money_is_conserved_replays_never_apply_and_anchors_never_change(
    steps: list[tuple[SigningKey, Body, int, int, int, bool]],
) -> None:
    chain = Chain()
    sent: list[Transaction] = []
    applied: set[bytes] = set()
    anchors: dict[tuple[bytes, bytes, int], AnchorEntry] = {}
    for who, body, nonce_offset, fee_ucpc, step_ms, is_replayed in steps:
        nonce = max(0, chain.state().account(who.public).nonce + nonce_offset)
        sent.append(chain.sign(who, body, nonce, fee_ucpc))
        # Everything ever sent is sent again: a replay must find nothing to do.
        candidates = sent if is_replayed else sent[-1:]
        place = chain.place(chain.head.time_ms + step_ms)
        execution = ledger.execute(chain.nodes.__getitem__, chain.head, place, candidates)
        assert {each.tx_hash for each in execution.transactions}.isdisjoint(applied)
        assert len(execution.transactions) + len(execution.refused) == len(candidates)
        applied |= {each.tx_hash for each in execution.transactions}
        before = {who.public: chain.state().account(who.public) for who in PEOPLE}
        chain.extend(*execution.transactions, time_ms=place.time_ms)
        assert total(chain) == SUPPLY_UCPC
        for person in PEOPLE:
            count = sum(each.sender == person.public for each in execution.transactions)
            account = chain.state().account(person.public)
            assert account.nonce == before[person.public].nonce + count
            assert account.balance_ucpc >= 0
            assert account.quota_used_on(place.time_ms // DAY_MS) <= 3
        state = chain.state()
        for who, stream, upload in product(PEOPLE, (b"s", b"t"), range(6)):
            place_of = (who.public, stream.ljust(32, b"\0"), upload)
            entry = state.anchor(*place_of)
            assert anchors.setdefault(place_of, entry) == entry if entry else place_of not in anchors


@settings(deadline=None, max_examples=20)
@given(st.lists(STEPS, max_size=12))
def test_a_block_that_was_made_here_checks_everywhere(steps: Sequence[Any]) -> None:
    chain = Chain()
    transactions = [
        chain.sign(who, body, nonce, fee_ucpc) for nonce, (who, body, _, fee_ucpc, *_) in enumerate(steps)
    ]
    place = chain.place()
    execution = ledger.execute(chain.nodes.__getitem__, chain.head, place, transactions)
    block = ledger.block_of(chain.head, place, 0, execution)
    again = chain.check(Block.decode(block.encode()))
    assert again == replace(execution, refused=())


# Illicit blocks


def tampered(chain: Chain, **changes: Any) -> str:
    """Why a good block with its header changed is refused."""
    place = chain.place()
    pay = chain.sign(ALICE, Transfer(BOB.public, 1))
    execution = ledger.execute(chain.nodes.__getitem__, chain.head, place, [pay])
    block = ledger.block_of(chain.head, place, 0, execution)
    changed = replace(block, header=replace(block.header, **changes))
    with pytest.raises(IllicitBlock) as caught:
        chain.check(changed)
    return caught.value.why


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"chain_id": bytes(32)}, "it is of another chain"),
        ({"height": 3}, "it does not follow block 1"),
        ({"height": 1}, "it does not follow block 1"),
        ({"parent_hash": bytes(32)}, "its parent is not "),
        ({"time_ms": START_MS + 1_000}, "its time is not later than its parent's 1700000001000 ms"),
        ({"validators_hash": bytes(32)}, "its validators are not this chain's"),
        ({"proposer": NO_PROPOSER}, f"it is the turn of {PROPOSER.public.hex()}, not of 00000000"),
        ({"proposer": ALICE.public}, f"it is the turn of {PROPOSER.public.hex()}, not of "),
        ({"round": 2}, "its round is 2, which only votes may have"),
        (
            {"round": 1},
            "proposer, time_ms, tx_count, tx_root, receipts_root, state_root not what this parent",
        ),
        ({"state_root": bytes(32)}, "state_root not what its transactions make of its parent"),
        ({"receipts_root": bytes(32), "tx_root": bytes(32)}, "tx_root, receipts_root not what"),
        ({"tx_count": 2}, "tx_count not what"),
    ],
)
def test_a_header_that_says_something_else_is_illicit(changes: dict[str, Any], why: str) -> None:
    chain = Chain()
    chain.extend()
    assert why in tampered(chain, **changes)


def test_a_block_with_a_transaction_that_cannot_stand_is_illicit() -> None:
    chain = Chain()
    place = chain.place()
    replayed = chain.sign(ALICE, Transfer(BOB.public, 1))
    execution = ledger.execute(chain.nodes.__getitem__, chain.head, place, [replayed])
    twice = replace(execution, transactions=(replayed, replayed), receipts=execution.receipts * 2)
    block = ledger.block_of(chain.head, place, 0, twice)
    with pytest.raises(IllicitBlock, match="nonce 0 is used; the next is 1") as caught:
        chain.check(block)
    assert caught.value.height == 1


def test_a_block_of_more_transactions_than_the_chain_takes_is_illicit() -> None:
    chain = Chain(genesis_of(block_tx_max=2))
    many = [chain.sign(ALICE, Transfer(BOB.public, 1), nonce=nonce) for nonce in range(3)]
    execution = ledger.execute(chain.nodes.__getitem__, chain.head, chain.place(), many)
    block = ledger.block_of(chain.head, chain.place(), 0, execution)
    with pytest.raises(IllicitBlock, match="more than 2 transactions"):
        chain.check(block)


def test_an_empty_block_changes_no_state() -> None:
    chain = Chain()
    place = chain.place()
    execution = ledger.execute(chain.nodes.__getitem__, chain.head, place, [])
    assert execution.state_root == chain.head.state_root
    assert (execution.nodes_added, execution.nodes_stale) == ({}, frozenset())
    block = ledger.block_of(chain.head, place, 0, execution)
    assert block.header.tx_root == list_root([])
    assert chain.check(block) == execution


def test_each_proposer_has_its_turn_and_no_other() -> None:
    chain = Chain(genesis_of(proposers=(PROPOSER.public, ALICE.public)))
    chain.extend()
    for who, is_licit in ((ALICE, True), (PROPOSER, False)):
        place = replace(chain.place(), proposer=who.public)
        execution = ledger.execute(chain.nodes.__getitem__, chain.head, place, [])
        block = ledger.block_of(chain.head, place, 0, execution)
        if is_licit:
            assert chain.check(block) == execution
        else:
            with pytest.raises(IllicitBlock, match=f"it is the turn of {ALICE.public.hex()}, not of "):
                chain.check(block)


# The beginning, and time


def test_the_genesis_holds_the_whole_supply() -> None:
    chain = Chain()
    assert (chain.head.height, chain.head.block_hash) == (0, chain.genesis.chain_id)
    assert chain.head.state_root != EMPTY
    assert [chain.balance(who) for who in (ALICE, BOB, key("nobody"))] == [HALF, HALF, 0]
    assert MerkleMap(chain.nodes, chain.head.state_root).get(b"nothing") is None


def test_golden_state_root_of_a_block() -> None:
    """All formats of the state at once; a change here is a line in CHANGELOG.md."""
    chain = Chain()
    chain.extend(chain.sign(ALICE, Transfer(BOB.public, 5)), chain.sign(BOB, anchor(), fee_ucpc=0))
    header = chain.blocks[0].header
    assert header.state_root.hex() == "d9bc2c5d5051347c61f83447d33f34b9cd4afb5d12ad5a77002050f2f2742a54"
    assert header.receipts_root.hex() == "d1fca60feb450468a57a8871f8bd441366d58daeeeabe3d0467c5626be53fd48"
    assert header.block_hash.hex() == "5b6db4df2d3f8b275ddb88a8d76f3badd4212dc1d97353e7942e7978367eaa09"


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**50), max_size=30))
def test_time_only_rises_whatever_the_clock_does(clock: list[int]) -> None:
    time_ms = START_MS
    for now_ms in clock:
        later_ms = next_time_ms(time_ms, now_ms)
        assert later_ms > time_ms
        assert later_ms == now_ms or later_ms == time_ms + 1 > now_ms
        time_ms = later_ms
