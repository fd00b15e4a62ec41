"""Bluetooth captures: the btsnoop files of Android, BlueZ's btmon and others.

Runs on CPython.  The file is read forwards in portions, so memory stays flat and a pipe will do.  Source: the
description of the format in Frontline's btsnoop.html; BlueZ, src/shared/btsnoop.h, for the monitor's records.

    file    8 bytes `btsnoop\\0`, version 1, kind of link; then records
    record  original length, included length, flags, drops, microseconds since the year 0; then the packet
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from gateway.sensors.source import SourceUnavailable

SIGNATURE = b"btsnoop\0"
PACKET_BYTES_MAX = 1 << 17
"""No HCI packet is longer than 64 KiB and its head."""
CHUNK_BYTES = 1 << 16

HCI, H4, MONITOR = 1001, 1002, 2001
_LINKS = {HCI: "HCI", H4: "H4", MONITOR: "Linux monitor"}
_OTHER_LINKS = {1003: "BCSP", 1004: "H5 (three-wire)", 2002: "simulator"}
_HEAD = struct.Struct(">8sII")
_RECORD = struct.Struct(">IIIIq")
_YEAR_0_US = 0x00DCDDB30F2F8000
"""Microseconds from the year 0 to 1970."""
_EVENT = 0x04
_MONITOR_EVENT = 3
_COMMAND_OR_EVENT, _RECEIVED = 2, 1


@dataclass(frozen=True, slots=True)
class Packet:
    """One record of a capture, or what could not be read of it."""

    taken_ns: int
    """Unix nanoseconds, to the microsecond."""
    event: bytes
    """An HCI event from its event code on; empty for other packets."""
    dropped: int = 0
    """Packets that the recorder says it has lost just before this one."""
    flaw: str = ""
    """Why the event is not whole, or the capture ends here."""


class Capture:
    """One pass over a capture.  Raises SourceUnavailable."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.bytes_done = 0
        self.bytes_total = 0
        """0 when unknown, as with a pipe."""
        self._buffer = b""
        self._drops: int | None = None
        self._file = self._open()
        try:
            self._link = self._read_head()
        except BaseException:
            self._file.close()
            raise

    def packets(self) -> Iterator[Packet]:
        """All packets in order.  A damaged capture ends there: nothing tells where the next record begins."""
        last_ns = 0
        while True:
            offset = self.bytes_done - len(self._buffer)
            head = self._take(_RECORD.size)
            if not head:
                return
            if len(head) < _RECORD.size:
                yield Packet(last_ns, b"", flaw=f"cut off in the record at byte {offset}")
                return
            length, included, flags, drops, micros = _RECORD.unpack(head)
            taken_ns = (micros - _YEAR_0_US) * 1_000
            if included > PACKET_BYTES_MAX or included > length or abs(taken_ns) >= 1 << 62:
                yield Packet(last_ns, b"", flaw=f"no record at byte {offset}; what follows cannot be read")
                return
            data = self._take(included)
            if len(data) < included:
                yield Packet(taken_ns, b"", flaw=f"cut off in the record at byte {offset}")
                return
            dropped = 0 if self._drops is None else (drops - self._drops) & 0xFFFF_FFFF
            self._drops, last_ns = drops, taken_ns
            # A counter that falls was begun anew.
            event = self._event(data, flags)
            flaw = "a packet recorded in part" if event and included < length else ""
            yield Packet(taken_ns, event, dropped if dropped < 1 << 31 else 0, flaw)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _open(self) -> BinaryIO:
        try:
            if os.path.isdir(self.path):
                raise SourceUnavailable(self.path, "this is a directory; name a capture in it")
            file = open(self.path, "rb")  # noqa: SIM115 - closed by close()
            self.bytes_total = os.fstat(file.fileno()).st_size
        except (OSError, ValueError) as error:
            raise SourceUnavailable(self.path, getattr(error, "strerror", None) or str(error)) from error
        return file

    def _read_head(self) -> int:
        head = self._take(_HEAD.size)
        if not head.startswith(SIGNATURE) or len(head) < _HEAD.size:
            raise SourceUnavailable(self.path, "no btsnoop capture: it does not begin like one")
        _, version, link = _HEAD.unpack(head)
        if version != 1:
            raise SourceUnavailable(self.path, f"btsnoop version {version}, where only 1 is known")
        if link not in _LINKS:
            name = _OTHER_LINKS.get(link, f"kind {link}")
            raise SourceUnavailable(self.path, f"a capture of {name}; known are {', '.join(_LINKS.values())}")
        return int(link)

    def _event(self, data: bytes, flags: int) -> bytes:
        """The HCI event in a packet; nothing when it is none."""
        if self._link == H4:
            return data[1:] if data[:1] == bytes((_EVENT,)) else b""
        if self._link == MONITOR:
            return data if flags & 0xFFFF == _MONITOR_EVENT else b""
        return data if flags & 3 == _COMMAND_OR_EVENT | _RECEIVED else b""

    def _take(self, size: int) -> bytes:
        """So many bytes, or what is left."""
        while len(self._buffer) < size:
            try:
                chunk = self._file.read(CHUNK_BYTES)
            except OSError as error:
                where = f"{self.path}, byte {self.bytes_done}"
                raise SourceUnavailable(where, f"reading failed: {error.strerror}") from error
            if not chunk:
                break
            self.bytes_done += len(chunk)
            self._buffer += chunk
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data
