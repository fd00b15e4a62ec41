"""A manufacturer's values: a file that says which DID carries what, and how it is computed.

Runs on CPython.  TOML, one table `[[value]]` for each:

    [[value]]
    name = "battery_charge"
    did = 0x028C
    formula = "A/2"                # as in obd/formula.py; leave it out for text or bytes
    unit = "%"
    request_id = 0x7E5             # optional: which ECU; without it everybody is asked
    response_id = 0x7ED
    type = "number"                # or "text", "hex"
    period_ms = 5000               # how often it is asked

CSV with the same names as columns is the same table.  Numbers may be written 0x7E5.
"""

from __future__ import annotations

import csv
import io
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from obd.errors import ResponseError, TableError
from obd.formula import Formula
from obd.query import Target

NUMBER, TEXT, HEX = "number", "text", "hex"
PERIOD_MS = 5_000
SIZE_MAX = 1 << 20
_COLUMNS = ("name", "did", "formula", "unit", "request_id", "response_id", "type", "period_ms")


@dataclass(frozen=True, slots=True)
class TableValue:
    """One row."""

    name: str
    did: int
    kind: str
    """NUMBER, TEXT or HEX."""
    formula: Formula | None
    """Of a NUMBER; its A is the first byte behind the DID."""
    unit: str
    target: Target | None
    """Who is asked; None: everybody."""
    period_ms: int

    def decode(self, data: bytes) -> int | float | str | None:
        """The value in the data behind the DID.  Raises ResponseError."""
        if self.kind == HEX:
            return data.hex().upper()
        if self.kind == TEXT:
            return data.strip(b"\x00 \xff").decode("ascii", "replace")
        if self.formula is None:
            raise ResponseError(f"{self.name} has no formula")
        return self.formula(data)


def load_table(path: Path) -> list[TableValue]:
    """The table in a `.toml` or `.csv` file.  Raises TableError; the message names file and row."""
    try:
        if path.stat().st_size > SIZE_MAX:
            raise TableError(f"{path}: larger than {SIZE_MAX} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: {error}") from error
    return parse_table(text, str(path), is_csv=path.suffix.lower() == ".csv")


def parse_table(text: str, where: str, *, is_csv: bool) -> list[TableValue]:
    """The table in `text`; where: for messages.  Raises TableError."""
    values: list[TableValue] = []
    names: set[str] = set()
    for number, row in enumerate(_csv_rows(text, where) if is_csv else _toml_rows(text, where), 1):
        place = f"{where}: value {number}"
        value = _value(row, place)
        if value.name in names:
            raise TableError(f"{place}: the name {value.name!r} was there before")
        names.add(value.name)
        values.append(value)
    return values


def _toml_rows(text: str, where: str) -> Iterator[Mapping[str, object]]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TableError(f"{where}: {error}") from error
    rows = document.pop("value", [])
    if document or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise TableError(f"{where}: expected tables [[value]] and nothing else")
    yield from rows


def _csv_rows(text: str, where: str) -> Iterator[Mapping[str, object]]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise TableError(f"{where}: line {reader.line_num} has not as many cells as the first line")
            yield {column: cell for column, cell in row.items() if cell != ""}
    except csv.Error as error:
        raise TableError(f"{where}: line {reader.line_num}: {error}") from error


def _value(row: Mapping[str, object], place: str) -> TableValue:
    unknown = sorted(set(row) - set(_COLUMNS))
    if unknown:
        raise TableError(f"{place}: unknown {', '.join(unknown)}; known are {', '.join(_COLUMNS)}")
    name = row.get("name")
    if not isinstance(name, str) or not name:
        raise TableError(f"{place}: needs a name")
    kind = row.get("type", NUMBER if "formula" in row else HEX)
    if kind not in (NUMBER, TEXT, HEX):
        raise TableError(f"{place}: type {kind!r}; allowed are {NUMBER}, {TEXT}, {HEX}")
    text = row.get("formula", "")
    if not isinstance(text, str) or bool(text) != (kind == NUMBER):
        raise TableError(f"{place}: a {NUMBER} has a formula, other types have none")
    unit = row.get("unit", "")
    if not isinstance(unit, str):
        raise TableError(f"{place}: unit is a text")
    target = None
    if "request_id" in row or "response_id" in row:
        id_max = 0x1FFFFFFF
        target = Target(
            _number(row, "request_id", place, 0, id_max), _number(row, "response_id", place, 0, id_max)
        )
    try:
        formula = Formula(text) if text else None
    except TableError as error:
        raise TableError(f"{place}: {error}") from error
    did = _number(row, "did", place, 0, 0xFFFF)
    period_ms = _number({"period_ms": PERIOD_MS, **row}, "period_ms", place, 10, 86_400_000)
    return TableValue(name, did, str(kind), formula, unit, target, period_ms)


def _number(row: Mapping[str, object], column: str, place: str, low: int, high: int) -> int:
    cell = row.get(column)
    number: object = cell
    if isinstance(cell, str):
        try:
            number = int(cell, 0)
        except ValueError:
            number = None
    if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
        raise TableError(f"{place}: {column} is a whole number from {low} to {high}, not {cell!r}")
    return number
