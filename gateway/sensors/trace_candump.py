"""What candump prints: its log form, and what it shows on the console with any of its options.

Runs on CPython.  One file may mix both and have anything between, as a terminal's record does.
A line that begins like a frame, or has bytes in hex, and cannot be read is damaged; others, such
as a prompt, are ignored.  Times may be absolute, from zero, or from line to line; or be absent,
then frames are set UNTIMED_SPACING_NS apart.  Source: can-utils, candump.c and lib.c.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from gateway.sensors.trace_sink import (
    CACHE_MAX,
    NS_PER_S_DIGITS,
    TIME_MAX_NS,
    UNTIMED_SPACING_NS,
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
    FD,
    REMOTE,
    TX,
    CanFrame,
)
from obd.errors import FrameError

_CONSOLE = re.compile(
    r"\s*(?:\((?P<stamp>[^()]*)\)\s+)?(?P<channel>[^\s\[\]]+)\s+"
    r"(?:(?P<way>[RT]X)\s+(?P<switch>[B-])\s(?P<state>[E-])\s+)?"
    r"(?P<id>[0-9A-F]{8}|[0-9A-F]{3})\s+(?P<size>\[\d{1,2}\]|\{[9A-F]\}) ?(?P<rest>.*)",
    re.ASCII,
)
_LOG = re.compile(r"\s*\((?P<stamp>[^()]*)\)\s+(?P<channel>\S+)\s+(?P<word>\S+#\S*)(?:\s+(?P<way>[RT]))?\s*$")
_DROPS = re.compile(r"DROPCOUNT: dropped (\d{1,10}) CAN frame")
_LIKE_FRAME = re.compile(
    r"\s*\(\d|\s*v?s?l?can\d+\s+\S|.*\b([0-9A-F]{8}|[0-9A-F]{3})\s+(\[\d{1,2}\]|\{[9A-F]\})"
)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

_SIZES_CLASSIC = {str(size): size for size in range(9)}
_ABSOLUTE_FROM_NS = 10**8 * 10**9
"""Stamps above (1973) count from 1970, below from the start of the recording."""

# Twice as fast as CanFrame(..), whose __new__ is a Python function.
new_frame = tuple.__new__


class CandumpParser(LineParser):
    """Reads candump's lines, log and console."""

    format_name = "candump"

    def __init__(self, sink: TraceSink, channels: Channels) -> None:
        super().__init__(sink, channels)
        self.is_delta = False
        """Stamps count from the line before; see `probe`."""
        self._untimed_ns: int | None = None
        self._now_ns = 0
        self._date_text = ""
        self._date_ns = 0
        self._fast: dict[str, dict[str, tuple[int, int]]] = {}
        """Id and flags of a log line, by channel and head of its word."""
        self._console_heads: dict[str, tuple[int, int]] = {}
        """The same of a console line, by what stands between its stamp and its length."""

    @classmethod
    def score(cls, lines: list[str]) -> int:
        """Frames among `lines`."""
        return sum(1 for line in lines if _CONSOLE.match(line) or _LOG.match(line))

    def probe(self, lines: list[str]) -> None:
        """Decides what small stamps count from: those of `-t z` never fall, those of `-t d` soon do."""
        before_ns = -1
        for line in lines:
            match = _CONSOLE.match(line) or _LOG.match(line)
            try:
                stamp_ns = seconds_to_ns(match["stamp"]) if match and match["stamp"] else -1
            except ValueError:
                continue
            if 0 <= stamp_ns < before_ns < _ABSOLUTE_FROM_NS:
                self.is_delta = True
                self.sink.stats.note("stamps count from line to line (candump -t d); they are summed up")
                return
            before_ns = stamp_ns

    def parse(self, line_number: int, lines: list[str]) -> None:
        """Reads whole lines into the sink."""
        sink = self.sink
        add_time, add_frame = sink.taken.append, sink.frames.append
        from_hex, scale_of = bytes.fromhex, NS_PER_S_DIGITS
        fast = self._fast
        for number, line in enumerate(lines, line_number):
            # No log line has a bracket, each console line has.
            if "[" in line:
                if not self._parse_console_fast(line):
                    self._parse_slowly(number, line)
                continue
            # The data frame of an id seen before; everything else leaves this path by an exception.
            try:
                stamp, channel, word = line.split()
                head, mark, body = word.partition("#")
                arbitration_id, flags = fast[channel][head]
                data = from_hex(body)
                whole, _, decimals = stamp[1:-1].partition(".")
                digits = whole + decimals
                taken_ns = int(digits) * scale_of[len(decimals)]
                if (
                    not mark
                    or len(data) > 8
                    or not _ABSOLUTE_FROM_NS < taken_ns <= TIME_MAX_NS
                    or not digits.isdecimal()
                    or stamp[0] != "("
                    or stamp[-1] != ")"
                ):
                    raise ValueError
            except (KeyError, ValueError):
                self._parse_slowly(number, line)
                continue
            add_time(taken_ns)
            add_frame(new_frame(CanFrame, (arbitration_id, flags, data)))

    def parse_last(self, line_number: int, line: str) -> None:
        """Reads a last line without an end, unless it is of a log: that does not say how long a frame is."""
        if line.lstrip()[:1] == "(" and not _CONSOLE.match(line):
            self.sink.damaged(f"line {line_number}", "the file ends within it")
        else:
            self.parse(line_number, [line])

    def _parse_console_fast(self, line: str) -> bool:
        """Reads a classic data frame of an id seen before; False when it is anything else."""
        head, _, tail = line.partition("[")
        stamp, paren, head = head.rpartition(")")
        known = self._console_heads.get(head)
        size = _SIZES_CLASSIC.get(tail[:1])
        if known is None or size is None or tail[1:3] != "] ":
            return False
        behind = tail[3 + 3 * size :]
        # Behind the data only blanks, or its ASCII form in quotes, may follow.
        if behind and (not behind[0].isspace() or behind.lstrip()[:1] not in ("", "'")):
            return False
        try:
            data = bytes.fromhex(tail[3 : 3 + 3 * size])
            if len(data) != size:
                return False
            taken_ns = self._time(stamp.lstrip()[1:] if paren else None)
        except ValueError:
            return False
        self.sink.taken.append(taken_ns)
        self.sink.frames.append(new_frame(CanFrame, (*known, data)))
        return True

    def _parse_slowly(self, number: int, line: str) -> None:
        """Any line; tells frames, damaged frames and noise apart."""
        if "\x1b" in line:
            line = _COLOURS.sub("", line)
        if not line or line.isspace():
            return
        try:
            match = _CONSOLE.match(line)
            if match:
                self._read_console(match)
                return
            match = _LOG.match(line)
            if match:
                self._read_log(match)
                return
        except ValueError as error:
            self.sink.damaged(f"line {number}", str(error))
            return
        except FrameError as error:
            self.sink.damaged(f"line {number}", str(error))
            return
        drops = _DROPS.search(line)
        if drops:
            self.sink.lost(f"line {number}: candump lost frames: {line.strip()[:80]}", int(drops[1]))
        elif _LIKE_FRAME.match(line) or has_hex_run(line) or self._begins_with_channel(line):
            self.sink.damaged(
                f"line {number}", f"begins or looks like a frame, but is none: {line.strip()[:40]!r}"
            )
        else:
            self.sink.ignored()

    def _begins_with_channel(self, line: str) -> bool:
        return line.split(None, 1)[0] in self.channels.seen

    def _read_log(self, match: re.Match[str]) -> None:
        frame = CanFrame.parse(match["word"])
        if match["way"] == "T":
            frame = frame._replace(flags=frame.flags | TX)
        taken_ns = self._time(match["stamp"])
        channel = match["channel"]
        if not self.channels.wants(channel):
            self.sink.ignored()
            return
        self.add(taken_ns, frame)
        if frame.flags & (FD | REMOTE | TX) == 0 and frame.flags >> DLC_SHIFT == 0 and self.is_absolute:
            if len(self._fast) > 64 or len(self._fast.get(channel, ())) >= CACHE_MAX:
                self._fast.clear()
            self._fast.setdefault(channel, {})[match["word"].partition("#")[0]] = (
                frame.arbitration_id,
                frame.flags,
            )

    def _read_console(self, match: re.Match[str]) -> None:
        id_text, size_text, rest = match["id"], match["size"], match["rest"]
        head = CanFrame.parse(id_text + "#")
        flags = head.flags | (TX if match["way"] == "TX" else 0)
        is_fd = len(size_text) == 4  # [08]: two digits stand for FD
        if is_fd:
            flags |= FD
        if match["switch"] == "B":
            flags |= BITRATE_SWITCH
        if match["state"] == "E":
            flags |= ERROR_STATE
        size = int(size_text[1:-1], 16 if size_text[0] == "{" else 10)
        if rest.lstrip().startswith("remote request"):
            frame = CanFrame.checked(head.arbitration_id, flags | REMOTE | size << DLC_SHIFT, b"")
        else:
            if size_text[0] == "{":
                flags |= size << DLC_SHIFT
                size = 8
            frame = CanFrame.checked(head.arbitration_id, flags, _console_bytes(rest, size))
        taken_ns = self._time(match["stamp"])
        if not self.channels.wants(match["channel"]):
            self.sink.ignored()
            return
        self.add(taken_ns, frame)
        if not frame.flags & (FD | REMOTE) and not frame.flags >> DLC_SHIFT:
            if len(self._console_heads) >= CACHE_MAX:
                self._console_heads.clear()
            text = match.string
            line_head = text[
                match.end("stamp") + 1 if match["stamp"] is not None else 0 : match.start("size")
            ]
            self._console_heads[line_head] = (frame.arbitration_id, frame.flags)

    def _time(self, stamp: str | None) -> int:
        """Nanoseconds of a stamp; a frame without one follows its predecessor."""
        if stamp is None:
            if self._untimed_ns is None:
                self._untimed_ns = 0
                self.sink.stats.note(
                    f"lines without a time: frames are set {UNTIMED_SPACING_NS // 1000} us apart, in order"
                )
                self._now_ns = self._now_ns or -UNTIMED_SPACING_NS
            self._now_ns += UNTIMED_SPACING_NS
            return self._now_ns
        if "-" in stamp:
            self._now_ns = self._dated(stamp)
            self.is_absolute = True
            return self._now_ns
        stamp_ns = seconds_to_ns(stamp)
        if self.is_delta:
            self._now_ns = checked_time(self._now_ns + stamp_ns)
        else:
            self._now_ns = stamp_ns
            if stamp_ns > _ABSOLUTE_FROM_NS:
                self.is_absolute = True
        return self._now_ns

    def _dated(self, stamp: str) -> int:
        """`2015-07-10 08:30:52.249713`, of `-t A`: local time, but the file does not say where."""
        date_text, _, decimals = stamp.partition(".")
        if date_text != self._date_text:
            date = datetime.strptime(date_text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
            if not self._date_text:
                self.sink.stats.note("the stamps are dates without a time zone; they are read as UTC")
            self._date_text = date_text
            self._date_ns = checked_time(int(date.timestamp()) * 10**9)
        return self._date_ns + seconds_to_ns("0." + decimals)


def _console_bytes(rest: str, size: int) -> bytes:
    """The data behind the length; behind it only its ASCII form may follow.  Raises ValueError."""
    body, tail = rest[: 3 * size], rest[3 * size :]
    is_swapped = "`" in body
    try:
        data = bytes.fromhex(body.replace("`", " ") if is_swapped else body)
    except ValueError:
        raise ValueError(f"{size} bytes announced, {body.strip()[:40]!r} found") from None
    if len(data) != size:
        raise ValueError(f"{size} bytes announced, {len(data)} found")
    if tail and not tail[0].isspace():
        raise ValueError(f"{tail[:20]!r} behind the data")
    tail = tail.strip()
    if tail and tail[0] not in "'`" and tail != "ERRORFRAME":
        raise ValueError(f"{size} bytes announced, but {tail[:20]!r} follows")
    # candump -S prints the last byte first.
    return data[::-1] if is_swapped else data
