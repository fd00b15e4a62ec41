"""cbor2's and the plain implementation's verdicts on the same values and the same bytes."""

import random
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puf import cbor, cbor_fast, cbor_pure
from puf.cbor import UNDEFINED, Simple, Tag
from puf.errors import DecodeError
from tests.puf.outcomes import describe

Decode = Callable[..., object]


@pytest.mark.parametrize(
    "content", [b"\x00", b"\x61\x30", b"\x41\x01", b"\x82\x01\x02", b"\x80", b"\xa0", b"\xf9\x3e\x00"]
)
def test_no_tag_means_anything_to_the_decoder(content: bytes) -> None:
    value = cbor_pure.decode(content)
    # All that cbor2 interprets is below 1100 or listed.
    for number in (*range(2), *range(4, 1100), 43000, 55799, 65535, (1 << 64) - 1):
        data = cbor_pure.head(6, number) + content
        assert describe(cbor_fast.decode(data)) == describe(Tag(number, value))
        assert describe(cbor_pure.decode(data)) == describe(Tag(number, value))


def test_references_to_other_parts_of_the_input_stay_tags() -> None:
    for text in ("82d81c80d81d00", "d9010082626161d81900", "d81c81d81d00"):
        data = bytes.fromhex(text)
        assert cbor.encode(cbor_fast.decode(data)) == data
        assert "tag:" in describe(cbor_fast.decode(data))


TAG_NUMBERS = st.one_of(st.integers(4, 300), st.integers(4, 2**64 - 1), st.sampled_from([0, 1, 258, 55799]))
KEYS = st.one_of(
    st.integers(0, 23), st.integers(-30, 300), st.integers(), st.text(max_size=6), st.binary(max_size=6)
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-300, 300),
    st.integers(-(2**80), 2**80),
    st.floats(),
    st.floats(width=16),
    st.floats(width=32),
    st.binary(max_size=40),
    st.text(max_size=30),
    st.just(UNDEFINED),
    st.sampled_from([*range(20), *range(32, 256)]).map(Simple),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=12),
        st.dictionaries(KEYS, inner, max_size=6),
        st.builds(Tag, TAG_NUMBERS, inner),
    ),
    max_leaves=25,
).filter(lambda value: _depth(value) <= 16)


def _depth(value: object) -> int:
    if isinstance(value, Tag):
        return 1 + _depth(value.value)
    if isinstance(value, (list, dict)):
        items = value.values() if isinstance(value, dict) else value
        return 1 + max(map(_depth, items), default=0)
    return 0


@given(VALUES)
@settings(deadline=None, max_examples=300)
def test_a_value_survives_and_both_write_the_same_bytes(value: object) -> None:
    data = cbor_fast.encode(value)
    assert cbor_pure.encode(value) == data
    assert describe(cbor_fast.decode(data)) == describe(value)
    assert describe(cbor_pure.decode(data)) == describe(value)


class _Sloppy:
    """Encodes with longer heads, indefinite lengths and keys in any order where the dice say so."""

    def __init__(self, dice: random.Random, carelessness: float) -> None:
        self.dice = dice
        self.carelessness = carelessness

    def _slips(self) -> bool:
        return self.dice.random() < self.carelessness

    def head(self, major: int, argument: int) -> bytes:
        sizes = [size for size in (0, 1, 2, 4, 8) if argument < (24 if size == 0 else 1 << 8 * size)]
        size = self.dice.choice(sizes) if self._slips() else sizes[0]
        if size == 0:
            return bytes((major << 5 | argument,))
        return bytes((major << 5 | 24 + size.bit_length() - 1,)) + argument.to_bytes(size, "big")

    def encode(self, value: object) -> bytes:
        if value is None or isinstance(value, (bool, Simple)) or value is UNDEFINED:
            return cbor_pure.encode(value)
        if isinstance(value, int):
            magnitude = value if value >= 0 else -1 - value
            if magnitude < 1 << 64 and not self._slips():
                return self.head(0 if value >= 0 else 1, magnitude)
            data = magnitude.to_bytes(max(9, magnitude.bit_length() // 8 + 1), "big")
            data = data if self._slips() else data.lstrip(b"\x00")
            return self.head(6, 2 if value >= 0 else 3) + self.head(2, len(data)) + data
        if isinstance(value, float):
            if not self._slips():
                return cbor_pure.encode(value)
            return b"\xfb" + struct.pack(">d", value)
        if isinstance(value, (bytes, str)):
            major, data = (2, value) if isinstance(value, bytes) else (3, value.encode())
            if self._slips():
                return bytes((major << 5 | 31,)) + self.head(major, len(data)) + data + b"\xff"
            return self.head(major, len(data)) + data
        if isinstance(value, Tag):
            return self.head(6, value.number) + self.encode(value.value)
        if isinstance(value, list):
            return self._container(4, len(value), [self.encode(item) for item in value])
        assert isinstance(value, dict)
        pairs = sorted((self.encode(key), self.encode(item)) for key, item in value.items())
        if pairs and self._slips():
            self.dice.shuffle(pairs)
        if pairs and self._slips():
            pairs.append(pairs[-1])
        return self._container(5, len(pairs), [key + item for key, item in pairs])

    def _container(self, major: int, count: int, parts: list[bytes]) -> bytes:
        if self._slips():
            return bytes((major << 5 | 31,)) + b"".join(parts) + b"\xff"
        return self.head(major, count) + b"".join(parts)


def _outcome(decode: Decode, data: bytes) -> str:
    try:
        return describe(decode(data))
    except DecodeError as error:
        return str(error)


def _check_alike(data: bytes) -> None:
    outcome = _outcome(cbor_pure.decode, data)
    assert _outcome(cbor_fast.decode, data) == outcome
    if not outcome.startswith("byte "):
        assert cbor_pure.encode(cbor_pure.decode(data)) == data


@given(VALUES, st.integers(0, 2**32), st.sampled_from([0.0, 0.03, 0.1, 0.4]))
@settings(deadline=None, max_examples=400)
def test_of_all_encodings_of_a_value_only_the_one_is_taken(
    value: object, seed: int, carelessness: float
) -> None:
    data = _Sloppy(random.Random(seed), carelessness).encode(value)
    is_exact = data == cbor_pure.encode(value)
    for decode in (cbor_fast.decode, cbor_pure.decode):
        if is_exact:
            assert describe(decode(data)) == describe(value)
        else:
            with pytest.raises(DecodeError):
                decode(data)


@given(st.binary(max_size=60))
@settings(deadline=None, max_examples=500)
def test_both_make_the_same_of_arbitrary_bytes(data: bytes) -> None:
    _check_alike(data)


@given(
    VALUES, st.integers(0, 10**6), st.integers(0, 255), st.sampled_from(["set", "insert", "delete", "cut"])
)
@settings(deadline=None, max_examples=500)
def test_both_make_the_same_of_damaged_encodings(value: object, place: int, byte: int, damage: str) -> None:
    data = bytearray(cbor_pure.encode(value))
    place %= len(data)
    if damage == "set":
        data[place] = byte
    elif damage == "insert":
        data.insert(place, byte)
    elif damage == "delete":
        del data[place]
    else:
        del data[place:]
    _check_alike(bytes(data))


def test_both_make_the_same_of_every_short_input() -> None:
    for first in range(256):
        _check_alike(bytes((first,)))
        for second in range(256):
            _check_alike(bytes((first, second)))


@pytest.mark.parametrize("size", [0, 600])
def test_a_flat_list_is_as_deep_as_any_other(size: int) -> None:
    """Long ones are held against their length, not written again."""
    data = cbor_fast.encode([bytes(size), 7, None])
    assert cbor_fast.decode(data, depth_max=1) == [bytes(size), 7, None]
    with pytest.raises(DecodeError, match="nested too deep"):
        cbor_fast.decode(data, depth_max=0)
    with pytest.raises(DecodeError, match="nested too deep"):
        cbor_fast.decode(b"\x80", depth_max=0)
    longer = data.replace(b"\x07", b"\x18\x07")
    with pytest.raises(DecodeError, match="not the shortest form"):
        cbor_fast.decode(longer)
