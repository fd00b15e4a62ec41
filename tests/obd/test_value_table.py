"""A manufacturer's table: both forms of the file, and every way in which it can be wrong."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obd.errors import ResponseError, TableError
from obd.query import Target
from obd.value_table import HEX, NUMBER, TEXT, load_table, parse_table

TOML = """
[[value]]
name = "battery_charge"
did = 0x028C
formula = "A/2"
unit = "%"
request_id = 0x7E5
response_id = 0x7ED
period_ms = 500

[[value]]
name = "part"
did = 0xF187
type = "text"

[[value]]
name = "blob"
did = 0x0100
"""
CSV = """name,did,formula,unit,request_id,response_id,type,period_ms
battery_charge,0x028C,A/2,%,0x7E5,0x7ED,,500
part,0xF187,,,,,text,
blob,256,,,,,,
"""


@pytest.mark.parametrize(("text", "is_csv"), [(TOML, False), (CSV, True)])
def test_both_forms_say_the_same(text: str, is_csv: bool) -> None:
    charge, part, blob = parse_table(text, "table", is_csv=is_csv)
    assert (charge.name, charge.did, charge.kind, charge.unit) == ("battery_charge", 0x028C, NUMBER, "%")
    assert charge.target == Target(0x7E5, 0x7ED)
    assert (charge.period_ms, part.period_ms) == (500, 5_000)
    assert charge.decode(b"\x64") == 50.0
    assert (part.kind, part.target, part.decode(b"\x00AB 12\x00\xff")) == (TEXT, None, "AB 12")
    assert (blob.kind, blob.decode(b"\x01\xab")) == (HEX, "01AB")
    with pytest.raises(ResponseError):
        charge.decode(b"")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("did = 1", "value 1: needs a name"),
        ('name = "a"', "did is a whole number from 0 to 65535, not None"),
        ('name = "a"\ndid = 65536', "not 65536"),
        ('name = "a"\ndid = true', "not True"),
        ('name = "a"\ndid = "x"', "not 'x'"),
        ('name = "a"\ndid = 1\nformula = "A+"', "formula 'A\\+': "),
        ('name = "a"\ndid = 1\nformula = "__import__(\'os\')"', "no data byte"),
        (
            'name = "a"\ndid = 1\ntype = "text"\nformula = "A"',
            "a number has a formula, other types have none",
        ),
        ('name = "a"\ndid = 1\ntype = "number"', "a number has a formula"),
        ('name = "a"\ndid = 1\ntype = "float"', "allowed are number, text, hex"),
        ('name = "a"\ndid = 1\nrequest_id = 1', "response_id is a whole number"),
        ('name = "a"\ndid = 1\nperiod_ms = 1', "period_ms is a whole number from 10"),
        ('name = "a"\ndid = 1\nunit = 3', "unit is a text"),
        ('name = "a"\ndid = 1\ncolour = "red"', "unknown colour; known are name, did"),
    ],
)
def test_what_is_wrong_is_named_with_its_row(row: str, reason: str) -> None:
    with pytest.raises(TableError, match=reason):
        parse_table(f"[[value]]\n{row}\n", "table.toml", is_csv=False)


def test_names_are_there_once_and_nothing_else_is_in_the_file() -> None:
    twice = '[[value]]\nname = "a"\ndid = 1\n[[value]]\nname = "a"\ndid = 2\n'
    with pytest.raises(TableError, match="value 2: the name 'a' was there before"):
        parse_table(twice, "t", is_csv=False)
    for text in ("x = 1", "value = 3", "[[value]", "[[values]]\nname = 'a'"):
        with pytest.raises(TableError):
            parse_table(text, "t", is_csv=False)
    with pytest.raises(TableError, match="line 2 has not as many cells"):
        parse_table("name,did\na\n", "t", is_csv=True)


@given(
    st.one_of(
        st.text(max_size=80),
        st.lists(
            st.sampled_from(
                [
                    *(
                        "[[value]]\n",
                        "name",
                        "did",
                        "formula",
                        "=",
                        "\n",
                        ",",
                        '"a"',
                        "0x028C",
                        "1",
                        "A/2",
                        '"A+"',
                    ),
                    *("type", '"text"', "request_id", "response_id", "period_ms", "value", "[", "]", '"'),
                ]
            ),
            max_size=30,
        ).map("".join),
    ),
    st.booleans(),
    st.binary(max_size=4),
)
@settings(deadline=None)
def test_any_text_is_a_table_or_a_table_error(text: str, is_csv: bool, data: bytes) -> None:
    try:
        values = parse_table(text, "table", is_csv=is_csv)
    except TableError:
        return
    for value in values:
        with contextlib.suppress(ResponseError):
            value.decode(data)


def test_files_are_read_by_their_ending(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(TOML)
    (tmp_path / "a.CSV").write_text(CSV)
    assert [value.name for value in load_table(tmp_path / "a.toml")] == ["battery_charge", "part", "blob"]
    assert len(load_table(tmp_path / "a.CSV")) == 3
    with pytest.raises(TableError, match=r"missing\.toml"):
        load_table(tmp_path / "missing.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(TableError):
        load_table(tmp_path / "b.toml")
