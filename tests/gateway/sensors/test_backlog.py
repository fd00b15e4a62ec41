"""Samples that wait: whatever the loss policy, each is there or counted by a gap at its place."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sensors.backlog import GAPS_MAX, OTHERS, Backlog
from gateway.sensors.source import BLOCK, DROP_NEWEST, DROP_OLDEST, Batch, Gap, SourceStats
from tests.gateway.sensors.traces import join

FULL = "full"
STEPS = st.lists(
    st.one_of(
        st.integers(1, 9).map(lambda count: ("put", count)),
        st.sampled_from(["a", "b"]).map(lambda reason: ("gap", reason)),
        st.integers(1, 6).map(lambda count: ("take", count)),
    ),
    max_size=40,
)


@given(STEPS, st.integers(1, 12), st.sampled_from([DROP_NEWEST, DROP_OLDEST, BLOCK]))
@settings(deadline=None)
def test_every_sample_is_there_or_in_a_gap(
    steps: list[tuple[str, int | str]], size_max: int, overrun: str
) -> None:
    stats = SourceStats()
    backlog = Backlog(stats, size_max, overrun, FULL)
    batches: list[Batch] = []
    put = missed = 0
    for now_ns, (step, what) in enumerate(steps, 1):
        if step == "gap":
            backlog.gap(str(what), 1, now_ns, now_ns)
            missed += 1
        elif step == "put":
            assert isinstance(what, int)
            backlog.put([now_ns] * what, list(range(put, put + what)))
            put += what
            assert overrun == BLOCK or len(backlog) <= size_max
        else:
            batches.append(backlog.take(int(what)))
    while len(backlog) or backlog.has_gaps:
        batches.append(backlog.take(7))
    whole = join(batches)
    dropped = sum(gap.count for _, gap in whole.gaps if gap.reason == FULL)
    assert len(whole.values) + dropped == put
    assert stats.dropped == dropped
    assert (dropped == 0) or overrun != BLOCK
    assert sum(gap.count for _, gap in whole.gaps if gap.reason != FULL) == missed
    assert len(whole.taken_ns) == len(whole.values) == stats.received
    # Each is where it belongs: what is missing before a sample is what the gaps before it count.
    for index, value in enumerate(whole.values):
        assert value == index + sum(
            gap.count for place, gap in whole.gaps if place <= index and gap.reason == FULL
        )


@pytest.mark.parametrize(
    ("overrun", "values", "gap"),
    [
        (DROP_NEWEST, [0, 1, 2], (3, Gap(FULL, 4, 13, 16))),
        (DROP_OLDEST, [4, 5, 6], (0, Gap(FULL, 4, 10, 13))),
    ],
)
def test_the_policy_says_which_go(overrun: str, values: list[int], gap: tuple[int, Gap]) -> None:
    backlog = Backlog(SourceStats(), 3, overrun, FULL)
    for number in range(7):
        backlog.put([10 + number], [number])
    batch = backlog.take(9)
    assert (batch.values, batch.gaps) == (values, [gap])


def test_more_at_once_than_there_is_room_for_leaves_the_newest_or_the_oldest() -> None:
    oldest, newest = (Backlog(SourceStats(), 3, each, FULL) for each in (DROP_OLDEST, DROP_NEWEST))
    for backlog in (oldest, newest):
        backlog.put([1, 2], ["a", "b"])
    assert oldest.put(range(3, 8), list("cdefg")) == 2
    assert newest.put(range(3, 8), list("cdefg")) == 0
    assert oldest.take(9) == Batch([5, 6, 7], list("efg"), [(0, Gap(FULL, 4, 1, 4))])
    assert newest.take(9) == Batch([1, 2, 3], list("abc"), [(3, Gap(FULL, 4, 4, 7))])


def test_gaps_between_samples_that_went_are_told_before_those_that_stayed() -> None:
    backlog = Backlog(SourceStats(), 2, DROP_OLDEST, FULL)
    backlog.put([1], ["a"])
    backlog.gap("cut", 3, 2, 2)
    backlog.put([3, 4, 5], ["b", "c", "d"])
    assert backlog.take(9) == Batch([4, 5], ["c", "d"], [(0, Gap(FULL, 2, 1, 3)), (0, Gap("cut", 3, 2, 2))])


def test_a_gap_between_samples_that_stay_keeps_its_place_when_older_ones_go() -> None:
    backlog = Backlog(SourceStats(), 3, DROP_OLDEST, FULL)
    backlog.put([1, 2], ["a", "b"])
    backlog.gap("cut", 3, 2, 3)
    backlog.put([3], ["c"])
    backlog.put([4], ["d"])
    assert backlog.take(2) == Batch([2, 3], ["b", "c"], [(0, Gap(FULL, 1, 1, 1)), (1, Gap("cut", 3, 2, 3))])
    assert backlog.take(2) == Batch([4], ["d"])


def test_reasons_without_end_take_no_room_without_end_and_what_they_count_stays_exact() -> None:
    backlog = Backlog(SourceStats(), 2, DROP_NEWEST, FULL)
    for number in range(1_000):
        backlog.gap(f"error {number}", number % 2, number, number)
    gaps = [gap for _, gap in backlog.take(9).gaps]
    assert len(gaps) == GAPS_MAX + 2
    assert sum(gap.count for gap in gaps) == 500
    assert {gap.reason: gap.count for gap in gaps[GAPS_MAX:]} == {
        f"{OTHERS}; nobody knows how much": 0,
        OTHERS: 492,
    }
