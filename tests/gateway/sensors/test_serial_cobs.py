"""COBS: the published examples, and every byte string there and back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sensors.cobs import CobsError, decode, encode

FULL = bytes(range(1, 255))

# From the paper, and from the tables of the format's Wikipedia article.
EXAMPLES = [
    ("", "01"),
    ("00", "0101"),
    ("0000", "010101"),
    ("001100", "01021101"),
    ("11220033", "0311220233"),
    ("11223344", "0511223344"),
    ("11000000", "0211010101"),
    (FULL.hex(), "ff" + FULL.hex()),
    ("00" + FULL.hex(), "01ff" + FULL.hex()),
    (FULL.hex() + "ff", "ff" + FULL.hex() + "02ff"),
    (FULL[1:].hex() + "ff00", "ff" + FULL[1:].hex() + "ff" + "0101"),
    (FULL[2:].hex() + "ff0001", "fe" + FULL[2:].hex() + "ff" + "0201"),
]


@pytest.mark.parametrize(("plain", "coded"), EXAMPLES)
def test_an_example_is_coded_as_published(plain: str, coded: str) -> None:
    assert encode(bytes.fromhex(plain)).hex() == coded
    assert decode(bytes.fromhex(coded)).hex() == plain


@given(st.lists(st.sampled_from([b"\0", b"\1", FULL, FULL[1:], b"ab"]), max_size=8).map(b"".join))
@settings(deadline=None)
def test_all_bytes_come_back_and_no_zero_is_on_the_wire(data: bytes) -> None:
    coded = encode(data)
    assert 0 not in coded
    assert decode(coded) == data


@given(st.binary(max_size=600))
@settings(deadline=None)
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        plain = decode(data)
    except CobsError:
        return
    assert decode(encode(plain)) == plain


@pytest.mark.parametrize(
    ("data", "offset", "reason"),
    [
        (b"", 0, "nothing between two zeros"),
        (b"\x05ab", 0, "promises 4 bytes, 2 are there"),
        (b"\x02a\x00", 2, "a zero inside"),
        (b"\x03a\x00", 2, "a zero inside"),
    ],
)
def test_damage_is_named(data: bytes, offset: int, reason: str) -> None:
    with pytest.raises(CobsError, match=reason) as caught:
        decode(data)
    assert caught.value.offset == offset
