"""Names of records, and records as JSON."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RecordNameError
from gateway.record import Record, RecordName
from gateway.sensors.source import Gap
from obd.can_frame import CanFrame
from puf import cbor
from tests.gateway.telemetry import readings

NAME = RecordName("can0", 3, 1234)


def test_a_name_is_read_back_from_its_text() -> None:
    assert str(NAME) == "can0/3/1234"
    assert RecordName.parse(" can0/3/1234\n") == NAME


@given(
    st.from_regex(r"[a-z0-9_-]{1,32}", fullmatch=True), st.integers(0, 10**19 - 1), st.integers(0, 10**19 - 1)
)
@settings(deadline=None, max_examples=50)
def test_every_name_has_one_text(stream: str, boot: int, seq: int) -> None:
    name = RecordName(stream, boot, seq)
    assert RecordName.parse(str(name)) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "can0",
        "can0/1",
        "can0/1/2/3",
        "can0/01/2",
        "can0/1/-2",
        "can0/1/ 2",
        "can0/1/\u0662",
        "Can0/1/2",
        "can0//2",
        "x" * 33 + "/1/2",
        "can0/1/" + "9" * 20,
    ],
)
def test_what_is_no_name_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(RecordNameError, match="such as can0/1/1234"):
        RecordName.parse(text)


@given(st.text(max_size=60))
@settings(deadline=None, max_examples=100)
def test_any_text_is_a_name_or_a_declared_error(text: str) -> None:
    try:
        name = RecordName.parse(text)
    except RecordNameError:
        return
    assert str(name) == text.strip()


def test_names_sort_by_boot_and_then_by_number() -> None:
    names = [RecordName("can0", 2, 0), RecordName("can0", 1, 10), RecordName("can0", 1, 9)]
    assert [str(name) for name in sorted(names)] == ["can0/1/9", "can0/1/10", "can0/2/0"]


def test_a_frame_as_json() -> None:
    assert Record(NAME, 5, CanFrame(0x123, 1, b"\xde\xad")).as_json() == {
        "record": "can0/3/1234",
        "taken_ns": 5,
        "id": 0x123,
        "flags": 1,
        "data": "dead",
    }


def test_a_gap_as_json() -> None:
    assert Record(NAME, 5, Gap("bus off", 7, 5, 9)).as_json()["gap"] == {
        "reason": "bus off",
        "count": 7,
        "from_ns": 5,
        "to_ns": 9,
    }


@pytest.mark.parametrize(
    ("value", "shown", "exact"),
    [
        ({"t": [21.5, None, True, "x"]}, {"t": [21.5, None, True, "x"]}, None),
        (b"\xde\xad", {"hex": "dead"}, "42dead"),
        ({"hex": "dead"}, {"hex": "dead"}, None),
        (math.nan, "nan", "f97e00"),
        ([math.inf], ["inf"], "81f97c00"),
        ({1: 2}, {"1": 2}, "a10102"),
        ({b"\x01": 2}, {"01": 2}, "a1410102"),
        (cbor.Tag(1, 2), {"tag": 1, "value": 2}, "c102"),
        (cbor.Simple(3), "Simple(3)", "e3"),
    ],
)
def test_what_json_cannot_say_is_shown_and_given_exactly(value: Any, shown: Any, exact: str | None) -> None:
    line = Record(NAME, 5, value).as_json()
    assert line["value"] == shown
    assert line.get("cbor") == exact


@given(readings, readings)
@settings(deadline=None, max_examples=100)
def test_different_readings_are_different_json(one: Any, other: Any) -> None:
    lines = [json.dumps(Record(NAME, 5, value).as_json(), allow_nan=False) for value in (one, other)]
    assert (lines[0] == lines[1]) == (cbor.encode(one) == cbor.encode(other))
