"""RFC 8949's own examples; cbor2's and the plain implementation's verdicts on the same bytes."""

import enum
import random
import struct
import tracemalloc
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from math import inf, nan
from types import SimpleNamespace
from typing import Any

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from puf import cbor, cbor_fast, cbor_pure
from puf.cbor import UNDEFINED, Simple, Tag
from puf.errors import DecodeError
from tests.puf.outcomes import describe

Decode = Callable[..., object]
Encode = Callable[..., bytes]
DECODERS = pytest.mark.parametrize("decode", [cbor_fast.decode, cbor_pure.decode], ids=["cbor2", "plain"])
ENCODERS = pytest.mark.parametrize("encode", [cbor_fast.encode, cbor_pure.encode], ids=["cbor2", "plain"])

# RFC 8949, appendix A, in its order: those that are deterministic.
APPENDIX_A: list[tuple[str, object]] = [
    ("00", 0),
    ("01", 1),
    ("0a", 10),
    ("17", 23),
    ("1818", 24),
    ("1819", 25),
    ("1864", 100),
    ("1903e8", 1000),
    ("1a000f4240", 1000000),
    ("1b000000e8d4a51000", 1000000000000),
    ("1bffffffffffffffff", 18446744073709551615),
    ("c249010000000000000000", 18446744073709551616),
    ("3bffffffffffffffff", -18446744073709551616),
    ("c349010000000000000000", -18446744073709551617),
    ("20", -1),
    ("29", -10),
    ("3863", -100),
    ("3903e7", -1000),
    ("f90000", 0.0),
    ("f98000", -0.0),
    ("f93c00", 1.0),
    ("fb3ff199999999999a", 1.1),
    ("f93e00", 1.5),
    ("f97bff", 65504.0),
    ("fa47c35000", 100000.0),
    ("fa7f7fffff", 3.4028234663852886e38),
    ("fb7e37e43c8800759c", 1.0e300),
    ("f90001", 5.960464477539063e-8),
    ("f90400", 0.00006103515625),
    ("f9c400", -4.0),
    ("fbc010666666666666", -4.1),
    ("f97c00", inf),
    ("f97e00", nan),
    ("f9fc00", -inf),
    ("f4", False),
    ("f5", True),
    ("f6", None),
    ("f7", UNDEFINED),
    ("f0", Simple(16)),
    ("f8ff", Simple(255)),
    ("c074323031332d30332d32315432303a30343a30305a", Tag(0, "2013-03-21T20:04:00Z")),
    ("c11a514b67b0", Tag(1, 1363896240)),
    ("c1fb41d452d9ec200000", Tag(1, 1363896240.5)),
    ("d74401020304", Tag(23, bytes.fromhex("01020304"))),
    ("d818456449455446", Tag(24, bytes.fromhex("6449455446"))),
    ("d82076687474703a2f2f7777772e6578616d706c652e636f6d", Tag(32, "http://www.example.com")),
    ("40", b""),
    ("4401020304", bytes.fromhex("01020304")),
    ("60", ""),
    ("6161", "a"),
    ("6449455446", "IETF"),
    ("62225c", '"\\'),
    ("62c3bc", "\u00fc"),
    ("63e6b0b4", "\u6c34"),
    ("64f0908591", "\U00010151"),
    ("80", []),
    ("83010203", [1, 2, 3]),
    ("8301820203820405", [1, [2, 3], [4, 5]]),
    ("98190102030405060708090a0b0c0d0e0f101112131415161718181819", list(range(1, 26))),
    ("a0", {}),
    ("a201020304", {1: 2, 3: 4}),
    ("a26161016162820203", {"a": 1, "b": [2, 3]}),
    ("826161a161626163", ["a", {"b": "c"}]),
    ("a56161614161626142616361436164614461656145", {"a": "A", "b": "B", "c": "C", "d": "D", "e": "E"}),
]
# The same appendix: longer forms of floats, and indefinite lengths.
APPENDIX_A_OTHERS = [
    "fa7f800000",
    "fa7fc00000",
    "faff800000",
    "fb7ff0000000000000",
    "fb7ff8000000000000",
    "fbfff0000000000000",
    "5f42010243030405ff",
    "7f657374726561646d696e67ff",
    "9fff",
    "9f018202039f0405ffff",
    "9f01820203820405ff",
    "83018202039f0405ff",
    "83019f0203ff820405",
    "9f0102030405060708090a0b0c0d0e0f101112131415161718181819ff",
    "bf61610161629f0203ffff",
    "826161bf61626163ff",
    "bf6346756ef563416d7421ff",
]

# (what is wrong, hex)
REFUSED = [
    ("nothing", ""),
    ("more than one value", "0000"),
    ("an integer one byte too long", "1817"),
    ("an integer two bytes too long", "190017"),
    ("a negative integer too long", "3800"),
    ("eight bytes where four do", "1b00000000ffffffff"),
    ("a length too long", "580161"),
    ("a text length too long", "780161"),
    ("an array count too long", "980100"),
    ("a map count too long", "b8010000"),
    ("a tag number too long", "d81700"),
    ("a bignum that fits 64 bits", "c248ffffffffffffffff"),
    ("a negative bignum that fits 64 bits", "c348ffffffffffffffff"),
    ("an empty bignum", "c240"),
    ("a bignum with a leading zero", "c24a00010000000000000000"),
    ("a bignum of a number", "c201"),
    ("a bignum of text", "c2696161616161616161616161"),
    ("a bignum of an indefinite string", "c25f49010000000000000000ff"),
    ("a bignum without content", "c2"),
    ("another NaN", "f97e01"),
    ("a negative NaN", "f9fe00"),
    ("a signalling NaN", "f97c01"),
    ("a float that fits half precision", "fa3fc00000"),
    ("a double that fits single precision", "fb40f86a0000000000"),
    ("a double that fits half precision", "fb3ff8000000000000"),
    ("false in two bytes", "f814"),
    ("simple 0 in two bytes", "f800"),
    ("simple 24, which is reserved", "f818"),
    ("simple 31, which is reserved", "f81f"),
    ("additional information 28", "1c"),
    ("additional information 29", "5d"),
    ("additional information 30", "9e"),
    ("additional information 28 of type 7", "fc"),
    ("a lone break", "ff"),
    ("an indefinite integer", "1f"),
    ("an indefinite tag", "df00"),
    ("a key twice", "a201000100"),
    ("keys out of order", "a202000100"),
    ("keys in the order of RFC 7049, by length first", "a220001818" + "00"),
    ("a bool as key", "a1f500"),
    ("null as key", "a1f600"),
    ("a float as key", "a1f93c0000"),
    ("an array as key", "a18000"),
    ("a map as key", "a1a000"),
    ("a tag as key", "a1c10000"),
    ("a simple value as key", "a1e000"),
    ("an overlong slash", "62c0af"),
    ("an overlong NUL", "62c080"),
    ("an overlong three-byte form", "63e08080"),
    ("an overlong four-byte form", "64f0808080"),
    ("a surrogate", "63eda080"),
    ("a code point beyond Unicode", "64f4908080"),
    ("a lone continuation byte", "6180"),
    ("text that ends inside a character", "61c3"),
    ("text with a wrong follower", "62c328"),
    ("text with a wrong third byte", "63e6b028"),
    ("text with byte ff", "61ff"),
    ("an array that ends early", "8201"),
    ("a map that ends early", "a201020304"[:-2]),
    ("bytes that end early", "4201"),
    ("text that ends early", "6261"),
    ("an integer that ends early", "1901"),
    ("a float that ends early", "fb3ff1"),
    ("a simple value that ends early", "f8"),
    ("a tag without content", "c1"),
]


@ENCODERS
@pytest.mark.parametrize(("text", "value"), APPENDIX_A)
def test_values_encode_as_in_rfc_8949(encode: Encode, text: str, value: object) -> None:
    assert encode(value).hex() == text


@DECODERS
@pytest.mark.parametrize(("text", "value"), APPENDIX_A)
def test_examples_of_rfc_8949_decode(decode: Decode, text: str, value: object) -> None:
    assert describe(decode(bytes.fromhex(text))) == describe(value)


@DECODERS
@pytest.mark.parametrize("text", APPENDIX_A_OTHERS)
def test_other_encodings_in_rfc_8949_are_refused(decode: Decode, text: str) -> None:
    cbor2.loads(bytes.fromhex(text))
    with pytest.raises(DecodeError, match=r"^byte \d+: "):
        decode(bytes.fromhex(text))


@DECODERS
@pytest.mark.parametrize("text", [text for _, text in REFUSED], ids=[what for what, _ in REFUSED])
def test_what_is_not_deterministic_is_refused(decode: Decode, text: str) -> None:
    with pytest.raises(DecodeError, match=r"^byte \d+: "):
        decode(bytes.fromhex(text))


@ENCODERS
def test_map_keys_go_by_their_bytes_not_by_their_length(encode: Encode) -> None:
    value = {-1: 0, 256: 0, 100: 0, 10: 0, "b": 0, "aa": 0, b"c": 0, 1 << 64: 0, "": 0}
    assert encode(value).hex() == "a9" + "0a00" + "186400" + "19010000" + "2000" + "416300" + "6000" + (
        "616200" + "62616100" + "c24901000000000000000000"
    )


class _Colour(enum.IntEnum):
    RED = 7


class _Word(enum.StrEnum):
    YES = "yes"


Pair = namedtuple("Pair", "first second")


@ENCODERS
@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ((1, 2), [1, 2]),
        (Pair(1, "x"), [1, "x"]),
        (bytearray(b"abc"), b"abc"),
        (memoryview(b"abc"), b"abc"),
        ([memoryview(b"abc")] * 10, [b"abc"] * 10),
        (_Colour.RED, 7),
        ([_Colour.RED] * 10, [7] * 10),
        (_Word.YES, "yes"),
        ({_Word.YES: _Colour.RED}, {"yes": 7}),
        (OrderedDict(b=1, a=2), {"a": 2, "b": 1}),
        ([0.5] * 10, [0.5] * 10),
        (Tag(4, (1, 2)), Tag(4, [1, 2])),
    ],
)
def test_kin_of_our_types_encode_as_these(encode: Encode, value: object, plain: object) -> None:
    assert encode(value) == cbor_pure.encode(plain)
    assert describe(cbor.decode(encode(value))) == describe(plain)


@ENCODERS
@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        frozenset(),
        1j,
        Decimal(1),
        datetime.now(UTC),
        range(3),
        {1.5: 0},
        {True: 0},
        {None: 0},
        {(1, 2): 0},
        {Simple(1): 0},
        {Tag(4, 1): 0},
        [object()] * 10,
        cbor2.undefined,
        cbor2.CBORTag(1, 2),
        cbor2.CBORSimpleValue(1),
    ],
    ids=repr,
)
def test_what_has_no_encoding_is_a_type_error(encode: Encode, value: object) -> None:
    with pytest.raises(TypeError):
        encode(value)
    with pytest.raises(TypeError):
        encode([{"key": value}])


@ENCODERS
@pytest.mark.parametrize("value", ["\ud800", ["\udfff"] * 10, {"\ud800": 0}], ids=["text", "list", "key"])
def test_text_with_surrogates_is_a_value_error(encode: Encode, value: object) -> None:
    with pytest.raises(ValueError, match="surrogates"):
        encode(value)


@pytest.mark.parametrize("number", [-1, 2, 3, 1 << 64])
def test_a_tag_that_cannot_be_is_a_value_error(number: int) -> None:
    with pytest.raises(ValueError, match="tag"):
        Tag(number, b"")


@pytest.mark.parametrize("number", [-1, *range(20, 32), 256])
def test_a_simple_value_that_cannot_be_is_a_value_error(number: int) -> None:
    with pytest.raises(ValueError, match=f"not {number}"):
        Simple(number)


def nest(depth: int) -> Any:
    value: object = 0
    for level in range(depth):
        value = ([value], {1: value}, Tag(4, value))[level % 3]
    return value


@DECODERS
@ENCODERS
@pytest.mark.parametrize("depth_max", [0, 1, 16, 64])
def test_nesting_ends_where_the_caller_says(decode: Decode, encode: Encode, depth_max: int) -> None:
    data = encode(nest(depth_max), depth_max)
    assert describe(decode(data, depth_max=depth_max)) == describe(nest(depth_max))
    deeper = cbor_pure.encode([0]) if depth_max == 0 else b"\x81" + data
    with pytest.raises(DecodeError, match="deep"):
        decode(deeper, depth_max=depth_max)
    with pytest.raises(ValueError, match="deep"):
        encode([nest(depth_max)], depth_max)


@DECODERS
def test_more_nesting_than_a_stack_can_bear_is_not_to_be_had(decode: Decode) -> None:
    for depth_max in (-1, 65):
        with pytest.raises(ValueError, match=str(depth_max)):
            decode(b"\x00", depth_max=depth_max)
        with pytest.raises(ValueError, match=str(depth_max)):
            cbor.encode(0, depth_max)


@ENCODERS
def test_a_list_that_contains_itself_is_a_value_error(encode: Encode) -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(ValueError, match="deep"):
        encode(value)


@DECODERS
@pytest.mark.parametrize("start", ["81", "a100", "c4", "d81c", "818200", "9f", "c2", "5f", "a1"])
def test_ten_thousand_levels_are_refused_not_climbed(decode: Decode, start: str) -> None:
    with pytest.raises(DecodeError):
        decode(bytes.fromhex(start) * 10000 + b"\x00")


@DECODERS
@pytest.mark.parametrize("initial", ["5b", "7b", "9b", "bb", "c25b"])
@pytest.mark.parametrize("length", [1 << 20, (1 << 32) - 1, 1 << 60, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_a_length_beyond_the_input_is_not_believed(decode: Decode, initial: str, length: int) -> None:
    data = bytes.fromhex(initial) + struct.pack(">Q", length)
    tracemalloc.start()
    with pytest.raises(DecodeError):
        decode(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


@DECODERS
def test_more_bytes_than_the_caller_wants_are_refused_unread(decode: Decode) -> None:
    assert decode(b"\x43abc", 4) == b"abc"
    with pytest.raises(DecodeError, match="4 bytes, at most 3"):
        decode(b"\x43abc", 3)
    with pytest.raises(DecodeError, match="at most 1048576"):
        decode(bytes(cbor.SIZE_MAX + 1))
    assert decode(b"\x5a\x00\x0f\xff\xfb" + bytes(cbor.SIZE_MAX - 5)) == bytes(cbor.SIZE_MAX - 5)


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


def test_every_half_precision_float_round_trips_or_is_another_nan() -> None:
    for bits in range(1 << 16):
        data = b"\xf9" + bits.to_bytes(2, "big")
        is_nan = bits & 0x7C00 == 0x7C00 and bits & 0x3FF != 0
        if is_nan and bits != 0x7E00:
            with pytest.raises(DecodeError):
                cbor_pure.decode(data)
        else:
            value = cbor_pure.decode(data)
            assert describe(value) == describe(struct.unpack(">e", data[1:])[0])
            assert cbor_pure.encode(value) == data


@given(st.floats(allow_nan=False))
@settings(deadline=None)
@example(65505.0)
@example(65520.0)
@example(2.0**-24)
@example(2.0**-25)
@example(2.0**-149)
@example(5e-324)
def test_a_float_takes_the_shortest_form_that_keeps_it(value: float) -> None:
    data = cbor.encode(value)
    assert struct.pack(">d", cbor2.loads(data)) == struct.pack(">d", value)
    fits = [form for form in (">e", ">f", ">d") if _survives(form, value)]
    assert len(data) == 1 + struct.calcsize(fits[0])


def as_double(data: bytes) -> bytes:
    """The eight bytes of the double that has the value of an encoded half or single."""
    form = {0xF9: ">e", 0xFA: ">f"}[data[0]]
    return struct.pack(">d", struct.unpack(form, data[1:])[0])


def _survives(form: str, value: float) -> bool:
    try:
        return bool(struct.unpack(form, struct.pack(form, value))[0] == value)
    except OverflowError:
        return False


def test_the_decoder_refuses_a_double_that_narrow_floats_would_round(monkeypatch: pytest.MonkeyPatch) -> None:
    # A board with single-precision floats reads a double as the nearest single.
    def unpack(form: str, data: bytes) -> tuple[float]:
        value: float = struct.unpack(form, data)[0]
        return struct.unpack(">f", struct.pack(">f", value)) if form == ">d" else (value,)

    assert cbor_pure.decode(bytes.fromhex("fb3ff199999999999a")) == 1.1
    monkeypatch.setattr("puf.cbor_pure.struct", SimpleNamespace(pack=struct.pack, unpack=unpack))
    with pytest.raises(DecodeError, match="shortest"):
        cbor_pure.decode(bytes.fromhex("fb3ff199999999999a"))
    assert cbor_pure.decode(bytes.fromhex("fa47c35000")) == 100000.0


TAG_NUMBERS = st.one_of(st.integers(4, 300), st.integers(4, 2**64 - 1), st.sampled_from([0, 1, 258, 55799]))
KEYS = st.one_of(st.integers(-30, 300), st.integers(), st.text(max_size=6), st.binary(max_size=6))
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


@given(st.binary(max_size=6))
@settings(deadline=None, max_examples=300)
def test_text_is_text_exactly_when_python_says_so(data: bytes) -> None:
    encoded = cbor_pure.head(3, len(data)) + data
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        with pytest.raises(DecodeError, match="UTF-8"):
            cbor_pure.decode(encoded)
    else:
        assert cbor_pure.decode(encoded) == text


def test_every_code_point_is_text_and_no_surrogate_is() -> None:
    for code in (*range(0, 0x3000), *range(0xD700, 0xE100), *range(0xFF00, 0x10100), 0x10FFFF, 0x110000 - 2):
        data = chr(code).encode("utf-8", "surrogatepass")
        if 0xD800 <= code < 0xE000:
            with pytest.raises(DecodeError):
                cbor_pure.check_utf8(data, 0)
        else:
            cbor_pure.check_utf8(data, 0)


def test_tags_and_simple_values_compare_by_content() -> None:
    assert Tag(4, [1]) == Tag(4, [1]) != Tag(5, [1])
    assert Tag(4, [1]) != [4, [1]]
    assert Simple(1) == Simple(1) != Simple(2)
    assert {Simple(1), Simple(1), Tag(4, 1), Tag(4, 1)} == {Simple(1), Tag(4, 1)}
    assert (repr(Tag(4, [1])), repr(Simple(1)), repr(UNDEFINED)) == ("Tag(4, [1])", "Simple(1)", "UNDEFINED")
