"""The scheduler: wanted rates while there is room, equal shares of the shortage when there is not."""

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obd.scheduler import LAG_MAX_MS, Item, Scheduler


def drive(
    scheduler: Scheduler, query_ms: float, span_ms: float, count_max: int = 1
) -> tuple[Counter[str], dict[str, float]]:
    """Asks for so long: how often each was asked, and its longest wait."""
    now_ms = 0.0
    counts: Counter[str] = Counter()
    last: dict[str, float] = {item.key: 0.0 for item in scheduler.items}
    longest: dict[str, float] = dict.fromkeys(last, 0.0)
    while now_ms < span_ms:
        keys = scheduler.pick(now_ms, count_max)
        if not keys:
            wait_ms = scheduler.wait_ms(now_ms)
            assert wait_ms is not None
            now_ms += max(wait_ms, 0.001)
            continue
        now_ms += query_ms
        scheduler.done(query_ms, len(keys))
        for key in keys:
            counts[key] += 1
            longest[key] = max(longest[key], now_ms - last[key])
            last[key] = now_ms
    for key, at_ms in last.items():
        longest[key] = max(longest[key], now_ms - at_ms)
    return counts, longest


def items(*periods_ms: int) -> list[Item]:
    return [Item(f"{number}", period_ms, None, 1) for number, period_ms in enumerate(periods_ms)]


def test_with_room_everybody_is_asked_at_its_period() -> None:
    counts, longest = drive(Scheduler(items(100, 1_000, 10_000), 0), 5, 60_000)
    assert counts["0"] == pytest.approx(600, abs=3)
    assert counts["1"] == pytest.approx(60, abs=2)
    assert counts["2"] == pytest.approx(6, abs=1)
    assert longest["0"] <= 130


def test_without_room_all_become_slower_by_the_same_factor() -> None:
    # Wanted are 21 a second, there is room for 10.
    scheduler = Scheduler(items(100, 100, 1_000), 0)
    counts, _ = drive(scheduler, 100, 600_000)
    assert scheduler.stretch == pytest.approx(2.1, rel=0.01)
    assert scheduler.capacity_per_s == pytest.approx(10)
    assert scheduler.wanted_per_s == pytest.approx(21)
    assert counts["0"] == pytest.approx(counts["1"], rel=0.02)
    assert counts["0"] / counts["2"] == pytest.approx(10, rel=0.05)


def test_everything_is_asked_once_at_the_start() -> None:
    scheduler = Scheduler(items(100, 60_000, 3_600_000), 0)
    assert [scheduler.pick(0)[0] for _ in range(3)] == ["0", "1", "2"]
    assert scheduler.pick(0) == []
    assert scheduler.wait_ms(0) == 50.0


def test_companions_of_one_group_go_along_and_others_do_not() -> None:
    scheduler = Scheduler(
        [
            Item("a", 100, "x", 3),
            Item("b", 100, "x", 2),
            Item("c", 100, "y", 2),
            Item("d", 100, None, 2),
            Item("e", 100, "x", 3),
        ],
        0,
    )
    assert scheduler.pick(0, 6, 6) == ["a", "b"]
    assert scheduler.pick(0, 6, 6) == ["c"]
    assert scheduler.pick(0, 6, 6) == ["d"]
    # From its second turn on, a companion may come half a period early.
    assert scheduler.pick(0, 6, 6) == ["e", "a"]
    assert scheduler.pick(0, 6, 6) == []
    assert scheduler.pick(60, 6) == ["b", "e"]


def test_nobody_is_asked_twice_to_make_up_for_a_long_pause() -> None:
    scheduler = Scheduler(items(100), 0)
    scheduler.pick(0)
    asked = sum(bool(scheduler.pick(3_600_000)) for _ in range(100))
    assert asked <= LAG_MAX_MS / 100 + 2


def test_nothing_wanted_is_nothing_to_wait_for() -> None:
    scheduler = Scheduler([], 0)
    assert scheduler.pick(0) == []
    assert scheduler.wait_ms(0) is None
    assert scheduler.stretch == 1.0
    with pytest.raises(ValueError, match="a period of 0 ms is not possible"):
        Scheduler(items(0), 0)


@given(
    periods_ms=st.lists(st.sampled_from([50, 100, 200, 500, 1_000, 5_000]), min_size=1, max_size=12),
    query_ms=st.sampled_from([1, 10, 40, 150]),
    groups=st.integers(1, 3),
    count_max=st.integers(1, 6),
)
@settings(deadline=None, max_examples=60)
def test_nobody_starves_and_the_longest_wait_is_bounded(
    periods_ms: list[int], query_ms: int, groups: int, count_max: int
) -> None:
    wanted = [
        Item(f"{number}", period_ms, number % groups or None, 1)
        for number, period_ms in enumerate(periods_ms)
    ]
    demand = sum(query_ms / period_ms for period_ms in periods_ms)
    stretch = max(demand, 1.0)
    counts, longest = drive(Scheduler(wanted, 0), query_ms, 20_000 * stretch, count_max)
    for item in wanted:
        assert counts[item.key] >= 1
        bound_ms = 2 * stretch * item.period_ms + 2 * (len(wanted) + 1) * query_ms + 2 * LAG_MAX_MS
        assert longest[item.key] <= bound_ms, (item, longest[item.key])


@given(st.lists(st.sampled_from([100, 200, 400, 800]), min_size=2, max_size=8))
@settings(deadline=None, max_examples=30)
def test_in_a_shortage_shares_are_as_the_rates_that_were_wanted(periods_ms: list[int]) -> None:
    demand = sum(200 / period_ms for period_ms in periods_ms)
    if demand < 1.2:
        return
    counts, _ = drive(Scheduler(items(*periods_ms), 0), 200, 400_000)
    rates = [counts[f"{number}"] * period_ms for number, period_ms in enumerate(periods_ms)]
    for one, other in itertools.pairwise(rates):
        assert one == pytest.approx(other, rel=0.15)
