"""Live buses: batches, bounded queues, and buses that go and come back."""

import asyncio
import errno
import socket
import threading
from collections.abc import Callable

import can
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sensors.can_bus import BATCH_FRAMES, BATCH_MS, GATHER_MS, Bridge, CanBusSource
from gateway.sensors.can_ports import Arrivals, Port
from gateway.sensors.schemes import open_source
from gateway.sensors.source import (
    Batch,
    Gap,
    SourceError,
    SourceStats,
    SourceUnavailable,
)
from obd.can_frame import CanFrame
from tests.gateway.sensors.clocks import START_NS, FakeClock
from tests.gateway.sensors.traces import check_whole, gaps, join

FULL = "our queue was full: storing is slower than the bus"


def arrivals(*numbers: int) -> Arrivals:
    """A frame for each number, taken at that nanosecond."""
    return Arrivals(list(numbers), [CanFrame(number, 0, b"") for number in numbers])


def bridge(frames_max: int = 4) -> tuple[Bridge, SourceStats]:
    stats = SourceStats()
    return Bridge(stats, frames_max, lambda: None), stats


def test_a_full_queue_drops_the_newest_and_says_how_many_where() -> None:
    queue, stats = bridge(frames_max=4)
    queue.put(arrivals(1, 2, 3, 4, 5, 6))
    queue.put(arrivals(7))
    batch = queue.take(2)
    assert batch == Batch([1, 2], [CanFrame(1, 0, b""), CanFrame(2, 0, b"")], [])
    queue.put(arrivals(8))
    batch = queue.take(10)
    assert batch is not None
    assert batch.taken_ns == [3, 4, 8]
    assert batch.gaps == [(2, Gap(FULL, 3, 5, 7))]
    assert (stats.dropped, stats.received) == (3, 5)


def test_a_gap_behind_all_frames_is_not_kept_back() -> None:
    queue, _ = bridge()
    queue.lost("bus x is down", 5, 5)
    assert queue.take(10) == Batch([], [], [(0, Gap("bus x is down", 0, 5, 5))])
    queue.put(arrivals(6))
    queue.lost("again", 7, 9)
    assert queue.take(10) == Batch([6], [CanFrame(6, 0, b"")], [(1, Gap("again", 0, 7, 9))])
    assert queue.must_wait()


def test_a_gap_goes_with_the_frames_it_lies_between() -> None:
    queue, _ = bridge(10)
    queue.put(arrivals(1, 2))
    queue.lost("x", 2, 3)
    queue.put(arrivals(3))
    first, second = queue.take(2), queue.take(2)
    assert first is not None
    assert second is not None
    assert (first.gaps, second.gaps) == ([], [(0, Gap("x", 0, 2, 3))])


def test_the_reader_is_woken_once_and_only_when_it_waits() -> None:
    woken: list[int] = []
    queue = Bridge(SourceStats(), 9, lambda: woken.append(1))
    queue.put(arrivals(1))
    assert (woken, queue.must_wait()) == ([], False)
    queue.take(9)
    assert queue.must_wait()
    queue.put(arrivals(2))
    queue.put(arrivals(3))
    assert woken == [1]
    queue.take(9)
    assert queue.must_wait()
    queue.end()
    assert woken == [1, 1]
    assert not queue.must_wait()


def test_what_the_port_lost_lies_between_its_frames() -> None:
    queue, stats = bridge()
    both = Arrivals()
    both.add(5, CanFrame(1, 0, b""))
    both.lost("kernel", 7)
    both.add(20, CanFrame(2, 0, b""))
    both.lost("damaged", 1, is_damage=True)
    queue.put(both)
    batch = queue.take(9)
    assert batch is not None
    assert batch.gaps == [(1, Gap("kernel", 7, 5, 20)), (2, Gap("damaged", 1, 20, 20))]
    assert (stats.dropped, stats.damaged) == (7, 1)


def test_the_end_comes_after_everything_was_taken_and_an_error_is_raised_then() -> None:
    queue, _ = bridge()
    queue.put(arrivals(1))
    queue.end(ZeroDivisionError("a bug"))
    batch = queue.take(9)
    assert batch is not None
    assert batch.taken_ns == [1]
    with pytest.raises(ZeroDivisionError):
        queue.take(9)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(1, 6)),
            st.tuples(st.just("lost"), st.integers(1, 3)),
            st.tuples(st.just("take"), st.integers(1, 5)),
        ),
        max_size=40,
    )
)
@settings(deadline=None)
def test_whatever_happens_each_frame_is_delivered_or_counted(steps: list[tuple[str, int]]) -> None:
    queue, stats = bridge(frames_max=5)
    sent = lost = 0
    taken: list[Batch] = []
    for action, amount in steps:
        if action == "put":
            queue.put(arrivals(*range(sent + 1, sent + amount + 1)))
            sent += amount
        elif action == "lost":
            news = Arrivals()
            news.lost("kernel", amount)
            queue.put(news)
            lost += amount
        else:
            batch = queue.take(amount)
            assert batch is not None
            taken.append(batch)
    queue.end()
    while (batch := queue.take(3)) is not None:
        taken.append(batch)
    whole = join(taken)
    check_whole(whole)
    assert len(whole.values) + sum(gap.count for _, gap in whole.gaps) == sent + lost
    assert stats.dropped == sum(gap.count for _, gap in whole.gaps)
    assert whole.taken_ns == sorted(whole.taken_ns)
    for index, gap in whole.gaps:
        if gap.reason == FULL:
            # The gap's times lie between those of its neighbours.
            assert index == 0 or whole.taken_ns[index - 1] < gap.from_ns
            assert index == len(whole.values) or gap.to_ns < whole.taken_ns[index]


class ScriptedPort(Port):
    """Gives what it is told, then nothing, for ever."""

    def __init__(self, script: list[Arrivals | Exception]) -> None:
        self.script = script
        self.is_closed = False
        self.done = threading.Event()

    def receive(self, timeout_ms: int) -> Arrivals:
        if not self.script:
            self.done.set()
            self.done.wait(0.001)
            return Arrivals()
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def close(self) -> None:
        self.is_closed = True


DOWN = OSError(errno.ENETDOWN, "Network is down")


def opener(*ports: Port | Exception) -> tuple[Callable[[], Port], list[Port | Exception]]:
    """Opens one port after the other, or fails; and the list of those left."""
    left = list(ports)

    def open_port() -> Port:
        port = left.pop(0)
        if isinstance(port, Exception):
            raise port
        return port

    return open_port, left


def run(source: CanBusSource, frames: int) -> list[Batch]:
    """Batches until so many frames came, then to the end."""

    async def collect() -> list[Batch]:
        batches, count = [], 0
        async for batch in source.batches():
            batches.append(batch)
            count += len(batch.values)
            if count >= frames:
                await source.close()
        return batches

    return asyncio.run(asyncio.wait_for(collect(), 60))


def test_a_bus_that_is_lost_is_opened_again_and_the_time_between_is_a_gap() -> None:
    first = ScriptedPort([arrivals(1, 2), DOWN])
    refusing = OSError(errno.ENODEV, "No such device")
    still_down = ScriptedPort([DOWN])
    second = ScriptedPort([arrivals(3), can.CanOperationError("gone")])
    third = ScriptedPort([arrivals(4)])
    open_port, left = opener(first, refusing, still_down, second, third)
    fake = FakeClock()
    source = CanBusSource("x", "can:can0", open_port, fake.clock, back_off_ms=(0,))
    batch = join(run(source, 4))
    assert batch.taken_ns == [1, 2, 3, 4]
    assert gaps(batch) == [
        (2, f"bus can:can0 is down: {DOWN}", 0),
        (2, "bus can:can0 is back", 0),
        (3, "bus can:can0 is down: gone", 0),
        (3, "bus can:can0 is back", 0),
    ]
    assert batch.gaps[1][1].from_ns == batch.gaps[0][1].to_ns >= START_NS
    assert left == []
    assert first.is_closed
    assert still_down.is_closed
    assert second.is_closed
    assert third.is_closed
    assert batch.gaps[0][1].reason in source.stats.notes


def test_a_bus_that_is_not_there_at_first_is_refused_or_waited_for() -> None:
    missing = OSError(errno.ENODEV, "No such device")
    with pytest.raises(SourceUnavailable, match="wait for it with wait=1"):
        CanBusSource("x", "can:can9", opener(missing)[0], FakeClock().clock)
    open_port, _ = opener(missing, missing, ScriptedPort([arrivals(1)]))
    source = CanBusSource(
        "x", "can:can9", open_port, FakeClock().clock, back_off_ms=(0,), must_be_there=False
    )
    assert gaps(join(run(source, 1))) == [
        (0, "bus can:can9 is not there yet", 0),
        (0, "bus can:can9 is back", 0),
    ]


def test_waits_between_attempts_grow_and_begin_anew_after_success(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = ScriptedPort([arrivals(1), DOWN]), ScriptedPort([arrivals(2), DOWN])
    open_port, _ = opener(first, DOWN, DOWN, DOWN, second, ScriptedPort([arrivals(3)]))
    source = CanBusSource("x", "b", open_port, FakeClock().clock, back_off_ms=(1000, 2000, 4000))
    waits: list[float] = []
    monkeypatch.setattr(source._stop, "wait", waits.append)
    run(source, 3)
    assert [wait for wait in waits if wait != GATHER_MS / 1000] == [1.0, 2.0, 4.0, 4.0, 1.0]


def test_a_bug_in_the_thread_reaches_the_reader() -> None:
    source = CanBusSource("x", "b", opener(ScriptedPort([ZeroDivisionError("bug")]))[0], FakeClock().clock)
    with pytest.raises(ZeroDivisionError, match="bug"):
        run(source, 1)


def test_a_failing_close_is_noted_and_hides_nothing() -> None:
    class Stubborn(ScriptedPort):
        def close(self) -> None:
            raise OSError(errno.EIO, "Input/output error")

    open_port, _ = opener(Stubborn([arrivals(1), DOWN]), ScriptedPort([arrivals(2)]))
    source = CanBusSource("x", "b", open_port, FakeClock().clock, back_off_ms=(0,))
    assert join(run(source, 2)).taken_ns == [1, 2]
    assert "closing b: [Errno 5] Input/output error" in source.stats.notes


def test_frames_are_gathered_for_a_moment_and_batches_stay_bounded() -> None:
    script: list[Arrivals | Exception] = [arrivals(*range(n, n + 50)) for n in range(1, 2001, 50)]
    port = ScriptedPort(script)
    fake = FakeClock()
    source = CanBusSource("x", "b", opener(port)[0], fake.clock)

    async def collect() -> list[int]:
        sizes = []
        async for batch in source.batches():
            await asyncio.to_thread(port.done.wait)
            sizes.append(len(batch.values))
            if sum(sizes) == 2000:
                await source.close()
        return sizes

    sizes = asyncio.run(asyncio.wait_for(collect(), 60))
    assert sum(sizes) == 2000
    assert max(sizes) <= BATCH_FRAMES
    assert sizes.count(BATCH_FRAMES) >= 3
    assert set(fake.sleeps) <= {0, BATCH_MS / 1000}


def test_a_slow_reader_costs_frames_but_no_memory_and_each_is_counted() -> None:
    count = 3000
    script: list[Arrivals | Exception] = [arrivals(*range(n, n + 50)) for n in range(1, count + 1, 50)]
    port = ScriptedPort(script)
    source = CanBusSource("x", "b", opener(port)[0], FakeClock().clock, queue_frames=100)

    async def collect() -> Batch:
        batches = []
        async for batch in source.batches():
            await asyncio.to_thread(port.done.wait)
            batches.append(batch)
            if source.stats.received + source.stats.dropped == count:
                await source.close()
        return join(batches)

    batch = asyncio.run(asyncio.wait_for(collect(), 60))
    assert source.stats.dropped > 0
    assert len(batch.values) + sum(gap.count for _, gap in batch.gaps) == count
    assert source.stats.dropped == sum(gap.count for _, gap in batch.gaps)


def test_closing_before_reading_releases_the_bus() -> None:
    port = ScriptedPort([])
    source = CanBusSource("x", "b", opener(port)[0], FakeClock().clock)
    asyncio.run(source.close())
    assert port.is_closed
    asyncio.run(source.close())


def test_giving_up_in_the_middle_stops_the_thread() -> None:
    port = ScriptedPort([arrivals(1)])
    source = CanBusSource("x", "leaver", opener(port)[0], FakeClock().clock)

    async def leave() -> None:
        batches = source.batches()
        assert (await anext(batches)).taken_ns == [1]
        await batches.aclose()  # type: ignore[attr-defined]  # an AsyncIterator by type, a generator in fact

    asyncio.run(leave())
    assert port.is_closed
    assert not [thread for thread in threading.enumerate() if thread.name == "can leaver"]


def live(url: str, sender: Callable[[], can.BusABC], count: int) -> Batch:
    """What arrives of `count` frames that another bus sends."""
    source = open_source(url, name="x")
    other = sender()

    def send() -> None:
        for number in range(count):
            other.send(
                can.Message(arbitration_id=number, is_extended_id=False, data=number.to_bytes(2, "big"))
            )

    async def collect() -> Batch:
        batches: list[Batch] = []
        sending = asyncio.get_running_loop().run_in_executor(None, send)
        async for batch in source.batches():
            batches.append(batch)
            if sum(len(batch.values) + sum(gap.count for _, gap in batch.gaps) for batch in batches) >= count:
                await source.close()
        await sending
        return join(batches)

    try:
        return asyncio.run(asyncio.wait_for(collect(), 60))
    finally:
        other.shutdown()


def test_a_virtual_bus_is_read_from_end_to_end() -> None:
    batch = live("can+virtual:e2e", lambda: can.Bus(interface="virtual", channel="e2e"), 700)
    assert [frame.arbitration_id for frame in batch.values] == list(range(700))
    assert batch.gaps == []
    assert batch.taken_ns == sorted(batch.taken_ns)
    assert batch.taken_ns[0] > 1_700_000_000 * 10**9


def test_a_multicast_bus_is_read_from_end_to_end() -> None:

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("", 0))
        port = free.getsockname()[1]

    def sender() -> can.BusABC:
        # No hop: nothing leaves this machine.
        return can.Bus(interface="udp_multicast", channel="239.74.163.2", port=port, hop_limit=0)

    try:
        batch = live(f"can+udp:239.74.163.2?port={port}&hop_limit=0", sender, 200)
    except SourceUnavailable as error:
        pytest.skip(f"no multicast here: {error}")
    assert [frame.arbitration_id for frame in batch.values] == list(range(200))
    assert [frame.data for frame in batch.values] == [number.to_bytes(2, "big") for number in range(200)]


def test_socketcan_is_opened_or_refused_with_advice() -> None:
    with pytest.raises(SourceError, match=r"can:nocan0: .*(ip link|modprobe can_raw|more rights)"):
        open_source("can:nocan0?bitrate=500000", name="x")
