"""Formulas: what they compute, what they refuse, and that nothing of Python is in them."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obd.errors import ResponseError, TableError
from obd.formula import DEPTH_MAX, TEXT_MAX, Formula


@pytest.mark.parametrize(
    ("text", "data", "value"),
    [
        ("A", "ff", 255),
        ("A-40", "00", -40),
        ("(256*A+B)/4", "1af8", 1726.0),
        ("100*A/255", "ff", 100.0),
        ("A*256+B", "0102", 258),
        ("2-3-4", "", -5),
        ("8/4/2", "", 1.0),
        ("2+3*4", "", 14),
        ("(2+3)*4", "", 20),
        ("-A+1", "05", -4),
        ("- - A", "05", 5),
        ("0x1F+A", "01", 32),
        ("0.5*A", "03", 1.5),
        ("A.0+A.7", "81", 2),
        ("A.6", "81", 0),
        ("bits(A,4,4)", "a5", 10),
        ("bits(256*A+B,4,8)", "1234", 0x23),
        ("signed8(A)", "ff", -1),
        ("signed8(A)", "7f", 127),
        ("signed16(256*A+B)/4", "8000", -8192.0),
        ("signed32(16777216*A+65536*B+256*C+D)", "fffffffe", -2),
        ("Z+AA", "00" * 25 + "0102", 3),
        ("A.0 ? B/2", "0108", 4.0),
        ("A.0 ? B/2", "0008", None),
        ("B-255 ? B", "00ff", None),
        ("10-A", "03", 7),
        ("10/A", "04", 2.5),
        ("A/B", "0804", 2.0),
    ],
)
def test_a_formula_computes(text: str, data: str, value: float | None) -> None:
    computed = Formula(text)(bytes.fromhex(data))
    assert computed == value
    assert type(computed) is type(value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "'the end' is no data byte"),
        ("A+", "'the end' is no data byte.* at character 3"),
        ("A B", "'B' was not expected, at character 3"),
        ("A.8", "a bit is 0 to 7"),
        ("A.", "a bit is 0 to 7"),
        ("(A", "'\\)' was expected"),
        ("A)", "'\\)' was not expected"),
        ("A**2", "no data byte"),
        ("AAA", "'AAA' is no data byte"),
        ("a", "'a' is no data byte"),
        ("0x", "0x needs digits"),
        ("__import__('os')", "no data byte"),
        ("open(A)", "'open' is no data byte"),
        ("signed8(A,B)", "signed8 takes 1 arguments"),
        ("bits(A)", "bits takes 3 arguments"),
        ("bits(A,B,1)", "bits takes a value and two numbers"),
        ("bits(A,0,65)", "low is 0 to 63"),
        ("A ? B ? C", "'\\?' was not expected"),
        ("A;B", "';' was not expected"),
        ("(" * (DEPTH_MAX + 1) + "A" + ")" * (DEPTH_MAX + 1), "nested too deep"),
        ("-" * (DEPTH_MAX + 1) + "A", "nested too deep"),
        ("A" * (TEXT_MAX + 1), "longer than"),
    ],
)
def test_what_is_no_formula_is_refused_and_the_place_named(text: str, reason: str) -> None:
    with pytest.raises(TableError, match=reason):
        Formula(text)


def test_too_few_bytes_and_division_by_zero_are_errors_of_the_answer() -> None:
    with pytest.raises(ResponseError, match=r"1 data bytes are too few for .*, which needs 2"):
        Formula("256*A+B")(b"\x01")
    with pytest.raises(ResponseError, match="divides by zero"):
        Formula("1/A")(b"\x00")
    with pytest.raises(ResponseError, match="divides by zero"):
        Formula("1/0")(b"")


def test_what_no_record_can_hold_is_an_error_of_the_answer() -> None:
    long = "9" * 90
    with pytest.raises(ResponseError, match="is too large for 01"):
        Formula(f"A*{long}")(b"\x01")
    with pytest.raises(ResponseError, match="is too large for 01"):
        Formula(f"{'(A+1)*' * 30}{'9' * 19}")(b"\x01")
    with pytest.raises(ResponseError, match="is too large for 7f"):
        Formula(f"-0.5*signed32(A)*{long}*{long}")(b"\x7f")
    assert Formula("A*9223372036854775807")(b"\x01") == 2**63 - 1


@given(st.text("ABZ0129.xsigned8bits()+-*/?, ", max_size=40), st.binary(max_size=30))
@settings(deadline=None)
def test_any_text_is_a_formula_or_a_table_error(text: str, data: bytes) -> None:
    try:
        value = Formula(text)(data)
    except (TableError, ResponseError):
        return
    assert value is None or isinstance(value, int | float)


def _random_expression(dice: random.Random, depth: int) -> str:
    if depth == 0 or dice.random() < 0.2:
        return dice.choice(["A", "B", "C", "7", "0.25", "300"])
    left, right = _random_expression(dice, depth - 1), _random_expression(dice, depth - 1)
    return (
        f"({left}{dice.choice('+-*')}{right})"
        if dice.random() < 0.5
        else f"{left}{dice.choice('+-*')}{right}"
    )


@given(st.integers(0, 2**32), st.binary(min_size=3, max_size=3))
@settings(deadline=None)
def test_a_formula_agrees_with_the_arithmetic_of_python(seed: int, data: bytes) -> None:
    text = _random_expression(random.Random(seed), 4)
    if len(text) > TEXT_MAX:
        return
    expected = eval(text, {"__builtins__": {}}, dict(zip("ABC", data, strict=True)))  # noqa: S307 - our own text, as the other opinion
    assert Formula(text)(data) == pytest.approx(expected)
