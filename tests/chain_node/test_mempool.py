"""The pool: order, bounds, and a Reason for everything it does not take."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_node.book import DAY_MS
from chain_node.errors import Refused
from chain_node.escrow import EscrowOpen, EscrowSettle
from chain_node.mempool import ACCOUNT_COUNT_MAX, REFUSALS_KEPT, WAIT_BLOCKS_MAX, Pool
from chain_node.reason import Reason
from chain_node.transaction import SUPPLY_UCPC, Transaction, Transfer
from tests.chain_node.world import ALICE, BOB, CAROL, FEE_UCPC, Chain, anchor, genesis_of, key

ROOM = 1 << 20


def pay(chain: Chain, nonce: int = 0, fee_ucpc: int = FEE_UCPC, amount_ucpc: int = 1) -> Transaction:
    return chain.sign(ALICE, Transfer(BOB.public, amount_ucpc), nonce=nonce, fee_ucpc=fee_ucpc)


def add(pool: Pool, chain: Chain, *transactions: Transaction) -> None:
    for transaction in transactions:
        pool.add(transaction, chain.state(), chain.place())


def refusal(pool: Pool, chain: Chain, transaction: Transaction) -> Reason:
    count = len(pool)
    with pytest.raises(Refused) as caught:
        add(pool, chain, transaction)
    assert len(pool) == count
    return caught.value.reason


def chosen(pool: Pool, chain: Chain, count_max: int = 100, size_max: int = ROOM) -> list[Transaction]:
    state = chain.state()
    return pool.select(count_max, size_max, lambda public: state.account(public).nonce)


def settle(pool: Pool, chain: Chain, *transactions: Transaction) -> None:
    chain.extend(*transactions)
    state = chain.state()
    pool.settle(transactions, lambda public: state.account(public).nonce, chain.head.height)


def test_first_come_first_served_and_nonces_in_order() -> None:
    chain, pool = Chain(), Pool()
    late, early = pay(chain, 1), pay(chain, 0)
    bobs = chain.sign(BOB, Transfer(CAROL.public, 1))
    add(pool, chain, late, bobs, early)
    assert chosen(pool, chain) == [bobs, early, late]
    assert chosen(pool, chain, count_max=2) == [bobs, early]
    assert chosen(pool, chain, size_max=len(bobs.data) + len(early.data)) == [bobs, early]


def test_what_follows_from_an_escrow_waits_outside_until_the_escrow_is_in_a_block() -> None:
    chain, pool = Chain(), Pool()
    ident = bytes(32)
    opening = chain.sign(ALICE, EscrowOpen(ident, BOB.public, 5, chain.head.time_ms + 60_000, ident))
    settling = chain.sign(BOB, EscrowSettle(ALICE.public, ident, 3))
    add(pool, chain, opening)
    assert refusal(pool, chain, settling) == Reason.ESCROW_UNKNOWN
    assert not Reason.ESCROW_UNKNOWN.is_final
    settle(pool, chain, opening)
    add(pool, chain, settling)
    settle(pool, chain, settling)
    again = chain.sign(BOB, EscrowSettle(ALICE.public, ident, 3))
    assert refusal(pool, chain, again) == Reason.ESCROW_ENDED
    assert Reason.ESCROW_ENDED.is_final


def test_one_whose_predecessor_is_missing_waits_for_it() -> None:
    chain, pool = Chain(), Pool()
    add(pool, chain, pay(chain, 2), pay(chain, 1))
    assert chosen(pool, chain) == []
    assert not pool.has_ready(lambda _: 0)
    assert pool.next_nonce(ALICE.public, 0) == 0
    add(pool, chain, pay(chain, 0))
    assert [each.nonce for each in chosen(pool, chain)] == [0, 1, 2]
    assert pool.next_nonce(ALICE.public, 0) == 3
    assert pool.has_ready(lambda _: 0)


def test_the_same_transaction_twice_is_there_once() -> None:
    chain, pool = Chain(), Pool()
    add(pool, chain, pay(chain), pay(chain))
    assert len(pool) == 1
    assert pool.get(pay(chain).tx_hash) == pay(chain)
    assert pool.get(bytes(32)) is None


def test_what_no_block_or_receipt_would_take_is_refused_at_once() -> None:
    chain, pool = Chain(), Pool()
    chain.extend(pay(chain, 0), chain.sign(BOB, anchor(upload=4)))
    half = SUPPLY_UCPC // 2
    told = [
        (pay(chain, 0), Reason.NONCE_USED),
        (pay(chain, 1 + ACCOUNT_COUNT_MAX), Reason.NONCE_AHEAD),
        (pay(chain, 1, fee_ucpc=5), Reason.FEE_TOO_LOW),
        (pay(chain, 1, fee_ucpc=half), Reason.FEE_NOT_COVERED),
        (pay(chain, 1, amount_ucpc=half), Reason.BALANCE_TOO_LOW),
        (chain.sign(key("nobody"), anchor(), fee_ucpc=0), Reason.ACCOUNT_UNKNOWN),
        (chain.sign(BOB, anchor(upload=4)), Reason.ANCHOR_KNOWN),
        (chain.sign(BOB, anchor(upload=4, content=b"other")), Reason.ANCHOR_CONFLICT),
        (chain.sign(BOB, anchor(upload=3)), Reason.ANCHOR_BEHIND),
        (chain.sign(BOB, anchor(upload=5), valid_until=1), Reason.EXPIRED),
        (Chain(genesis_of(name="other")).sign(ALICE, anchor()), Reason.WRONG_CHAIN),
    ]
    for transaction, reason in told:
        assert refusal(pool, chain, transaction) == reason
    assert len(pool) == 0


def test_a_nonce_is_given_to_one_transaction() -> None:
    chain, pool = Chain(), Pool()
    add(pool, chain, pay(chain, 0))
    assert refusal(pool, chain, pay(chain, 0, amount_ucpc=2)) == Reason.NONCE_PENDING


def test_those_that_wait_share_the_quota_and_the_balance() -> None:
    chain, pool = Chain(), Pool()
    add(pool, chain, *(pay(chain, nonce, fee_ucpc=0) for nonce in range(3)))
    assert refusal(pool, chain, pay(chain, 3, fee_ucpc=0)) == Reason.QUOTA_USED_UP
    third = SUPPLY_UCPC // 6
    add(pool, chain, *(pay(chain, nonce, fee_ucpc=third) for nonce in (3, 4)))
    assert refusal(pool, chain, pay(chain, 5, fee_ucpc=third + 3)) == Reason.FEE_NOT_COVERED
    add(pool, chain, pay(chain, 5, fee_ucpc=third))


def test_what_leaves_gives_its_share_back() -> None:
    chain, pool = Chain(), Pool()
    free = [pay(chain, nonce, fee_ucpc=0) for nonce in range(3)]
    add(pool, chain, *free)
    pool.give_up([(free[2], Refused(Reason.EXPIRED, "too late"))])
    add(pool, chain, pay(chain, 2, fee_ucpc=0, amount_ucpc=2))
    chain.extend(time_ms=chain.head.time_ms + DAY_MS)
    settle(pool, chain, *chosen(pool, chain))
    assert len(pool) == 0
    assert refusal(pool, chain, pay(chain, 3, fee_ucpc=0)) == Reason.QUOTA_USED_UP


def test_what_the_chain_and_the_pool_have_of_a_days_quota_counts_together() -> None:
    chain, pool = Chain(), Pool()
    chain.extend(pay(chain, 0, fee_ucpc=0))
    add(pool, chain, pay(chain, 1, fee_ucpc=0), pay(chain, 2, fee_ucpc=0))
    assert refusal(pool, chain, pay(chain, 3, fee_ucpc=0)) == Reason.QUOTA_USED_UP
    tomorrow = chain.place(chain.head.time_ms + DAY_MS)
    pool.add(pay(chain, 3, fee_ucpc=0), chain.state(), tomorrow)


def test_what_leaves_gives_its_fee_and_its_room_back() -> None:
    half = SUPPLY_UCPC // 2
    chain = Chain()
    dear = pay(chain, 0, fee_ucpc=half - 1)
    pool = Pool(size_max=len(dear.data) + len(pay(chain, 1).data))
    add(pool, chain, dear)
    assert refusal(pool, chain, pay(chain, 1)) == Reason.FEE_NOT_COVERED
    pool.give_up([(dear, Refused(Reason.EXPIRED, ""))])
    pool.give_up([(dear, Refused(Reason.EXPIRED, ""))])
    add(pool, chain, pay(chain, 0), pay(chain, 1, fee_ucpc=2_000))
    assert refusal(pool, chain, pay(chain, 2)) == Reason.BUSY


def test_above_its_bound_it_is_busy_and_keeps_what_it_has() -> None:
    chain = Chain()
    pool = Pool(count_max=2)
    add(pool, chain, pay(chain, 0), pay(chain, 1))
    assert refusal(pool, chain, pay(chain, 2)) == Reason.BUSY
    add(pool, chain, pay(chain, 1))
    small = Pool(size_max=len(pay(chain).data) + 10)
    add(small, chain, pay(chain))
    assert refusal(small, chain, pay(chain, 1)) == Reason.BUSY
    settle(small, chain, pay(chain))
    add(small, chain, pay(chain, 1))


def test_a_block_of_somebody_elses_making_clears_what_it_made_impossible() -> None:
    chain, pool = Chain(), Pool()
    add(pool, chain, pay(chain, 0), pay(chain, 1), pay(chain, 2))
    settle(pool, chain, pay(chain, 0, amount_ucpc=9), pay(chain, 1))
    assert [each.nonce for each in chosen(pool, chain)] == [2]
    assert len(pool) == 1


def test_what_expires_or_waits_too_long_is_given_up_and_the_reason_remembered() -> None:
    chain, pool = Chain(), Pool()
    short = chain.sign(ALICE, Transfer(BOB.public, 1), valid_until=2)
    early = chain.sign(BOB, Transfer(CAROL.public, 1), nonce=1)
    add(pool, chain, short, early)
    settle(pool, chain)
    assert len(pool) == 2
    settle(pool, chain)
    assert (pool.get(short.tx_hash), pool.get(early.tx_hash)) == (None, early)
    given = pool.refusal(short.tx_hash)
    assert given is not None
    assert (given.reason, str(given)) == (Reason.EXPIRED, "it was valid until block 2")
    pool.settle([], lambda _: 0, 1 + WAIT_BLOCKS_MAX)
    assert len(pool) == 1
    pool.settle([], lambda _: 0, 2 + WAIT_BLOCKS_MAX)
    given = pool.refusal(early.tx_hash)
    assert given is not None
    assert str(given) == "it waited 360 blocks for earlier nonces of its account"
    assert len(pool) == 0


def test_only_so_many_reasons_are_remembered() -> None:
    chain, pool = Chain(), Pool()
    first = pay(chain)
    add(pool, chain, first)
    pool.give_up([(first, Refused(Reason.EXPIRED, ""))])
    for number in range(REFUSALS_KEPT - 1):
        pool._refusals[number.to_bytes(4, "big")] = Refused(Reason.EXPIRED, "")
    assert pool.refusal(first.tx_hash)
    add(pool, chain, pay(chain, 0, amount_ucpc=2))
    pool.give_up([(pay(chain, 0, amount_ucpc=2), Refused(Reason.EXPIRED, ""))])
    assert pool.refusal(first.tx_hash) is None


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from([ALICE, BOB]), st.integers(0, 6)), max_size=14),
    st.integers(0, 14),
    st.integers(0, 4_000),
)
def test_what_is_chosen_always_stands_in_a_block(
    arrivals: list[tuple[object, int]], count_max: int, size_max: int
) -> None:
    chain, pool = Chain(), Pool()
    for who, nonce in arrivals:
        signer = ALICE if who is ALICE else BOB
        add(pool, chain, chain.sign(signer, Transfer(CAROL.public, 1), nonce=nonce))
    picked = chosen(pool, chain, count_max, size_max)
    assert len(picked) <= count_max
    assert sum(len(each.data) for each in picked) <= size_max
    assert len(set(picked)) == len(picked)
    if count_max == 14 and size_max == 4_000:
        assert pool.has_ready(lambda _: 0) is bool(picked)
    settle(pool, chain, *picked)
    assert len(pool) == len(set(arrivals)) - len(picked)


def test_after_a_leap_what_is_spent_is_gone_and_the_rest_waits_anew() -> None:
    chain, pool = Chain(), Pool()
    for nonce in range(3):
        pool.add(chain.sign(ALICE, Transfer(BOB.public, 1), nonce), chain.state(), chain.place())
    pool.leap(lambda public: 2, 5_000)
    assert len(pool) == 1
    pool.settle((), lambda public: 2, 5_001)
    assert (len(pool), pool.next_nonce(ALICE.public, 2)) == (1, 3)
