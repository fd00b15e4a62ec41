"""Rows of a CSV file: as the standard library reads what is sound, and a fate for what is not."""

import csv
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sensors.csv_rows import LINE_CHARACTERS, SPAN_LINES, TOO_LONG, UNCLOSED, Row, RowReader


def read(data: bytes, *, places: list[int] | None = None, encoding: str = "utf-8") -> list[Row]:
    """All rows, the data fed in portions."""
    reader = RowReader(",", encoding)
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places or [])})
    rows: list[Row] = []
    for begin, end in pairwise(edges):
        rows += reader.feed(data[begin:end])
    return rows + reader.feed(b"", is_last=True)


def cells(data: bytes) -> list[list[str]]:
    return [row.cells for row in read(data)]


@pytest.mark.parametrize(
    ("data", "want"),
    [
        (b"a,b\r\n1,2\r\n", [["a", "b"], ["1", "2"]]),
        (b"a,b\n1,2", [["a", "b"], ["1", "2"]]),
        (b"\xef\xbb\xbfa,b\n", [["a", "b"]]),
        (b'"a","b""c",""\n', [["a", 'b"c', ""]]),
        (b'"a,b",c\n', [["a,b", "c"]]),
        (b'"a\r\nb",c\r\nd,e\r\n', [["a\nb", "c"], ["d", "e"]]),
        (b'a"b,c"\n', [['a"b', 'c"']]),
        (b'"a"b,c\n', [["ab", "c"]]),
        (b",\n\n,,\n", [["", ""], ["", "", ""]]),
        (b"caf\xe9\n", [["caf\udce9"]]),
    ],
)
def test_rows_are_read(data: bytes, want: list[list[str]]) -> None:
    assert cells(data) == want


def test_rows_know_their_line() -> None:
    rows = read(b'a\n\n"b\n\nc"\nd\n')
    assert [(row.line, row.raw) for row in rows] == [(1, "a"), (3, '"b\n\nc"'), (6, "d")]


def test_a_quote_that_is_never_closed_costs_one_line() -> None:
    rows = read(b'a,b\n1,"2\n3,4\n5,6\n')
    assert [(row.line, row.cells, row.flaw) for row in rows] == [
        (1, ["a", "b"], ""),
        (2, [], UNCLOSED),
        (3, ["3", "4"], ""),
        (4, ["5", "6"], ""),
    ]
    assert rows[1].raw == '1,"2'


def test_a_cell_may_span_so_many_lines_and_no_more() -> None:
    def lines(count: int) -> bytes:
        return b'"' + b"x\n" * (count - 1) + b'x",1\n2,3\n'

    assert len(read(lines(SPAN_LINES))) == 2
    rows = read(lines(SPAN_LINES + 1))
    assert rows[0] == Row(1, [], '"x', UNCLOSED)
    assert rows[1].cells == ["x"]
    assert rows[-1].cells == ["2", "3"]


@pytest.mark.parametrize("length", [LINE_CHARACTERS + 1, 5 * LINE_CHARACTERS, 5 * LINE_CHARACTERS + 1])
@pytest.mark.parametrize("portion", [1000, 10**6])
def test_a_line_too_long_comes_raw_in_parts(length: int, portion: int) -> None:
    data = b"a,b\n" + b"x" * length + b"\nc,d\n"
    rows = read(data, places=list(range(0, len(data), portion)))
    parts = rows[1:-1]
    assert "".join(row.raw for row in parts) == "x" * length
    assert [row.part for row in parts] == list(range(1, len(parts) + 1))
    assert {(row.line, row.flaw) for row in parts} == {(2, TOO_LONG)}
    assert rows[-1].line == 3
    assert rows[-1].cells == ["c", "d"]


def test_an_endless_line_is_not_collected() -> None:
    reader = RowReader(",")
    for _ in range(100):
        rows = reader.feed(b"x" * 65_536)
        assert sum(len(row.raw) for row in rows) >= 65_536 - LINE_CHARACTERS
    assert len(vars(reader)["_rest"]) <= LINE_CHARACTERS


def test_other_encodings_are_read() -> None:
    assert read("é,ü\n".encode("latin-1"), encoding="latin-1")[0].cells == ["é", "ü"]
    assert read("é,ü\n1,2\n".encode("utf-16"), encoding="utf-16", places=[1, 3, 8])[1].cells == ["1", "2"]


ALPHABET = st.lists(st.sampled_from([b'"', b",", b"\n", b"\r\n", b"a", b"\xff", b'""', b"\0", b'"a"'])).map(
    b"".join
)


@given(ALPHABET, st.lists(st.integers(0, 100), max_size=5))
@settings(deadline=None, max_examples=300)
def test_portions_make_no_difference_and_no_text_is_lost(data: bytes, places: list[int]) -> None:
    rows = read(data, places=places)
    assert rows == read(data)
    reader = RowReader(",")
    reader.feed(data)
    # Line ends aside, all that went in is in the rows.
    text = "\n".join(row.raw for row in rows)
    bare = data.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    assert [line for line in text.split("\n") if line] == [line for line in bare.split("\n") if line]


PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1, max_size=8)


@given(st.lists(st.lists(PLAIN, min_size=1, max_size=4), max_size=6))
@settings(deadline=None)
def test_what_the_standard_library_writes_is_read(table: list[list[str]]) -> None:
    lines: list[str] = []

    class Sink:
        def write(self, line: str) -> None:
            lines.append(line)

    csv.writer(Sink(), quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(table)
    data = "".join(lines).encode()
    if data.startswith(b'"') and not any("\ufeff" in cell for row in table for cell in row):
        assert cells(data) == table
