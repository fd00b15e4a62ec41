"""Cells of a table: what is a number, and what is too mangled to be one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sensors.csv_cells import (
    CONTROL,
    DECIMAL,
    ENCODING,
    GROUP,
    MARKS,
    NO_UNIT,
    TEXT,
    UNIT,
    Column,
    Value,
    read_cell,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("46", 46),
        ("-46", -46),
        ("+46", 46),
        (" 46 ", 46),
        ("0", 0),
        ("46.0", 46.0),
        ("-0.125", -0.125),
        (".5", 0.5),
        ("1.5E+12", 1.5e12),
        ("1.5e-3", 0.0015),
        ("5e-3", 0.005),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        # A float would not say these.
        ("1.234567890123456789", "1.234567890123456789"),
        # Identifiers.
        ("007", "007"),
        ("7E8", "7E8"),
        ("s11", "s11"),
        ("00:03:02", "00:03:02"),
        ("2026-11-22", "2026-11-22"),
        ("MIL is OFF0 codes", "MIL is OFF0 codes"),
        ("nan", "nan"),
        ("-", "-"),
        ("١٢", "١٢"),
    ],
)
def test_a_sound_cell_gives_its_value(text: str, value: Value) -> None:
    cell = read_cell(text)
    assert cell.why == ""
    assert cell.value == value
    assert type(cell.value) is type(value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("24,77", DECIMAL),
        ("1,51336E+12", DECIMAL),
        ("24,77g/s", DECIMAL),
        ("-58.321.307", MARKS),
        ("1,234.5", MARKS),
        ("1,234,567", MARKS),
        ("5.", MARKS),
        ("1..2", MARKS),
        ("100kPa", UNIT),
        ("74%", UNIT),
        ("82 C", UNIT),
        ("20 °C", UNIT),
        ("3µg/m³", UNIT),
        ("-4C", UNIT),
        ("4\x00", CONTROL),
        ("\x1b[0m", CONTROL),
        ("a\nb", CONTROL),
    ],
)
def test_a_mangled_cell_stays_text_with_the_reason(text: str, why: str) -> None:
    cell = read_cell(text)
    assert (cell.value, cell.why) == (text, why)


def test_a_file_with_decimal_commas_has_them_for_numbers() -> None:
    assert read_cell("24,77", ",").value == 24.77
    assert read_cell("24.77", ",").why == DECIMAL


def test_bytes_that_are_no_text_stay_bytes() -> None:
    text = b"caf\xe9 \xc3\xa9".decode("utf-8", "surrogateescape")
    assert (read_cell(text).value, read_cell(text).why) == (b"caf\xe9 \xc3\xa9", ENCODING)
    text = b"\x81\xe9".decode("cp1252", "surrogateescape")
    assert read_cell(text, encoding="cp1252").value == b"\x81\xe9"
    assert read_cell("\ufffd").why == ENCODING


def judged(texts: list[str], text: str) -> str:
    """Why `text` is not believed in a column of such cells."""
    column = Column("x")
    for known in texts:
        column.learn(read_cell(known))
    return column.judge(read_cell(text))


@pytest.mark.parametrize(
    ("texts", "text", "why"),
    [
        (["1", "2", "3", "4", "5"], "1:6032000007E803", TEXT),
        (["1", "2", "3", "4"], "x", ""),
        (["1", "2", "3", "4", "5", "x"], "y", ""),
        (["1C", "2C", "3C", "4C", "5C"], "20", NO_UNIT),
        (["1C", "2C", "3", "4", "5"], "20", ""),
        (["1C", "2C", "3C", "4C", "5C"], "20C", UNIT),
        (["-58.321.307", "1", "2", "3", "4"], "-589.055", GROUP),
        (["-58.321.307", "1", "2", "3", "4"], "0.0", ""),
        (["58.3", "1", "2", "3", "4"], "-589.055", ""),
        (["a", "b", "c", "d", "e"], "5", ""),
    ],
)
def test_a_cell_is_judged_by_its_column(texts: list[str], text: str, why: str) -> None:
    assert judged(texts, text) == why


def test_a_column_learns_of_thousands_later_too() -> None:
    column = Column("x")
    assert column.judge(read_cell("1.234")) == ""
    assert column.judge(read_cell("1.234.567")) == MARKS
    assert column.judge(read_cell("1.234")) == GROUP
    assert column.damages == {MARKS: 1, GROUP: 1}


@given(st.text(max_size=40))
@settings(deadline=None)
def test_any_text_is_a_number_or_stays_as_it_is(text: str) -> None:
    cell = read_cell(text)
    if isinstance(cell.value, str):
        assert cell.value == text
    else:
        assert not isinstance(cell.value, bytes)
        assert cell.why == ""
        assert type(cell.value)(text) == cell.value


@given(st.decimals(-(10**9), 10**9, places=5))
@settings(deadline=None)
def test_a_decimal_of_fifteen_digits_is_said_exactly(number: object) -> None:
    value = read_cell(str(number)).value
    assert isinstance(value, float)
    assert f"{value:.5f}" == str(number) or value == 0
