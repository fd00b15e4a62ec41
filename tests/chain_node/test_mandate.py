"""Mandates as stories: what an operator may spend of a payer's, by payment, by day, in all, and how long."""

from typing import Any

import pytest

from chain_node.book import DAY_MS
from chain_node.errors import EvidenceError, WireError
from chain_node.fields import INT_MAX
from chain_node.light_client import LightClient
from chain_node.mandate import MandateEntry, MandateGrant, MandatePay, MandateRevoke, mandate_key
from chain_node.transaction import SUPPLY_UCPC, Transaction, Transfer
from puf import cbor
from tests.chain_node.world import ALICE, BOB, CAROL, FEE_UCPC, START_MS, Chain, genesis_of, key

DAVE = key("dave")
ONE, TWO = b"\x01" * 32, b"\x02" * 32
MIDNIGHT_MS = (START_MS // DAY_MS + 1) * DAY_MS
EXPIRES_MS = MIDNIGHT_MS + 3 * DAY_MS


def grant(payment: int = 100, day: int = 250, **changes: Any) -> MandateGrant:
    """Bob may spend so much of Alice's until three days after midnight."""
    fields: dict[str, Any] = {"operator": BOB.public, "expires_ms": EXPIRES_MS} | changes
    return MandateGrant(payment_max_ucpc=payment, day_max_ucpc=day, **fields)


def pay(amount_ucpc: int, payee: bytes = CAROL.public) -> MandatePay:
    return MandatePay(ALICE.public, payee, amount_ucpc, b"kWh")


def world() -> Chain:
    return Chain(genesis_of(free_tx_per_day=1_000))


def entry_of(chain: Chain) -> MandateEntry:
    entry = chain.state().read(mandate_key(ALICE.public, BOB.public), MandateEntry)
    assert entry is not None
    return entry


def play(chain: Chain, *told: tuple[Any, Any, str]) -> None:
    """Each signer says its body, and the receipt is as expected; all of it without fees."""
    for signer, body, expected in told:
        assert chain.tell(signer, body, fee_ucpc=0) == expected, body


# Stories


def test_an_operator_pays_small_amounts_without_asking() -> None:
    chain = world()
    before = chain.balance(ALICE)
    play(
        chain,
        (BOB, pay(1), "mandate_unknown"),
        (ALICE, grant(), "applied"),
        (BOB, pay(101), "mandate_payment_limit"),
        (BOB, pay(100), "applied"),
        (BOB, pay(100, DAVE.public), "applied"),
        (BOB, pay(51), "mandate_day_limit"),
        (BOB, pay(50), "applied"),
        (BOB, pay(1), "mandate_day_limit"),
    )
    assert chain.balance(ALICE) == before - 250
    assert (chain.balance(CAROL), chain.balance(DAVE)) == (150, 100)
    entry = entry_of(chain)
    assert (entry.number, entry.day, entry.day_spent_ucpc, entry.total_spent_ucpc) == (
        1,
        START_MS // DAY_MS,
        250,
        250,
    )
    assert entry.tx_hash == chain.blocks[6].transactions[0].tx_hash


def test_a_new_utc_day_has_its_own_limit() -> None:
    chain = world()
    play(chain, (ALICE, grant(), "applied"), (BOB, pay(100), "applied"), (BOB, pay(100), "applied"))
    assert chain.tell(BOB, pay(100), MIDNIGHT_MS - 1, 0) == "mandate_day_limit"
    assert chain.tell(BOB, pay(100), MIDNIGHT_MS, 0) == "applied"
    entry = entry_of(chain)
    assert (entry.day_spent_ucpc, entry.total_spent_ucpc) == (100, 300)
    assert [entry.day_spent_on(entry.day + offset) for offset in (-1, 0, 1)] == [0, 100, 0]


def test_the_whole_mandate_may_have_a_limit() -> None:
    chain = world()
    play(
        chain,
        (ALICE, grant(day=1_000, total_max_ucpc=150), "applied"),
        (BOB, pay(100), "applied"),
        (BOB, pay(51), "mandate_total_limit"),
        (BOB, pay(50), "applied"),
        (BOB, pay(1), "mandate_total_limit"),
        # A new grant begins its total at nothing, but the day goes on.
        (ALICE, grant(day=200, total_max_ucpc=150), "applied"),
        (BOB, pay(51), "mandate_day_limit"),
        (BOB, pay(50), "applied"),
    )
    assert (entry_of(chain).number, entry_of(chain).day_spent_ucpc) == (2, 200)


def test_it_ends_when_it_says() -> None:
    chain = world()
    play(chain, (ALICE, grant(), "applied"))
    assert chain.tell(BOB, pay(1), EXPIRES_MS - 1, 0) == "applied"
    assert chain.tell(BOB, pay(1), EXPIRES_MS, 0) == "mandate_expired"
    assert chain.tell(ALICE, grant(), EXPIRES_MS + 1, 0) == "mandate_expired"
    assert chain.tell(ALICE, grant(expires_ms=EXPIRES_MS + 3), EXPIRES_MS + 2, 0) == "applied"
    assert chain.tell(ALICE, grant(expires_ms=EXPIRES_MS + 4), EXPIRES_MS + 4, 0) == "mandate_expired"


def test_the_payer_takes_it_back_at_any_time_and_may_grant_again() -> None:
    chain = world()
    play(
        chain,
        (ALICE, MandateRevoke(BOB.public), "mandate_unknown"),
        (ALICE, grant(), "applied"),
        (BOB, MandateRevoke(ALICE.public), "mandate_unknown"),
        (BOB, pay(10), "applied"),
        (ALICE, MandateRevoke(BOB.public), "applied"),
        (BOB, pay(10), "mandate_revoked"),
        (ALICE, MandateRevoke(BOB.public), "mandate_revoked"),
        (ALICE, grant(), "applied"),
        (BOB, pay(100), "applied"),
    )
    assert (entry_of(chain).number, entry_of(chain).day_spent_ucpc, entry_of(chain).is_revoked) == (
        2,
        110,
        False,
    )


def test_only_the_operator_it_names_pays_and_only_whom_it_names() -> None:
    chain = world()
    chain.tell(ALICE, Transfer(DAVE.public, 1), fee_ucpc=0)
    play(
        chain,
        (ALICE, grant(payees=tuple(sorted((CAROL.public, BOB.public)))), "applied"),
        (DAVE, pay(1), "mandate_unknown"),
        (BOB, pay(1, DAVE.public), "mandate_payee"),
        (BOB, pay(1, CAROL.public), "applied"),
        (BOB, pay(1, BOB.public), "applied"),
    )


def test_a_payer_that_has_nothing_left_pays_nothing_and_the_limits_stay() -> None:
    chain = world()
    play(chain, (ALICE, grant(SUPPLY_UCPC, SUPPLY_UCPC), "applied"))
    before = entry_of(chain)
    play(chain, (BOB, pay(SUPPLY_UCPC // 2 + 1), "balance_too_low"))
    assert entry_of(chain) == before
    play(chain, (BOB, pay(SUPPLY_UCPC // 2), "applied"), (BOB, pay(1), "balance_too_low"))
    assert chain.balance(CAROL) == SUPPLY_UCPC // 2


def test_the_operator_pays_the_fee() -> None:
    chain = world()
    chain.tell(ALICE, grant())
    alice, bob = chain.balance(ALICE), chain.balance(BOB)
    assert chain.tell(BOB, pay(60)) == "applied"
    assert (chain.balance(ALICE), chain.balance(BOB)) == (alice - 60, bob - FEE_UCPC)


def test_two_payments_in_one_block_share_the_limit() -> None:
    chain = world()
    chain.tell(ALICE, grant(day=150))
    receipts = chain.extend(*(chain.sign(BOB, pay(100), nonce, 0) for nonce in range(2)))
    assert [receipt.reason.label for receipt in receipts] == ["applied", "mandate_day_limit"]


def test_what_goes_round_for_ever_stops_counting_before_it_is_no_number_of_the_chain() -> None:
    chain = world()
    play(chain, (ALICE, grant(SUPPLY_UCPC, SUPPLY_UCPC, expires_ms=INT_MAX), "applied"))
    half = SUPPLY_UCPC // 2
    for day in range(10):
        first = MIDNIGHT_MS + day * DAY_MS
        for time_ms in (first, first + 1):
            assert chain.tell(BOB, pay(half, ALICE.public), time_ms, 0) == "applied"
    assert entry_of(chain).total_spent_ucpc == INT_MAX


# Proofs


def test_a_light_client_confirms_a_mandate_and_that_there_is_none() -> None:
    chain = world()
    chain.tell(ALICE, grant())
    client = LightClient(chain.genesis)
    client.follow(chain.links)
    evidence = chain.state_evidence(mandate_key(ALICE.public, BOB.public))
    entry = client.confirm_mandate(ALICE.public, BOB.public, evidence)
    assert entry is not None
    assert (entry.payment_max_ucpc, entry.day_max_ucpc, entry.expires_ms) == (100, 250, EXPIRES_MS)
    assert (entry.total_max_ucpc, entry.payees, entry.is_revoked) == (None, (), False)
    none = chain.state_evidence(mandate_key(BOB.public, ALICE.public))
    assert client.confirm_mandate(BOB.public, ALICE.public, none) is None
    with pytest.raises(EvidenceError, match="state proof against block 1"):
        client.confirm_mandate(BOB.public, ALICE.public, evidence)


# Bytes

GRANT_HEX = "a4015820" + ONE.hex() + "021864" + "0318fa" + "0409"
PAYEES_HEX = "06825820" + ONE.hex() + "5820" + TWO.hex()
GOLDEN: list[tuple[Any, str]] = [
    (MandateGrant(ONE, 100, 250, 9), GRANT_HEX),
    (MandateGrant(ONE, 100, 250, 9, 300, (ONE, TWO)), "a6" + GRANT_HEX[2:] + "0519012c" + PAYEES_HEX),
    (
        MandatePay(ONE, TWO, 100, b"kWh"),
        "a4015820" + ONE.hex() + "025820" + TWO.hex() + "031864" + "04436b5768",
    ),
    (MandateRevoke(ONE), "a1015820" + ONE.hex()),
]
PLAIN = MandateEntry(1, 100, 250, 9, None, (), True, 2, 3, 4, TWO)
FULL = MandateEntry(1, 100, 250, 9, 300, (ONE, TWO), False, 2, 3, 4, TWO)
HEAD_HEX, TAIL_HEX = "0101" + "021864" + "0318fa" + "0409", "0802" + "0903" + "0a04" + "0b5820" + TWO.hex()


@pytest.mark.parametrize(("body", "golden"), GOLDEN)
def test_golden_bodies(body: Any, golden: str) -> None:
    """A change here breaks every chain, and is a line in CHANGELOG.md."""
    assert cbor.encode(body.to_map()).hex() == golden
    assert Transaction.decode(Transaction.sign(ALICE, ONE, 0, body).data).body == body


def test_golden_entries_and_key() -> None:
    assert mandate_key(ONE, TWO).hex() == "8367" + b"mandate".hex() + "5820" + ONE.hex() + "5820" + TWO.hex()
    assert PLAIN.encode().hex() == "a9" + HEAD_HEX + "0701" + TAIL_HEX
    assert FULL.encode().hex() == "ab" + HEAD_HEX + "0519012c" + PAYEES_HEX + "0700" + TAIL_HEX
    for entry in (PLAIN, FULL):
        assert MandateEntry.decode(entry.encode()) == entry


MANY = [bytes([number]) * 32 for number in range(9)]


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (MandateGrant, {1: ONE, 2: 0, 3: 1, 4: 9}, "payment_max_ucpc is not from 1"),
        (MandateGrant, {1: ONE, 2: 1, 3: 0, 4: 9}, "day_max_ucpc is not from 1"),
        (MandateGrant, {1: ONE, 2: 1, 3: 1, 4: 9, 5: 0}, "total_max_ucpc is not from 1"),
        (MandateGrant, {1: ONE, 2: 1, 3: 1, 4: 9, 6: []}, "payees are not 1 to 8 by rising key, or left out"),
        (MandateGrant, {1: ONE, 2: 1, 3: 1, 4: 9, 6: [TWO, ONE]}, "payees are not 1 to 8 by rising key"),
        (MandateGrant, {1: ONE, 2: 1, 3: 1, 4: 9, 6: [ONE, ONE]}, "payees are not 1 to 8 by rising key"),
        (MandateGrant, {1: ONE, 2: 1, 3: 1, 4: 9, 6: MANY}, "payees is not a list of at most 8"),
        (MandateGrant, {1: ONE, 2: 1, 3: 1, 4: 9, 6: [b""]}, "a payee is not 32 bytes"),
        (MandatePay, {1: ONE, 2: TWO, 3: 0, 4: b""}, "amount_ucpc is not from 1"),
        (MandatePay, {1: ONE, 2: TWO, 3: 1, 4: bytes(65)}, "memo is not at most 64 bytes"),
        (MandatePay, {1: ONE, 2: TWO, 3: 1}, "memo is missing"),
        (MandateRevoke, {1: ONE, 2: 1}, "unknown fields"),
    ],
)
def test_a_body_that_is_none_is_refused(kind: Any, value: object, message: str) -> None:
    with pytest.raises(WireError, match=message):
        kind.from_map(value)
