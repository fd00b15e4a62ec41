"""A CSV file as readings: a row each, every cell judged, in batches.

Runs on CPython.  The file is read forwards in portions, so memory stays flat and a pipe will do.  What a
reading holds is written in csv_source.py, what is mangled in csv_cells.py, what is a row in csv_rows.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from gateway.sensors.csv_cells import Cell, Column, as_kept, read_cell
from gateway.sensors.csv_rows import Row, RowReader
from gateway.sensors.csv_times import time_ns
from gateway.sensors.source import Batch, SourceStats, SourceUnavailable
from puf import cbor

CHUNK_BYTES = 1 << 16
PROBE_BYTES = 1 << 18
"""So much is read before the first row is judged: columns learn from it."""
BATCH_ROWS = 250
# In words, because ; & and # mean something in a URL or a shell.
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
COLUMNS_MAX = 256
NAMES_BYTES_MAX = 3_000
"""Names of all columns together: they stand in every record."""
RECORD_BYTES_MAX = 16_000
"""A record takes 16 KiB."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""What could tell a terminal to do something: names of columns are shown."""
_CELLS_CACHED = 1 << 14
_LARGE = 1_500
"""Characters of a row above which its record is measured."""


@dataclass(frozen=True, slots=True)
class TableFormat:
    """How a file is written."""

    delimiter: str = ","
    """Between two cells."""
    decimal: str = "."
    """The decimal mark."""
    encoding: str = "utf-8"
    """One of csv_rows.ENCODINGS."""
    time_column: str = ""
    """The column with the time of a row; empty: there is none."""
    interval_ns: int = 10**9
    """Time between two rows when no column says it."""


class Table:
    """One pass over a file.  Raises SourceUnavailable when it cannot be read."""

    def __init__(self, path: str, form: TableFormat, stats: SourceStats) -> None:
        self.path = path
        self.form = form
        self.stats = stats
        self.bytes_done = 0
        self.bytes_total = 0
        """0 when unknown, as with a pipe."""
        self.is_absolute = False
        """Times count from 1970, not from some beginning."""
        self.columns: list[Column] = []
        self._cache: dict[str, Cell] = {}
        self._rows_done = 0
        self._last_ns = 0
        self._time_at = -1
        self._told: set[tuple[str, str]] = set()
        self._reader = RowReader(form.delimiter, form.encoding)
        self._is_at_end = False
        self._file = self._open()
        try:
            self._rows = self._probe()
            self._take_header()
            self._find_time()
            self._learn()
        except BaseException:
            self._file.close()
            raise

    def batches(self) -> Iterator[Batch]:
        """All rows in order, with the times that the file gives them."""
        batch = Batch([], [])
        rows, self._rows = self._rows, []
        while True:
            for row in rows:
                for value in self._readings(row):
                    batch.taken_ns.append(self._last_ns)
                    batch.values.append(value)
                if len(batch.values) >= BATCH_ROWS:
                    yield batch
                    batch = Batch([], [])
            if self._is_at_end:
                break
            rows = self._read()
        self.stats.ignored = self._reader.ignored
        self._summarize()
        if batch.values:
            yield batch

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    # Opening

    def _open(self) -> BinaryIO:
        try:
            if os.path.isdir(self.path):
                raise SourceUnavailable(self.path, "this is a directory; name a table in it")
            file = open(self.path, "rb")  # noqa: SIM115 - closed by close()
            self.bytes_total = os.fstat(file.fileno()).st_size
        except (OSError, ValueError) as error:
            raise SourceUnavailable(self.path, getattr(error, "strerror", None) or str(error)) from error
        return file

    def _read(self) -> list[Row]:
        """The next rows; may be none."""
        try:
            data = self._file.read(CHUNK_BYTES)
        except OSError as error:
            where = f"{self.path}, byte {self.bytes_done}"
            raise SourceUnavailable(where, f"reading failed: {error.strerror}") from error
        if not self.bytes_done and data[:2] in (b"\xff\xfe", b"\xfe\xff") and self.form.encoding != "utf-16":
            raise SourceUnavailable(self.path, "the file is UTF-16; add encoding=utf-16")
        self.bytes_done += len(data)
        self._is_at_end = not data
        try:
            return self._reader.feed(data, is_last=not data)
        except UnicodeError as error:
            # Only UTF-16 does: all else keeps what it cannot decode.
            raise SourceUnavailable(self.path, f"not in {self.form.encoding}: {error}") from error

    def _probe(self) -> list[Row]:
        rows: list[Row] = []
        while self.bytes_done < PROBE_BYTES and not self._is_at_end:
            rows += self._read()
        if not rows:
            raise SourceUnavailable(self.path, "the file is empty")
        return rows

    def _take_header(self) -> None:
        header = self._rows.pop(0)
        if header.flaw:
            raise SourceUnavailable(self.path, f"its first line is no header: {header.flaw}")
        names: list[str] = []
        for number, cell in enumerate(header.cells, 1):
            # Spreadsheets break long names into lines.
            name = " ".join(cell.split()).encode("utf-8", "replace").decode() or f"column {number}"
            if _CONTROL.search(name):
                raise SourceUnavailable(
                    self.path, f"no table: its first line has control characters, such as in {name[:40]!r}"
                )
            names.append(name if name not in names else f"{name} ({number})")
        if len(names) > COLUMNS_MAX or sum(len(name.encode()) for name in names) > NAMES_BYTES_MAX:
            raise SourceUnavailable(
                self.path,
                f"{len(names)} columns; a record takes {COLUMNS_MAX}, with names of {NAMES_BYTES_MAX} bytes",
            )
        if len(names) == 1:
            for word, other in DELIMITERS.items():
                if other != self.form.delimiter and other in header.raw:
                    self.stats.note(f"{self.path}: only one column; did you mean delimiter={word}?")
        self.columns = [Column(name) for name in names]

    def _find_time(self) -> None:
        name = self.form.time_column
        if not name:
            return
        names = [column.name for column in self.columns]
        if name not in names:
            raise SourceUnavailable(self.path, f"no column {name!r}; there are {', '.join(names)[:500]}")
        at = self._time_at = names.index(name)
        texts = [row.cells[at] for row in self._rows if len(row.cells) > at and row.cells[at]]
        for text in texts:
            if (found := time_ns(text)) is not None:
                self._last_ns, self.is_absolute = found
                return
        raise SourceUnavailable(
            self.path,
            f"column {name!r} says no time{f', such as {texts[0][:40]!r}' if texts else ''}; "
            "known are ISO 8601, seconds since 1970, and hours:minutes:seconds",
        )

    def _learn(self) -> None:
        for row in self._rows:
            if len(row.cells) == len(self.columns):
                for column, text in zip(self.columns, row.cells, strict=True):
                    if text:
                        column.learn(self._cell(text))

    # Rows

    def _readings(self, row: Row) -> Iterator[dict[str, Any]]:
        """The record of a row; several when one cannot hold it."""
        value: dict[str, Any] = {"row": row.line}
        if row.flaw:
            self._note(row, "", row.raw, row.flaw)
            value |= {"raw": as_kept(row.raw, self.form.encoding), "flaw": row.flaw}
            if row.part:
                value["part"] = row.part
            self.stats.damaged += row.part < 2
            yield value
            return
        self._fill(row, value)
        self._tell_time(row, value)
        self.stats.damaged += "damaged" in value or "flaw" in value or "time_flaw" in value
        if len(row.raw) > _LARGE and len(cbor.encode(value)) > RECORD_BYTES_MAX:
            # All of it, raw: the text alone always fits.
            value = {"row": row.line, "raw": as_kept(row.raw, self.form.encoding)}
            value["flaw"] = "too many cells for one record"
        yield value

    def _fill(self, row: Row, value: dict[str, Any]) -> None:
        """Puts the cells in."""
        cells: dict[str, Any] = {}
        damaged: dict[str, str] = {}
        value["cells"] = cells
        for column, text in zip(self.columns, row.cells, strict=False):
            if not text:
                continue
            cell = self._cell(text)
            if why := column.judge(cell):
                damaged[column.name] = why
                cells[column.name] = cell.value if isinstance(cell.value, bytes) else text
                self._note(row, column.name, text, why)
            else:
                cells[column.name] = cell.value
        if damaged:
            value["damaged"] = damaged
        if len(row.cells) != len(self.columns):
            value["flaw"] = f"{len(row.cells)} cells instead of {len(self.columns)}"
            self._note(row, "", row.raw, "not as many cells as the header has")
            if len(row.cells) > len(self.columns):
                extra = row.cells[len(self.columns) :]
                value["extra"] = [as_kept(text, self.form.encoding) for text in extra]

    def _tell_time(self, row: Row, value: dict[str, Any]) -> None:
        """Moves on to the time of the row."""
        if self._time_at < 0:
            self._last_ns = self._rows_done * self.form.interval_ns
            self._rows_done += 1
            return
        text = row.cells[self._time_at] if len(row.cells) > self._time_at else ""
        found = time_ns(text)
        if found is None or found[1] != self.is_absolute:
            value["time_flaw"] = "no time: that of the row before"
            self._note(row, self.form.time_column, text, "no time")
        else:
            if found[0] < self._last_ns:
                self._note(row, self.form.time_column, text, "earlier than the row before")
            self._last_ns = found[0]

    def _cell(self, text: str) -> Cell:
        cell = self._cache.get(text)
        if cell is None:
            if len(self._cache) >= _CELLS_CACHED:
                self._cache.clear()
            cell = self._cache[text] = read_cell(text, self.form.decimal, self.form.encoding)
        return cell

    # Telling people

    def _note(self, row: Row, column: str, text: str, why: str) -> None:
        """Tells of the first cell of a column that has this damage."""
        if (column, why) not in self._told:
            self._told.add((column, why))
            where = f"row {row.line}, column {column}" if column else f"row {row.line}"
            self.stats.note(f"{self.path}, {where}: {text[:60]!r}: {why}")

    def _summarize(self) -> None:
        """Tells how many cells of each column were damaged, a note for each sort."""
        sorts = sorted({why for column in self.columns for why in column.damages})
        for why in sorts:
            counts = [
                f"{column.name} {column.damages[why]}" for column in self.columns if column.damages[why]
            ]
            self.stats.note(f"{self.path}, cells that stay text, {why}: {', '.join(counts)}")
