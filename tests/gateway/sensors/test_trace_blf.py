"""Vector .blf: as python-can writes and reads it, and what is left of a damaged one."""

import io
import struct
import zlib
from pathlib import Path

import can
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sensors.can_ports import frame_of_message
from gateway.sensors.source import NotATrace, SourceStats
from gateway.sensors.trace_blf import BlfParser
from gateway.sensors.trace_sink import Channels, TraceSink
from obd.can_frame import CanFrame
from tests.gateway.sensors.test_trace_asc import messages
from tests.gateway.sensors.traces import check_whole, gaps, join, read


def write(path: Path, frames: list[can.Message], container_bytes: int = 128 * 1024) -> None:
    """A file by python-can."""
    with can.BLFWriter(str(path)) as writer:
        writer.max_container_size = container_bytes
        for message in frames:
            writer.on_message_received(message)


def many(count: int) -> list[can.Message]:
    """Plain frames, one a millisecond."""
    return [
        can.Message(
            timestamp=1_700_000_000 + index / 1000,
            arbitration_id=index % 2048,
            is_extended_id=False,
            data=index.to_bytes(4, "big"),
        )
        for index in range(count)
    ]


def test_a_file_of_python_can_reads_as_python_can_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "name says nothing"
    error = can.Message(timestamp=1_700_000_005.0, is_error_frame=True, channel=0)
    write(path, [*messages(), error])
    batch, stats = read(path)
    assert stats.damaged == 0
    assert batch.values[:-1] == [frame_of_message(message) for message in messages()]
    assert str(batch.values[-1]) == "20000080#0000000000000000"
    with can.BLFReader(str(path)) as reader:
        theirs = list(reader)
    assert batch.values[:-1] == [frame_of_message(message) for message in theirs[:-1]]
    for ours_ns, message in zip(batch.taken_ns, theirs, strict=True):
        assert abs(ours_ns - int(message.timestamp * 10**6) * 1000) < 2000


def test_frames_may_be_cut_by_the_end_of_a_container(tmp_path: Path) -> None:
    path = tmp_path / "a.blf"
    write(path, many(1000), container_bytes=1000)
    batch, stats = read(path)
    assert [frame.data for frame in batch.values] == [index.to_bytes(4, "big") for index in range(1000)]
    assert [taken_ns - batch.taken_ns[0] for taken_ns in batch.taken_ns] == pytest.approx(
        [index * 10**6 for index in range(1000)], abs=1000
    )
    assert (stats.damaged, batch.gaps) == (0, [])


def test_a_damaged_container_is_named_and_the_next_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.blf"
    write(path, many(3000), container_bytes=4800)
    data = bytearray(path.read_bytes())
    second = data.index(b"LOBJ", data.index(b"LOBJ") + 4)
    for place in range(second + 40, second + 60):
        data[place] ^= 0xFF
    path.write_bytes(data)
    batch, stats = read(path)
    assert stats.damaged >= 1
    assert stats.notes[1].startswith(f"damaged byte {second}: container does not unpack")
    numbers = [int.from_bytes(frame.data, "big") for frame in batch.values]
    assert 2800 < len(numbers) < 3000
    assert numbers == sorted(numbers)
    assert numbers[-1] == 2999
    (first_gap, *_) = batch.gaps
    missing_from = next(index for index, number in enumerate(numbers) if index != number)
    assert first_gap[0] == missing_from


def test_a_file_that_ends_too_early_gives_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.blf"
    write(path, many(1000), container_bytes=4800)
    whole = path.read_bytes()
    for size in (len(whole) - 40, len(whole) - 700, len(whole) // 2, 160, 145):
        path.write_bytes(whole[:size])
        batch, stats = read(path)
        numbers = [int.from_bytes(frame.data, "big") for frame in batch.values]
        assert numbers == list(range(len(numbers)))
        assert stats.damaged >= 1
        assert batch.gaps[-1][0] == len(batch.values)
    path.write_bytes(whole[:100])
    with pytest.raises(NotATrace, match="the header is cut off"):
        read(path)


def test_a_bomb_in_a_container_does_not_unpack(tmp_path: Path) -> None:
    path = tmp_path / "a.blf"
    write(path, many(10))
    head = path.read_bytes()[:144]
    bomb = zlib.compress(bytes(1 << 26))
    container = struct.pack("<H6xL4x", 2, 1000) + bomb
    path.write_bytes(head + struct.pack("<4sHHLL", b"LOBJ", 16, 1, 16 + len(container), 10) + container)
    batch, stats = read(path)
    assert batch.values == []
    assert stats.damaged >= 1
    assert "container of 1001 bytes instead of 1000" in stats.notes[1]


def test_a_file_without_a_start_time_counts_from_zero(tmp_path: Path) -> None:
    path = tmp_path / "a.blf"
    write(path, many(3))
    data = bytearray(path.read_bytes())
    data[40:72] = bytes(32)
    data[72:104] = bytes(32)
    path.write_bytes(data)
    batch, stats = read(path)
    assert batch.taken_ns[0] < 10**9
    assert stats.notes == ["the header has no start time; times count from zero"]


def test_data_that_ends_early_is_filled_with_zeros_as_vector_means_it() -> None:
    body = struct.pack("<BBBBL4xL16xHBBL", 1, 15, 64, 0, 0x123, 0x1000, 0, 0, 0, 0) + b"\xaa\xbb"
    size = 32 + len(body)
    head = struct.pack("<4sHHLLLHHQ", b"LOBJ", 32, 1, size, 101, 2, 0, 0, 5)
    assert parse_objects(head + body)[0] == [CanFrame(0x123, 8, b"\xaa\xbb" + bytes(62))]


def parse_objects(objects: bytes) -> tuple[list[CanFrame], list[tuple[int, str, int]]]:
    """Frames and gaps of inner objects, in one container."""
    container = struct.pack("<H6xL4x", 2, len(objects)) + zlib.compress(objects)
    file = io.BytesIO(struct.pack("<4sHHLL", b"LOBJ", 16, 1, 16 + len(container), 10) + container)
    sink = TraceSink(SourceStats())
    parser = BlfParser(sink, Channels(sink, None))
    batches = []
    more = True
    while more:
        more = parser.read_object(file)
        batches.append(sink.take(is_last=not more))
    batch = join(batches)
    check_whole(batch)
    return batch.values, gaps(batch)


OBJECT = st.builds(
    lambda kind, size, version, body: struct.pack("<4sHHLL", b"LOBJ", 32, version, size, kind) + body,
    st.sampled_from([1, 86, 100, 101, 73, 2, 10, 99]),
    st.integers(0, 120),
    st.integers(0, 3),
    st.binary(max_size=110),
)


@given(st.lists(st.one_of(OBJECT, st.binary(max_size=40)), max_size=8).map(b"".join))
@settings(deadline=None)
def test_any_objects_give_frames_or_named_damage(objects: bytes) -> None:
    parse_objects(objects)


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_any_change_to_a_file_gives_frames_or_named_damage(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("blf") / "a"
    write(path, many(60), container_bytes=600)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(144, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(144, len(content)))])
    batch, _ = read(path)
    check_whole(batch)
