"""Vector binary logs (.blf).

Runs on CPython.  A file is a header and objects; most are containers of compressed objects, among
them CAN frames.  A damaged container or object is counted and named by its byte offset, and
reading goes on at the next one.  Own code, because python-can's BLFReader ends at the first damage
and rounds times to 240 ns; the tests compare with it.  Times are exact: 10 us or 1 ns units
from the start time in the header.
"""

from __future__ import annotations

import struct
import zlib
from datetime import UTC, datetime
from typing import BinaryIO

from gateway.sensors.trace_sink import RECORDED_ERROR, Channels, TraceSink, checked_time
from obd.can_frame import (
    BITRATE_SWITCH,
    DLC_SHIFT,
    ERROR_STATE,
    EXTENDED,
    FD,
    REMOTE,
    TX,
    CanFrame,
)
from obd.errors import FrameError

FILE_SIGNATURE = b"LOGG"
_OBJECT_SIGNATURE = b"LOBJ"
_FILE_HEADER = struct.Struct("<4sL8B2Q2L8H8H")
_OBJECT_HEADER = struct.Struct("<4sHHLL")  # signature, header size, header version, object size, type
_CONTAINER = struct.Struct("<H6xL4x")  # compression, size when unpacked
_STAMP = struct.Struct("<L4xQ")  # flags (1: 10 us, 2: 1 ns), time; the same place in versions 1 and 2
_CLASSIC = struct.Struct("<HBBL8s")  # channel, flags, dlc, id, data
_FD = struct.Struct("<HBBLLBBB5x64s")  # channel, flags, dlc, id, length, bits, FD flags, size, data
_FD64 = struct.Struct("<BBBBL4xL16xHBBL")  # channel, dlc, size, tx count, id, flags, bits, way, ext, crc

_CONTAINER_TYPE = 10
_CLASSIC_TYPES = (1, 86)
_ERROR_TYPES = (2, 73, 104)
_FD_TYPE, _FD64_TYPE = 100, 101
_OBJECT_SIZE_MAX = 1 << 24
"""Vector writes containers of 128 KiB; more than this is damage."""

_ID_EXTENDED = 0x80000000
_STAMP_UNIT_NS = {1: 10_000, 2: 1}


class BlfParser:
    """Reads objects from a binary file into the sink."""

    format_name = "Vector .blf"
    is_absolute = False

    def __init__(self, sink: TraceSink, channels: Channels) -> None:
        self.sink = sink
        self.channels = channels
        self._start_ns = 0
        self._tail = b""
        """Objects may be cut by the end of a container and go on in the next."""

    def read_header(self, file: BinaryIO) -> None:
        """Reads the file header.  Raises ValueError when it is none."""
        head = file.read(_FILE_HEADER.size)
        if len(head) < _FILE_HEADER.size or head[:4] != FILE_SIGNATURE:
            raise ValueError("the header is cut off")
        fields = _FILE_HEADER.unpack(head)
        if not _FILE_HEADER.size <= fields[1] <= 4096:
            raise ValueError(f"a header of {fields[1]} bytes")
        if len(file.read(fields[1] - _FILE_HEADER.size)) < fields[1] - _FILE_HEADER.size:
            raise ValueError("the header is cut off")
        year, month, _, day, hour, minute, second, milliseconds = fields[14:22]
        try:
            start = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
            self._start_ns = checked_time(int(start.timestamp()) * 10**9 + milliseconds * 10**6)
        except ValueError:
            self.sink.stats.note("the header has no start time; times count from zero")
            return
        self.is_absolute = True
        self.sink.stats.note("the start time names no time zone; it is read as UTC")

    def read_object(self, file: BinaryIO) -> bool:
        """Reads the next outer object; False at the end of the file."""
        offset = file.tell()
        head = file.read(_OBJECT_HEADER.size)
        if not head:
            if self._tail:
                self.sink.damaged(f"byte {offset}", "the file ends within an object")
                self._tail = b""
            return False
        if len(head) < _OBJECT_HEADER.size:
            self.sink.damaged(f"byte {offset}", "the file ends within an object")
            self._tail = b""
            return False
        signature, _, _, size, kind = _OBJECT_HEADER.unpack(head)
        if signature != _OBJECT_SIGNATURE or not _OBJECT_HEADER.size <= size <= _OBJECT_SIZE_MAX:
            self.sink.damaged(f"byte {offset}", "no object begins here")
            self._tail = b""
            return _seek_signature(file, offset + 1)
        body = file.read(size - _OBJECT_HEADER.size)
        if kind == _CONTAINER_TYPE:
            unpacked = self._unpack(offset, body)
            if unpacked is None:
                self._tail = b""
                return _seek_signature(file, offset + 1) if len(body) < size - _OBJECT_HEADER.size else True
            self._read_inner(offset, self._tail + unpacked)
        elif len(body) < size - _OBJECT_HEADER.size:
            self.sink.damaged(f"byte {offset}", "the file ends within an object")
        # Objects start at multiples of 4, counted in this odd way by all writers.
        file.read(size % 4)
        return True

    def _unpack(self, offset: int, body: bytes) -> bytes | None:
        """The objects in a container; None when it is damaged, which is then told."""
        if len(body) < _CONTAINER.size:
            self.sink.damaged(f"byte {offset}", "the file ends within a container")
            return None
        method, size = _CONTAINER.unpack_from(body)
        packed = body[_CONTAINER.size :]
        if method == 0:
            return packed
        if method != 2 or size > _OBJECT_SIZE_MAX:
            self.sink.damaged(f"byte {offset}", f"container of method {method} and {size} bytes")
            return None
        try:
            # Bounded: a few kilobytes of zlib can hold gigabytes.
            unpacked = zlib.decompressobj().decompress(packed, size + 1)
        except zlib.error as error:
            self.sink.damaged(f"byte {offset}", f"container does not unpack: {error}")
            return None
        if len(unpacked) != size:
            self.sink.damaged(f"byte {offset}", f"container of {len(unpacked)} bytes instead of {size}")
        return unpacked

    def _read_inner(self, offset: int, data: bytes) -> None:
        """The objects of one container; what is cut off waits for the next."""
        at = 0
        while True:
            if len(data) - at < _OBJECT_HEADER.size:
                # Padding behind the last object is not the start of another.
                self._tail = data[at:] if data[at:].strip(b"\0") else b""
                return
            # Padding is up to 3 bytes, by the same odd count as outside.
            begin = data.find(_OBJECT_SIGNATURE, at, at + 8)
            if begin < 0:
                self.sink.damaged(f"container at byte {offset}", f"no object begins at {at}")
                begin = data.find(_OBJECT_SIGNATURE, at)
                if begin < 0:
                    self._tail = b""
                    return
            if len(data) - begin < _OBJECT_HEADER.size:
                self._tail = data[begin:]
                return
            _, head_size, version, size, kind = _OBJECT_HEADER.unpack_from(data, begin)
            if size < _OBJECT_HEADER.size or size > _OBJECT_SIZE_MAX:
                self.sink.damaged(f"container at byte {offset}", f"object of {size} bytes at {begin}")
                at = begin + 4
                continue
            if begin + size > len(data):
                self._tail = data[begin:]
                return
            try:
                self._read_frame(kind, version, data[begin + _OBJECT_HEADER.size : begin + size], head_size)
            except (FrameError, ValueError, struct.error) as error:
                self.sink.damaged(f"container at byte {offset}", f"object at {begin}: {error}")
            at = begin + size

    def _read_frame(self, kind: int, version: int, body: bytes, head_size: int) -> None:
        """One inner object.  Raises ValueError, FrameError or struct.error."""
        is_frame = kind in _CLASSIC_TYPES or kind in (_FD_TYPE, _FD64_TYPE)
        if not is_frame and kind not in _ERROR_TYPES:
            self.sink.ignored()
            return
        if version not in (1, 2) or not _OBJECT_HEADER.size + _STAMP.size <= head_size <= 64:
            raise ValueError(f"object header of version {version} and {head_size} bytes")
        stamp_flags, stamp = _STAMP.unpack_from(body)
        taken_ns = checked_time(self._start_ns + stamp * _STAMP_UNIT_NS.get(stamp_flags, 1))
        channel, frame = _frame(kind, body[head_size - _OBJECT_HEADER.size :], head_size)
        if not self.channels.wants(str(channel)):
            self.sink.ignored()
            return
        self.sink.taken.append(taken_ns)
        self.sink.frames.append(frame)


def _frame(kind: int, body: bytes, head_size: int) -> tuple[int, CanFrame]:
    """Channel and frame of an object; body: what stands behind its header of `head_size` bytes."""
    if kind in _ERROR_TYPES:
        return int.from_bytes(body[:2], "little"), RECORDED_ERROR
    if kind in _CLASSIC_TYPES:
        channel, bits, dlc, id_word, data = _CLASSIC.unpack_from(body)
        return channel, _classic(id_word, bool(bits & 0x80), bool(bits & 1), dlc, data)
    if kind == _FD_TYPE:
        channel, bits, dlc, id_word, _, _, fd_bits, size, data = _FD.unpack_from(body)
        if not fd_bits & 1:
            return channel, _classic(id_word, bool(bits & 0x80), bool(bits & 1), dlc, data)
        flags = (BITRATE_SWITCH if fd_bits & 2 else 0) | (ERROR_STATE if fd_bits & 4 else 0)
        return channel, _fd(id_word, flags, bool(bits & 1), data[:size], size)
    channel, dlc, size, _, id_word, bits, _, way, extra_at, _ = _FD64.unpack_from(body)
    # Vector's library leaves out zeros at the end: data stops where the object or its extra part does.
    data_end = extra_at - head_size if extra_at else len(body)
    data = body[_FD64.size : max(data_end, _FD64.size)][:size].ljust(size, b"\0")
    if not bits & 0x1000:
        return channel, _classic(id_word, bool(bits & 0x10), way == 1, dlc, data)
    flags = (BITRATE_SWITCH if bits & 0x2000 else 0) | (ERROR_STATE if bits & 0x4000 else 0)
    return channel, _fd(id_word, flags, way == 1, data, size)


def _classic(id_word: int, is_remote: bool, is_sent: bool, dlc: int, data: bytes) -> CanFrame:
    flags = (EXTENDED if id_word & _ID_EXTENDED else 0) | (TX if is_sent else 0)
    if is_remote:
        return CanFrame.checked(id_word & ~_ID_EXTENDED, flags | REMOTE | dlc << DLC_SHIFT, b"")
    if dlc > 8:
        flags |= dlc << DLC_SHIFT
    return CanFrame.checked(id_word & ~_ID_EXTENDED, flags, data[: min(dlc, 8)])


def _fd(id_word: int, flags: int, is_sent: bool, data: bytes, size: int) -> CanFrame:
    if len(data) != size:
        raise ValueError(f"{size} bytes announced, {len(data)} found")
    flags |= FD | (EXTENDED if id_word & _ID_EXTENDED else 0) | (TX if is_sent else 0)
    return CanFrame.checked(id_word & ~_ID_EXTENDED, flags, data)


def _seek_signature(file: BinaryIO, offset: int) -> bool:
    """Moves to the next object behind `offset`; False when there is none."""
    file.seek(offset)
    before = b""
    while chunk := file.read(1 << 16):
        found = (before + chunk).find(_OBJECT_SIGNATURE)
        if found >= 0:
            file.seek(offset - len(before) + found)
            return True
        offset += len(chunk)
        before = (before + chunk)[-3:]
    return False
