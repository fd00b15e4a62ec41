"""Arbitrary sequences of all kinds of transactions: money is conserved, and what has ended stays ended.

The books are kept here a second time, from the receipts alone, and compared with the state after every block;
tests/conftest.py has each block's whole state counted as well.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from chain_node import ledger
from chain_node.book import DAY_MS, SUPPLY_UCPC
from chain_node.did_ledger import (
    DidDeactivate,
    DidEntry,
    DidRegister,
    DidRotate,
    DidVersion,
    did_key,
    did_version_key,
)
from chain_node.escrow import (
    EscrowEntry,
    EscrowOpen,
    EscrowRefund,
    EscrowSettle,
    escrow_key,
    sign_consent,
)
from chain_node.mandate import MandateGrant, MandatePay, MandateRevoke
from chain_node.reason import Reason
from chain_node.transaction import Body, Receipt, Transaction, Transfer
from puf import did_document
from puf.did import ED25519
from puf.did_document import SIGNING, Document, Key
from puf.ed25519 import SigningKey
from tests.chain_node.world import ALICE, BOB, CAROL, FEE_UCPC, PROPOSER, START_MS, Chain, anchor, genesis_of

PEOPLE = (ALICE, BOB, CAROL, PROPOSER)
IDENTS = (b"\x01" * 32, b"\x02" * 32)
GENESIS = genesis_of()


def document(signer: SigningKey, recovery: SigningKey | None = None, salt: bytes = b"") -> Document:
    keys = [Key(ED25519, SIGNING, signer.public)]
    return did_document.make(keys, recovery=recovery.public if recovery else None, salt=salt)


FIRST = (document(ALICE), document(BOB, ALICE), document(CAROL, salt=b"1"))
NAMES = tuple(first.name() for first in FIRST)
OTHERS = (*FIRST, document(ALICE, BOB), did_document.make([], controller=NAMES[0]))

KEYS = st.sampled_from([who.public for who in PEOPLE])
AMOUNTS = st.sampled_from([1, 99, 100, 5_000, 20_000, SUPPLY_UCPC // 2 - FEE_UCPC, SUPPLY_UCPC])
IDENT = st.sampled_from(IDENTS)
CONSENTS = st.builds(
    sign_consent, st.sampled_from(PEOPLE[:2]), st.just(GENESIS.chain_id), IDENT, st.sampled_from([1, 100])
)
BODIES: st.SearchStrategy[Body] = st.one_of(
    st.builds(Transfer, KEYS, AMOUNTS),
    st.builds(anchor, st.just(b"s"), st.integers(0, 3)),
    st.builds(DidRegister, st.sampled_from(FIRST)),
    st.builds(DidRotate, st.sampled_from(NAMES), st.integers(1, 3), st.sampled_from(OTHERS)),
    st.builds(DidDeactivate, st.sampled_from(NAMES)),
    st.builds(
        EscrowOpen,
        IDENT,
        KEYS,
        AMOUNTS,
        st.sampled_from([START_MS + 5_000, START_MS + DAY_MS]),
        st.just(bytes(32)),
        st.none() | KEYS,
    ),
    st.builds(EscrowSettle, KEYS, IDENT, AMOUNTS | st.just(0), st.none() | CONSENTS),
    st.builds(EscrowRefund, KEYS, IDENT),
    st.builds(
        MandateGrant,
        KEYS,
        st.sampled_from([100, 20_000]),
        st.sampled_from([150, 30_000, SUPPLY_UCPC]),
        st.sampled_from([START_MS + 5_000, START_MS + 3 * DAY_MS]),
        st.sampled_from([None, 120]),
        st.sampled_from([(), (BOB.public,)]),
    ),
    st.builds(MandatePay, KEYS, KEYS, AMOUNTS),
    st.builds(MandateRevoke, KEYS),
)


def agreed(ident: bytes, paid_ucpc: int) -> EscrowSettle:
    """A settlement to which Alice has consented."""
    signed = sign_consent(ALICE, GENESIS.chain_id, ident, paid_ucpc)
    return EscrowSettle(ALICE.public, ident, paid_ucpc, signed)


SMALL = st.sampled_from([1, 50, 100])
AIMED: st.SearchStrategy[tuple[SigningKey, Body]] = st.one_of(
    st.tuples(st.just(ALICE), st.builds(Transfer, KEYS, SMALL)),
    st.tuples(st.sampled_from([BOB, BOB, CAROL]), st.builds(agreed, IDENT, SMALL)),
    st.tuples(
        st.sampled_from(PEOPLE[:3]),
        st.builds(EscrowRefund, st.sampled_from([ALICE.public, BOB.public]), IDENT),
    ),
    st.tuples(st.just(BOB), st.builds(MandatePay, st.just(ALICE.public), KEYS, SMALL)),
    st.tuples(st.just(BOB), st.builds(MandatePay, st.just(ALICE.public), KEYS, SMALL)),
    st.tuples(st.just(ALICE), st.just(MandateRevoke(BOB.public))),
    st.tuples(
        st.just(ALICE), st.builds(DidRotate, st.just(NAMES[0]), st.integers(1, 3), st.sampled_from(OTHERS))
    ),
    st.tuples(st.sampled_from([ALICE, CAROL]), st.just(DidDeactivate(NAMES[0]))),
)
"""What is likely to have an effect, by whom."""
SAID = st.one_of(AIMED, AIMED, st.tuples(st.sampled_from(PEOPLE[:3]), BODIES))
STEPS = st.tuples(
    st.lists(
        st.tuples(SAID, st.sampled_from([0] * 8 + [-1, 1]), st.sampled_from([FEE_UCPC, 0])),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from([1, 2, 100, 500, 500, 1_000, 3_000, DAY_MS]),
    st.sampled_from(["", "", "", "replay", "impeach"]),
)


@dataclass
class Books:
    """What everybody has, by receipts alone."""

    balances: Counter[bytes] = field(default_factory=Counter)
    nonces: Counter[bytes] = field(default_factory=Counter)
    escrows: dict[tuple[bytes, bytes], EscrowOpen] = field(default_factory=dict)
    ended: dict[tuple[bytes, bytes], int] = field(default_factory=dict)
    """What the payee was paid of each that has ended."""
    grants: dict[tuple[bytes, bytes], MandateGrant] = field(default_factory=dict)
    totals: Counter[tuple[bytes, bytes]] = field(default_factory=Counter)
    days: Counter[tuple[bytes, bytes, int]] = field(default_factory=Counter)

    def enter(self, transaction: Transaction, receipt: Receipt, time_ms: int) -> None:
        """One receipt.  Fails when it says that something happened which must not."""
        sender = transaction.sender
        self.nonces[sender] += 1
        self.balances[sender] -= receipt.fee_ucpc
        self.balances[PROPOSER.public] += receipt.fee_ucpc
        if receipt.reason == Reason.APPLIED:
            self.effect(sender, transaction.body, time_ms)

    def effect(self, sender: bytes, body: Any, time_ms: int) -> None:
        if isinstance(body, Transfer):
            self.balances[sender] -= body.amount_ucpc
            self.balances[body.to] += body.amount_ucpc
        elif isinstance(body, EscrowOpen):
            assert (sender, body.ident) not in self.escrows, "opened twice"
            self.escrows[sender, body.ident] = body
            self.balances[sender] -= body.amount_ucpc
        elif isinstance(body, EscrowSettle | EscrowRefund):
            place = (body.payer, body.ident)
            assert place not in self.ended, "ended twice"
            opened = self.escrows[place]
            paid_ucpc = body.paid_ucpc if isinstance(body, EscrowSettle) else 0
            if isinstance(body, EscrowSettle):
                assert time_ms < opened.deadline_ms
                assert sender in (body.payer, opened.payee, opened.arbiter)
            elif sender not in (opened.payee, opened.arbiter):
                assert time_ms >= opened.deadline_ms
            self.ended[place] = paid_ucpc
            self.balances[opened.payee] += paid_ucpc
            self.balances[body.payer] += opened.amount_ucpc - paid_ucpc
        elif isinstance(body, MandateGrant):
            self.grants[sender, body.operator] = body
            self.totals[sender, body.operator] = 0
        elif isinstance(body, MandateRevoke):
            del self.grants[sender, body.operator]
        elif isinstance(body, MandatePay):
            self.pay(body.payer, sender, body, time_ms)

    def pay(self, payer: bytes, operator: bytes, body: MandatePay, time_ms: int) -> None:
        grant = self.grants[payer, operator]
        self.totals[payer, operator] += body.amount_ucpc
        self.days[payer, operator, time_ms // DAY_MS] += body.amount_ucpc
        assert body.amount_ucpc <= grant.payment_max_ucpc
        assert self.days[payer, operator, time_ms // DAY_MS] <= grant.day_max_ucpc
        assert self.totals[payer, operator] <= (grant.total_max_ucpc or SUPPLY_UCPC)
        assert time_ms < grant.expires_ms
        assert not grant.payees or body.payee in grant.payees
        self.balances[payer] -= body.amount_ucpc
        self.balances[body.payee] += body.amount_ucpc

    def compare(self, chain: Chain) -> None:
        """The state says the same."""
        state = chain.state()
        accounts = {who.public: state.account(who.public) for who in PEOPLE}
        assert {key: account.balance_ucpc for key, account in accounts.items()} == {
            key: self.balances[key] for key in accounts
        }
        assert {key: account.nonce for key, account in accounts.items()} == {
            key: self.nonces[key] for key in accounts
        }
        assert min(self.balances.values()) >= 0
        locked: Counter[bytes] = Counter()
        for place, opened in self.escrows.items():
            entry = state.read(escrow_key(*place), EscrowEntry)
            assert entry is not None
            assert (entry.ended_height > 0, entry.paid_ucpc) == (
                place in self.ended,
                self.ended.get(place, 0),
            )
            if place not in self.ended:
                locked[place[0]] += opened.amount_ucpc
        assert {key: account.locked_ucpc for key, account in accounts.items()} == {
            key: locked[key] for key in accounts
        }
        assert sum(self.balances.values()) + sum(locked.values()) == SUPPLY_UCPC


@dataclass
class Past:
    """What must never change again."""

    names: dict[bytes, DidEntry] = field(default_factory=dict)
    versions: dict[tuple[bytes, int], DidVersion] = field(default_factory=dict)
    escrows: dict[tuple[bytes, bytes], EscrowEntry] = field(default_factory=dict)

    def compare(self, chain: Chain) -> None:
        """A version rises by ones and is never rewritten; an end is an end."""
        state = chain.state()
        for name in NAMES:
            entry = state.read(did_key(name), DidEntry)
            before = self.names.get(name)
            if before is not None:
                assert entry is not None
                assert entry == before or (not before.is_deactivated and entry.version > before.version)
                assert entry.created_ms == before.created_ms
            if entry is None:
                continue
            self.names[name] = entry
            for version in range(1, entry.version):
                past = state.read(did_version_key(name, version), DidVersion)
                assert past is not None
                assert self.versions.setdefault((name, version), past) == past
                later = state.read(did_version_key(name, version + 1), DidVersion) or entry
                assert later.since_height == past.until_height
        for payer in PEOPLE:
            for ident in IDENTS:
                escrow = state.read(escrow_key(payer.public, ident), EscrowEntry)
                if escrow and escrow.ended_height:
                    assert self.escrows.setdefault((payer.public, ident), escrow) == escrow


@settings(deadline=None, max_examples=60)
@given(st.lists(STEPS, min_size=4, max_size=10))
def test_money_is_conserved_and_what_has_ended_stays_ended(steps: list[Any]) -> None:
    chain, books, past = Chain(GENESIS), Books(), Past()
    for who in (ALICE, BOB):
        books.balances[who.public] = SUPPLY_UCPC // 2
    sent: list[Transaction] = []
    applied: set[bytes] = set()
    # Carol has something to pay fees with, and there is an escrow, a name and a mandate to begin with.
    first: list[tuple[tuple[SigningKey, Body], int, int]] = [
        ((ALICE, Transfer(CAROL.public, 60_000)), 0, FEE_UCPC),
        ((ALICE, EscrowOpen(IDENTS[0], BOB.public, 5_000, START_MS + DAY_MS, bytes(32))), 0, FEE_UCPC),
        (
            (ALICE, EscrowOpen(IDENTS[1], BOB.public, 300, START_MS + 5_000, bytes(32), CAROL.public)),
            0,
            FEE_UCPC,
        ),
        ((ALICE, MandateGrant(BOB.public, 100, 150, START_MS + 2 * DAY_MS)), 0, FEE_UCPC),
        ((ALICE, DidRegister(FIRST[0])), 0, FEE_UCPC),
    ]
    for drawn, step_ms, event in [(first, 1_000, ""), *steps]:
        if event == "impeach":
            chain.impeach()
        ahead: Counter[bytes] = Counter()
        fresh = []
        for (who, body), offset, fee_ucpc in drawn:
            nonce = max(0, books.nonces[who.public] + ahead[who.public] + offset)
            ahead[who.public] += offset == 0
            fresh.append(chain.sign(who, body, nonce, fee_ucpc))
        sent += fresh
        # Everything ever sent is sent again: a replay must find nothing to do.
        candidates = sent if event == "replay" else fresh
        place = chain.place(chain.head.time_ms + step_ms)
        execution = ledger.execute(chain.nodes.__getitem__, chain.head, place, candidates)
        hashes = {each.tx_hash for each in execution.transactions}
        assert hashes.isdisjoint(applied)
        assert len(hashes) == len(execution.transactions)
        assert len(execution.transactions) + len(execution.refused) == len(candidates)
        applied |= hashes
        block = ledger.block_of(chain.head, place, 0, execution)
        assert chain.check(block).receipts == execution.receipts
        chain.append(block, execution)
        for transaction, receipt in zip(execution.transactions, execution.receipts, strict=True):
            books.enter(transaction, receipt, place.time_ms)
        books.compare(chain)
        past.compare(chain)
