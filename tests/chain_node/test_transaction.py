"""Transactions and receipts: golden bytes, one encoding each, and a Reason for all that is none."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_node import transaction
from chain_node.errors import Refused, WireError
from chain_node.reason import EFFECT_FIRST, Reason
from chain_node.transaction import (
    KINDS,
    SUPPLY_UCPC,
    TX_TYP,
    Anchor,
    Body,
    Equivocation,
    Receipt,
    Transaction,
    Transfer,
    transaction_hash,
)
from chain_node.transfer_bytes import read_transfer
from puf import cbor, cose
from tests.chain_node.world import ALICE, BOB, anchor

CHAIN_ID = bytes(range(32))
HASHES = st.binary(min_size=32, max_size=32)
AMOUNTS = st.integers(1, SUPPLY_UCPC)
BODIES: st.SearchStrategy[Body] = (
    st.builds(Transfer, HASHES, AMOUNTS, st.binary(max_size=64))
    | st.builds(Anchor, HASHES, st.integers(0, 2**53 - 1), st.integers(1, 2**53 - 1), HASHES, HASHES, HASHES)
    | st.builds(Equivocation, st.binary(max_size=512), st.binary(max_size=512))
)

# Golden vectors: a change here breaks every chain, and is a line in CHANGELOG.md.
TRANSFER = Transfer(BOB.public, 1_500_000, b"thanks")
GOLDEN_TRANSFER = (
    "d284582ea3012704582038088e4c2ae82f5c45c6808a61a6490d3c612ce1da235714466fc748fbc4cbbb10666370632f"
    "7478a05862a6015820000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f0207031903e804"
    "1863050106a3015820dd756040fdd5145e2bf9832d264dd080e4b3e73016bdf6574b4cd87eaa697f5e021a0016e36003"
    "467468616e6b73584035ccd0ed48aed4985db8df728bb4a08ad0c4ac2785a3dc400cf1ab34149009f991958b1cd62796"
    "42c7c4e417d9254f19f70c2f2b89f238b991aadbaa202b3007"
)
GOLDEN_ANCHOR = (
    "d284582ea3012704582038088e4c2ae82f5c45c6808a61a6490d3c612ce1da235714466fc748fbc4cbbb10666370632f"
    "7478a058bca5015820000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f02000300050206"
    "a601582073000000000000000000000000000000000000000000000000000000000000000200030304582058cd6d6da7"
    "0302687e91d05280df584b9e55c12722bdcfb051c261c121b96e33055820336eb921c161c251b0cfbd2227c1559e4b58"
    "df8052d0917e680203a76d6dcd580658205563170a6165f95a0394dc673e26435f43950ad55003f3cf80578ab2260fd3"
    "cc5840592afe9565149b160d763e57eb5d2a32c70f4586e3ed135adafbc09217dda1bb3ea7bf4464f18a1ca85235986d"
    "8bb538de7a206b5c63df291e4f066eb3663203"
)


def test_golden_transfer() -> None:
    transaction = Transaction.sign(ALICE, CHAIN_ID, 7, TRANSFER, fee_ucpc=1_000, valid_until=99)
    assert transaction.data.hex() == GOLDEN_TRANSFER
    assert transaction.tx_hash.hex() == "088b83468bcaa056242ed35bdf74c4368110d56b7a8ba625c04167cbf2a88b82"
    assert Transaction.decode(bytes.fromhex(GOLDEN_TRANSFER)) == transaction
    assert (transaction.sender, transaction.nonce, transaction.fee_ucpc) == (ALICE.public, 7, 1_000)
    assert (transaction.valid_until, transaction.body) == (99, TRANSFER)


def test_golden_anchor() -> None:
    transaction = Transaction.sign(ALICE, CHAIN_ID, 0, anchor())
    assert transaction.data.hex() == GOLDEN_ANCHOR
    assert Transaction.decode(bytes.fromhex(GOLDEN_ANCHOR)) == transaction
    assert (transaction.fee_ucpc, transaction.valid_until) == (0, None)


def test_golden_equivocation() -> None:
    transaction = Transaction.sign(ALICE, CHAIN_ID, 0, Equivocation(b"one vote", b"another"))
    assert transaction.data.hex() == (
        "d284582ea3012704582038088e4c2ae82f5c45c6808a61a6490d3c612ce1da235714466fc748fbc4cbbb10666370632f"
        "7478a0583fa5015820000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f02000300050306"
        "a201486f6e6520766f74650247616e6f746865725840c8939ebbdb4a7289891ac9d0aa7485fa115ab08eaef662b22858"
        "0558eae00851bb1cd5fcdafa15d4d670934402e66f90fd2a51854fda24a3bc478dca4cfeba0c"
    )
    assert Transaction.decode(transaction.data) == transaction
    assert not transaction.uses_quota
    assert Transaction.sign(ALICE, CHAIN_ID, 0, TRANSFER).uses_quota


def test_what_was_decoded_once_is_restored_without_its_signature_being_checked_again() -> None:
    data = bytes.fromhex(GOLDEN_TRANSFER)
    assert Transaction.restore(data) == Transaction.decode(data)
    forged = data[:-1] + bytes([data[-1] ^ 1])
    assert Transaction.restore(forged).body == TRANSFER
    with pytest.raises(Refused, match="not a signed transaction"):
        Transaction.restore(b"garbage")


def test_golden_receipt() -> None:
    receipt = Receipt(CHAIN_ID, Reason.ANCHOR_KNOWN, 1_000)
    assert receipt.encode().hex() == "a3015820" + CHAIN_ID.hex() + "021821031903e8"
    assert Receipt.decode(receipt.encode()) == receipt


def test_the_numbers_of_reasons_and_kinds_never_change() -> None:
    assert {reason.label: int(reason) for reason in Reason} == {
        "applied": 0,
        "malformed": 1,
        "wrong_chain": 2,
        "bad_signature": 3,
        "unknown_kind": 4,
        "too_large": 5,
        "nonce_used": 6,
        "nonce_ahead": 7,
        "nonce_pending": 8,
        "fee_too_low": 9,
        "fee_not_covered": 10,
        "account_unknown": 11,
        "quota_used_up": 12,
        "expired": 13,
        "busy": 14,
        "evidence_invalid": 15,
        "evidence_known": 16,
        "validators_approval": 17,
        "balance_too_low": 32,
        "anchor_known": 33,
        "anchor_conflict": 34,
        "anchor_behind": 35,
        "did_known": 36,
        "did_unknown": 37,
        "did_deactivated": 38,
        "did_not_controller": 39,
        "did_version": 40,
        "did_recovery_key": 41,
        "escrow_known": 42,
        "escrow_conflict": 43,
        "escrow_unknown": 44,
        "escrow_ended": 45,
        "escrow_not_party": 46,
        "escrow_amount": 47,
        "escrow_late": 48,
        "escrow_early": 49,
        "escrow_deadline": 50,
        "mandate_unknown": 51,
        "mandate_revoked": 52,
        "mandate_expired": 53,
        "mandate_payee": 54,
        "mandate_payment_limit": 55,
        "mandate_day_limit": 56,
        "mandate_total_limit": 57,
        "validators_number": 58,
        "validators_pending": 59,
        "validators_height": 60,
    }
    assert [kind.__name__ for _, kind in sorted(KINDS.items())] == [
        "Transfer",
        "Anchor",
        "Equivocation",
        "DidRegister",
        "DidRotate",
        "DidDeactivate",
        "EscrowOpen",
        "EscrowSettle",
        "EscrowRefund",
        "MandateGrant",
        "MandatePay",
        "MandateRevoke",
        "ValidatorsChange",
    ]
    assert sorted(KINDS) == list(range(1, 14))
    assert [reason.label for reason in Reason if not reason.is_final] == [
        "nonce_ahead",
        "nonce_pending",
        "fee_not_covered",
        "account_unknown",
        "quota_used_up",
        "busy",
        "balance_too_low",
        "did_unknown",
        "escrow_unknown",
        "escrow_early",
        "mandate_unknown",
        "mandate_revoked",
        "mandate_day_limit",
    ]


@settings(deadline=None, max_examples=50)
@given(BODIES, st.integers(0, 2**53 - 1), st.integers(0, SUPPLY_UCPC), st.none() | st.integers(0, 2**53 - 1))
def test_what_is_signed_comes_back(body: Body, nonce: int, fee_ucpc: int, valid_until: int | None) -> None:
    made = Transaction.sign(ALICE, CHAIN_ID, nonce, body, fee_ucpc, valid_until)
    assert Transaction.decode(made.data) == made
    assert made.tx_hash == transaction_hash(made.data)
    assert (made.chain_id, made.body, made.nonce) == (CHAIN_ID, body, nonce)
    assert (made.fee_ucpc, made.valid_until) == (fee_ucpc, valid_until)


def payload(**changes: Any) -> dict[int, Any]:
    """A good payload, with fields changed by number (f1=...) or left out (f1=...)."""
    good = {1: CHAIN_ID, 2: 0, 3: 0, 5: 1, 6: TRANSFER.to_map()}
    for name, value in changes.items():
        if value is ...:
            del good[int(name[1:])]
        else:
            good[int(name[1:])] = value
    return good


def body(**changes: Any) -> dict[int, Any]:
    return TRANSFER.to_map() | {int(name[1:]): value for name, value in changes.items()}


@pytest.mark.parametrize(
    ("value", "reason", "message"),
    [
        (payload(f1=...), Reason.MALFORMED, "chain id is missing"),
        (payload(f1=b"short"), Reason.MALFORMED, "chain id is not 32 bytes"),
        (payload(f2=-1), Reason.MALFORMED, "nonce is not from 0 to 9007199254740991"),
        (payload(f2=True), Reason.MALFORMED, "nonce is not a number"),
        (payload(f2=0.0), Reason.MALFORMED, "nonce is not a number"),
        (payload(f2=1 << 80), Reason.MALFORMED, "nonce is not from 0"),
        (payload(f3=SUPPLY_UCPC + 1), Reason.MALFORMED, "fee_ucpc is not from 0"),
        (payload(f4=None), Reason.MALFORMED, "valid_until is not a number"),
        (payload(f5=14), Reason.UNKNOWN_KIND, "no transactions of kind 14"),
        (payload(f5=0, f6=None), Reason.UNKNOWN_KIND, "no transactions of kind 0"),
        (payload(f6=[]), Reason.MALFORMED, "no transfer: it is no map"),
        (payload(f6=body(f2=0)), Reason.MALFORMED, "amount_ucpc is not from 1 to 1000000000000000"),
        (payload(f6=body(f2=SUPPLY_UCPC + 1)), Reason.MALFORMED, "amount_ucpc is not from 1"),
        (payload(f6=body(f3=bytes(65))), Reason.MALFORMED, "memo is not at most 64 bytes"),
        (payload(f6=body(f4=0)), Reason.MALFORMED, "no transfer: unknown fields"),
        (payload(f5=2), Reason.MALFORMED, "no anchor: chunk_count is not a number"),
        (payload(f5=3), Reason.MALFORMED, "no equivocation: second is not at most 512 bytes"),
        (payload(f5=3, f6={1: bytes(513), 2: b""}), Reason.MALFORMED, "first is not at most 512 bytes"),
        (payload(f5=3, f6={1: b"", 2: b"", 3: b""}), Reason.MALFORMED, "no equivocation: unknown fields"),
        (payload(f7=0), Reason.MALFORMED, "unknown fields"),
        ([], Reason.MALFORMED, "no transaction: it is no map"),
    ],
)
def test_a_payload_that_is_no_transaction_is_refused_with_a_reason(
    value: object, reason: Reason, message: str
) -> None:
    with pytest.raises(Refused, match=message) as caught:
        Transaction.decode(cose.sign1(TX_TYP, cbor.encode(value), ALICE))
    assert caught.value.reason == reason


def test_signing_what_is_out_of_bounds_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="amount_ucpc"):
        Transaction.sign(ALICE, CHAIN_ID, 0, Transfer(BOB.public, 0))


def test_a_statement_of_another_type_is_no_transaction() -> None:
    with pytest.raises(Refused, match="cpc/vote") as caught:
        Transaction.decode(cose.sign1("cpc/vote", cbor.encode(payload()), ALICE))
    assert caught.value.reason == Reason.MALFORMED


def test_too_many_bytes_are_refused_before_they_are_read() -> None:
    with pytest.raises(Refused, match="65537 bytes, the most is 65536") as caught:
        Transaction.decode(bytes(65_537))
    assert caught.value.reason == Reason.TOO_LARGE


@settings(deadline=None)
@given(st.data())
def test_no_flipped_bit_goes_unseen(data: st.DataObject) -> None:
    flipped = bytearray.fromhex(GOLDEN_TRANSFER)
    flipped[data.draw(st.integers(0, len(flipped) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Refused) as caught:
        Transaction.decode(bytes(flipped))
    assert caught.value.reason in (Reason.MALFORMED, Reason.BAD_SIGNATURE)


def test_one_signature_has_one_encoding_so_that_nobody_can_rename_a_transaction() -> None:
    """-8.0 equals -8 in Python; a header that says so must not pass with the same signature."""
    message: Any = cbor.decode(bytes.fromhex(GOLDEN_TRANSFER))
    protected: Any = cbor.decode(message.value[0])
    message.value[0] = cbor.encode(protected | {1: -8.0})
    with pytest.raises(Refused):
        Transaction.decode(cbor.encode(message))


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_only_ever_refused(data: bytes) -> None:
    for decode, error in ((Transaction.decode, Refused), (Receipt.decode, WireError)):
        check: Callable[[bytes], object] = decode
        with pytest.raises(error):
            check(data)


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.binary() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 8), inner, max_size=7),
        max_leaves=12,
    )
)
def test_arbitrary_signed_values_are_only_ever_refused(value: object) -> None:
    with pytest.raises(Refused):
        Transaction.decode(cose.sign1(TX_TYP, cbor.encode(value), ALICE))


ODD: st.SearchStrategy[object] = st.one_of(
    st.sampled_from(
        [0, 1, -1, 2**53 - 1, 2**53, SUPPLY_UCPC, SUPPLY_UCPC + 1, True, None, 1.0, bytes(31), {}]
    ),
    st.binary(max_size=66),
    HASHES,
    st.integers(-2, 2**65),
)


def both_ways(payload: bytes) -> tuple[object, object]:
    """What the reader of usual transfers makes of a payload, and the reader of all kinds."""
    try:
        chain_id, nonce, fee_ucpc, valid_until, body = transaction._read_head(payload)
    except (Refused, WireError):
        return read_transfer(payload), None
    if valid_until is not None or not isinstance(body, Transfer):
        return read_transfer(payload), None
    return read_transfer(payload), (chain_id, nonce, fee_ucpc, body.to, body.amount_ucpc, body.memo)


def transfer_payload(*, to: object, amount: object, memo: object, nonce: object, fee: object) -> bytes:
    return cbor.encode({1: CHAIN_ID, 2: nonce, 3: fee, 5: 1, 6: {1: to, 2: amount, 3: memo}})


@given(to=HASHES | ODD, amount=ODD, memo=ODD, nonce=ODD, fee=ODD)
def test_a_transfer_is_read_the_short_way_exactly_when_it_is_one(
    to: object, amount: object, memo: object, nonce: object, fee: object
) -> None:
    short, long = both_ways(transfer_payload(to=to, amount=amount, memo=memo, nonce=nonce, fee=fee))
    assert short == long


EDGES = [
    0,
    1,
    23,
    24,
    255,
    256,
    65_535,
    65_536,
    2**32 - 1,
    2**32,
    SUPPLY_UCPC,
    SUPPLY_UCPC + 1,
    2**53 - 1,
    2**53,
]


@pytest.mark.parametrize("number", EDGES)
def test_each_number_of_a_transfer_has_the_same_bounds_the_short_way(number: int) -> None:
    usual: dict[str, object] = {"to": bytes(32), "amount": 5, "memo": b"for you", "nonce": 7, "fee": 1_000}
    for name in ("amount", "nonce", "fee"):
        short, long = both_ways(transfer_payload(**usual | {name: number}))
        assert short == long
        is_right = (
            number < 2**53 if name == "nonce" else (name == "fee") <= number + 1 and number <= SUPPLY_UCPC
        )
        assert (short is not None) == (is_right and (name != "amount" or number > 0))
    for size in (0, 23, 24, 63, 64, 65):
        short, long = both_ways(transfer_payload(**usual | {"memo": bytes(size)}))
        assert short == long
        assert (short is not None) == (size <= 64)


@pytest.mark.parametrize("numbers", [(1, 1, 1), (300, 70_000, 2**40)])
def test_a_transfer_with_any_byte_altered_is_read_as_the_same_both_ways(
    numbers: tuple[int, int, int],
) -> None:
    nonce, fee, amount = numbers
    payload = transfer_payload(to=bytes(32), amount=amount, memo=b"memo", nonce=nonce, fee=fee)
    assert read_transfer(payload)
    for at in range(len(payload)):
        assert both_ways(payload[:at]) == (None, None)
        for value in range(256):
            short, long = both_ways(payload[:at] + bytes((value,)) + payload[at + 1 :])
            assert short == long
    assert both_ways(payload + b"\0") == (None, None)


def test_a_number_in_more_bytes_than_it_needs_is_no_transfer() -> None:
    payload = transfer_payload(to=bytes(32), amount=5, memo=b"", nonce=23, fee=0)
    assert payload[37:39] == b"\x17\x03"
    for longer in ("1817", "190017", "1a00000017", "1b0000000000000017"):
        assert both_ways(payload[:37] + bytes.fromhex(longer) + payload[38:]) == (None, None)


def test_a_receipt_cannot_carry_a_reason_that_keeps_a_transaction_out_of_blocks() -> None:
    for number in (*range(1, EFFECT_FIRST), 61, 255):
        with pytest.raises(WireError, match=f"reason {number} stands in no receipt"):
            Receipt.decode(cbor.encode({1: CHAIN_ID, 2: number, 3: 0}))
