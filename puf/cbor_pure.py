"""Deterministic CBOR in plain Python: what `puf.cbor` is on MicroPython, and its yardstick on CPython.

Runs on CPython and MicroPython.  One value has one encoding, and any other encoding of it is refused:
shortest integers, lengths and floats, definite lengths, map keys in bytewise order and never twice,
one NaN.  Nothing is allocated or descended into on the mere word of the input.
Source: RFC 8949, sections 3 and 4.2.1.
"""

import struct

from puf.errors import DecodeError

DEPTH_MAX = 16
"""How deep arrays, maps and tags may nest unless the caller says otherwise; a bare integer has depth 0."""
DEPTH_LIMIT = 64
"""The most a caller may ask for: each level is a stack frame, and a microcontroller has few."""
SIZE_MAX = 1 << 20
"""Bytes that `decode` takes unless the caller says otherwise."""


class Tag:
    """A tagged value.  Tags are never interpreted here, except bignums (2 and 3), which are integers."""

    __slots__ = ("number", "value")

    def __init__(self, number: int, value: object) -> None:
        if not 0 <= number < 1 << 64:
            raise ValueError(f"a tag number is 0 to 2^64 - 1, not {number}")
        if number in (2, 3):
            raise ValueError("tags 2 and 3 are how integers beyond 64 bits travel; use the integer itself")
        self.number = number
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tag) and self.number == other.number and self.value == other.value

    def __hash__(self) -> int:
        return hash((self.number, self.value))

    def __repr__(self) -> str:
        return f"Tag({self.number}, {self.value!r})"


class Simple:
    """A simple value without a meaning of its own: 0 to 19 and 32 to 255."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        if not 0 <= number <= 255 or 20 <= number < 32:
            raise ValueError(f"a simple value is 0 to 19 or 32 to 255, not {number}")
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Simple) and self.number == other.number

    def __hash__(self) -> int:
        return hash(("Simple", self.number))

    def __repr__(self) -> str:
        return f"Simple({self.number})"


class Undefined:
    """The type of UNDEFINED."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNDEFINED"


UNDEFINED = Undefined()
"""CBOR's `undefined`, which is not None (`null`)."""


def check_depth_max(depth_max: int) -> None:
    """Raises ValueError for a limit that the stack could not keep."""
    if not 0 <= depth_max <= DEPTH_LIMIT:
        raise ValueError(f"depth_max is 0 to {DEPTH_LIMIT}, not {depth_max}")


def is_int(value: object, least: "int | None" = None, most: "int | None" = None) -> bool:
    """Whether a decoded value is an integer from `least` to `most`; in Python 1 equals True and 1.0, too."""
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    return (least is None or value >= least) and (most is None or value <= most)


def head(major: int, argument: int) -> bytes:
    """The initial byte and its argument (below 2^64), in the fewest bytes.  Source: section 3."""
    major <<= 5
    if argument < 24:
        return bytes((major | argument,))
    if argument < 0x100:
        return bytes((major | 24, argument))
    if argument < 0x10000:
        return struct.pack(">BH", major | 25, argument)
    if argument < 0x100000000:
        return struct.pack(">BI", major | 26, argument)
    return struct.pack(">BQ", major | 27, argument)


def _integer(value: int) -> bytes:
    major = 0
    if value < 0:
        value = -1 - value
        major = 1
    if value < 1 << 64:
        return head(major, value)
    size = 9
    while value >> (8 * size):
        size += 1
    # Section 3.4.3: a bignum is tag 2 or 3 around the big-endian bytes, without leading zeros.
    return head(6, 2 + major) + head(2, size) + value.to_bytes(size, "big")


def float_bytes(value: float) -> bytes:
    """The shortest form that keeps the value."""
    if value != value:  # Section 4.2.2: one NaN stands for all of them.
        return b"\xf9\x7e\x00"
    try:
        single = struct.pack(">f", value)
    except OverflowError:  # CPython says so; MicroPython packs an infinity, which then differs.
        return b"\xfb" + struct.pack(">d", value)
    if struct.unpack(">f", single)[0] != value:
        return b"\xfb" + struct.pack(">d", value)
    half = _half_of(int.from_bytes(single, "big"))
    return b"\xfa" + single if half < 0 else struct.pack(">BH", 0xF9, half)


def _half_of(single: int) -> int:
    """The bits of the half that equals the single with these bits, or -1; infinities do, NaNs do not matter.

    By hand, because MicroPython 1.29 packs subnormal halves wrongly.
    """
    sign = single >> 16 & 0x8000
    exponent = (single >> 23 & 0xFF) - 127
    mantissa = single & 0x7FFFFF
    if exponent == 128:
        return sign | 0x7C00
    if exponent == -127 and mantissa == 0:
        return sign
    if -14 <= exponent <= 15 and mantissa & 0x1FFF == 0:
        return sign | (exponent + 15) << 10 | mantissa >> 13
    if -24 <= exponent < -14:
        mantissa |= 0x800000
        if mantissa & ((1 << -1 - exponent) - 1) == 0:
            return sign | mantissa >> -1 - exponent
    return -1


def _float_of_half(half: int) -> float:
    exponent = half >> 10 & 31
    mantissa = half & 0x3FF
    if exponent == 0:
        value = mantissa / (1 << 24)
        return -value if half >> 15 else value
    # The exponent of a single is biased by 127 instead of 15, and all ones again mean infinity or NaN.
    exponent = 255 if exponent == 31 else exponent + 112
    single = struct.pack(">I", half >> 15 << 31 | exponent << 23 | mantissa << 13)
    return float(struct.unpack(">f", single)[0])


def check_key(key: object) -> None:
    """Raises TypeError for what may not be a map key: all but int, str and bytes, which never equal each
    other.  (1, 1.0 and True do: as keys they would be three in CBOR and one in Python.)
    """
    if not isinstance(key, (int, str, bytes)) or isinstance(key, bool):
        raise TypeError(f"a map key is an int, str or bytes, not {type(key)}")


def _append(out: bytearray, value: object, depth: int) -> None:
    if value is None:
        out.extend(b"\xf6")
    elif isinstance(value, bool):
        out.extend(b"\xf5" if value else b"\xf4")
    elif isinstance(value, int):
        out.extend(_integer(value))
    elif isinstance(value, (bytes, bytearray, memoryview)):
        if isinstance(value, memoryview):  # Its length may count items instead of bytes.
            value = bytes(value)
        out.extend(head(2, len(value)))
        out.extend(value)
    elif isinstance(value, str):
        data = value.encode("utf-8")
        out.extend(head(3, len(data)))
        out.extend(data)
    elif isinstance(value, float):
        out.extend(float_bytes(value))
    elif isinstance(value, Simple):
        out.extend(head(7, value.number))
    elif isinstance(value, Undefined):
        out.extend(b"\xf7")
    elif isinstance(value, (list, tuple, dict, Tag)):
        if depth <= 0:
            raise ValueError("nested deeper than depth_max")
        _append_nested(out, value, depth - 1)
    else:
        raise TypeError(f"{type(value)} has no encoding here")


def _append_nested(out: bytearray, value: object, depth: int) -> None:
    if isinstance(value, Tag):
        out.extend(head(6, value.number))
        _append(out, value.value, depth)
    elif isinstance(value, dict):
        entries = []
        for key in value:
            check_key(key)
            encoded = bytearray()
            _append(encoded, key, 0)
            entries.append((bytes(encoded), value[key]))
        entries.sort(key=_first)
        out.extend(head(5, len(entries)))
        for encoded_key, item in entries:
            out.extend(encoded_key)
            _append(out, item, depth)
    elif isinstance(value, (list, tuple)):
        out.extend(head(4, len(value)))
        for item in value:
            _append(out, item, depth)


def _first(entry: tuple[bytes, object]) -> bytes:
    return entry[0]


def encode(value: object, depth_max: int = DEPTH_MAX) -> bytes:
    """The one encoding of `value`: see `puf.cbor`."""
    check_depth_max(depth_max)
    out = bytearray()
    _append(out, value, depth_max)
    return bytes(out)


def check_utf8(data: bytes, at: int) -> None:
    """Raises DecodeError unless `data` is UTF-8.  MicroPython's own check lets overlong forms and
    surrogates pass; two spellings of one text would be two encodings.  Source: RFC 3629, section 4.
    """
    index = 0
    size = len(data)
    while index < size:
        lead = data[index]
        index += 1
        if lead < 0x80:
            continue
        low, high = 0x80, 0xBF
        if 0xC2 <= lead <= 0xDF:
            more = 1
        elif 0xE0 <= lead <= 0xEF:
            more = 2
            if lead == 0xE0:
                low = 0xA0
            elif lead == 0xED:
                high = 0x9F
        elif 0xF0 <= lead <= 0xF4:
            more = 3
            if lead == 0xF0:
                low = 0x90
            elif lead == 0xF4:
                high = 0x8F
        else:
            more = 4
        if more == 4 or index + more > size or not low <= data[index] <= high:
            raise DecodeError(f"byte {at + index - 1}: not UTF-8")
        for follower in data[index + 1 : index + more]:
            if follower & 0xC0 != 0x80:
                raise DecodeError(f"byte {at + index - 1}: not UTF-8")
        index += more


def _special(data: bytes, at: int, info: int) -> tuple[object, int]:
    if info < 20:
        return Simple(info), at
    if info < 24:
        return (False, True, None, UNDEFINED)[info - 20], at
    if info > 27:
        raise DecodeError(f"byte {at - 1}: a break or a reserved value")
    end = at + (1 << (info - 24))
    raw = data[at:end]
    if end > len(data):
        raise DecodeError(f"byte {at - 1}: the input ends inside a value")
    if info == 24:
        if raw[0] < 32:
            raise DecodeError(f"byte {at - 1}: a simple value that has a shorter form")
        return Simple(raw[0]), end
    if info == 25:
        value = _float_of_half(int.from_bytes(raw, "big"))
    else:
        value = struct.unpack(">f" if info == 26 else ">d", raw)[0]
    # Also refuses a double where the board's floats are single, rather than round it.
    if float_bytes(value) != data[at - 1 : end]:
        raise DecodeError(f"byte {at - 1}: not the shortest form of a float")
    return value, end


def _bignum(data: bytes, at: int, is_negative: bool) -> tuple[int, int]:
    if at >= len(data) or data[at] >> 5 != 2:
        raise DecodeError(f"byte {at}: a bignum is a byte string")
    raw, end = _item(data, at, 0)
    assert isinstance(raw, bytes)  # noqa: S101  the initial byte said so
    if len(raw) < 9 or raw[0] == 0:
        raise DecodeError(f"byte {at}: a bignum that has a shorter form")
    value = int.from_bytes(raw, "big")
    return -1 - value if is_negative else value, end


def _item(data: bytes, at: int, depth: int) -> tuple[object, int]:
    """The value whose encoding starts at `at`, and where it ends."""
    start = at
    if at >= len(data):
        raise DecodeError(f"byte {at}: the input ends before a value")
    major = data[at] >> 5
    argument = data[at] & 31
    at += 1
    if major == 7:
        return _special(data, at, argument)
    if argument >= 24:
        if argument > 27:
            raise DecodeError(f"byte {start}: an indefinite length or a reserved form")
        least = (24, 0x100, 0x10000, 0x100000000)[argument - 24]
        end = at + (1 << (argument - 24))
        if end > len(data):
            raise DecodeError(f"byte {start}: the input ends inside a value")
        argument = int.from_bytes(data[at:end], "big")
        if argument < least:
            raise DecodeError(f"byte {start}: not the shortest form of a number")
        at = end
    if major == 0:
        return argument, at
    if major == 1:
        return -1 - argument, at
    if major == 6 and argument in (2, 3):
        return _bignum(data, at, argument == 3)
    # Every element takes a byte at least, so a count beyond this is a lie and is not believed.
    if major != 6 and argument > len(data) - at:
        raise DecodeError(f"byte {start}: the input ends inside a value")
    if major == 2:
        return data[at : at + argument], at + argument
    if major == 3:
        raw = data[at : at + argument]
        check_utf8(raw, at)
        return str(raw, "utf-8"), at + argument
    if depth <= 0:
        raise DecodeError(f"byte {start}: nested too deep")
    if major == 4:
        items = []
        for _ in range(argument):
            item, at = _item(data, at, depth - 1)
            items.append(item)
        return items, at
    if major == 5:
        return _map(data, at, argument, depth)
    item, at = _item(data, at, depth - 1)
    return Tag(argument, item), at


def _map(data: bytes, at: int, count: int, depth: int) -> tuple[object, int]:
    entries = {}
    previous = b""
    for _ in range(count):
        start = at
        key, at = _item(data, at, 0)
        if not isinstance(key, (int, str, bytes)) or isinstance(key, bool):
            raise DecodeError(f"byte {start}: a map key is an integer, text or bytes")
        encoded = data[start:at]
        if encoded <= previous:
            raise DecodeError(f"byte {start}: map keys are out of order or doubled")
        previous = encoded
        entries[key], at = _item(data, at, depth - 1)
    return entries, at


def decode(
    data: bytes | bytearray | memoryview, size_max: int = SIZE_MAX, depth_max: int = DEPTH_MAX
) -> object:
    """The value of `data`: see `puf.cbor`."""
    check_depth_max(depth_max)
    if len(data) > size_max:
        raise DecodeError(f"{len(data)} bytes, at most {size_max} are taken")
    if not isinstance(data, bytes):  # A copy that a small heap is spared.
        data = bytes(data)
    value, end = _item(data, 0, depth_max)
    if end != len(data):
        raise DecodeError(f"byte {end}: more follows the value")
    return value


def decode_sequence(data: bytes, size_max: int = SIZE_MAX, depth_max: int = DEPTH_MAX) -> list[object]:
    """The values that `data` is the encodings of, one after the other.  Source: RFC 8742.

    Raises DecodeError unless each has its one encoding, as `decode` does.
    """
    check_depth_max(depth_max)
    if len(data) > size_max:
        raise DecodeError(f"{len(data)} bytes, at most {size_max} are taken")
    values = []
    at = 0
    while at < len(data):
        value, at = _item(data, at, depth_max)
        values.append(value)
    return values
