"""The frames that benches and long runs work on: a real car's trace where it is there, else a simulated car.

Runs on CPython.  Frames are made before anything is measured, in the batches in which a bus delivers
them.  Times are fixed, not now: the same frames give the same digests every day.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from gateway.sensors.can_simulated import SimulatedBus
from gateway.sensors.source import Batch
from gateway.sensors.trace import TraceReader
from obd.can_frame import CanFrame

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "can"
TRACE = DATA / "passat-idling.trc"
"""10,856 frames of a car idling, 1,870 a second."""
TRACE_DBC = DATA / "vw_pq.dbc"
BATCH_FRAMES = 500
BEGIN_NS = 1_700_000_000 * 10**9
SEED = 1


def is_real() -> bool:
    """Whether the trace of a real car is there."""
    return TRACE.exists() and TRACE_DBC.exists()


def origin() -> str:
    """What the frames are, for a person."""
    return TRACE.name if is_real() else f"simulated car, seed {SEED}"


@cache
def batches(count: int) -> tuple[Batch, ...]:
    """`count` frames in batches of BATCH_FRAMES; the trace begins anew where it ends."""
    taken_ns, frames = _real() if is_real() else _simulated(count)
    lap_ns = taken_ns[-1] - taken_ns[0] + 1_000_000
    lap_size = len(frames)
    times = [
        BEGIN_NS + number // lap_size * lap_ns + taken_ns[number % lap_size] - taken_ns[0]
        for number in range(count)
    ]
    values = [frames[number % lap_size] for number in range(count)]
    return tuple(
        Batch(times[at : at + BATCH_FRAMES], values[at : at + BATCH_FRAMES])
        for at in range(0, count, BATCH_FRAMES)
    )


def frames_digest(samples: Iterable[tuple[int, CanFrame]]) -> str:
    """SHA-256 over times and frames, in hex: what went in must come out."""
    hasher = hashlib.sha256()
    for taken_ns, frame in samples:
        hasher.update(struct.pack("<qIHB", taken_ns, frame.arbitration_id, frame.flags, len(frame.data)))
        hasher.update(frame.data)
    return hasher.hexdigest()


def candump_lines(samples: Iterable[tuple[int, CanFrame]]) -> Iterator[str]:
    """The lines of a candump log, as `candump -L` writes it, of data frames."""
    for taken_ns, frame in samples:
        whole_s, micros = taken_ns // 10**9, taken_ns // 1_000 % 10**6
        yield f"({whole_s}.{micros:06}) can0 {id_text(frame, 3)}#{frame.data.hex().upper()}\n"


def id_text(frame: CanFrame, width: int) -> str:
    """The frame's id in hex, of eight digits when it is an extended one, else of `width`."""
    return f"{frame.arbitration_id:0{8 if frame.is_extended else width}X}"


def _real() -> tuple[list[int], list[CanFrame]]:
    taken_ns: list[int] = []
    frames: list[CanFrame] = []
    for batch in TraceReader(str(TRACE)).batches():
        taken_ns += batch.taken_ns
        frames += batch.values
    return taken_ns, frames


def _simulated(count: int) -> tuple[list[int], list[CanFrame]]:
    bus = SimulatedBus(SEED)
    taken_ns: list[int] = []
    frames: list[CanFrame] = []
    while len(frames) < count:
        bus.tick(taken_ns, frames)
    return taken_ns, frames
