"""Samples as columns: what compresses well, and packs thousands of frames in a few C calls.

Runs on CPython.  Two layouts of CAN frames: `ARRIVAL` keeps the payloads in the order they came (cheap,
for the spool), `GROUPED` puts the payloads of one arbitration id side by side (half the size after
compression, for blocks).  Readings of other kinds are one CBOR array.  Integers are little-endian;
multi-byte integers are split into byte planes, so that the bytes that hardly change lie together.

    columns = layout u8 | zstd(body)                        (no samples: the layout alone)
    CAN body = deltas i64 x n, 8 planes | ids u32 x n, 4 planes | flags u16 x n, 2 planes
               | lengths u8 x n | payloads
    reading body = CBOR [[delta_ns, ...], [value, ...]]

A delta is the time since the sample before; that of the first is 0.  Whatever `pack` packs, `unpack`
unpacks: what could not come back is refused when it goes in.
"""

import struct
import threading
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate, pairwise
from operator import itemgetter
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

VALUES_MAX = {CAN: 8_192, READING: 1_024}
"""Values in one set of columns, by kind."""
SAMPLE_SIZE_MAX = 16 << 10
"""Bytes of one encoded reading."""
BODY_SIZE_MAX = 8 << 20
"""Bytes of a body before compression; a decoder allocates no more.  8,192 CAN FD frames take 650 KB."""

TIME_END_NS = 1 << 62
"""Times are Unix nanoseconds from -TIME_END_NS (the year 1823) up to this, excluded (2116), so that the
difference of two fits 64 bits.  What was taken before 1970 had a wrong clock, and is a record nonetheless."""

_LEVEL = {ARRIVAL: -1, GROUPED: 3, READINGS: 3}
_FRAME_COLUMNS = tuple(map(itemgetter, range(3)))
_FRAME_BYTES = 8 + 4 + 2 + 1
_compressors = threading.local()


def pack(kind: str, taken_ns: Sequence[int], values: Sequence[Any], is_grouped: bool) -> tuple[int, bytes]:
    """(first time stamp, columns) of samples of one kind.

    Raises BlockError for a time out of range, for a value that is no CAN frame, or that CBOR cannot say or
    that is longer than SAMPLE_SIZE_MAX, and for more than VALUES_MAX values or BODY_SIZE_MAX bytes.
    """
    if len(values) > VALUES_MAX[kind] or len(values) != len(taken_ns):
        raise BlockError(f"{len(values)} samples with {len(taken_ns)} times; at most {VALUES_MAX[kind]}")
    layout = READINGS if kind == READING else GROUPED if is_grouped else ARRIVAL
    if not values:
        return 0, bytes((layout,))
    try:
        check_times(taken_ns)
        first_ns = taken_ns[0]
        deltas = [0, *[later - earlier for earlier, later in pairwise(taken_ns)]]
        body = _pack_readings(deltas, values) if kind == READING else _pack_can(deltas, values, is_grouped)
    except (OverflowError, TypeError, ValueError, struct.error) as error:
        raise BlockError(f"a sample cannot be stored: {error}") from error
    if len(body) > BODY_SIZE_MAX:
        raise BlockError(f"{len(values)} samples take {len(body)} bytes; at most {BODY_SIZE_MAX} go together")
    return first_ns, bytes((layout,)) + _compressor(layout).compress(body)


def unpack(kind: str, first_ns: int, count: int, columns: bytes) -> tuple[list[int], list[Any]]:
    """(time stamps, values) that `pack` packed.  Raises BlockError."""
    if kind not in KINDS:
        raise BlockError(f"unknown kind of samples {kind!r}")
    if not 0 <= count <= VALUES_MAX[kind]:
        raise BlockError(f"{count} samples in one set of columns; at most {VALUES_MAX[kind]}")
    layout = columns[0] if columns else None
    if layout not in ((ARRIVAL, GROUPED) if kind == CAN else (READINGS,)):
        raise BlockError(f"columns of kind {kind} cannot have layout {layout}")
    if not count:
        if first_ns or len(columns) != 1:
            raise BlockError("columns without samples have content")
        return [], []
    body = _decompress(columns[1:])
    if kind == CAN:
        deltas, values = _unpack_can(body, count, layout == GROUPED)
    else:
        deltas, values = _unpack_readings(body, count)
    if deltas[0] != 0:
        raise BlockError("the first time stamp has an offset")
    taken_ns = list(accumulate(deltas, initial=first_ns))[1:]
    check_times(taken_ns)
    return taken_ns, values


def check_times(times_ns: Sequence[int]) -> None:
    """Raises BlockError when one of these, at least one, is out of range."""
    earliest, latest = min(times_ns), max(times_ns)
    if not (earliest >= -TIME_END_NS and latest < TIME_END_NS):
        raise BlockError(
            f"a time of {latest if latest >= TIME_END_NS else earliest} ns is not within 1823..2116"
        )


def _compressor(layout: int) -> zstandard.ZstdCompressor:
    # Making one takes longer than compressing 500 frames with it; threads may not share it.
    compressor = getattr(_compressors, str(layout), None)
    if compressor is None:
        compressor = zstandard.ZstdCompressor(level=_LEVEL[layout])
        setattr(_compressors, str(layout), compressor)
    return compressor


def _decompress(data: bytes) -> bytes:
    try:
        size = zstandard.get_frame_parameters(data).content_size
        # The size is the sender's claim: look at it before allocating. (A frame that claims none has a huge
        # one here; of one that claims 0 the library would not read the rest.)
        if not 0 < size <= BODY_SIZE_MAX:
            raise BlockError(f"columns claim {size} bytes; 1 to {BODY_SIZE_MAX} are possible")
        return zstandard.ZstdDecompressor().decompress(
            data, max_output_size=BODY_SIZE_MAX, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise BlockError(f"columns do not decompress: {error}") from error


def _pack_can(deltas: list[int], frames: Sequence[CanFrame], is_grouped: bool) -> bytes:
    if set(map(type, frames)) != {CanFrame}:
        raise TypeError("a value is no CAN frame")
    # Not zip(*frames): it makes an object for each frame, and the garbage collector then goes through all.
    ids, flags, payloads = (list(map(column, frames)) for column in _FRAME_COLUMNS)
    lengths = bytes(map(len, payloads))
    if is_grouped:
        groups: dict[int, list[bytes]] = defaultdict(list)
        for arbitration_id, payload in zip(ids, payloads, strict=True):
            groups[arbitration_id].append(payload)
        payloads = [payload for arbitration_id in sorted(groups) for payload in groups[arbitration_id]]
    data = b"".join(payloads)
    if sum(lengths) != len(data):
        raise TypeError("the data of a frame is not bytes")
    return b"".join((*_planes("q", deltas), *_planes("I", ids), *_planes("H", flags), lengths, data))


def _unpack_can(body: bytes, count: int, is_grouped: bool) -> tuple[Sequence[int], list[CanFrame]]:
    if len(body) < count * _FRAME_BYTES:
        raise BlockError(f"columns of {count} frames end early, after {len(body)} bytes")
    deltas = _from_planes("q", body[: 8 * count], count)
    ids = _from_planes("I", body[8 * count : 12 * count], count)
    flags = _from_planes("H", body[12 * count : 14 * count], count)
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
    return deltas, list(map(CanFrame, ids, flags, payloads))


def _pack_readings(deltas: list[int], values: Sequence[Any]) -> bytes:
    # Each by itself, which says how long it is; an array is its head and its items (RFC 8949, section 3.2.2).
    items = [cbor.encode(value, cbor.DEPTH_MAX - 2) for value in values]
    size = max(map(len, items))
    if size > SAMPLE_SIZE_MAX:
        raise BlockError(f"a sample takes {size} bytes; at most {SAMPLE_SIZE_MAX}")
    count = len(items)
    head = bytes((0x80 | count,)) if count < 24 else b"\x98" + bytes((count,)) if count < 256 else None
    if head is None:
        head = b"\x99" + count.to_bytes(2, "big")
    return b"".join((b"\x82", cbor.encode(deltas), head, *items))


def _unpack_readings(body: bytes, count: int) -> tuple[list[int], list[Any]]:
    try:
        decoded: Any = cbor.decode(body, size_max=BODY_SIZE_MAX)
    except DecodeError as error:
        raise BlockError(f"readings do not decode: {error}") from error
    match decoded:
        case [list(deltas), list(values)] if len(deltas) == len(values) == count:
            if all(type(delta) is int and abs(delta) < 1 << 63 for delta in deltas):
                return deltas, values
    raise BlockError(f"readings are not {count} times and {count} values")


def _planes(typecode: str, column: Sequence[int]) -> list[bytes]:
    raw = struct.pack(f"<{len(column)}{typecode}", *column)
    size = struct.calcsize(f"<{typecode}")
    return [raw[place::size] for place in range(size)]


def _from_planes(typecode: str, planes: bytes, count: int) -> tuple[int, ...]:
    raw = bytearray(len(planes))
    size = struct.calcsize(f"<{typecode}")
    for place in range(size):
        raw[place::size] = planes[place * count : (place + 1) * count]
    return struct.unpack(f"<{count}{typecode}", raw)
