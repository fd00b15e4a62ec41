"""Deterministic CBOR on CPython, with cbor2 where it can be trusted with it.

Runs on CPython.  cbor2's canonical mode sorts map keys by length first (RFC 7049, not RFC 8949), and
its decoder takes any encoding and turns tags into dates, sets and references to other parts of the
input.  So it writes flat lists only, and what it reads counts only if it encodes to the very bytes it
was read from.  What is short, and made of what our own formats are made of, is read here at once.  All else
goes to `puf.cbor_pure`, which either knows the value after all or names the byte that is wrong: hence both
interpreters accept the same bytes, with the same errors.
Source: RFC 8949, section 4.2.1.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from cbor2 import CBORDecodeError, dumps, loads

from puf import cbor_pure
from puf.cbor_pure import DEPTH_MAX, SIZE_MAX, Simple, Tag, Undefined, check_depth_max, check_key, float_bytes
from puf.errors import DecodeError

Write = Callable[[bytes], object]

_BYTE = [bytes((byte,)) for byte in range(256)]
_pack_8 = struct.Struct(">BB").pack
_pack_16 = struct.Struct(">BH").pack
_pack_32 = struct.Struct(">BI").pack
_pack_64 = struct.Struct(">BQ").pack


def _head(major: int, argument: int) -> bytes:
    """As `cbor_pure.head`, with `major` already in its place."""
    if argument < 24:
        return _BYTE[major | argument]
    if argument < 0x100:
        return _pack_8(major | 24, argument)
    if argument < 0x10000:
        return _pack_16(major | 25, argument)
    if argument < 0x100000000:
        return _pack_32(major | 26, argument)
    return _pack_64(major | 27, argument)


def _write_int(write: Write, value: int, depth: int) -> None:
    if 0 <= value < 1 << 64:
        write(_head(0x00, value))
    elif -(1 << 64) <= value < 0:
        write(_head(0x20, -1 - value))
    else:
        write(cbor_pure.encode(value))


def _write_bytes(write: Write, value: bytes, depth: int) -> None:
    write(_head(0x40, len(value)))
    write(value)


def _write_str(write: Write, value: str, depth: int) -> None:
    data = value.encode()
    write(_head(0x60, len(data)))
    write(data)


def _write_float(write: Write, value: float, depth: int) -> None:
    write(float_bytes(value))


def _write_bool(write: Write, value: bool, depth: int) -> None:
    write(b"\xf5" if value else b"\xf4")


def _write_none(write: Write, value: None, depth: int) -> None:
    write(b"\xf6")


# What cbor2 writes as section 4.2.1 wants it, and from how many in a row it is the faster one.
PLAIN = frozenset((int, str, bytes, bool, type(None)))
PLAIN_MIN = 8


def _write_array(write: Write, value: list[Any] | tuple[Any, ...], depth: int) -> None:
    depth = _below(depth)
    if len(value) >= PLAIN_MIN and PLAIN.issuperset(map(type, value)):
        write(dumps(value))
        return
    write(_head(0x80, len(value)))
    for item in value:
        _WRITERS.get(type(item), _write_other)(write, item, depth)


def _write_map(write: Write, value: dict[Any, Any], depth: int) -> None:
    depth = _below(depth)
    write(_head(0xA0, len(value)))
    last = -1
    for key in value:
        if type(key) is not int or not last < key < 24:
            break
        last = key
    else:
        # Our own formats: keys of one byte, in order.
        for key, item in value.items():
            write(_BYTE[key])
            _WRITERS.get(type(item), _write_other)(write, item, depth)
        return
    keys = [(_key(key), key) for key in value]
    keys.sort()
    for encoded, key in keys:
        write(encoded)
        item = value[key]
        _WRITERS.get(type(item), _write_other)(write, item, depth)


def _write_tag(write: Write, value: Tag, depth: int) -> None:
    depth = _below(depth)
    write(_head(0xC0, value.number))
    _WRITERS.get(type(value.value), _write_other)(write, value.value, depth)


def _write_other(write: Write, value: object, depth: int) -> None:
    """What is rare: subclasses, buffers, simple values; and what has no encoding."""
    if isinstance(value, dict):
        _write_map(write, value, depth)
    elif isinstance(value, (list, tuple)):
        _write_array(write, list(value), depth)
    elif isinstance(value, (int, str, bytes, float, bytearray, memoryview, Simple, Undefined)):
        write(cbor_pure.encode(value))
    else:
        raise TypeError(f"{type(value)} has no encoding here")


def _below(depth: int) -> int:
    if depth <= 0:
        raise ValueError("nested deeper than depth_max")
    return depth - 1


def _key(key: object) -> bytes:
    """The encoding of a map key.  No two keys of a dict have the same."""
    if type(key) is str:
        data = key.encode()
        return _head(0x60, len(data)) + data
    if type(key) is int and 0 <= key < 24:
        return _BYTE[key]
    check_key(key)
    return cbor_pure.encode(key)


_WRITERS: dict[type, Callable[[Write, Any, int], None]] = {
    int: _write_int,
    bytes: _write_bytes,
    str: _write_str,
    float: _write_float,
    bool: _write_bool,
    type(None): _write_none,
    list: _write_array,
    tuple: _write_array,
    dict: _write_map,
    Tag: _write_tag,
}


def encode(value: object, depth_max: int = DEPTH_MAX) -> bytes:
    """The one encoding of `value`: see `puf.cbor`."""
    check_depth_max(depth_max)
    out: list[bytes] = []
    _WRITERS.get(type(value), _write_other)(out.append, value, depth_max)
    return b"".join(out)


def _tagged(number: int, value: object, _is_immutable: bool) -> Tag:
    return Tag(number, value)


class _EveryTag(Mapping[int, Callable[[Any, bool], Any]]):
    """For each tag but the bignums a decoder that leaves it alone, also for tags cbor2 learns one day."""

    def __getitem__(self, number: int) -> Callable[[Any, bool], Any]:
        if number in (2, 3):
            raise KeyError(number)
        return partial(_tagged, number)

    def __iter__(self) -> Iterator[int]:
        return iter(range(4, 1 << 64))

    def __len__(self) -> int:
        return (1 << 64) - 2


_EVERY_TAG = _EveryTag()


SHORT_SIZE_MAX = 512
"""Bytes up to which reading here is faster than cbor2 and writing again."""


class _Unusual(Exception):
    """Bytes that `_read` does not know, whether or not they are right."""


def _read(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """(value, end) of the item that begins at `at`.  Raises _Unusual, IndexError, UnicodeDecodeError."""
    head = data[at]
    major, argument = head >> 5, head & 31
    at += 1
    if argument > 23:
        if argument == 24:
            argument = data[at]
            at += 1
            is_shortest = argument > 23
        elif argument < 28:
            end = at + (1 << argument - 24)
            if end > len(data):
                raise _Unusual
            least = 1 << (4 << argument - 24)
            argument = int.from_bytes(data[at:end], "big")
            at = end
            is_shortest = argument >= least
        else:
            raise _Unusual
        if not is_shortest:
            raise _Unusual
    if major == 0:
        return argument, at
    if major == 2 or major == 3:
        end = at + argument
        if end > len(data):
            raise _Unusual
        return (data[at:end] if major == 2 else data[at:end].decode()), end
    if major == 1:
        return -1 - argument, at
    if major == 4 or major == 5:
        if not depth:
            raise _Unusual
        depth -= 1
        if major == 4:
            items = []
            for _ in range(argument):
                item, at = _read(data, at, depth)
                items.append(item)
            return items, at
        pairs: dict[int, Any] = {}
        last = -1
        for _ in range(argument):
            key = data[at]
            # Keys of one byte, in order.
            if not last < key < 24:
                raise _Unusual
            last = key
            # Small numbers and short bytes are most of what there is, and a call costs more than they do.
            head = data[at + 1]
            if head < 24:
                pairs[key] = head
                at += 2
            elif head == 0x58 and data[at + 2] > 23:
                start = at + 3
                at = start + data[at + 2]
                pairs[key] = data[start:at]
            else:
                pairs[key], at = _read(data, at + 1, depth)
        return pairs, at
    if head in _SIMPLE:
        return _SIMPLE[head], at
    raise _Unusual


_SIMPLE = {0xF4: False, 0xF5: True, 0xF6: None}


def _flat_size(value: object) -> int:
    """Bytes of the encoding of a list of byte strings, small numbers and nothing; 0 for all else.

    Every other encoding of the same is longer, so its length tells it from the right one, and megabytes
    need not be written again to be compared.
    """
    if type(value) is not list:
        return 0
    size = len(_head(0x80, len(value)))
    for item in value:
        if type(item) is bytes:
            size += len(_head(0x40, len(item))) + len(item)
        elif item is None or (type(item) is int and 0 <= item < 24):
            size += 1
        else:
            return 0
    return size


def decode(
    data: bytes | bytearray | memoryview, size_max: int = SIZE_MAX, depth_max: int = DEPTH_MAX
) -> object:
    """The value of `data`: see `puf.cbor`."""
    check_depth_max(depth_max)
    if len(data) > size_max:
        raise DecodeError(f"{len(data)} bytes, at most {size_max} are taken")
    data = bytes(data)
    value: object
    if len(data) <= SHORT_SIZE_MAX:
        try:
            value, end = _read(data, 0, depth_max)
        except (_Unusual, IndexError, UnicodeDecodeError):
            pass
        else:
            # What was cut off ends behind the end.
            if end == len(data):
                return value
    try:
        value = loads(data, max_depth=depth_max, allow_indefinite=False, semantic_decoders=_EVERY_TAG)
        size = _flat_size(value) if depth_max else 0
        is_exact = size == len(data) if size else encode(value, depth_max) == data
    except (CBORDecodeError, TypeError, ValueError):
        is_exact = False
    return value if is_exact else cbor_pure.decode(data, size_max, depth_max)
