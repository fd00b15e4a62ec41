"""What the tests of the telemetry core share: made-up samples, keys, and the way to the store.

Runs on CPython.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from gateway.archive import Archive, KeyProvider, ReadReport, evidence_name, manifest_name
from gateway.block import Samples
from gateway.columns import TIME_END_NS
from gateway.crypto.stream import StreamKeys
from gateway.pipeline import StreamPipeline
from gateway.record import Record
from gateway.sensors.source import Batch, Gap
from gateway.spool import Spool, SpooledUpload
from gateway.store import ChunkStore
from obd.can_frame import CanFrame
from puf.ed25519 import SigningKey

NOON_NS = 1_700_000_000 * 10**9
YEAR_NS = 365 * 86_400 * 10**9
SPOOL_KEY = bytes(range(32))
DATA_ROOT = bytes(range(32, 64))
OWNER = SigningKey(bytes(range(64, 96)))

Item = tuple[int, Any]
"""(time, value) of a record; of a gap its beginning, and the gap."""


def stream_keys(name: str = "can0", slot_ms: int = 5_000) -> StreamKeys:
    return StreamKeys(DATA_ROOT, OWNER.public, name, slot_ms)


# ------------------------------------------------------------------ strategies

times = st.one_of(
    st.integers(NOON_NS, NOON_NS + 30 * 10**9),
    # A clock that jumps a year, stands at zero, or was never set.
    st.sampled_from([NOON_NS - YEAR_NS, NOON_NS + YEAR_NS, 0, -1, -TIME_END_NS, TIME_END_NS - 1]),
)
frames = st.builds(
    CanFrame,
    st.one_of(st.sampled_from([0x123, 0x7FF]), st.integers(0, (1 << 32) - 1)),
    st.integers(0, 0xFFF),
    st.binary(max_size=64),
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.binary(max_size=8),
    st.text(max_size=8),
)
readings = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.text(max_size=3), st.integers(), st.binary(max_size=3)), inner, max_size=3
        ),
    ),
    max_leaves=4,
)
gaps = st.builds(Gap, st.text(max_size=20), st.integers(0, 1 << 40), times, times)
KIND_VALUES = {"can": frames, "reading": readings}


@st.composite
def batches(draw: st.DrawFn, kind: str = "can", size_min: int = 0, size_max: int = 12) -> Batch:
    count = draw(st.integers(0, size_max))
    values = draw(st.lists(KIND_VALUES[kind], min_size=count, max_size=count))
    taken_ns = draw(st.lists(times, min_size=count, max_size=count))
    places = sorted(draw(st.lists(st.integers(0, count), min_size=max(size_min - count, 0), max_size=4)))
    return Batch(taken_ns, values, [(place, draw(gaps)) for place in places])


@st.composite
def samples(draw: st.DrawFn, kind: str = "can") -> Samples:
    """At least one record."""
    batch = draw(batches(kind, size_min=1))
    boot, first_seq = draw(st.integers(0, 1 << 20)), draw(st.integers(0, 1 << 40))
    return Samples(boot, first_seq, batch.taken_ns, batch.values, batch.gaps)


def items(batch: Batch | Samples) -> Iterator[Item]:
    """The records of a batch, in their order, told without the code under test."""
    for place in range(len(batch.values) + 1):
        for at, gap in batch.gaps:
            if at == place:
                yield gap.from_ns, gap
        if place < len(batch.values):
            yield batch.taken_ns[place], batch.values[place]


def can_batch(count: int, from_ns: int = NOON_NS, step_ns: int = 1_000_000, payload: bytes = b"") -> Batch:
    """Frames that differ, evenly spaced."""
    taken_ns = [from_ns + number * step_ns for number in range(count)]
    return Batch(
        taken_ns,
        [CanFrame(0x100 + number % 7, 0, payload or number.to_bytes(4, "big")) for number in range(count)],
    )


# --------------------------------------------------------------------- journey


def open_spool(folder: Path, **options: Any) -> Spool:
    return Spool(folder / "spool.db", SPOOL_KEY, **options)


def open_pipeline(
    spool: Spool, name: str = "can0", kind: str = "can", block_ms: int = 1_000, segment_blocks: int = 5
) -> StreamPipeline:
    keys = stream_keys(name, block_ms * segment_blocks)
    return StreamPipeline(spool, keys, name, kind, block_ms, segment_blocks, 0)


def limit_disk(spool: Spool, pages_more: int = 0) -> None:
    """Lets the spool grow by so many pages and no more."""
    spool._database.pragma("max_page_count", spool._database.pragma("page_count") + pages_more)


def free_disk(spool: Spool) -> None:
    spool._database.pragma("max_page_count", 1 << 30)


def store_segments(spool: Spool, store: ChunkStore) -> int:
    """Moves every sealed segment into the store: how many."""
    count = 0
    while (unstored := spool.next_unstored()) is not None:
        segment, chunks = unstored
        store.put(chunks)
        spool.mark_stored(segment)
        count += 1
    return count


def finish(spool: Spool, store: ChunkStore, upload: SpooledUpload) -> None:
    """What the uploader does once an upload is anchored."""
    manifest = upload.manifest
    store.put({manifest.digest: manifest.encode()})
    store.put_named(manifest_name(manifest.stream_id, manifest.upload_index), manifest.digest)
    store.put_named(evidence_name(manifest.stream_id, manifest.upload_index), b"evidence")
    spool.finish_upload(upload)


def drain(spool: Spool, store: ChunkStore, segment_count: int = 3) -> None:
    """Moves all that is sealed through the store, and out of the spool."""
    store_segments(spool, store)
    for stream in spool.streams():
        while spool.form_upload(stream, segment_count, is_flush=True) is not None:
            pass
    while uploads := spool.uploads():
        finish(spool, store, uploads[0])


def open_archive(
    store: ChunkStore, name: str = "can0", slot_ms: int = 5_000, key: KeyProvider | None = None
) -> Archive:
    keys = stream_keys(name, slot_ms)
    return Archive(store, keys.stream_id, name, key or keys.segment_key)


def read_all(archive: Archive) -> list[Record]:
    """Everything that the store has of a stream, which must be whole."""
    report = ReadReport()
    records = list(archive.records(-TIME_END_NS, TIME_END_NS, report))
    assert (report.problems, report.not_granted_count) == ([], 0)
    return records


def files(folder: Path) -> Iterable[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
