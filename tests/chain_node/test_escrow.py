"""Escrows as stories: who may end one, when, at how much, and that each ends once."""

from typing import Any

import pytest

from chain_node.entry import Account
from chain_node.errors import EvidenceError, Refused, WireError
from chain_node.escrow import (
    TERM_MS_MAX,
    EscrowEntry,
    EscrowOpen,
    EscrowRefund,
    EscrowSettle,
    EscrowStatus,
    escrow_key,
    sign_consent,
)
from chain_node.light_client import LightClient
from chain_node.transaction import SUPPLY_UCPC, Body, Transaction, Transfer
from puf import cbor
from puf.ed25519 import SigningKey, verify
from tests.chain_node.world import ALICE, BOB, CAROL, FEE_UCPC, START_MS, Chain, genesis_of, key

DAVE = key("dave")
WHO = {"alice": ALICE, "bob": BOB, "carol": CAROL, "dave": DAVE}
IDENT, MEMO = b"\x05" * 32, b"\x06" * 32
ONE, TWO = b"\x01" * 32, b"\x02" * 32
BEGIN_MS = START_MS + 10_000


def opening(amount_ucpc: int = 5_000, deadline_s: int = 60, **changes: Any) -> EscrowOpen:
    fields = {"ident": IDENT, "payee": BOB.public, "memo_hash": MEMO} | changes
    return EscrowOpen(amount_ucpc=amount_ucpc, deadline_ms=BEGIN_MS + 1_000 * deadline_s, **fields)


# Stories


def body_of(chain: Chain, act: str, words: list[str]) -> Body:
    amount = int(words[0]) if words else 0
    if act == "opens":
        return opening(amount, arbiter=CAROL.public if "arbiter" in words else None)
    if act == "refunds":
        return EscrowRefund(ALICE.public, IDENT)
    assert act == "settles"
    signed = (
        sign_consent(ALICE, chain.genesis.chain_id, IDENT, int(words[-1])) if "consent" in words else None
    )
    return EscrowSettle(ALICE.public, IDENT, amount, signed)


def play(story: str) -> str:
    """The story with what really happens: after each event its outcome, and the money of payer and payee.

    An event is `<second> <who> opens|settles|refunds ...`.  The deadline is at second 60.
    """
    chain = Chain(genesis_of(free_tx_per_day=1_000))
    pay = [chain.sign(ALICE, Transfer(who.public, 1), nonce, 0) for nonce, who in enumerate((CAROL, DAVE))]
    chain.extend(*pay)
    start = {who: chain.balance(who) for who in (ALICE, BOB)}
    lines = []
    for line in story.splitlines():
        if line.startswith("    ") or not line:
            continue
        second, name, act, *words = line.split()
        label = chain.tell(WHO[name], body_of(chain, act, words), BEGIN_MS + 1_000 * int(second), 0)
        locked = chain.state().account(ALICE.public).locked_ucpc
        alice, bob = (chain.balance(who) - start[who] for who in (ALICE, BOB))
        lines += [line, f"    {label}: alice {alice:+}, locked {locked}, bob {bob:+}"]
    return "\n".join(lines) + "\n"


STORIES = {
    "the site takes what the parking cost, and the rest goes back": """\
0 alice opens 5000
    applied: alice -5000, locked 5000, bob +0
1 alice opens 5000
    escrow_known: alice -5000, locked 5000, bob +0
2 alice opens 5001
    escrow_conflict: alice -5000, locked 5000, bob +0
30 bob settles 1200
    applied: alice -1200, locked 0, bob +1200
31 bob settles 1200
    escrow_ended: alice -1200, locked 0, bob +1200
32 bob refunds
    escrow_ended: alice -1200, locked 0, bob +1200
61 alice refunds
    escrow_ended: alice -1200, locked 0, bob +1200
62 alice opens 5000
    escrow_known: alice -1200, locked 0, bob +1200
""",
    "the site never settles, and the payer has its money back after the deadline": """\
0 alice opens 5000
    applied: alice -5000, locked 5000, bob +0
59 alice refunds
    escrow_early: alice -5000, locked 5000, bob +0
60 bob settles 1
    escrow_late: alice -5000, locked 5000, bob +0
61 alice refunds
    applied: alice +0, locked 0, bob +0
62 alice refunds
    escrow_ended: alice +0, locked 0, bob +0
""",
    "the last moment to settle is the one before the deadline, the first to refund the deadline": """\
0 alice opens 5000
    applied: alice -5000, locked 5000, bob +0
59 bob settles 5000
    applied: alice -5000, locked 0, bob +5000
""",
    "anybody may send the money home once the deadline has come": """\
0 alice opens 5000
    applied: alice -5000, locked 5000, bob +0
59 dave refunds
    escrow_early: alice -5000, locked 5000, bob +0
60 dave refunds
    applied: alice +0, locked 0, bob +0
""",
    "the payee gives everything back early": """\
0 alice opens 5000
    applied: alice -5000, locked 5000, bob +0
1 bob refunds
    applied: alice +0, locked 0, bob +0
""",
    "the site finds that nothing was used": """\
0 alice opens 5000
    applied: alice -5000, locked 5000, bob +0
1 bob settles 0
    applied: alice +0, locked 0, bob +0
""",
    "the payer pays in full by itself, but not in part": """\
0 alice opens 5000
    applied: alice -5000, locked 5000, bob +0
1 alice settles 4999
    escrow_not_party: alice -5000, locked 5000, bob +0
2 alice settles 0
    escrow_not_party: alice -5000, locked 5000, bob +0
3 alice settles 5000
    applied: alice -5000, locked 0, bob +5000
""",
    "nobody takes more than there is, and strangers take nothing": """\
0 bob settles 1
    escrow_unknown: alice +0, locked 0, bob +0
1 bob refunds
    escrow_unknown: alice +0, locked 0, bob +0
2 alice opens 5000
    applied: alice -5000, locked 5000, bob +0
3 bob settles 5001
    escrow_amount: alice -5000, locked 5000, bob +0
4 dave settles 5000
    escrow_not_party: alice -5000, locked 5000, bob +0
5 carol settles 5000
    escrow_not_party: alice -5000, locked 5000, bob +0
""",
    "with an arbiter the payee takes nothing alone, and the arbiter divides": """\
0 alice opens 5000 arbiter
    applied: alice -5000, locked 5000, bob +0
1 bob settles 1
    escrow_not_party: alice -5000, locked 5000, bob +0
2 carol settles 3000
    applied: alice -3000, locked 0, bob +3000
3 bob refunds
    escrow_ended: alice -3000, locked 0, bob +3000
""",
    "with an arbiter payer and payee may agree without it": """\
0 alice opens 5000 arbiter
    applied: alice -5000, locked 5000, bob +0
1 bob settles 2000 consent 1999
    escrow_not_party: alice -5000, locked 5000, bob +0
2 dave settles 2000 consent 2000
    escrow_not_party: alice -5000, locked 5000, bob +0
3 bob settles 2000 consent 2000
    applied: alice -2000, locked 0, bob +2000
""",
    "an arbiter sends it home early, and cannot settle late": """\
0 alice opens 5000 arbiter
    applied: alice -5000, locked 5000, bob +0
60 carol settles 5000
    escrow_late: alice -5000, locked 5000, bob +0
61 carol refunds
    applied: alice +0, locked 0, bob +0
""",
}


@pytest.mark.parametrize("name", STORIES)
def test_a_story_comes_out_as_it_is_told(name: str) -> None:
    assert play(STORIES[name]) == STORIES[name]


def test_what_is_not_there_cannot_be_put_aside() -> None:
    chain = Chain()
    before = chain.state().account(ALICE.public)
    assert chain.tell(ALICE, opening(before.balance_ucpc)) == "balance_too_low"
    assert chain.state().account(ALICE.public).locked_ucpc == 0
    assert chain.tell(ALICE, opening(before.balance_ucpc - 2 * FEE_UCPC)) == "applied"
    account = chain.state().account(ALICE.public)
    assert (account.balance_ucpc, account.locked_ucpc) == (0, before.balance_ucpc - 2 * FEE_UCPC)


def test_money_put_aside_cannot_be_spent() -> None:
    chain = Chain()
    chain.tell(ALICE, opening(chain.balance(ALICE) - FEE_UCPC - 100))
    assert chain.tell(ALICE, Transfer(BOB.public, 101), fee_ucpc=0) == "balance_too_low"
    assert chain.tell(ALICE, Transfer(BOB.public, 100), fee_ucpc=0) == "applied"


def test_who_has_put_all_its_money_aside_gets_it_back_without_a_fee() -> None:
    chain = Chain()
    chain.tell(ALICE, opening(chain.balance(ALICE) - FEE_UCPC))
    assert chain.balance(ALICE) == 0
    assert chain.tell(ALICE, EscrowRefund(ALICE.public, IDENT), BEGIN_MS + 60_000, 0) == "applied"
    assert chain.balance(ALICE) == SUPPLY_UCPC // 2 - FEE_UCPC


@pytest.mark.parametrize(
    ("deadline_ms", "expected"),
    [
        (START_MS, "escrow_deadline"),
        (START_MS + 1_000, "escrow_deadline"),
        (START_MS + 1_001, "applied"),
        (START_MS + 1_000 + TERM_MS_MAX, "applied"),
        (START_MS + 1_001 + TERM_MS_MAX, "escrow_deadline"),
    ],
)
def test_a_deadline_comes_within_a_year(deadline_ms: int, expected: str) -> None:
    body = EscrowOpen(IDENT, BOB.public, 1, deadline_ms, MEMO)
    assert Chain().tell(ALICE, body, START_MS + 1_000) == expected


def test_two_payers_may_use_one_id_and_each_has_its_own_escrow() -> None:
    chain = Chain()
    assert chain.tell(ALICE, opening(100)) == "applied"
    assert chain.tell(BOB, opening(200, payee=CAROL.public)) == "applied"
    assert chain.tell(BOB, EscrowSettle(ALICE.public, IDENT, 7)) == "applied"
    entries = [chain.state().read(escrow_key(who.public, IDENT), EscrowEntry) for who in (ALICE, BOB)]
    assert [entry and (entry.status, entry.paid_ucpc) for entry in entries] == [
        (EscrowStatus.SETTLED, 7),
        (EscrowStatus.OPEN, 0),
    ]


def test_a_payee_that_gets_nothing_leaves_no_trace() -> None:
    chain = Chain()
    chain.tell(ALICE, opening(100, payee=DAVE.public))
    chain.tell(ALICE, EscrowRefund(ALICE.public, IDENT), BEGIN_MS + 60_000)
    client = LightClient(chain.genesis)
    client.follow(chain.links)
    assert client.confirm_account(DAVE.public, chain.account_evidence(DAVE)) == Account()
    assert chain.state().entries.get(cbor.encode(["account", DAVE.public])) is None


def test_an_escrow_with_oneself_moves_nothing() -> None:
    chain = Chain()
    chain.tell(ALICE, opening(100, payee=ALICE.public))
    assert chain.tell(ALICE, EscrowSettle(ALICE.public, IDENT, 40)) == "applied"
    account = chain.state().account(ALICE.public)
    assert (account.balance_ucpc, account.locked_ucpc) == (SUPPLY_UCPC // 2 - 2 * FEE_UCPC, 0)


def test_a_consent_is_for_this_chain_this_escrow_and_this_amount() -> None:
    signed = sign_consent(ALICE, ONE, IDENT, 7)
    assert len(signed) == 64
    assert sign_consent(ALICE, TWO, IDENT, 7) != signed
    chain = Chain()
    chain.tell(ALICE, opening(100, arbiter=CAROL.public))
    told: list[tuple[SigningKey, bytes, bytes, int, str]] = [
        (ALICE, ONE, IDENT, 7, "escrow_not_party"),
        (BOB, chain.genesis.chain_id, IDENT, 7, "escrow_not_party"),
        (ALICE, chain.genesis.chain_id, MEMO, 7, "escrow_not_party"),
        (ALICE, chain.genesis.chain_id, IDENT, 8, "escrow_not_party"),
        (ALICE, chain.genesis.chain_id, IDENT, 7, "applied"),
    ]
    for signer, chain_id, ident, paid_ucpc, expected in told:
        signed = sign_consent(signer, chain_id, ident, paid_ucpc)
        assert chain.tell(BOB, EscrowSettle(ALICE.public, IDENT, 7, signed)) == expected


# Proofs


def test_a_light_client_confirms_an_escrow_and_that_there_is_none() -> None:
    chain = Chain()
    chain.tell(ALICE, opening(100))
    client = LightClient(chain.genesis)
    client.follow(chain.links)
    evidence = chain.state_evidence(escrow_key(ALICE.public, IDENT))
    entry = client.confirm_escrow(ALICE.public, IDENT, evidence)
    assert entry is not None
    assert entry.is_of(opening(100))
    assert not entry.is_of(opening(101))
    assert (entry.status, entry.opened_height, entry.ended_height) == (EscrowStatus.OPEN, 1, 0)
    none = chain.state_evidence(escrow_key(BOB.public, IDENT))
    assert client.confirm_escrow(BOB.public, IDENT, none) is None
    with pytest.raises(EvidenceError, match="state proof against block 1"):
        client.confirm_escrow(BOB.public, IDENT, evidence)
    chain.tell(BOB, EscrowSettle(ALICE.public, IDENT, 30))
    client.follow(chain.links[1:])
    entry = client.confirm_escrow(ALICE.public, IDENT, chain.state_evidence(escrow_key(ALICE.public, IDENT)))
    assert entry is not None
    assert (entry.status, entry.paid_ucpc, entry.ended_height) == (EscrowStatus.SETTLED, 30, 2)
    assert entry.tx_hash == chain.blocks[1].transactions[0].tx_hash


# Bytes

OPEN = EscrowOpen(IDENT, ONE, 5_000, 1_700_000_000_000, MEMO)
OPEN_HEX = (
    "a5015820"
    + IDENT.hex()
    + "025820"
    + ONE.hex()
    + "03191388"
    + "041b0000018bcfe56800"
    + "055820"
    + MEMO.hex()
)
GOLDEN: list[tuple[Any, str]] = [
    (OPEN, OPEN_HEX),
    (EscrowOpen(IDENT, ONE, 5_000, 1_700_000_000_000, MEMO, TWO), "a6" + OPEN_HEX[2:] + "065820" + TWO.hex()),
    (EscrowSettle(ONE, IDENT, 1_200), "a3015820" + ONE.hex() + "025820" + IDENT.hex() + "031904b0"),
    (
        EscrowSettle(ONE, IDENT, 0, b"\x07" * 64),
        "a4015820" + ONE.hex() + "025820" + IDENT.hex() + "0300" + "045840" + "07" * 64,
    ),
    (EscrowRefund(ONE, IDENT), "a2015820" + ONE.hex() + "025820" + IDENT.hex()),
]
ENTRY = EscrowEntry(ONE, 5_000, 9, MEMO, None, EscrowStatus.SETTLED, 1_200, 3, 4, TWO)


@pytest.mark.parametrize(("body", "golden"), GOLDEN)
def test_golden_bodies(body: Any, golden: str) -> None:
    """A change here breaks every chain, and is a line in CHANGELOG.md."""
    assert cbor.encode(body.to_map()).hex() == golden
    made = Transaction.sign(ALICE, ONE, 0, body)
    assert Transaction.decode(made.data).body == body


def test_golden_entry_key_and_consent() -> None:
    assert escrow_key(ONE, TWO).hex() == "8366" + b"escrow".hex() + "5820" + ONE.hex() + "5820" + TWO.hex()
    assert ENTRY.encode().hex() == (
        "a9015820" + ONE.hex() + "02191388" + "0309" + "045820" + MEMO.hex()
        + "0601" + "071904b0" + "0803" + "0904" + "0a5820" + TWO.hex()
    )  # fmt: skip
    assert EscrowEntry.decode(ENTRY.encode()) == ENTRY
    payload = "a4015820" + ONE.hex() + "025820" + ALICE.public.hex() + "035820" + IDENT.hex() + "0407"
    protected = "a3012704" + "5820" + ALICE.public.hex() + "1072" + b"cpc/escrow-consent".hex()
    message = bytes.fromhex("846a" + b"Signature1".hex() + "583a" + protected + "40" + "586c" + payload)
    assert verify(ALICE.public, message, sign_consent(ALICE, ONE, IDENT, 7))


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (EscrowOpen, OPEN.to_map() | {3: 0}, "amount_ucpc is not from 1"),
        (EscrowOpen, OPEN.to_map() | {2: b""}, "payee is not 32 bytes"),
        (EscrowOpen, OPEN.to_map() | {4: -1}, "deadline_ms is not from 0"),
        (EscrowOpen, OPEN.to_map() | {6: None}, "arbiter is not 32 bytes"),
        (EscrowOpen, OPEN.to_map() | {7: 0}, "unknown fields"),
        (EscrowSettle, {1: ONE, 2: IDENT}, "paid_ucpc is missing"),
        (EscrowSettle, {1: ONE, 2: IDENT, 3: 1, 4: b"short"}, "consent is not 64 bytes"),
        (EscrowRefund, {1: ONE}, "id is missing"),
        (EscrowRefund, {1: ONE, 2: IDENT, 3: 0}, "unknown fields"),
    ],
)
def test_a_body_that_is_none_is_refused(kind: Any, value: object, message: str) -> None:
    with pytest.raises(WireError, match=message):
        kind.from_map(value)
    with pytest.raises(Refused):
        Transaction.decode(cbor.encode(value))


def test_an_entry_never_says_that_more_was_paid_than_there_was() -> None:
    fields: Any = cbor.decode(ENTRY.encode())
    for change, message in (
        ({7: 5_001}, "paid_ucpc is not from 0 to 5000"),
        ({6: 3}, "status is not from 0 to 2"),
    ):
        with pytest.raises(WireError, match=message):
            EscrowEntry.decode(cbor.encode(fields | change))
