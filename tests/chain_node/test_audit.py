"""The audit knows every entry by its bytes, and finds every ucpc missing, too much or locked for nothing."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_node import audit, ledger
from chain_node.audit import ENTRY_KINDS, Totals, recognise
from chain_node.book import SUPPLY_UCPC, Book, Call, Entry
from chain_node.entry import Account, account_key
from chain_node.errors import BooksWrong, WireError
from chain_node.escrow import EscrowEntry, EscrowOpen, EscrowSettle, EscrowStatus, escrow_key
from chain_node.mandate import MandateRevoke
from chain_node.transaction import KINDS, Body
from puf import cbor
from puf.merkle_map import MerkleMap, NodeMissing
from tests.chain_node import samples
from tests.chain_node.world import ALICE, BOB, START_MS, Chain, anchor

JUNK = (
    st.integers(-1, 2**60)
    | st.binary(max_size=66)
    | st.booleans()
    | st.none()
    | st.text(max_size=3)
    | st.lists(st.just(samples.ONE) | st.integers(0, 3), max_size=9)
    | st.floats()
)


def test_there_is_a_sample_of_everything() -> None:
    assert {type(entry) for entry in samples.ENTRIES} == set(ENTRY_KINDS)
    assert [type(body) for body in samples.BODIES] == [KINDS[number] for number in sorted(KINDS)]


@pytest.mark.parametrize("entry", samples.ENTRIES, ids=lambda entry: type(entry).__name__)
def test_an_entry_is_recognised_by_its_bytes_and_is_of_one_kind_only(entry: Entry) -> None:
    assert recognise(entry.encode()) == entry
    takers = []
    for kind in ENTRY_KINDS:
        try:
            kind.decode(entry.encode())
            takers.append(kind)
        except WireError:
            continue
    assert takers == [type(entry)]


def test_what_is_no_entry_is_named() -> None:
    with pytest.raises(WireError, match="no entry of the state: 6767 is of no kind"):
        recognise(b"gg")


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_garbage_in_an_entry_is_refused_or_is_another_good_entry_of_one_kind(data: st.DataObject) -> None:
    entry = data.draw(st.sampled_from(samples.ENTRIES))
    fields: Any = cbor.decode(entry.encode())
    for number in data.draw(st.lists(st.integers(0, 12), max_size=2)):
        fields[number] = data.draw(JUNK)
    if data.draw(st.booleans()):
        fields.pop(data.draw(st.sampled_from(sorted(fields))))
    found = cbor.encode(fields)
    good = []
    for kind in ENTRY_KINDS:
        try:
            good.append(kind.decode(found))
        except WireError:
            continue
    assert len(good) <= 1
    assert all(each.encode() == found for each in good)
    if good:
        assert recognise(found) == good[0]
    else:
        with pytest.raises(WireError):
            recognise(found)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_garbage_in_a_body_is_refused_or_is_another_good_body(data: st.DataObject) -> None:
    body: Body = data.draw(st.sampled_from(samples.BODIES))
    fields: Any = dict(body.to_map())
    for number in data.draw(st.lists(st.integers(0, 8), max_size=2)):
        fields[number] = data.draw(JUNK)
    if data.draw(st.booleans()):
        fields.pop(data.draw(st.sampled_from(sorted(fields))))
    try:
        made = type(body).from_map(fields)
    except WireError:
        return
    assert cbor.encode(made.to_map()) == cbor.encode(fields)


@settings(deadline=None)
@given(st.binary(max_size=60) | JUNK.map(cbor.encode))
def test_arbitrary_bytes_are_refused_by_all(data: bytes) -> None:
    with pytest.raises(WireError):
        recognise(data)
    for kind in KINDS.values():
        with pytest.raises(WireError):
            kind.from_map(data)


# Money


def grown() -> Chain:
    """Alice has put 700 ucpc aside, 500 of which Bob has been paid."""
    chain = Chain()
    chain.tell(ALICE, anchor())
    for number, amount_ucpc in ((1, 500), (2, 200)):
        body = EscrowOpen(bytes([number]) * 32, BOB.public, amount_ucpc, START_MS + 99_000, samples.ONE)
        chain.tell(ALICE, body)
    chain.tell(BOB, EscrowSettle(ALICE.public, samples.ONE, 500))
    return chain


def test_it_counts_everything() -> None:
    chain = grown()
    totals = audit.check(chain.state().entries)
    assert totals == Totals(
        balance_ucpc=SUPPLY_UCPC - 200,
        locked_ucpc=200,
        escrow_ucpc=200,
        counts={kind.__name__: 0 for kind in ENTRY_KINDS}
        | {"Account": 3, "AnchorEntry": 1, "StreamEntry": 1, "EscrowEntry": 2},
    )
    assert audit.count(MerkleMap()).balance_ucpc == 0


def forged(key: bytes, **changes: int) -> MerkleMap:
    """A state in which one entry says something else."""
    entries = grown().state().entries
    value = entries.get(key)
    assert value is not None
    entry: Any = recognise(value)
    altered = entry._replace(**changes) if isinstance(entry, Account) else replace(entry, **changes)
    entries.update({key: altered.encode()})
    return entries


def test_a_ucpc_too_much_or_missing_is_found() -> None:
    alice = Account.decode(grown().state().entries.get(account_key(ALICE.public)) or b"")
    for amount_ucpc, sum_ucpc in ((1, SUPPLY_UCPC - 199), (-1, SUPPLY_UCPC - 201)):
        entries = forged(account_key(ALICE.public), balance_ucpc=alice.balance_ucpc + amount_ucpc)
        with pytest.raises(BooksWrong, match=f"accounts hold {sum_ucpc} ucpc and 200 locked ones"):
            audit.check(entries)


def test_money_that_is_locked_for_nothing_or_not_locked_is_found() -> None:
    place = escrow_key(ALICE.public, samples.TWO)
    with pytest.raises(BooksWrong, match="have put 200 ucpc aside, open escrows hold 0"):
        audit.check(forged(place, status=EscrowStatus.REFUNDED))
    with pytest.raises(BooksWrong, match="have put 200 ucpc aside, open escrows hold 201"):
        audit.check(forged(place, amount_ucpc=201))


def test_every_block_that_a_test_makes_is_audited() -> None:
    chain = grown()
    entries = forged(escrow_key(ALICE.public, samples.TWO), amount_ucpc=201)
    head = replace(chain.head, state_root=entries.root)
    with pytest.raises(BooksWrong, match="open escrows hold 201"):
        ledger.execute(entries.nodes.__getitem__, head, chain.place(), [])


def test_a_transaction_that_makes_money_stops_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    def mint(body: MandateRevoke, book: Book, call: Call) -> None:
        book.credit(call.signer, 5)

    monkeypatch.setattr(MandateRevoke, "take_effect", mint)
    with pytest.raises(AssertionError, match="5 ucpc from nowhere"):
        Chain().tell(ALICE, MandateRevoke(BOB.public))


def test_a_node_that_is_gone_is_named() -> None:
    chain = grown()
    root = chain.head.state_root
    del chain.nodes[root]
    with pytest.raises(NodeMissing) as caught:
        audit.check(MerkleMap(chain.nodes, root))
    assert caught.value.node_hash == root


def test_an_entry_of_no_kind_is_found() -> None:
    entries = grown().state().entries
    entries.update({b"somewhere": b"\x00"})
    with pytest.raises(WireError, match="is of no kind"):
        audit.check(entries)


def test_the_fields_of_escrows_are_those_that_are_audited() -> None:
    entry = EscrowEntry(samples.ONE, 5, 6, samples.TWO, None, EscrowStatus.OPEN, 0, 8, 0, samples.ONE)
    assert [replace(entry, status=status).locked_ucpc for status in EscrowStatus] == [5, 0, 0]
