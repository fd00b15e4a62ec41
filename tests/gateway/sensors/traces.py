"""What the tests of trace readers share: reading a text or a file whole, and the recorded data."""

from pathlib import Path

import pytest

from gateway.sensors.source import Batch, Gap, SourceStats
from gateway.sensors.trace import TraceReader
from gateway.sensors.trace_sink import Channels, LineParser, TraceSink
from obd.can_frame import CanFrame

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "can"
"""Recordings of real cars, kept beside the repository."""


def recorded(name: str) -> str:
    """Path of a recording; skips the test where it is not there."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"../shared/data/can/{name} is not here")
    return str(path)


def join(batches: list[Batch]) -> Batch:
    """All of them as one; gaps by their index in the whole."""
    whole = Batch([], [], [])
    for batch in batches:
        whole.gaps.extend((len(whole.values) + index, gap) for index, gap in batch.gaps)
        whole.taken_ns.extend(batch.taken_ns)
        whole.values.extend(batch.values)
    return whole


def parse(parser: type[LineParser], text: str, channel: str | None = None) -> tuple[Batch, SourceStats]:
    """What a parser makes of a whole text."""
    stats = SourceStats()
    sink = TraceSink(stats)
    lines = text.split("\n")
    reader = parser(sink, Channels(sink, channel))
    reader.probe(lines)
    reader.parse(1, lines)
    return sink.take(is_last=True), stats


def read(path: str | Path) -> tuple[Batch, SourceStats]:
    """A whole file."""
    stats = SourceStats()
    reader = TraceReader(str(path), stats=stats)
    batch = join(list(reader.batches()))
    reader.close()
    return batch, stats


def words(batch: Batch) -> list[str]:
    """The frames as candump writes them, and whether we sent them."""
    return [str(frame) + (" T" if frame.flags & 64 else "") for frame in batch.values]


def gaps(batch: Batch) -> list[tuple[int, str, int]]:
    """Index, reason and count of each gap."""
    return [(index, gap.reason, gap.count) for index, gap in batch.gaps]


def check_whole(batch: Batch) -> None:
    """What holds for every batch, however broken the file."""
    assert len(batch.taken_ns) == len(batch.values)
    assert all(isinstance(frame, CanFrame) for frame in batch.values)
    places = [index for index, _ in batch.gaps]
    assert places == sorted(places)
    assert all(0 <= index <= len(batch.values) for index in places)
    for _, gap in batch.gaps:
        assert isinstance(gap, Gap)
        assert gap.from_ns <= gap.to_ns
    for frame in batch.values:
        assert CanFrame.unpack(frame.pack()) == frame
