"""Bytes of a CSV file -> rows of text, in order, a portion at a time.

Runs on CPython.  Pure: bytes go in as they come, rows come out; memory stays flat whatever comes.
Source: RFC 4180, for what it says; for what it does not:

    bytes that are nothing in the encoding    stay in their cell, as lone surrogates
    a quote inside of a cell that began without one    an ordinary character
    text behind a closing quote               belongs to the cell
    a quoted cell with line ends              one row, up to SPAN_LINES lines
    a quote that is never closed              its line comes raw, and the next line is read anew
    a line longer than LINE_CHARACTERS        comes raw, in parts
    an empty line                             is counted, and no row
"""

from __future__ import annotations

import codecs
from collections import deque
from dataclasses import dataclass
from itertools import islice

LINE_CHARACTERS = 3_500
"""A row in one record: that takes 16 KiB, a character up to four, and names and reasons come to it."""
SPAN_LINES = 50
"""Lines that one row may span."""
UNCLOSED = "quote not closed"
TOO_LONG = "line too long for one record"
ENCODINGS = ("utf-8", "latin-1", "cp1252", "utf-16")


@dataclass(frozen=True, slots=True)
class Row:
    """One row, or what could not become one."""

    line: int
    """Of the file, counted from 1, where it begins."""
    cells: list[str]
    """Empty when there is a flaw."""
    raw: str
    """Its text."""
    flaw: str = ""
    """Why it has no cells."""
    part: int = 0
    """Which part of its line `raw` is, from 1; 0: all of it."""


class RowReader:
    """Feed bytes; take rows."""

    def __init__(self, delimiter: str, encoding: str = "utf-8") -> None:
        self.ignored = 0
        """Empty lines."""
        self._delimiter = delimiter
        # UTF-16 has no single bytes that could be kept.
        errors = "replace" if encoding == "utf-16" else "surrogateescape"
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)
        self._is_first = True
        self._rest = ""
        """What stands behind the last line end."""
        self._lines: deque[str] = deque()
        """Whole lines of which no row has been made: a quote is open."""
        self._line = 1
        """Number of the first of them."""
        self._part = 0
        """Parts of `rest` that have gone already."""

    def feed(self, data: bytes, *, is_last: bool = False) -> list[Row]:
        """The rows that `data` completes; with `is_last` all that is left, with or without a line end."""
        text = self._rest + self._decoder.decode(data, is_last)
        if self._is_first and text:
            text, self._is_first = text.removeprefix("\ufeff"), False
        *lines, self._rest = text.split("\n")
        if is_last and self._rest:
            lines.append(self._rest)
            self._rest = ""
        rows: list[Row] = []
        if self._part and lines:
            self._end_parts(lines.pop(0), rows)
        self._lines.extend(line.removesuffix("\r") for line in lines)
        self._rows(rows, is_last=is_last)
        if len(self._rest) > LINE_CHARACTERS:
            # No row that is still open can take as much.
            self._rows(rows, is_last=True)
            whole = len(self._rest) // LINE_CHARACTERS * LINE_CHARACTERS
            self._add_parts(self._rest[:whole], rows)
            self._rest = self._rest[whole:]
        return rows

    def _rows(self, rows: list[Row], *, is_last: bool) -> None:
        """Makes rows of the lines, but for those that wait for a quote to close; of all when it is last."""
        lines = self._lines
        while lines:
            line = lines[0]
            count = 1
            if not line:
                self.ignored += 1
            elif len(line) > LINE_CHARACTERS:
                self._add_parts(line, rows)
                self._part = 0
            elif '"' not in line:
                rows.append(Row(self._line, line.split(self._delimiter), line))
            else:
                cells, count = self._quoted()
                if cells is not None:
                    rows.append(Row(self._line, cells, "\n".join(islice(lines, count))))
                elif count < SPAN_LINES and count == len(lines) and not is_last:
                    return
                else:
                    count = 1
                    rows.append(Row(self._line, [], line, UNCLOSED))
            for _ in range(count):
                lines.popleft()
            self._line += count

    def _quoted(self) -> tuple[list[str] | None, int]:
        """The row of the fewest lines whose quotes are closed, or None; and how many lines were looked at."""
        text = ""
        count = 0
        for line in islice(self._lines, SPAN_LINES):
            text = f"{text}\n{line}" if count else line
            if len(text) > LINE_CHARACTERS:
                return None, SPAN_LINES
            count += 1
            if '"' in line and (cells := split_row(text, self._delimiter)) is not None:
                return cells, count
        return None, count

    def _add_parts(self, text: str, rows: list[Row]) -> None:
        for begin in range(0, len(text), LINE_CHARACTERS):
            self._part += 1
            rows.append(Row(self._line, [], text[begin : begin + LINE_CHARACTERS], TOO_LONG, self._part))

    def _end_parts(self, end: str, rows: list[Row]) -> None:
        """The line end of a line that came in parts."""
        self._add_parts(end.removesuffix("\r"), rows)
        self._part = 0
        self._line += 1


def split_row(text: str, delimiter: str) -> list[str] | None:
    """The cells of one row; None when a quote is open at its end."""
    cells: list[str] = []
    at, end = 0, len(text)
    while True:
        quoted = ""
        if text.startswith('"', at):
            at += 1
            while True:
                close = text.find('"', at)
                if close < 0:
                    return None
                quoted += text[at:close]
                at = close + 1
                if not text.startswith('"', at):
                    break
                quoted += '"'
                at += 1
        stop = text.find(delimiter, at)
        cells.append(quoted + text[at : stop if stop >= 0 else end])
        if stop < 0:
            return cells
        at = stop + len(delimiter)
