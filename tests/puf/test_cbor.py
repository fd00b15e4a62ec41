"""RFC 8949's own examples; cbor2's and the plain implementation's verdicts on the same bytes."""

import enum
import re
import struct
import tracemalloc
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from puf import cbor, cbor_fast, cbor_pure
from puf.cbor import UNDEFINED, Simple, Tag
from puf.errors import DecodeError
from tests.puf.cbor_cases import APPENDIX_A, APPENDIX_A_OTHERS, REFUSED, nest
from tests.puf.outcomes import describe

Decode = Callable[..., object]
Encode = Callable[..., bytes]
DECODERS = pytest.mark.parametrize("decode", [cbor_fast.decode, cbor_pure.decode], ids=["cbor2", "plain"])
ENCODERS = pytest.mark.parametrize("encode", [cbor_fast.encode, cbor_pure.encode], ids=["cbor2", "plain"])


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


EDGES = sorted(
    {edge + step for edge in (0, 24, 1 << 8, 1 << 16, 1 << 32, 1 << 63, 1 << 64) for step in (-2, -1, 0, 1)}
    - {-2, -1}
)


@ENCODERS
@DECODERS
@pytest.mark.parametrize("number", [*EDGES, *(-1 - edge for edge in EDGES)])
def test_a_number_at_the_edge_of_a_form_is_written_everywhere_as_cbor2_writes_it(
    encode: Encode, decode: Decode, number: int
) -> None:
    for value in (number, [number], [number] * 8, {number: number}, {number: {number: [number]}}):
        assert encode(value) == cbor2.dumps(value)
        assert describe(decode(encode(value))) == describe(value)
    if 4 <= number < 1 << 64:
        assert encode(Tag(number, 0)) == cbor2.dumps(cbor2.CBORTag(number, 0))
    if 0 <= number <= (1 << 16) + 1:
        for long in (bytes(number), "a" * number, [0] * number, [0.5] * number):
            assert encode(long) == cbor2.dumps(long, canonical=True)
        for text in ("a" * number, bytes(number)):
            assert encode({text: 0}) == cbor2.dumps({text: 0})
        assert encode(dict.fromkeys(range(number))) == cbor2.dumps(dict.fromkeys(range(number)))


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
        datetime(2026, 1, 1, tzinfo=UTC),
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
    # Each process that runs tests must give them the same names.
    ids=lambda value: re.sub(r" at 0x\w+", "", repr(value)),
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


def test_a_sequence_is_its_values_one_after_the_other() -> None:
    values: list[object] = [3, [6, 2], b"key", -24]
    data = b"".join(cbor.encode(value) for value in values)
    assert cbor.decode_sequence(data) == values
    assert cbor.decode_sequence(b"") == []
    for bad in (data[:-1] + b"\x38", data + b"\x18\x00", data + b"\x41", b"\x9f\xff"):
        with pytest.raises(DecodeError, match="byte "):
            cbor.decode_sequence(bad)
    with pytest.raises(DecodeError, match="8 bytes, at most 7 are taken"):
        cbor.decode_sequence(bytes(8), size_max=7)
    with pytest.raises(DecodeError, match="nested too deep"):
        cbor.decode_sequence(b"\x00\x81\x81\x00", depth_max=1)
