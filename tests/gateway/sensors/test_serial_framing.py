"""Framing: whatever the portions, the same frames; after garbage, the next frame."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sensors import cobs
from gateway.sensors.serial_framing import (
    CobsFramer,
    Damage,
    FixedFramer,
    Framed,
    Framer,
    LineFramer,
    NmeaFramer,
)


def feed(framer: Framer, chunks: Iterable[bytes]) -> Framed:
    """All that the chunks amount to."""
    total = Framed([], [])
    for chunk in chunks:
        framed = framer.feed(chunk)
        for damage in framed.damages:
            total.damages.append(Damage(damage.index + len(total.values), damage.reason, damage.count))
        total.values += framed.values
        total.ignored += framed.ignored
        total.flawed += framed.flawed
    return total


def cut_up(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[begin:end] for begin, end in pairwise(edges)]


def test_lines_are_text_and_bytes_where_they_are_not() -> None:
    framed = feed(LineFramer(), [b"one\r\ntw", b"o\n\n\r\n\xc3\xa9t\xc3", b"\xa9\n\xff\xfe\r\nla", b"st"])
    assert framed.values == ["one", "two", "été", b"\xff\xfe"]
    assert framed.ignored == 2
    assert framed.damages == []


def test_a_carriage_return_inside_of_a_line_stays() -> None:
    assert feed(LineFramer(), [b"a\rb\r\r\n"]).values == ["a\rb\r"]
    assert feed(LineFramer(), [b"a\rb\r\r\n\xff\n"]).values == ["a\rb\r", b"\xff"]


@pytest.mark.parametrize("text", ["x" * 11, "é" * 6, "x" * 1000])
def test_a_line_that_is_too_long_is_one_damage_at_its_place(text: str) -> None:
    line = text.encode()
    for chunks in ([b"a\n" + line + b"\nb\n"], [b"a\n" + line[:7], line[7:] + b"\nb", b"\n"]):
        framed = feed(LineFramer(10), chunks)
        assert framed.values == ["a", "b"]
        assert framed.damages == [Damage(1, "line longer than 10 bytes")]


def test_an_endless_line_takes_no_memory() -> None:
    framer = LineFramer(100)
    framed = feed(framer, [b"x" * 1000] * 500)
    assert framed.damages == [Damage(0, "line longer than 100 bytes")]
    assert framer.feed(b"tail\nnext\n").values == ["next"]


def test_a_line_of_just_the_length_is_kept() -> None:
    assert feed(LineFramer(10), [b"0123456789\n"]).values == ["0123456789"]
    assert feed(LineFramer(10), [b"0123456789\r\n" * 9]).values == ["0123456789"] * 9


def test_what_is_cut_is_told_once() -> None:
    framer = LineFramer()
    framer.feed(b"half")
    assert framer.is_inside
    assert framer.cut() == Framed([], [Damage(0, "line cut off")])
    assert framer.cut() == Framed([], [])
    assert framer.feed(b"whole\n").values == ["whole"]


def test_cobs_frames_come_out_and_damage_costs_one_frame() -> None:
    good = [b"\0\1\2", b"", bytes(300)]
    wire = (
        b"\0" + b"\0".join(cobs.encode(frame) for frame in good) + b"\0\x05ab\0" + cobs.encode(b"x") + b"\0"
    )
    framed = feed(CobsFramer(), [wire[:3], wire[3:100], wire[100:]])
    assert framed.values == [*good, b"x"]
    assert framed.damages == [Damage(3, "frame is not COBS")]
    assert framed.ignored == 1


def test_fixed_frames_without_a_marker_are_cut_by_pauses() -> None:
    framer = FixedFramer(4)
    assert framer.is_timed
    assert not LineFramer().is_timed
    assert framer.feed(b"12345").values == [b"1234"]
    assert framer.cut().damages == [Damage(0, "frame cut off")]
    assert framer.feed(b"abcd").values == [b"abcd"]
    assert framer.cut().damages == []


def test_fixed_frames_are_found_again_by_their_marker() -> None:
    frames = [b"\xaa\x55" + bytes([n] * 4) for n in range(4)]
    wire = frames[0] + b"noise\xaa" + frames[1] + frames[2] + frames[3][:3] + frames[0] + frames[1]
    framed = feed(FixedFramer(6, b"\xaa\x55"), [wire])
    # A frame cut short takes the beginning of the next one for its end.
    assert framed.values[:3] == frames[:3]
    assert framed.damages[0] == Damage(1, "bytes between frames", 0)
    assert framed.values[4:] == [frames[1]]
    assert framed.damages[1:] == [Damage(4, "bytes between frames", 0)]


FRAMERS: list[Callable[[], Framer]] = [
    lambda: LineFramer(20),
    lambda: NmeaFramer(20),
    lambda: CobsFramer(20),
    lambda: FixedFramer(7),
    lambda: FixedFramer(7, b"\n"),
]


@pytest.mark.parametrize("make", FRAMERS)
@given(
    st.lists(st.sampled_from([b"\n", b"\r", b"\0", b"abc", b"\xff", b"\xc3\xa9", b"$", bytes(9)])).map(
        b"".join
    ),
    st.lists(st.integers(0, 200), max_size=6),
)
@settings(deadline=None)
def test_portions_make_no_difference(make: Callable[[], Framer], data: bytes, places: list[int]) -> None:
    whole = feed(make(), [data])
    parts = feed(make(), cut_up(data, places))
    assert parts.values == whole.values
    assert [(damage.index, damage.reason) for damage in parts.damages] == [
        (damage.index, damage.reason) for damage in whole.damages
    ]
    assert parts.ignored == whole.ignored


@pytest.mark.parametrize("make", FRAMERS)
@given(st.lists(st.binary(max_size=80), max_size=10))
@settings(deadline=None)
def test_any_bytes_give_frames_or_damages_and_little_is_held(
    make: Callable[[], Framer], chunks: list[bytes]
) -> None:
    framer = make()
    framed = feed(framer, chunks)
    rest: Any = vars(framer)["_rest"]
    assert len(rest) <= 20
    assert [damage.index for damage in framed.damages] == sorted(damage.index for damage in framed.damages)
    framer.cut()
    assert not framer.is_inside


def test_a_sentence_that_is_damaged_stays_raw() -> None:
    good = "$GPZDA,201530.00,04,07,2002,00,00*60"
    framed = feed(NmeaFramer(), [f"{good}\r\n{good[:-1]}1\r\nnoise\r\n".encode(), b"\xff\n"])
    assert framed.values[0]["utc_ms"] == 1_025_813_730_000
    assert framed.values[1:] == [
        {"raw": good[:-1] + "1", "error": "its checksum is '61', that of what arrived is 60"},
        {"raw": "noise", "error": "no sentence: it does not begin with $"},
        {"raw": b"\xff", "error": "no sentence: it does not begin with $"},
    ]
    assert framed.flawed == 3
