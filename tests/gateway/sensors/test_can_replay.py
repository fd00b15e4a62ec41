"""Replaying: what time frames carry, and when they come."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sensors.can_replay import FRAMES_MAX, WINDOW_NS, split
from gateway.sensors.schemes import open_source
from gateway.sensors.source import Batch, Gap, Source, SourceUnavailable
from obd.can_frame import CanFrame
from tests.gateway.sensors.clocks import START_NS, FakeClock
from tests.gateway.sensors.traces import join, recorded

TRC = ";$FILEVERSION=1.1\n;$STARTTIME=44548.6028595139\n"
STARTTIME_NS = 1_639_837_687_062_000_960


def trc(*offsets_ms: str, head: str = TRC) -> str:
    """A trace with a frame at each offset."""
    return head + "".join(f" {n}) {offset} Rx 0100 1 {n:02X}\n" for n, offset in enumerate(offsets_ms, 1))


async def _drain(source: Source) -> list[Batch]:
    return [batch async for batch in source.batches()]


def play(path: Path | str, query: str, clock: FakeClock | None = None) -> tuple[list[Batch], Source]:
    """All batches of a replay on a fake clock."""
    source = open_source(f"replay:{path}?{query}", name="x", clock=(clock or FakeClock()).clock)
    return asyncio.run(_drain(source)), source


def test_the_first_frame_is_taken_now_and_distances_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.trc"
    path.write_text(trc("17535.4", "17535.5", "17540.123456", "17540.123456"))
    batches, source = play(path, "speed=max")
    assert join(batches).taken_ns == [
        START_NS,
        START_NS + 100_000,
        START_NS + 4_723_456,
        START_NS + 4_723_456,
    ]
    assert source.kind == "can"
    assert source.stats.received == 4


def test_recorded_times_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.trc"
    path.write_text(trc("17535.4", "17535.5"))
    batches, _ = play(path, "speed=max&start=recorded")
    assert join(batches).taken_ns == [STARTTIME_NS + 17_535_400_000, STARTTIME_NS + 17_535_500_000]


@pytest.mark.parametrize("text", [trc("1.5", head=";$FILEVERSION=1.1\n"), "  can0  123   [1]  11\n"])
def test_a_file_without_a_date_cannot_keep_its_times(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.trc"
    path.write_text(text)
    with pytest.raises(SourceUnavailable, match="the recording has no date, so start=recorded cannot be"):
        play(path, "speed=max&start=recorded")


@pytest.mark.parametrize(("speed", "factor"), [("1", 1.0), ("10", 10.0), ("0.5", 0.5)])
def test_frames_come_when_they_are_due(tmp_path: Path, speed: str, factor: float) -> None:
    path = tmp_path / "a.trc"
    path.write_text(trc("100.0", "1100.0", "1130.0", "31100.0"))
    fake = FakeClock()
    batches, _ = play(path, f"speed={speed}", fake)
    # What is due within 50 ms comes together; 30 ms at half speed are 60.
    assert [len(batch.values) for batch in batches] == ([1, 1, 1, 1] if factor < 1 else [1, 2, 1])
    assert fake.elapsed_ns == pytest.approx(31e9 / factor, rel=1e-9)
    # Times are never bent by the speed.
    assert join(batches).taken_ns[-1] - START_NS == 31_000_000_000


def test_a_slow_machine_is_late_but_does_not_drift(tmp_path: Path) -> None:
    path = tmp_path / "a.trc"
    path.write_text(trc(*(f"{n * 100}.0" for n in range(100))))
    fake = FakeClock(cost_ns=3_000_000)
    play(path, "speed=1", fake)
    assert 9_900_000_000 <= fake.elapsed_ns < 9_910_000_000


def test_at_full_speed_nothing_waits(tmp_path: Path) -> None:
    path = tmp_path / "a.trc"
    path.write_text(trc("0.0", "3600000.0"))
    fake = FakeClock()
    play(path, "speed=max", fake)
    assert set(fake.sleeps) == {0}


def test_passes_follow_each_other_at_the_mean_distance(tmp_path: Path) -> None:
    path = tmp_path / "a.trc"
    path.write_text(trc("1.0", "2.0", "5.0"))
    batches, source = play(path, "speed=max&loop=3")
    steps_ms = [(taken_ns - START_NS) / 10**6 for taken_ns in join(batches).taken_ns]
    assert steps_ms == [0, 1, 4, 6, 7, 10, 12, 13, 16]
    size = path.stat().st_size
    assert source.progress() == (3 * size, 3 * size)


def test_an_endless_loop_ends_when_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.trc"
    path.write_text(trc("1.0"))

    async def run() -> int:
        source = open_source(f"replay:{path}?speed=max&loop=0", name="x", clock=FakeClock().clock)
        count = 0
        async for batch in source.batches():
            count += len(batch.values)
            if count == 50:
                await source.close()
        assert source.progress()[1] == 0
        return count

    assert asyncio.run(run()) == 50


def test_a_long_silence_does_not_hold_up_closing(tmp_path: Path) -> None:
    path = tmp_path / "a.trc"
    path.write_text(trc("0.0", "3600000.0"))
    fake = FakeClock()

    async def run() -> list[int]:
        source = open_source(f"replay:{path}?speed=1", name="x", clock=fake.clock)
        seen = []
        async for batch in source.batches():
            seen.append(len(batch.values))
            asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(source.close()))
        return seen

    assert asyncio.run(run()) == [1]
    assert fake.elapsed_ns < 10 * 10**9


def test_a_trace_without_a_frame_ends_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.trc"
    path.write_text(TRC)
    batches, source = play(path, "speed=max&loop=0")
    assert batches == []
    assert f"{path}: PCAN .trc without a frame" in source.stats.notes


def test_gaps_move_with_the_frames_around_them(tmp_path: Path) -> None:
    path = tmp_path / "a.trc"
    path.write_text(trc("1.0") + "oops\n" + trc("3.0", head=""))
    batch = join(play(path, "speed=max")[0])
    reason = "damaged line 4: 1 columns instead of 6"
    assert batch.gaps == [(1, Gap(reason, 1, START_NS, START_NS + 2_000_000))]


def test_one_channel_is_chosen(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("(1500000000.1) can0 100#11\n(1500000000.2) can1 100#22\n")
    batches, source = play(path, "speed=max&channel=can1&start=recorded")
    assert [str(frame) for frame in join(batches).values] == ["100#22"]
    assert join(batches).taken_ns == [1_500_000_000_200_000_000]
    assert source.stats.ignored == 1


def test_progress_rises_to_the_size_of_the_file() -> None:
    path = recorded("passat-idling.trc")

    async def run() -> list[tuple[int, int]]:
        source = open_source(f"replay:{path}?speed=max", name="x", clock=FakeClock().clock)
        return [source.progress() async for _ in source.batches()] + [source.progress()]

    steps = asyncio.run(run())
    size = Path(path).stat().st_size
    assert steps == sorted(steps)
    assert steps[-1] == (size, size)
    assert steps[0][0] < size


GAP = Gap("x", 1, 0, 0)


@given(
    st.lists(st.integers(0, 10 * WINDOW_NS), max_size=40),
    st.lists(st.integers(0, 40), max_size=5),
    st.booleans(),
)
@settings(deadline=None)
def test_splitting_loses_nothing_and_moves_no_gap(
    taken: list[int], places: list[int], is_ordered: bool
) -> None:
    taken = sorted(taken) if is_ordered else taken
    values = [CanFrame(number, 0, b"") for number in range(len(taken))]
    gaps = [(place, GAP) for place in sorted(places) if place <= len(taken)]
    batch = Batch(taken, values, gaps)
    parts = list(split(batch, WINDOW_NS))
    assert join(parts) == batch
    for part in parts:
        if is_ordered and part.taken_ns:
            assert part.taken_ns[-1] - part.taken_ns[0] <= WINDOW_NS


def test_no_part_is_larger_than_a_batch_may_be() -> None:
    batch = Batch([0] * 1201, [CanFrame(1, 0, b"")] * 1201)
    assert [len(part.values) for part in split(batch, WINDOW_NS)] == [FRAMES_MAX, FRAMES_MAX, 201]
