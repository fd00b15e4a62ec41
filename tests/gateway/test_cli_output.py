"""Moments on the command line, and what reaches people and machines."""

from argparse import Namespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli_output import Output, UsageError, moment_text, parse_moment

START_NS = 1_700_000_000_123_456_789
END_NS = START_NS + 10_000_000_000


@pytest.mark.parametrize(
    ("text", "moment_ns"),
    [
        ("start", START_NS),
        ("end", END_NS),
        ("start+5s", START_NS + 5_000_000_000),
        ("end-250ms", END_NS - 250_000_000),
        ("start+1.5min", START_NS + 90_000_000_000),
        ("start+0.000000001s", START_NS + 1),
        ("end-2h", END_NS - 7_200_000_000_000),
        ("start+1d", START_NS + 86_400_000_000_000),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000_000_000),
        ("2023-11-14T23:13:20.5+01:00", 1_700_000_000_500_000_000),
        ("0001-01-01T00:00:00+14:00", -62_135_596_800_000_000_000 - 14 * 3_600_000_000_000),
    ],
)
def test_a_moment_is_read_to_the_nanosecond(text: str, moment_ns: int) -> None:
    assert parse_moment(text, START_NS, END_NS) == moment_ns


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("yesterday", "2026-05-01T12:00:00Z, start, end or now"),
        ("start+5", "2026-05-01T12:00:00Z"),
        ("start+5parsec", "2026-05-01T12:00:00Z"),
        ("", "2026-05-01T12:00:00Z"),
        ("2023-11-14T22:13:20", "names no time zone; write 2023-11-14T22:13:20Z"),
    ],
)
def test_what_is_no_moment_is_refused_with_the_way_to_write_one(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says.replace("+", r"\+")):
        parse_moment(text, START_NS, END_NS)


@given(st.text(max_size=40))
def test_any_text_is_a_moment_or_a_usage_error(text: str) -> None:
    try:
        moment_ns = parse_moment(text, START_NS, END_NS)
    except UsageError:
        return
    assert isinstance(moment_ns, int)


def test_a_moment_is_shown_in_utc_to_the_millisecond() -> None:
    assert moment_text(START_NS) == "2023-11-14T22:13:20.123Z"


def test_json_output_has_the_value_and_no_prose(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(Namespace(json=True))
    output.line("prose")
    output.value({"a": 1}, "a is one")
    assert capsys.readouterr().out == '{"a":1}\n'


def test_plain_output_has_the_prose_and_no_json(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(Namespace(json=False))
    output.line("prose")
    output.value({"a": 1}, "a is one")
    assert capsys.readouterr().out == "prose\na is one\n"
