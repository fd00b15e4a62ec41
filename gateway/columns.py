"""Samples as columns: what compresses well, and packs thousands of frames in a few C calls.

Runs on CPython.  Two layouts of CAN frames: `ARRIVAL` keeps the payloads in the order they came (cheap,
for the spool), `GROUPED` puts the payloads of one arbitration id side by side (half the size after
compression, for blocks).  Readings of other kinds are one CBOR array.  Integers are little-endian;
multi-byte integers are split into byte planes, so that the bytes that hardly change lie together.

    columns = layout u8 | zstd(body)
    CAN body = deltas i64 x n, 8 planes | ids u32 x n, 4 planes | flags u16 x n, 2 planes
               | lengths u8 x n | payloads
    reading body = CBOR [[delta_ns, ...], [value, ...]]
"""

import sys
from array import array
from collections.abc import Sequence
from itertools import accumulate
from operator import sub
from typing import Any

import zstandard

from gateway.errors import BlockError
from obd.can_frame import CanFrame
from puf import cbor
from puf.errors import DecodeError

CAN = "can"
READING = "reading"
KINDS = (CAN, READING)

ARRIVAL = 0
GROUPED = 1
READINGS = 2

VALUES_MAX = 65_536
"""Values in one set of columns."""
BODY_SIZE_MAX = 8 << 20
"""Bytes of a body before compression; a decoder allocates no more."""

TIME_END_NS = 1 << 62
"""Times are Unix nanoseconds below this (the year 2116), so that a difference of two fits 64 bits."""

_LEVEL = {ARRIVAL: 1, GROUPED: 3, READINGS: 3}
_FRAME_BYTES = 8 + 4 + 2 + 1


def pack(kind: str, taken_ns: Sequence[int], values: Sequence[Any], is_grouped: bool) -> tuple[int, bytes]:
    """(first time stamp, columns) of samples of one kind.

    Raises BlockError when a time stamp does not fit 64 bits or a reading cannot be encoded.
    """
    first_ns = taken_ns[0] if taken_ns else 0
    if taken_ns and not (min(taken_ns) >= 0 and max(taken_ns) < TIME_END_NS):
        raise BlockError(f"a sample's time, {min(taken_ns)} ns, is not between 1970 and 2116")
    try:
        deltas = array("q", map(sub, taken_ns, (first_ns, *taken_ns[:-1])))
        if kind == CAN:
            layout = GROUPED if is_grouped else ARRIVAL
            body = _pack_can(deltas, values, is_grouped)
        else:
            layout = READINGS
            body = cbor.encode([deltas.tolist(), list(values)])
    except (OverflowError, TypeError, ValueError) as error:
        raise BlockError(f"a sample cannot be stored: {error}") from error
    if len(body) > BODY_SIZE_MAX:
        raise BlockError(f"{len(values)} samples take {len(body)} bytes; at most {BODY_SIZE_MAX} go together")
    return first_ns, bytes((layout,)) + zstandard.ZstdCompressor(level=_LEVEL[layout]).compress(body)


def unpack(kind: str, first_ns: int, count: int, columns: bytes) -> tuple[list[int], list[Any]]:
    """(time stamps, values) that `pack` packed.  Raises BlockError."""
    if kind not in KINDS:
        raise BlockError(f"unknown kind of samples {kind!r}")
    if not 0 <= count <= VALUES_MAX:
        raise BlockError(f"{count} samples in one set of columns; at most {VALUES_MAX}")
    layout = columns[0] if columns else None
    if layout not in ((ARRIVAL, GROUPED) if kind == CAN else (READINGS,)):
        raise BlockError(f"columns of kind {kind} cannot have layout {layout}")
    body = _decompress(columns[1:])
    if kind == CAN:
        deltas, values = _unpack_can(body, count, layout == GROUPED)
    else:
        deltas, values = _unpack_readings(body, count)
    if deltas and deltas[0] != 0:
        raise BlockError("the first time stamp has an offset")
    return list(accumulate(deltas, initial=first_ns))[1:], values


def _decompress(data: bytes) -> bytes:
    try:
        size = zstandard.get_frame_parameters(data).content_size
        # The size is the sender's claim: look at it before allocating.
        if size > BODY_SIZE_MAX:
            raise BlockError(f"columns claim {size} bytes; at most {BODY_SIZE_MAX}")
        return zstandard.ZstdDecompressor().decompress(
            data, max_output_size=BODY_SIZE_MAX, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise BlockError(f"columns do not decompress: {error}") from error


def _pack_can(deltas: "array[int]", frames: Sequence[CanFrame], is_grouped: bool) -> bytes:
    if not frames:
        return b""
    ids, flags, payloads = zip(*frames, strict=True)
    if is_grouped:
        order = sorted(range(len(ids)), key=ids.__getitem__)
        data = b"".join(map(payloads.__getitem__, order))
    else:
        data = b"".join(payloads)
    return b"".join(
        (
            *_planes(deltas),
            *_planes(array("I", ids)),
            *_planes(array("H", flags)),
            bytes(map(len, payloads)),
            data,
        )
    )


def _unpack_can(body: bytes, count: int, is_grouped: bool) -> tuple[list[int], list[CanFrame]]:
    if len(body) < count * _FRAME_BYTES:
        raise BlockError(f"columns of {count} frames end early, after {len(body)} bytes")
    deltas = _from_planes("q", body[: 8 * count])
    ids = _from_planes("I", body[8 * count : 12 * count])
    flags = _from_planes("H", body[12 * count : 14 * count])
    lengths = body[14 * count : 15 * count]
    data = body[15 * count :]
    if sum(lengths) != len(data):
        raise BlockError(f"lengths add up to {sum(lengths)} bytes of payload, {len(data)} are there")
    order = sorted(range(count), key=ids.__getitem__) if is_grouped else range(count)
    payloads = [b""] * count
    begin = 0
    for place in order:
        end = begin + lengths[place]
        payloads[place] = data[begin:end]
        begin = end
    return deltas.tolist(), list(map(CanFrame, ids, flags, payloads))


def _unpack_readings(body: bytes, count: int) -> tuple[list[int], list[Any]]:
    try:
        decoded = cbor.decode(body, size_max=BODY_SIZE_MAX)
    except DecodeError as error:
        raise BlockError(f"readings do not decode: {error}") from error
    match decoded:
        case [list(deltas), list(values)] if len(deltas) == len(values) == count:
            if all(type(delta) is int and abs(delta) < 1 << 63 for delta in deltas):
                return deltas, values
    raise BlockError(f"readings are not {count} times and {count} values")


def _planes(column: "array[int]") -> list[bytes]:
    if sys.byteorder == "big":
        column.byteswap()
    raw = column.tobytes()
    return [raw[place :: column.itemsize] for place in range(column.itemsize)]


def _from_planes(typecode: str, planes: bytes) -> "array[int]":
    column = array(typecode)
    count = len(planes) // column.itemsize
    raw = bytearray(len(planes))
    for place in range(column.itemsize):
        raw[place :: column.itemsize] = planes[place * count : (place + 1) * count]
    column.frombytes(bytes(raw))
    if sys.byteorder == "big":
        column.byteswap()
    return column
