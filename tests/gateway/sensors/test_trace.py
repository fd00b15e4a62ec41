"""Opening any file: the format by its content, streaming, and files that are no traces."""

import gzip
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sensors.source import Batch, NotATrace, SourceError, SourceStats, SourceUnavailable
from gateway.sensors.trace import CHUNK_BYTES, LINE_LENGTH_MAX, PROBE_BYTES, TraceReader
from tests.gateway.sensors.traces import check_whole, gaps, join, read

LOG_LINE = "(1436509052.{:06d}) vcan0 {:03X}#{:08X}\n"
TRC = ";$FILEVERSION=1.1\n 1) 1.5 Rx 0123 2 AB CD\n"
ASC = "date Sam Sep 30 15:06:13.191 2017\nbase hex timestamps absolute\n 1.5 1 123 Rx d 2 AB CD\n"
CONSOLE = "  can0  123   [2]  AB CD\n"


def log(count: int) -> str:
    """A candump log of numbered frames."""
    return "".join(LOG_LINE.format(number % 10**6, number % 2048, number) for number in range(count))


@pytest.mark.parametrize(
    ("content", "format_name"),
    [
        (TRC.encode(), "PCAN .trc"),
        (TRC.replace("\n", "\r\n").encode(), "PCAN .trc"),
        (b" 1) 1841 0123 2 AB CD\n", "PCAN .trc"),
        (ASC.encode(), "Vector .asc"),
        (LOG_LINE.format(1, 0x123, 0xABCD).replace("0000ABCD", "ABCD").encode(), "candump"),
        (CONSOLE.encode(), "candump"),
        (b"\n\nsome words\n" * 100 + CONSOLE.encode(), "candump"),
        (b"\xef\xbb\xbf" + CONSOLE.encode(), "candump"),
        (CONSOLE.encode("utf-16"), "candump"),
        (b"\xfe\xff" + TRC.encode("utf-16-be"), "PCAN .trc"),
        (TRC.encode().replace(b"\n", b"\n; K\xfchler \x80\n", 1), "PCAN .trc"),
        (CONSOLE.encode().rstrip(b"\n"), "candump"),
    ],
)
def test_the_format_is_found_by_content_in_any_encoding(
    tmp_path: Path, content: bytes, format_name: str
) -> None:
    path = tmp_path / "trace.pdf"
    path.write_bytes(content)
    reader = TraceReader(str(path))
    assert reader.format_name == format_name
    (frame,) = join(list(reader.batches())).values
    assert str(frame) == "123#ABCD"
    reader.close()


@pytest.mark.parametrize(
    ("content", "offset", "reason"),
    [
        (b"", 0, "the file is empty"),
        (gzip.compress(TRC.encode(), mtime=0), 0, "the file is packed; unpack it first: gunzip"),
        (b"PK\x03\x04....", 0, "unpack it first: unzip"),
        (b"just a letter\nto a friend\n", 0, "no line of PCAN .trc, candump or Vector .asc"),
        (b"\x7fELF\x01\x00\x00\x02", 4, "binary data, and not a Vector .blf"),
        (b"LOGG too short", 0, "begins like a Vector .blf, but the header is cut off"),
        (b"a,b,c\n1,2,3\n", 0, "is this a trace?"),
    ],
)
def test_a_file_that_is_no_trace_is_refused_with_a_reason(
    tmp_path: Path, content: bytes, offset: int, reason: str
) -> None:
    path = tmp_path / "trace.log"
    path.write_bytes(content)
    with pytest.raises(NotATrace) as caught:
        TraceReader(str(path))
    assert (caught.value.path, caught.value.offset) == (str(path), offset)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="is a directory; name a trace file in it"):
        TraceReader(str(tmp_path))
    with pytest.raises(SourceUnavailable, match="No such file or directory"):
        TraceReader(str(tmp_path / "none"))
    with pytest.raises(SourceUnavailable, match="null byte"):
        TraceReader("a\0b")


def test_a_reading_error_names_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.log"
    path.write_text(log(10_000))
    reader = TraceReader(str(path))

    class Dying:
        """A file on a card that dies."""

        def read(self, size: int) -> bytes:
            raise OSError(5, "Input/output error")

        def close(self) -> None:
            pass

    reader._file.close()
    monkeypatch.setattr(reader, "_file", Dying())
    with pytest.raises(SourceUnavailable, match=f"byte {PROBE_BYTES}: reading failed: Input/output error"):
        list(reader.batches())


def test_chunks_cut_no_line_and_batches_stay_small(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    path.write_text(log(20_000))
    reader = TraceReader(str(path))
    batches = list(reader.batches())
    assert max(len(batch.values) for batch in batches) < 1000
    numbers = [int.from_bytes(frame.data, "big") for batch in batches for frame in batch.values]
    assert numbers == list(range(20_000))
    assert (reader.bytes_done, reader.bytes_total) == (path.stat().st_size, path.stat().st_size)
    assert path.stat().st_size > 5 * PROBE_BYTES > 5 * CHUNK_BYTES
    reader.close()


def test_garbage_within_a_trace_is_damage_at_its_place_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    garbage = bytes(range(11, 256)) * 400 + b"(\n"
    path.write_bytes(log(5000).encode() + garbage + log(5000).encode())
    batch, stats = read(path)
    assert len(batch.values) == 10_000
    assert stats.damaged == 1
    assert gaps(batch) == [(5000, f"damaged line 5001: longer than {LINE_LENGTH_MAX} characters", 1)]
    check_whole(batch)


def test_a_log_cut_anywhere_gives_all_whole_lines_and_never_half_a_frame(tmp_path: Path) -> None:
    """A log does not say how long a frame is, so a last line without an end cannot be trusted."""
    path = tmp_path / "t.log"
    whole = log(3).encode()
    line_bytes = len(whole) // 3
    frames = read_text(path, whole)[0].values
    for size in range(line_bytes, len(whole) + 1):
        batch, stats = read_text(path, whole[:size])
        assert batch.values == frames[: size // line_bytes], size
        assert stats.damaged == (1 if size % line_bytes else 0), size


@pytest.mark.parametrize("text", [TRC, ASC, CONSOLE])
def test_formats_that_say_how_long_a_frame_is_need_no_last_line_end(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t"
    for cut in range(1, 6):
        batch, stats = read_text(path, (text + text)[:-cut].encode())
        assert (len(batch.values), stats.damaged) == ((2, 0) if cut == 1 else (1, 1)), cut


def read_text(path: Path, content: bytes) -> tuple[Batch, SourceStats]:
    """What is read of it."""
    path.write_bytes(content)
    return read(path)


def test_a_pipe_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_text(log(5000)))
    writer.start()
    batch, _ = read(path)
    writer.join()
    assert len(batch.values) == 5000


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    part = log(25_000)
    script = (
        "import resource, sys\n"
        "from gateway.sensors.trace import TraceReader\n"
        "reader = TraceReader(sys.argv[1])\n"
        "print(sum(len(batch.values) for batch in reader.batches()))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )

    def peak_kib(parts: int) -> int:
        with path.open("w") as file:
            for _ in range(parts):
                file.write(part)
        done = subprocess.run(
            [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
        )
        frames, peak = done.stdout.split()
        assert int(frames) == parts * 25_000
        return int(peak)

    assert resource.getpagesize() > 0
    small, large = peak_kib(1), peak_kib(20)
    assert large - small < 2048, (small, large)


@given(st.binary(max_size=2000))
@settings(deadline=None)
def test_any_bytes_are_a_trace_or_a_source_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    check_file(tmp_path_factory, content)


@given(
    st.sampled_from([TRC, ASC, CONSOLE, log(5)]).map(str.encode),
    st.lists(st.tuples(st.integers(0, 300), st.binary(max_size=20)), max_size=6),
)
@settings(deadline=None)
def test_any_change_to_a_trace_is_a_trace_or_a_source_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, changes: list[tuple[int, bytes]]
) -> None:
    for place, instead in changes:
        content = content[:place] + instead + content[place + len(instead) :]
    check_file(tmp_path_factory, content * 3)


def check_file(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Reads it; anything but a SourceError fails the test."""
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    try:
        batch, _ = read(path)
    except SourceError:
        return
    check_whole(batch)
