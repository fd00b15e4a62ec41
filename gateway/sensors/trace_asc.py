"""Vector ASCII logs (.asc), classic and FD.

Runs on CPython.  Lines of other buses, statistics and markers are counted as ignored; a line that
begins like a CAN message and cannot be read is damaged.  Times count from the `date` of the
header, or from the line before when it says `timestamps relative`.  Source: files written by
CANoe, and what python-can's ASCReader takes and ASCWriter writes, which the tests compare with.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from gateway.sensors.trace_sink import (
    RECORDED_ERROR,
    Channels,
    LineParser,
    TraceSink,
    checked_time,
    has_hex_run,
    seconds_to_ns,
)
from obd.can_frame import (
    BITRATE_SWITCH,
    DLC_SHIFT,
    ERROR_STATE,
    EXTENDED,
    FD,
    FD_LENGTHS,
    REMOTE,
    TX,
    CanFrame,
)
from obd.errors import FrameError

_HEADER = re.compile(
    r"date\s+\w+\s+(?P<date>.+)|base\s+(?P<base>hex|dec)(\s+timestamps\s+(?P<stamps>absolute|relative))?",
    re.IGNORECASE,
)
_SURE = re.compile(
    r"date\s+\w+\s+\w+\s+\d+\s|base\s+(hex|dec)|begin triggerblock"
    r"|\s*\d+\.\d+\s+(CANFD\s+\d+\s+[RT]x|\d+\s+[0-9A-F]+x?\s+[RT]x\s+[dr])\s",
    re.IGNORECASE,
)
_TIMED = re.compile(r"\s*(\d+\.\d+)\s+(.*)")
_CLASSIC = re.compile(
    r"(?P<channel>\d+)\s+(?P<id>[0-9A-F]+x?)\s+(?P<way>Rx|Tx|TxRq)\s+"
    r"(?P<kind>[dr])(?:\s+(?P<dlc>[0-9A-F]{1,2}))?(?:\s+(?P<rest>.*))?$",
    re.IGNORECASE,
)
_LIKE_CLASSIC = re.compile(r"\d+\s+[0-9A-F]+x?\s+(Rx|Tx)\b|CANFD\b", re.IGNORECASE)
_FD = re.compile(
    r"CANFD\s+(?P<channel>\d+)\s+(?P<way>Rx|Tx)\s+(?P<id>[0-9A-F]+x?)\s+(?:(?!\d+\s)\S+\s+)?"
    r"(?P<switch>[01])\s+(?P<state>[01])\s+(?P<dlc>[0-9A-F])\s+(?P<size>\d{1,2})(?:\s+(?P<rest>.*))?$",
    re.IGNORECASE,
)
_ERROR = re.compile(r"(CANFD\s+)?(?P<channel>\d+)\s+([RT]x\s+)?ErrorFrame", re.IGNORECASE)
_EDL_FLAG = 0x1000
_REMOTE_FLAG = 0x10

_MONTHS = {
    name: number
    for names in ("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec", ". . Mär . Mai . . . . Okt . Dez")
    for number, name in enumerate(names.split(), 1)
    if name != "."
}
"""English and German, the locales Vector's tools are met in."""


class AscParser(LineParser):
    """Reads .asc lines."""

    format_name = "Vector .asc"

    def __init__(self, sink: TraceSink, channels: Channels) -> None:
        super().__init__(sink, channels)
        self._base = 16
        self._is_relative = False
        self._start_ns = 0
        self._now_ns = 0

    @classmethod
    def score(cls, lines: list[str]) -> int:
        """Headers and frames among `lines`."""
        return sum(1 for line in lines if _SURE.match(line))

    def parse(self, line_number: int, lines: list[str]) -> None:
        """Reads whole lines into the sink."""
        for number, line in enumerate(lines, line_number):
            try:
                self._read_line(line)
            except (FrameError, ValueError) as error:
                self.sink.damaged(f"line {number}", str(error))

    def _read_line(self, line: str) -> None:
        timed = _TIMED.match(line)
        if timed is None:
            self._read_other(line.strip())
            return
        stamp_ns = seconds_to_ns(timed[1])
        self._now_ns = checked_time((self._now_ns if self._is_relative else self._start_ns) + stamp_ns)
        event = timed[2]
        match = _CLASSIC.match(event)
        if match:
            self._add(match["channel"], match["way"], self._classic(match))
            return
        match = _FD.match(event)
        if match:
            self._add(match["channel"], match["way"], self._fd(match))
            return
        match = _ERROR.match(event)
        if match:
            self._add(match["channel"], "Rx", RECORDED_ERROR)
        elif _LIKE_CLASSIC.match(event):
            raise ValueError(f"begins like a CAN message, but is none: {event[:40]!r}")
        else:
            self.sink.ignored()

    def _read_other(self, text: str) -> None:
        header = _HEADER.match(text)
        if header is None:
            if not text.startswith("//") and has_hex_run(text):
                raise ValueError(f"bytes without a time: {text[:40]!r}")
            if text:
                self.sink.ignored()
        elif header["date"]:
            if not self.is_absolute:
                self._start_ns = _date_to_ns(header["date"])
                self._now_ns = self._start_ns
                self.is_absolute = True
                self.sink.stats.note("the date names no time zone; it is read as UTC")
        else:
            self._base = 10 if header["base"].lower() == "dec" else 16
            self._is_relative = (header["stamps"] or "").lower() == "relative"

    def _classic(self, match: re.Match[str]) -> CanFrame:
        arbitration_id, flags = self._id(match["id"])
        dlc_text, rest = match["dlc"], match["rest"] or ""
        dlc = int(dlc_text, self._base) if dlc_text else 0
        if dlc > 15:
            raise ValueError(f"length {dlc_text} is more than a frame can hold")
        if match["kind"] in "rR":
            return CanFrame.checked(arbitration_id, flags | REMOTE | dlc << DLC_SHIFT, b"")
        if not dlc_text:
            raise ValueError("no length")
        if dlc > 8:
            flags |= dlc << DLC_SHIFT
        return CanFrame.checked(arbitration_id, flags, self._bytes(rest.split(), min(dlc, 8)))

    def _fd(self, match: re.Match[str]) -> CanFrame:
        arbitration_id, flags = self._id(match["id"])
        size, words = int(match["size"]), (match["rest"] or "").split()
        # Behind the data: duration, length, flags, ..; flags tell a classic frame in this form.
        bits = 0
        if len(words) >= size + 3 and re.fullmatch("[0-9A-Fa-f]{1,8}", words[size + 2]):
            bits = int(words[size + 2], 16)
        if bits & _REMOTE_FLAG and size == 0:
            return CanFrame.checked(arbitration_id, flags | REMOTE | int(match["dlc"], 16) << DLC_SHIFT, b"")
        data = self._bytes(words, size)
        if bits and not bits & _EDL_FLAG and size <= 8:
            return CanFrame.checked(arbitration_id, flags, data)
        if FD_LENGTHS[int(match["dlc"], 16)] != size:
            raise ValueError(f"DLC {match['dlc']} and length {size} disagree")
        flags |= FD
        if match["switch"] == "1":
            flags |= BITRATE_SWITCH
        if match["state"] == "1":
            flags |= ERROR_STATE
        return CanFrame.checked(arbitration_id, flags, data)

    def _id(self, text: str) -> tuple[int, int]:
        if text[-1] in "xX":
            return int(text[:-1], self._base), EXTENDED
        return int(text, self._base), 0

    def _bytes(self, words: list[str], size: int) -> bytes:
        """The first `size` words as bytes.  Raises ValueError."""
        if len(words) < size:
            raise ValueError(f"{size} bytes announced, {len(words)} found")
        widths = (2,) if self._base == 16 else (1, 2, 3)
        if any(len(word) not in widths or not word.isalnum() for word in words[:size]):
            raise ValueError(f"{size} bytes announced, {' '.join(words[:size])[:40]!r} found")
        return bytes(int(word, self._base) for word in words[:size])

    def _add(self, channel: str, way: str, frame: CanFrame) -> None:
        # TxRq is the wish to send; the frame on the bus follows as Tx.
        if way == "TxRq" or not self.channels.wants(channel):
            self.sink.ignored()
            return
        if way == "Tx":
            frame = frame._replace(flags=frame.flags | TX)
        self.add(self._now_ns, frame)


def _date_to_ns(text: str) -> int:
    """Unix nanoseconds of `Sep 30 03:06:13.191 PM 2017`, 12 or 24 hours.  Raises ValueError."""
    match = re.match(
        r"(?P<month>\w{3})\w*\s+(?P<day>\d{1,2})\s+(?P<clock>\d{1,2}:\d{2}:\d{2})(\.(?P<part>\d{1,9}))?"
        r"\s+(?P<half>[AP]M\s+)?(?P<year>\d{4})",
        text.strip(),
        re.IGNORECASE,
    )
    if match is None or match["month"].title() not in _MONTHS:
        raise ValueError(f"date {text[:40]!r} is not understood")
    hour, minute, second = (int(part) for part in match["clock"].split(":"))
    if match["half"]:
        hour = hour % 12 + (12 if match["half"][0] in "pP" else 0)
    date = datetime(
        int(match["year"]),
        _MONTHS[match["month"].title()],
        int(match["day"]),
        hour,
        minute,
        second,
        tzinfo=UTC,
    )
    return checked_time(int(date.timestamp()) * 10**9 + seconds_to_ns("0." + (match["part"] or "0")))
