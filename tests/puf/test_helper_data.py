"""Helper data on the wire: one encoding, signed by the gateway; and one enrolment per region."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puf import cbor, cose, helper_data, helper_signature
from puf.ed25519 import SigningKey
from puf.errors import DecodeError, RegionTaken, SignatureError
from puf.fuzzy_extractor import reproduce
from puf.helper_data import HelperData, check_region_is_free, from_bytes
from tests.puf.chips import enrolled, flipped, simulated

GATEWAY = SigningKey(bytes(32))
OFFSET = bytes(range(256)) * 2 + bytes(157) + b"\xe0"
HELPER = HelperData(128, 0x50000000, 2040, b"\x0f", OFFSET, bytes(range(16)))
GOLDEN_HEAD = "876a6370632f68656c706572018507" + "18ff18831203" + "821a500000001907f8" + "410f" + "59029e"


def test_the_wire_format_never_changes() -> None:
    """["cpc/helper", 1, [7, 255, 131, 18, 3], [0x50000000, 2040], h'0f', offset, check]"""
    expected = bytes.fromhex(GOLDEN_HEAD) + OFFSET + b"\x50" + bytes(range(16))
    assert HELPER.to_bytes() == expected
    assert from_bytes(expected) == HELPER
    assert HELPER.salt().hex() == "d18bc6cecb3e0f33e750dcbec32c76b127e894bd697ec0dc525449eca8555863"
    assert (
        helper_signature.sign(HELPER, GATEWAY)[:24].hex()
        == "d2845832a301270458203b6a27bcceb6a42d62a3a8d02a6f"
    )


def made(strength_bits: int, address: int, size: int, mask: bytes, data: bytes, check: bytes) -> HelperData:
    spare = 5 if strength_bits == 128 else 3
    offset = (int.from_bytes(data, "big") >> spare << spare).to_bytes(1116, "big")
    return HelperData(
        strength_bits, address, size, mask, offset[-670 if strength_bits == 128 else -1116 :], check
    )


HELPERS = st.builds(
    made,
    st.sampled_from((128, 256)),
    st.integers(0, (1 << 32) - 1),
    st.integers(1, helper_data.REGION_BYTES_MAX),
    st.binary(max_size=40),
    st.binary(min_size=1116, max_size=1116),
    st.binary(min_size=16, max_size=16),
)


@given(HELPERS)
@settings(deadline=None, max_examples=40)
def test_what_is_written_is_read(helper: HelperData) -> None:
    assert from_bytes(helper.to_bytes()) == helper


def changed(index: int, value: object) -> bytes:
    items = cbor.decode(HELPER.to_bytes())
    assert isinstance(items, list)
    items[index] = value
    return cbor.encode(items)


@pytest.mark.parametrize(
    ("said", "data"),
    [
        ("not helper data", cbor.encode([])),
        ("not helper data", cbor.encode({})),
        ("not helper data", cbor.encode(["cpc/helper", 1])),
        ("not helper data", changed(0, "cpc/grant")),
        ("another version", changed(1, 2)),
        ("another version", changed(1, True)),
        ("another version", changed(1, 1.0)),
        ("repetition 7", changed(2, [7, 255, 131, 18, 4])),
        ("repetition 7", changed(2, [5, 255, 131, 18, 3])),
        ("repetition 7", changed(2, [7.0, 255, 131, 18, 3])),
        ("repetition 7", changed(2, None)),
        ("an address and a size", changed(3, [0])),
        ("an address and a size", changed(3, 0)),
        ("32-bit address", changed(3, [-1, 4])),
        ("32-bit address", changed(3, [1 << 32, 4])),
        ("32-bit address", changed(3, [0, 0])),
        ("32-bit address", changed(3, [0, (1 << 16) + 1])),
        ("32-bit address", changed(3, [0, True])),
        ("at most 8192 bytes", changed(4, None)),
        ("at most 8192 bytes", changed(4, bytes(8193))),
        ("has 670 bytes", changed(5, OFFSET[:-1])),
        ("has 670 bytes", changed(5, "text")),
        ("has 1116 bytes", changed(2, [7, 255, 131, 18, 5])),
        ("last bits of the offset", changed(5, OFFSET[:-1] + b"\x01")),
        ("last bits of the offset", changed(5, OFFSET[:-1] + b"\x10")),
        ("a check has 16 bytes", changed(6, bytes(15))),
        ("a check has 16 bytes", changed(6, 5)),
        ("byte ", HELPER.to_bytes() + b"\x00"),
        ("byte ", b""),
        ("at most 10240", bytes(helper_data.SIZE_MAX + 1)),
    ],
)
def test_other_bytes_are_refused_with_the_reason(said: str, data: bytes) -> None:
    with pytest.raises(DecodeError, match=said):
        from_bytes(data)


def test_every_truncation_is_refused() -> None:
    data = HELPER.to_bytes()
    for size in range(len(data)):
        with pytest.raises(DecodeError):
            from_bytes(data[:size])


@given(st.binary(max_size=100))
@settings(deadline=None, max_examples=100)
def test_garbage_is_refused(data: bytes) -> None:
    for read in (from_bytes, lambda garbage: helper_signature.open_signed(garbage, GATEWAY.public)):
        with pytest.raises(DecodeError):
            read(data)


def test_what_the_gateway_signed_opens_and_gives_the_key() -> None:
    readouts = simulated()
    helper, root = enrolled(readouts)
    opened = helper_signature.open_signed(helper_signature.sign(helper, GATEWAY), GATEWAY.public)
    assert opened == helper
    assert reproduce(readouts[1], opened) == root


def test_every_manipulated_bit_of_signed_helper_data_is_refused() -> None:
    data = helper_signature.sign(HELPER, GATEWAY)
    for bit in range(8 * len(data)):
        with pytest.raises((DecodeError, SignatureError)):
            helper_signature.open_signed(flipped(data, bit), GATEWAY.public)
    for size in range(0, len(data), 7):
        with pytest.raises(DecodeError):
            helper_signature.open_signed(data[:size], GATEWAY.public)


def test_helper_data_of_another_gateway_and_other_statements_of_ours_are_refused() -> None:
    other = SigningKey(b"\x01" * 32)
    with pytest.raises(SignatureError, match=f"key {other.public.hex()} signed"):
        helper_signature.open_signed(helper_signature.sign(HELPER, other), GATEWAY.public)
    with pytest.raises(DecodeError, match="type 'cpc/tx'"):
        helper_signature.open_signed(cose.sign1("cpc/tx", HELPER.to_bytes(), GATEWAY), GATEWAY.public)
    with pytest.raises(DecodeError, match="not helper data"):
        helper_signature.open_signed(cose.sign1("cpc/helper", cbor.encode([]), GATEWAY), GATEWAY.public)


@pytest.mark.parametrize(
    ("address", "size", "is_free"),
    [
        (0, 100, True),
        (0, 101, False),
        (100, 50, False),
        (120, 1, False),
        (90, 1000, False),
        (149, 10, False),
        (150, 10, True),
        (299, 2, False),
        (310, 5, True),
    ],
)
def test_a_region_is_enrolled_once(address: int, size: int, is_free: bool) -> None:
    taken = [(100, 50), (300, 10)]
    if is_free:
        check_region_is_free(address, size, taken)
    else:
        with pytest.raises(RegionTaken, match=f"bytes 0x{address:x} to .* overlap an enrolment of 0x"):
            check_region_is_free(address, size, taken)


@pytest.mark.parametrize("strength_bits", [0, 127, 192, 512])
def test_there_are_two_strengths(strength_bits: int) -> None:
    with pytest.raises(ValueError, match=r"128|256"):
        helper_data.response_bits(strength_bits)
