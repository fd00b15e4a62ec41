"""PCAN trace files (.trc), versions 1.0 to 1.3, 2.0 and 2.1.

Runs on CPython.  A version is a list of columns: 2.x name theirs in `$COLUMNS`, 1.x have fixed
ones.  Lines about the bus instead of from it are counted as ignored, except those that say
something was lost.  Source: PEAK CAN TRC File Format, PEAK-System, 2020-07-27.
"""

from __future__ import annotations

import re

from gateway.sensors.trace_sink import (
    CACHE_MAX,
    NS_PER_MS_DIGITS,
    RECORDED_ERROR,
    TIME_MAX_NS,
    Channels,
    LineParser,
    TraceSink,
    checked_time,
    milliseconds_to_ns,
)
from obd.can_frame import (
    BITRATE_SWITCH,
    DLC_SHIFT,
    ERROR_STATE,
    EXTENDED,
    FD,
    FD_LENGTHS,
    ID_EXTENDED_MAX,
    ID_STANDARD_MAX,
    REMOTE,
    TX,
    CanFrame,
)

COLUMNS = {"1.0": "NOILD", "1.1": "NOdILD", "1.2": "NOBdILD", "1.3": "NOBdIRLD"}
"""N number, O offset in ms, B bus, d direction, I id, R reserved, L DLC, l bytes, T type, D data."""

TYPES = {
    "DT": 0,
    "RR": REMOTE,
    "FD": FD,
    "FB": FD | BITRATE_SWITCH,
    "FE": FD | BITRATE_SWITCH | ERROR_STATE,
    "BI": FD | ERROR_STATE,
}
"""Frame flags by the type column of 2.x."""

_STATUS_TYPES = ("ST", "EC", "EV")
_STATUS_DIRECTIONS = ("Warng", "Event")
_STATUS_ID = "FFFFFFFF"
_OVERRUN_BITS = 0x42  # PCAN_ERROR_OVERRUN | PCAN_ERROR_QOVERRUN of PCANBasic.h
_BUS_OFF_BIT = 0x10

_SIZES_CLASSIC = {str(size): size for size in range(9)}
_SIZES_FD_LENGTH = {str(size): size for size in FD_LENGTHS}
_SIZES_FD_DLC = {str(dlc): size for dlc, size in enumerate(FD_LENGTHS)}

# Days from 1899-12-30, the zero of OLE dates, to 1970-01-01.
_OLE_EPOCH_DAYS = 25569
_NS_PER_DAY = 86_400 * 10**9

_SURE = re.compile(
    r";\$FILEVERSION=|\s*\d+\)\s+\d+(\.\d+)?\s+(\d+\s+)?([RT]x\s+)?([0-9A-F]{4}|[0-9A-F]{8})\s+(-\s+)?\d"
    r"|\s*\d+\s+\d+\.\d+\s+(DT|FD|FB|FE|BI|RR)\s"
)

# Twice as fast as CanFrame(..), whose __new__ is a Python function.
new_frame = tuple.__new__


class TrcParser(LineParser):
    """Reads .trc lines.  Times are absolute where the file has a $STARTTIME."""

    format_name = "PCAN .trc"

    def __init__(self, sink: TraceSink, channels: Channels) -> None:
        super().__init__(sink, channels)
        self._start_ns = 0
        self._cache: dict[str, tuple[int, int, dict[str, int]]] = {}
        """Id, flags and sizes by length column, by what else is fixed in a line."""
        self._lay_out(COLUMNS["1.0"])

    @classmethod
    def score(cls, lines: list[str]) -> int:
        """Headers and frames among `lines`."""
        return sum(1 for line in lines if _SURE.match(line))

    def _lay_out(self, columns: str) -> None:
        """Remembers where each column is."""
        at = {column: index for index, column in enumerate(columns)}
        self._splits = len(columns) - 1
        self._at_time = at["O"]
        self._at_id = at["I"]
        self._at_size = at["l"] if "l" in at else at["L"]
        self._at_data = at["D"]
        self._at_type = at.get("T", -1)
        self._at_way = at.get("d", -1)
        self._at_bus = at.get("B", -1)
        self._sizes_fd = _SIZES_FD_LENGTH if "l" in at else _SIZES_FD_DLC
        # What is the same in all lines of an id: everything between the time and the length.
        self._key = slice(at["O"] + 1, self._at_size)
        self._cache.clear()

    def parse(self, line_number: int, lines: list[str]) -> None:
        """Reads whole lines into the sink."""
        sink = self.sink
        add_time, add_frame = sink.taken.append, sink.frames.append
        from_hex, scale_of = bytes.fromhex, NS_PER_MS_DIGITS
        for number, line in enumerate(lines, line_number):
            # Everything that is not a data frame seen before leaves this path by an exception.
            try:
                columns = line.split(None, self._splits)
                whole, _, decimals = columns[self._at_time].partition(".")
                digits = whole + decimals
                arbitration_id, flags, sizes = self._cache[" ".join(columns[self._key])]
                data = from_hex(columns[self._at_data])
                if len(data) != sizes[columns[self._at_size]] or not digits.isdecimal():
                    raise ValueError
                taken_ns = int(digits) * scale_of[len(decimals)] + self._start_ns
                if taken_ns > TIME_MAX_NS:
                    raise ValueError
            except (IndexError, KeyError, TypeError, ValueError):
                self._parse_slowly(number, line)
                continue
            add_time(taken_ns)
            add_frame(new_frame(CanFrame, (arbitration_id, flags, data)))

    def _parse_slowly(self, number: int, line: str) -> None:
        """Any line; says what is wrong with it."""
        text = line.strip()
        if not text or text[0] == ";":
            self._read_header(number, text)
            return
        try:
            self._read_line(text)
        except ValueError as error:
            self.sink.damaged(f"line {number}", str(error))

    def _read_line(self, text: str) -> None:
        columns = text.split(None, self._splits)
        if len(columns) <= self._at_time:
            raise ValueError(f"{len(columns)} columns instead of {self._splits + 1}")
        taken_ns = checked_time(self._start_ns + milliseconds_to_ns(columns[self._at_time]))
        kind = columns[self._at_type] if 0 <= self._at_type < len(columns) else ""
        way = columns[self._at_way] if 0 <= self._at_way < len(columns) else ""
        if kind in _STATUS_TYPES or way in _STATUS_DIRECTIONS or _STATUS_ID in columns:
            self._read_status(text)
            return
        # As version 1.0 has it.
        is_error = len(columns) > self._at_data and columns[self._at_data].startswith("ERROR")
        if kind == "ER" or way == "Error" or is_error:
            self.add(taken_ns, RECORDED_ERROR)
            return
        if len(columns) <= self._at_size:
            raise ValueError(f"{len(columns)} columns instead of {self._splits + 1}")
        flags = 0
        if self._at_type >= 0:
            if kind not in TYPES:
                raise ValueError(f"unknown type {kind[:20]!r}")
            flags = TYPES[kind]
        if self._at_way >= 0 and way not in ("Rx", "Tx"):
            raise ValueError(f"{way[:20]!r} instead of Rx or Tx")
        if way == "Tx":
            flags |= TX
        arbitration_id, extended = _read_id(columns[self._at_id])
        flags |= extended
        if self._at_bus >= 0 and not self.channels.wants(columns[self._at_bus]):
            self.sink.ignored()
            return
        rest = columns[self._at_data] if len(columns) > self._at_data else ""
        frame = self._frame(arbitration_id, flags, columns[self._at_size], rest.strip())
        self.add(taken_ns, frame)
        if not frame.flags & REMOTE and not frame.flags >> DLC_SHIFT:
            sizes = self._sizes_fd if flags & FD else _SIZES_CLASSIC
            if len(self._cache) >= CACHE_MAX:
                self._cache.clear()
            self._cache[" ".join(columns[self._key])] = (arbitration_id, flags, sizes)

    def _frame(self, arbitration_id: int, flags: int, size_text: str, rest: str) -> CanFrame:
        if not (size_text.isdecimal() and len(size_text) <= 2):
            raise ValueError(f"{size_text[:20]!r} is no length")
        if rest.startswith("RTR") or flags & REMOTE:
            if int(size_text) > 15:
                raise ValueError(f"length {size_text} is more than a frame can hold")
            return CanFrame(arbitration_id, flags | REMOTE | int(size_text) << DLC_SHIFT, b"")
        if flags & FD:
            size = self._sizes_fd.get(size_text)
            if size is None:
                raise ValueError(f"length {size_text} is none of CAN FD")
        else:
            size = int(size_text)
            if size > 15:
                raise ValueError(f"length {size_text} is more than a frame can hold")
            if size > 8:
                # A classic frame may say 9 to 15 and still carries 8.
                flags |= size << DLC_SHIFT
                size = 8
        try:
            data = bytes.fromhex(rest)
        except ValueError:
            raise ValueError(f"{rest[:40]!r} are no bytes in hex") from None
        if len(data) != size:
            raise ValueError(f"{size} bytes announced, {len(data)} found")
        return CanFrame(arbitration_id, flags, data)

    def _read_status(self, text: str) -> None:
        """A line about the bus: 1.x ends in a word, both have four bytes of PCAN status."""
        self.sink.ignored()
        status = re.search(r"\b([0-9A-F]{2}) ([0-9A-F]{2}) ([0-9A-F]{2}) ([0-9A-F]{2})\b", text)
        bits = int("".join(status.groups()), 16) if status else 0
        if bits & _OVERRUN_BITS:
            self.sink.lost("the recorder was too slow: overrun", 0)
        if bits & _BUS_OFF_BIT:
            self.sink.lost("bus off", 0)

    def _read_header(self, number: int, text: str) -> None:
        name, equals, value = text.partition("=")
        if not equals or not name.startswith(";$"):
            return
        value = value.strip()
        if name == ";$FILEVERSION":
            if value in COLUMNS:
                self._lay_out(COLUMNS[value])
            elif not value.startswith("2."):
                self.sink.damaged(f"line {number}", f"trace version {value[:20]!r} is unknown")
        elif name == ";$COLUMNS":
            columns = value.replace(",", "").replace(" ", "")
            if not set("OID") <= set(columns) or not set("lL") & set(columns) or len(columns) > 20:
                self.sink.damaged(f"line {number}", f"columns {value[:40]!r} lack offset, id, length or data")
            else:
                self._lay_out(columns)
        elif name == ";$STARTTIME":
            try:
                self._start_ns = ole_date_to_ns(value)
            except ValueError as error:
                self.sink.damaged(f"line {number}", str(error))
                return
            self.is_absolute = True
            self.sink.stats.note("the start time names no time zone; it is read as UTC")


def ole_date_to_ns(text: str) -> int:
    """Unix nanoseconds of days since 1899-12-30, exact to the digits given.  Raises ValueError."""
    whole, _, decimals = text.partition(".")
    if not (whole + decimals).isdecimal() or len(whole) > 6 or len(decimals) > 18:
        raise ValueError(f"start time {text[:40]!r} is no number of days")
    parts = 10 ** len(decimals)
    ns = (int(whole + decimals) * _NS_PER_DAY + parts // 2) // parts
    return checked_time(ns - _OLE_EPOCH_DAYS * _NS_PER_DAY)


def _read_id(text: str) -> tuple[int, int]:
    """Id and EXTENDED or 0: four digits are a standard id, more an extended one.

    PCAN writes eight then, python-can seven.
    """
    if not 4 <= len(text) <= 8 or not re.fullmatch("[0-9A-Fa-f]+", text):
        raise ValueError(f"{text[:20]!r} is no id of 4 to 8 hex digits")
    arbitration_id = int(text, 16)
    id_max = ID_STANDARD_MAX if len(text) == 4 else ID_EXTENDED_MAX
    if arbitration_id > id_max:
        raise ValueError(f"id {text} is above {id_max:X}")
    return arbitration_id, EXTENDED if len(text) > 4 else 0
