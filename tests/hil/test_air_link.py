"""A link in memory, told in milliseconds of a clock that jumps."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.air_link import Conditions, Cut, Link, airtime_ms
from tests.hil.virtual_time import pass_ms, run


class Ends:
    """Both ends of one link, and when they got what."""

    def __init__(self, conditions: Conditions, seed: int = 0, supervision_ms: float = 400.0) -> None:
        self.heard: list[tuple[int, str, int]] = []
        """(ms, direction, number)"""
        self.lost_ms: list[int] = []
        self.link = Link(
            "C0:00:00:00:00:0A",
            "C0:00:00:00:00:0B",
            conditions,
            random.Random(seed),
            lambda link: self.lost_ms.append(round(link.age_ms)),
            agreed_interval_ms=30.0,
            agreed_supervision_ms=supervision_ms,
        )

    def send(self, direction: str, number: int, size: int = 20) -> None:
        self.link.send(
            direction,
            lambda: self.heard.append((round(self.link.age_ms), direction, number)),
            bytes(size),
        )


def test_a_message_takes_its_latency_in_each_direction() -> None:
    async def story() -> None:
        ends = Ends(Conditions(latency_ms=30.0))
        ends.send("up", 1)
        await pass_ms(10)
        ends.send("down", 2)
        await pass_ms(40)
        assert ends.heard == [(30, "up", 1), (40, "down", 2)]

    run(story())


@pytest.mark.parametrize(("interval_ms", "expected_ms"), [(0.0, (9, 36)), (50.0, (50, 50)), (None, (30, 60))])
def test_it_then_waits_for_a_connection_event(
    interval_ms: float | None, expected_ms: tuple[int, int]
) -> None:
    async def story() -> None:
        ends = Ends(Conditions(latency_ms=5.0, interval_ms=interval_ms))
        await pass_ms(4)
        ends.send("up", 1)
        await pass_ms(27)
        ends.send("down", 2)
        await pass_ms(60)
        assert ends.heard == [(expected_ms[0], "up", 1), (expected_ms[1], "down", 2)]
        figures = ends.link.figures
        assert (figures.messages, figures.lost) == (2, 0)
        # With no interval, events of the agreed 30 ms are counted all the same.
        assert figures.events_used == (1 if interval_ms == 50.0 else 2)
        assert ends.link.events == (1 if interval_ms == 50.0 else 3)

    run(story())


def test_a_message_never_overtakes_another_one() -> None:
    async def story() -> None:
        conditions = Conditions(latency_ms=100.0)
        ends = Ends(conditions)
        ends.send("up", 1)
        conditions.latency_ms = 1.0
        ends.send("up", 2)
        ends.send("down", 3)
        await pass_ms(200)
        assert ends.heard == [(1, "down", 3), (100, "up", 1), (100, "up", 2)] or ends.heard == [
            (1, "down", 3),
            (100, "up", 1),
            (101, "up", 2),
        ]

    run(story())


def test_messages_of_one_event_need_their_time_on_the_air() -> None:
    async def story() -> None:
        ends = Ends(Conditions(latency_ms=0.0, interval_ms=30.0))
        await pass_ms(1)
        for number in range(30):
            ends.send("up", number, 244)
        await pass_ms(99)
        # 2.412 ms each: the 30th is through 69.9 ms after the event at 30 ms.
        assert airtime_ms(bytes(244)) == pytest.approx(2.412)
        assert [number for _, _, number in ends.heard] == list(range(30))
        assert ends.heard[0][0] == 30
        assert ends.heard[-1][0] == round(30 + 29 * 2.412)
        assert ends.link.figures.events_used == 3

    run(story())


def test_what_is_lost_is_sent_again_until_the_supervision_timeout() -> None:
    async def story() -> None:
        ends = Ends(Conditions(latency_ms=0.0, interval_ms=30.0, loss=1.0))
        await pass_ms(1)
        ends.send("up", 1)
        await pass_ms(2_000)
        # Tried at 30, 60, .. 450 ms: 400 ms and more after the first time.
        assert ends.heard == []
        assert ends.lost_ms == [450]
        assert ends.link.figures.lost == 15
        ends.send("up", 2)
        await pass_ms(100)
        assert ends.heard == []
        assert ends.lost_ms == [450]

    run(story())


def told(seed: int, loss: float, count: int) -> tuple[list[tuple[int, str, int]], int, list[int]]:
    """What both ends heard in this order, how many tries were lost, when the link was."""
    result: list[Ends] = []

    async def story() -> None:
        ends = Ends(Conditions(latency_ms=3.0, interval_ms=7.5, loss=loss), seed, 1_000.0)
        result.append(ends)
        for number in range(count):
            ends.send("up", number)
            ends.send("down", number)
        await pass_ms(10_000)

    run(story())
    ends = result[0]
    return ends.heard, ends.link.figures.lost, ends.lost_ms


@given(st.integers(0, 2**32), st.floats(0.0, 0.5), st.integers(0, 12))
def test_loss_delays_but_never_drops_or_reorders(seed: int, loss: float, count: int) -> None:
    heard, lost, lost_ms = told(seed, loss, count)
    assert lost_ms == []
    for direction in ("up", "down"):
        assert [number for _, way, number in heard if way == direction] == list(range(count))
    assert told(seed, loss, count) == (heard, lost, lost_ms)


def test_loss_is_as_often_as_it_was_asked_for() -> None:
    heard, lost, _ = told(7, 0.25, 400)
    assert len(heard) == 800
    assert 0.2 < lost / (lost + len(heard)) < 0.3


@pytest.mark.parametrize("after", range(5))
def test_a_cut_ends_the_link_in_the_middle_of_the_message_that_was_named(after: int) -> None:
    async def story() -> None:
        ends = Ends(Conditions(latency_ms=10.0))
        cut = Cut(after)
        ends.link.cuts.append(cut)
        for number in range(4):
            ends.send("up" if number % 2 else "down", number)
            await pass_ms(20)
        assert [number for _, _, number in ends.heard] == list(range(min(after, 4)))
        assert cut.is_done == (after < 4)
        assert ends.lost_ms == ([10 + 20 * after] if after < 4 else [])

    run(story())


def test_a_cut_may_count_one_direction_and_be_noticed_late() -> None:
    async def story() -> None:
        ends = Ends(Conditions(latency_ms=10.0))
        ends.link.cuts.append(Cut(1, "down", silence_ms=150.0))
        for number in range(4):
            ends.send("up", number)
            ends.send("down", number)
            await pass_ms(20)
        assert [(way, number) for _, way, number in ends.heard] == [("up", 0), ("down", 0), ("up", 1)]
        assert ends.lost_ms == []
        await pass_ms(200)
        assert ends.lost_ms == [30 + 150]

    run(story())


def test_a_cut_must_make_sense() -> None:
    with pytest.raises(ValueError, match="0 or more messages"):
        Cut(-1)
    with pytest.raises(ValueError, match="both, up or down"):
        Cut(1, "left")


def test_silence_that_ends_in_time_loses_nothing() -> None:
    async def story() -> None:
        ends = Ends(Conditions(latency_ms=10.0))
        ends.send("up", 1)
        ends.link.silence()
        ends.send("up", 2)
        await pass_ms(390)
        assert ends.heard == []
        ends.link.resume()
        await pass_ms(20)
        assert [number for _, _, number in ends.heard] == [1, 2]
        ends.link.silence()
        await pass_ms(500)
        ends.link.resume()
        assert len(ends.lost_ms) == 1
        assert not ends.link.is_open

    run(story())


def test_the_trace_keeps_what_passed() -> None:
    async def story() -> None:
        ends = Ends(Conditions(latency_ms=10.0))
        ends.link.send("up", lambda: None)
        ends.send("up", 1, 3)
        await pass_ms(20)
        ((at_ms, direction, frame),) = ends.link.figures.trace
        assert (round(at_ms), direction, frame) == (10, "up", bytes(3))
        await asyncio.sleep(0)

    run(story())
