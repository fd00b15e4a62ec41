"""Slots of time: rounding inwards, clamping, bounds."""

from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.crypto.errors import SlotRefused
from gateway.crypto.key_tree import SLOT_COUNT
from gateway.crypto.slot import (
    SLOT_EPOCH_NS,
    SLOT_MAX,
    SLOT_MS_MAX,
    SLOT_MS_MIN,
    slot_end_ns,
    slot_of,
    slot_start_ns,
    slots_within,
)

YEAR_NS = 365 * 86_400 * 10**9
lengths_ms = st.sampled_from([1_000, 1_001, 60_000, 3_600_000, SLOT_MS_MAX]) | st.integers(1_000, 10**7)
times_ns = st.integers(SLOT_EPOCH_NS - YEAR_NS, SLOT_EPOCH_NS + 60 * YEAR_NS) | st.integers(-(2**70), 2**70)


def unix_ns(*date: int) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp()) * 10**9  # type: ignore[misc,arg-type]  # year, month, day


def test_the_calendar_starts_in_2010() -> None:
    assert unix_ns(2010, 1, 1) == SLOT_EPOCH_NS
    assert slot_of(unix_ns(2010, 1, 1), 1_000) == 0
    assert slot_of(unix_ns(2010, 1, 2), 60_000) == 24 * 60


def test_the_shortest_slots_last_until_2044() -> None:
    assert slot_of(unix_ns(2044, 1, 1), SLOT_MS_MIN) < SLOT_MAX


def test_a_slot_is_a_half_open_interval() -> None:
    start = slot_start_ns(77, 60_000)
    assert start == SLOT_EPOCH_NS + 77 * 60 * 10**9
    assert slot_end_ns(77, 60_000) == slot_start_ns(78, 60_000)
    assert [slot_of(start + offset, 60_000) for offset in (-1, 0, 60 * 10**9 - 1, 60 * 10**9)] == [
        76,
        77,
        77,
        78,
    ]


@pytest.mark.parametrize("taken_ns", [-(2**80), 0, SLOT_EPOCH_NS - 1])
def test_a_time_before_the_calendar_falls_into_the_first_slot(taken_ns: int) -> None:
    assert slot_of(taken_ns, 1_000) == 0


def test_a_time_after_the_calendar_falls_into_the_last_slot_with_a_key() -> None:
    assert slot_of(2**80, 1_000) == SLOT_MAX == SLOT_COUNT - 2


@settings(deadline=None)
@given(times_ns, lengths_ms)
def test_a_record_lies_in_its_slot(taken_ns: int, slot_ms: int) -> None:
    slot = slot_of(taken_ns, slot_ms)
    if 0 < slot < SLOT_MAX:
        assert slot_start_ns(slot, slot_ms) <= taken_ns < slot_end_ns(slot, slot_ms)


@settings(deadline=None)
@given(times_ns, times_ns, lengths_ms, times_ns)
@example(SLOT_EPOCH_NS, 2**80, 1_000, 2**79)
@example(-(2**80), SLOT_EPOCH_NS + 10**10, 1_000, -(2**79))
def test_a_record_in_a_granted_slot_was_taken_within_the_granted_time(
    from_ns: int, to_ns: int, slot_ms: int, taken_ns: int
) -> None:
    span = slots_within(from_ns, to_ns, slot_ms)
    for taken in (taken_ns, from_ns - 1, from_ns, to_ns - 1, to_ns):
        if span is not None and span[0] <= slot_of(taken, slot_ms) <= span[1]:
            assert from_ns <= taken < to_ns


@settings(deadline=None)
@given(st.integers(1, SLOT_MAX - 40), st.integers(0, 30), lengths_ms, st.data())
def test_every_whole_slot_is_found_and_no_broken_one(
    first: int, more: int, slot_ms: int, data: st.DataObject
) -> None:
    slot_ns = slot_ms * 1_000_000
    cut_left = data.draw(st.integers(0, slot_ns - 1))
    cut_right = data.draw(st.integers(0, slot_ns - 1))
    from_ns = slot_start_ns(first, slot_ms) - cut_left
    to_ns = slot_end_ns(first + more, slot_ms) + cut_right
    assert slots_within(from_ns, to_ns, slot_ms) == (first, first + more)


def test_a_time_shorter_than_a_slot_holds_none() -> None:
    start = slot_start_ns(500, 1_000)
    assert slots_within(start, start + 10**9, 1_000) == (500, 500)
    assert slots_within(start + 1, start + 10**9, 1_000) is None
    assert slots_within(start, start + 10**9 - 1, 1_000) is None
    assert slots_within(start, start, 1_000) is None
    assert slots_within(start + 10**12, start, 1_000) is None


@pytest.mark.parametrize("slot_ms", [-1, 0, 999, SLOT_MS_MAX + 1])
def test_a_slot_length_for_which_the_tree_is_too_small_is_refused(slot_ms: int) -> None:
    with pytest.raises(SlotRefused, match=str(slot_ms)):
        slot_of(0, slot_ms)
    with pytest.raises(SlotRefused):
        slots_within(0, 1, slot_ms)
    with pytest.raises(SlotRefused):
        slot_start_ns(0, slot_ms)
