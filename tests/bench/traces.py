"""Reading traces and decoding frames, against python-can's readers and cantools.

Runs on CPython.  Both sides must come to the same frames, and to the same values.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import can
import cantools
from cantools.database.namedsignalvalue import NamedSignalValue

from gateway.sensors.can_simulated import DBC_PATH
from gateway.sensors.dbc import DbcDecoder
from gateway.sensors.trace import TraceReader
from obd.can_frame import CanFrame
from tests.bench import frames
from tests.bench.measure import FULL, Lap, Row, Stopwatch, compare, digest_of

LINE_COUNT = {"tiny": 2_000, FULL: 40_000}
DECODE_COUNT = {"tiny": 1_000, FULL: 20_000}
ROUNDS = {"tiny": 1, FULL: 7}


def bench_trace(size: str) -> list[Row]:
    """A trace of each of two formats; an item is a line."""
    with tempfile.TemporaryDirectory(prefix="cpc-bench-") as name:
        log, trc = Path(name, "frames.log"), Path(name, "frames.trc")
        samples = [
            sample
            for batch in frames.batches(LINE_COUNT[size])
            for sample in zip(batch.taken_ns, batch.values, strict=True)
        ]
        log.write_text("".join(frames.candump_lines(samples)))
        trc.write_text("".join(_trc_lines(samples)))
        return [
            *_compare("trace-candump", "line of a candump log", log, can.CanutilsLogReader, size),
            *_compare("trace-trc", "line of a PCAN .trc 1.1", trc, can.TRCReader, size),
        ]


def bench_dbc(size: str) -> list[Row]:
    """Values by signal name; an item is a frame of which both can tell the same values.

    That leaves out a message that cantools takes amiss: its multiplexer is marked with a small m.
    """
    dbc_path = frames.TRACE_DBC if frames.is_real() else DBC_PATH
    decoder = DbcDecoder.load([dbc_path])
    database = cantools.database.can.Database(strict=False)
    database.add_dbc_file(str(dbc_path))

    def decode(frame: CanFrame) -> Any:
        return database.decode_message(frame.arbitration_id, frame.data)

    known = [
        frame
        for batch in frames.batches(DECODE_COUNT[size])
        for frame in batch.values
        if _same_names(decoder.decode(frame), decode, frame)
    ]

    def ours() -> Lap:
        with Stopwatch() as watch:
            values = [decoder.decode(frame) for frame in known]
        return Lap(watch.cpu_us, len(known), _values_digest(values))

    def peer() -> Lap:
        with Stopwatch() as watch:
            values = [decode(frame) for frame in known]
        return Lap(watch.cpu_us, len(known), _values_digest(values))

    return compare(
        "dbc-decode", f"frame, {dbc_path.name}", ours, {"cantools": peer}, ROUNDS[size], is_same_result=True
    )


def _same_names(
    ours: Mapping[str, object] | None, decode: Callable[[CanFrame], Any], frame: CanFrame
) -> bool:
    if ours is None:
        return False
    try:
        return bool(ours.keys() == decode(frame).keys())
    except cantools.database.DecodeError:
        # Where a message is shorter than its signals need, cantools gives up; ours takes what is there.
        return False


def _compare(
    bench: str, what: str, path: Path, reader: Callable[[Path], Iterable[can.Message]], size: str
) -> list[Row]:
    def ours() -> Lap:
        found: list[CanFrame] = []
        with Stopwatch() as watch:
            trace = TraceReader(str(path))
            for batch in trace.batches():
                found += batch.values
            trace.close()
        return Lap(
            watch.cpu_us,
            len(found),
            digest_of([[frame.arbitration_id, frame.is_extended, frame.data] for frame in found]),
        )

    def peer() -> Lap:
        with Stopwatch() as watch:
            messages = list(reader(path))
        return Lap(
            watch.cpu_us,
            len(messages),
            digest_of([[item.arbitration_id, item.is_extended_id, bytes(item.data)] for item in messages]),
        )

    return compare(bench, what, ours, {"python-can": peer}, ROUNDS[size], is_same_result=True)


def _trc_lines(samples: Iterable[tuple[int, CanFrame]]) -> Iterator[str]:
    yield ";$FILEVERSION=1.1\n;$STARTTIME=45332.5\n;\n"
    for number, (taken_ns, frame) in enumerate(samples, 1):
        offset_ms = (taken_ns - frames.BEGIN_NS) / 1e6
        yield (
            f"{number:6}) {offset_ms:11.1f}  Rx     {frames.id_text(frame, 4):>8}  {len(frame.data)}  "
            f"{frame.data.hex(' ').upper()} \n"
        )


def _values_digest(values: Iterable[Any]) -> str:
    return digest_of(
        [
            {
                name: str(value) if isinstance(value, NamedSignalValue) else value
                for name, value in item.items()
            }
            for item in values
        ]
    )
