"""The queue of readings: nothing is lost without a gap, and every gap stays at its place."""

import asyncio
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sensors.reading_queue import BATCH_READINGS, FULL, ReadingQueue
from gateway.sensors.source import Batch, Clock, Gap, SourceStats
from tests.gateway.sensors.clocks import FakeClock
from tests.gateway.sensors.traces import join


def drain(queue: ReadingQueue, readings_max: int) -> Batch:
    queue.end()
    batches = []
    while (batch := queue.take(readings_max)) is not None:
        batches.append(batch)
    return join(batches)


PUTS = st.lists(
    st.one_of(
        st.integers(1, 5).map(lambda count: ("put", count)),
        st.sampled_from(["a", "b"]).map(lambda reason: ("lost", reason)),
        st.integers(1, 6).map(lambda count: ("take", count)),
    ),
    max_size=30,
)


@given(PUTS, st.integers(1, 12), st.integers(1, 7))
@settings(deadline=None)
def test_every_reading_is_there_or_in_a_gap(
    steps: list[tuple[str, int | str]], readings_max: int, batch_max: int
) -> None:
    stats = SourceStats()
    queue = ReadingQueue(stats, readings_max)
    taken: list[Batch] = []
    put = 0
    for now_ns, (step, what) in enumerate(steps, 1):
        if step == "put" and isinstance(what, int):
            queue.put(now_ns, list(range(put, put + what)))
            put += what
        elif step == "lost":
            queue.lost(str(what), 1, now_ns, now_ns)
        elif isinstance(what, int):
            batch = queue.take(what)
            assert batch is not None
            taken.append(batch)
    whole = join([*taken, drain(queue, batch_max)])
    dropped = sum(gap.count for _, gap in whole.gaps if gap.reason == FULL)
    lost = sum(gap.count for _, gap in whole.gaps if gap.reason != FULL)
    assert len(whole.values) + dropped == put
    assert lost == sum(step == "lost" for step, _ in steps)
    assert whole.values == sorted(whole.values)
    assert len(whole.taken_ns) == len(whole.values) == stats.received
    assert stats.dropped == dropped + lost
    # A reading that follows a gap of dropped ones is the one behind them.
    missing = 0
    gaps = iter(whole.gaps)
    gap = next(gaps, None)
    for index, value in enumerate(whole.values):
        while gap is not None and gap[0] <= index:
            missing += gap[1].count if gap[1].reason == FULL else 0
            gap = next(gaps, None)
        assert value == index + missing


def test_the_same_loss_again_lengthens_the_gap() -> None:
    queue = ReadingQueue(SourceStats())
    queue.put(5, ["x"])
    queue.lost("a", 2, 10, 10)
    queue.lost("a", 3, 20, 30)
    queue.lost("b", 0, 40, 40)
    queue.damaged("b", 1, 50)
    assert drain(queue, 9).gaps == [(1, Gap("a", 5, 10, 30)), (1, Gap("b", 0, 5, 50))]


def test_waiting_ends_with_a_reading_a_gap_or_the_end() -> None:
    async def story() -> None:
        queue = ReadingQueue(SourceStats())
        steps: list[Callable[[], None]] = [
            lambda: queue.put(1, ["x"]),
            lambda: queue.lost("a", 1, 1, 1),
            queue.end,
        ]
        for step in steps:
            waiting = asyncio.ensure_future(queue.wait())
            await asyncio.sleep(0)
            assert not waiting.done()
            step()
            await asyncio.wait_for(waiting, 20)
            queue.take()
        assert queue.take() is None

    asyncio.run(story())


async def never(seconds: float) -> None:
    """A wait that somebody else must end."""
    await asyncio.Event().wait()


def test_a_whole_batch_is_not_kept_waiting() -> None:
    async def story() -> None:
        queue = ReadingQueue(SourceStats())
        steps: list[Callable[[], None]] = [
            lambda: queue.put(1, ["x"] * BATCH_READINGS),
            lambda: queue.put(1, ["x"] * (BATCH_READINGS + 1)),
            queue.end,
        ]
        for step in steps:
            queue.put(1, ["first"])
            waiting = asyncio.ensure_future(queue.wait_for_batch(Clock(sleep=never), 1))
            for _ in range(5):
                await asyncio.sleep(0)
            assert not waiting.done()
            step()
            await asyncio.wait_for(waiting, 20)
            while (batch := queue.take()) is not None and batch.values:
                pass

    asyncio.run(story())


def test_few_readings_wait_for_others_to_come() -> None:
    async def story() -> None:
        queue = ReadingQueue(SourceStats())
        fake = FakeClock()
        queue.put(1, ["x"])
        await queue.wait_for_batch(fake.clock, 250)
        assert fake.sleeps == [0.25]

    asyncio.run(story())


def test_a_clock_that_goes_back_makes_no_gap_that_ends_before_it_begins() -> None:
    queue = ReadingQueue(SourceStats())
    queue.put(100, ["x"])
    queue.damaged("a", 1, 50)
    queue.lost("b", 1, 60, 50)
    assert [gap.from_ns <= gap.to_ns for _, gap in drain(queue, 9).gaps] == [True, True]
