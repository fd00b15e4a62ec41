"""What is not known to be free is not free."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lock_controller.errors import LimitsError
from lock_controller.ultrasonic import (
    AGE_MS_MAX,
    FAR,
    FINE,
    FREE,
    LINE,
    NEAR,
    NO_ECHO_US,
    NO_LINE_US,
    SILENT,
    STUCK,
    STUCK_COUNT,
    TAKEN,
    UNKNOWN,
    Ranger,
    Span,
    distance_mm,
    echo_us_of,
    speed_mm_per_s,
)

SPAN = Span(empty_mm=2_000, margin_mm=150)
EMPTY_US = echo_us_of(2_000)


def fed(*echoes: int, span: Span = SPAN, step_ms: int = 60) -> tuple[Ranger, int]:
    ranger, now_ms = Ranger(span), 0
    for echo_us in echoes:
        now_ms += step_ms
        ranger.feed(echo_us, 20_000, now_ms)
    return ranger, now_ms


@pytest.mark.parametrize(
    ("temperature_c", "speed_m_per_s"), [(-20, 318.9), (0, 331.3), (20, 343.2), (40, 354.8)]
)
def test_the_speed_of_sound_is_that_of_dry_air(temperature_c: int, speed_m_per_s: float) -> None:
    """ISO 9613-1, formula (A.5), with 331.3 m/s at 0 degrees."""
    assert speed_mm_per_s(temperature_c * 1_000) == pytest.approx(speed_m_per_s * 1_000, rel=1e-3)


@given(st.integers(-50_000, 80_000))
def test_the_series_is_within_two_thousandths_of_the_root(mdegc: int) -> None:
    exact = 331_300 * math.sqrt(1 + mdegc / 273_150)
    assert speed_mm_per_s(mdegc) == pytest.approx(exact, rel=2e-3)


@given(st.integers(20, 5_000), st.integers(-40_000, 60_000))
def test_a_distance_survives_its_echo(mm: int, mdegc: int) -> None:
    assert distance_mm(echo_us_of(mm, mdegc), mdegc) in (mm, mm + 1)


@pytest.mark.parametrize(
    ("mm", "state", "trouble"),
    [
        (20, UNKNOWN, NEAR),
        (100, TAKEN, FINE),
        (1_840, TAKEN, FINE),
        (1_860, FREE, FINE),
        (2_140, FREE, FINE),
        (2_170, UNKNOWN, FAR),
        (4_000, UNKNOWN, FAR),
    ],
)
def test_the_bay_is_what_the_echo_says(mm: int, state: int, trouble: int) -> None:
    ranger, now_ms = fed(*[echo_us_of(mm) + jitter for jitter in (0, 3, 1, 4, 2)])
    assert (ranger.state(now_ms), ranger.trouble) == (state, trouble)
    assert ranger.distance_mm == pytest.approx(mm, abs=2)


def test_no_echo_is_unknown_and_never_free() -> None:
    ranger, now_ms = fed(*[NO_ECHO_US] * 50)
    assert (ranger.state(now_ms), ranger.trouble) == (UNKNOWN, SILENT)
    ranger, now_ms = fed(*[NO_LINE_US] * 50)
    assert (ranger.state(now_ms), ranger.trouble) == (UNKNOWN, LINE)


def test_one_wild_echo_and_two_missing_change_nothing_and_three_missing_do() -> None:
    ranger, now_ms = fed(EMPTY_US, EMPTY_US + 1, 300, EMPTY_US + 2, EMPTY_US)
    assert ranger.state(now_ms) == FREE
    ranger, now_ms = fed(EMPTY_US, NO_ECHO_US, EMPTY_US + 1, NO_ECHO_US, EMPTY_US + 2)
    assert ranger.state(now_ms) == FREE
    ranger, now_ms = fed(EMPTY_US, NO_ECHO_US, EMPTY_US + 1, NO_ECHO_US, NO_ECHO_US)
    assert ranger.state(now_ms) == UNKNOWN


def test_a_car_is_seen_at_its_second_echo() -> None:
    ranger, now_ms = fed(*[EMPTY_US + jitter for jitter in range(10)])
    states = []
    for jitter in range(4):
        now_ms += 60
        ranger.feed(echo_us_of(600) + jitter, 20_000, now_ms)
        states.append(ranger.state(now_ms))
    assert states == [FREE, TAKEN, TAKEN, TAKEN]


def test_echoes_that_are_always_the_same_are_a_stuck_sensor() -> None:
    ranger, now_ms = fed(*[EMPTY_US] * (STUCK_COUNT - 1))
    assert ranger.state(now_ms) == FREE
    ranger, now_ms = fed(*[EMPTY_US] * STUCK_COUNT)
    assert (ranger.state(now_ms), ranger.trouble) == (UNKNOWN, STUCK)
    ranger.feed(EMPTY_US + 1, 20_000, now_ms + 60)
    assert ranger.state(now_ms + 60) == FREE


def test_what_was_measured_long_ago_says_nothing() -> None:
    ranger, now_ms = fed(*[EMPTY_US + jitter for jitter in range(5)])
    assert ranger.state(now_ms + AGE_MS_MAX) == FREE
    assert ranger.state(now_ms + AGE_MS_MAX + 1) == UNKNOWN
    assert ranger.state(now_ms - 1) == UNKNOWN
    ranger.feed(EMPTY_US, 20_000, now_ms + 10_000)
    assert ranger.state(now_ms + 10_000) == UNKNOWN


@given(st.lists(st.tuples(st.integers(-3, 40_000), st.integers(-5_000, 5_000)), max_size=80))
def test_it_is_free_only_with_three_of_five_echoes_from_there(
    pings: list[tuple[int, int]],
) -> None:
    ranger, now_ms = Ranger(SPAN), 0
    last: list[int] = []
    for echo_us, passed_ms in pings:
        now_ms += passed_ms
        ranger.feed(echo_us, 20_000, now_ms)
        last = [*(last if 0 <= passed_ms <= AGE_MS_MAX else [])[-4:], echo_us]
        if ranger.state(now_ms) == FREE:
            echoes = [each for each in last if each >= 0]
            assert len(echoes) >= 3
            assert 1_850 <= sorted(map(distance_mm, echoes))[(len(echoes) - 1) // 2] <= 2_150


def test_a_span_without_room_for_a_car_is_refused() -> None:
    for span in (Span(2_000, 0), Span(100, 80), Span(0, 1)):
        with pytest.raises(LimitsError):
            Ranger(span)
