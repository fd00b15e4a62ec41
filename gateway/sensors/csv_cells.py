"""What one cell of a table says, and whether to believe it.

Runs on CPython.  Pure.  A cell that is sound gives its value; one that is mangled stays the text it was,
with the reason.  Nothing is repaired: of `-58.321.307` nobody knows where the decimal mark was.  A cell
is judged by itself and by its column, which learns from the first rows.

    sound       46       46.0     -1.5e-3     text in a column of text     007 (an identifier: text)
    DECIMAL     24,77    a decimal mark of the other kind than the file's
    MARKS       -58.321.307   1,234.5   5.    several decimal marks, or thousands, or a mark at the end
    GROUP       -589.055      one mark before three digits, in a column that has MARKS
    UNIT        100kPa   74%  82 C            a unit behind the number
    NO_UNIT     20            a bare number in a column where the others have a unit
    TEXT        1:60320       no number in a column of numbers
    CONTROL     a NUL or another control character in the cell
    ENCODING    bytes that are nothing in the file's encoding; they stay bytes

Numbers are int, or float where they have a fraction or an exponent and at most 15 digits; longer ones stay
text and are sound, since a float would not say them.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

DECIMAL = "decimal mark of the other kind"
MARKS = "several decimal marks"
GROUP = "one mark before three digits where others have several"
UNIT = "unit behind the number"
NO_UNIT = "no unit where others have one"
TEXT = "text in a column of numbers"
CONTROL = "control character"
ENCODING = "not in the file's encoding"

Value = int | float | str | bytes

_NUMBER = re.compile(
    r"(?P<sign>[+-]?)(?P<body>[0-9][0-9.,]*|[.,][0-9][0-9.,]*)(?P<exponent>[eE][+-]?[0-9]{1,3})?"
    r"\s?(?P<unit>(?:[^\W\d_]|[%‰°])[^\s\d:;]{0,11})?"
)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_DIGITS_MAX = 15
"""Every decimal of so many digits survives a float."""
_SHARE = 0.9
"""A column is what nine of ten of its cells are."""
_CELLS_MIN = 5
"""Fewer cells make no rule."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell as read by itself."""

    value: Value
    """Number, or the text as it was."""
    why: str = ""
    """What is wrong; empty when the cell is sound."""
    is_number: bool = False
    """A number, mangled or not."""
    unit: str = ""
    """What stands behind the number."""
    is_grouped: bool = False
    """One decimal mark, and exactly three digits behind it."""


def read_cell(text: str, decimal: str = ".", encoding: str = "utf-8") -> Cell:
    """`text` read by itself.  decimal, encoding: the file's; what it could not decode is a lone surrogate."""
    if not text.isascii():
        if "\ufffd" in text:
            return Cell(text, ENCODING)
        if isinstance(kept := as_kept(text, encoding), bytes):
            return Cell(kept, ENCODING)
    if _CONTROL.search(text):
        return Cell(text, CONTROL)
    found = _NUMBER.fullmatch(text.strip())
    if found is None:
        return Cell(text)
    return _number(text, found, decimal)


def as_kept(text: str, encoding: str) -> str | bytes:
    """`text`, or the bytes of the file where they were nothing in its encoding."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(encoding, "surrogateescape")
    return text


def _number(text: str, found: re.Match[str], decimal: str) -> Cell:
    body, exponent, unit = found["body"], found["exponent"] or "", found["unit"] or ""
    marks = [character for character in body if character in ".,"]
    is_grouped = len(marks) == 1 and len(body) - body.index(marks[0]) == 4
    if len(marks) > 1 or body.endswith((".", ",")):
        return Cell(text, MARKS, True, unit)
    if marks and marks[0] != decimal:
        return Cell(text, DECIMAL, True, unit, is_grouped)
    if unit:
        return Cell(text, UNIT, True, unit, is_grouped)
    if exponent and not marks and exponent[1] not in "+-":
        # 7E8 is as likely an identifier; both readings are open, so the text stays.
        return Cell(text)
    digits = body.replace(",", ".")
    if marks or exponent:
        if len(digits) > _DIGITS_MAX + 1:
            return Cell(text, "", True, "", is_grouped)
        return Cell(float(found["sign"] + digits + exponent), "", True, "", is_grouped)
    if len(digits) > 1 and digits[0] == "0":
        return Cell(text, "", True)
    return Cell(int(found["sign"] + digits) if len(digits) <= 4_000 else text, "", True)


class Column:
    """What the cells of one column have in common.  Learns from the first rows, then judges all."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._cells = 0
        self._numbers = 0
        self._units: Counter[str] = Counter()
        self._has_marks = False
        self._is_numeric = False
        self._has_unit = False
        self.damages: Counter[str] = Counter()
        """How many cells were mangled, by reason."""

    def learn(self, cell: Cell) -> None:
        """Takes a cell, not empty, as one of the column's."""
        self._cells += 1
        self._numbers += cell.is_number
        if cell.unit:
            self._units[cell.unit] += 1
        self._has_marks = self._has_marks or cell.why == MARKS
        self._is_numeric = self._cells >= _CELLS_MIN and self._numbers >= _SHARE * self._cells
        self._has_unit = self._is_numeric and self._units.total() >= _SHARE * self._numbers

    def judge(self, cell: Cell) -> str:
        """Why the cell, not empty, is not to be believed; empty when it is sound."""
        why = cell.why
        if not why:
            if not cell.is_number:
                why = TEXT if self._is_numeric else ""
            elif self._has_marks and cell.is_grouped:
                why = GROUP
            elif self._has_unit:
                why = NO_UNIT
        elif why == MARKS:
            # Known from now on, if not from the first rows.
            self._has_marks = True
        if why:
            self.damages[why] += 1
        return why
