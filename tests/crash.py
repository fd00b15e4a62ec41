"""`python -m tests.crash --points 500 --seed 1`: cuts the power of a gateway's disk, and checks its promises.

Runs on CPython, on Linux.  A pipeline takes in batches of two streams; segments are sealed, stored, formed
into uploads and finished, with boots between, all on a disk that records (tests/crash_disk.py).  Then, for
each crash point, what the disk may hold is written out, a gateway opens it, recovers, moves everything
into the store, and

    every record that was acknowledged is in the store, once, with its content and in its order,
    of a batch that was not acknowledged all records are there or none, and nothing else is,
    blocks and uploads are chained without a break, and every chunk has its hash,
    what the store had confirmed is in it, and nothing is left in the spool.

At every NESTED-th point the power also fails during that recovery, at a few points of it.  Everything,
random numbers included, comes from the seed, so a failure can be replayed.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from unittest import mock

from tqdm import tqdm

from gateway.archive import evidence_name, manifest_name
from gateway.database import check_database
from gateway.disk import DiskError, DiskFull
from gateway.errors import SpoolFull, StoreFull
from gateway.pipeline import StreamPipeline
from gateway.sensors.source import Batch, Gap
from gateway.spool import Spool
from gateway.store import LocalStore
from obd.can_frame import CanFrame
from puf.hkdf import sha256
from tests.crash_disk import CrashLog, Image
from tests.gateway.telemetry import NOON_NS, SPOOL_KEY, drain, items, open_archive, open_pipeline, read_all

STREAMS = {"can0": "can", "temp": "reading"}
STEPS = 120
"""What the recorded gateway does before it ends; about a thousand operations of the disk."""
CHECKPOINT_PAGES = 40
"""Few, so that the logs of the databases are copied back, and begun anew, many times."""
FILE_SIZE_MIN = 600
"""Few bytes, so that some chunks are files."""
NESTED = 10
NESTED_POINTS = 3

Item = tuple[int, int, int, Any]
"""(boot, number, time, value) of a record."""


class Broken(Exception):
    """A promise was not kept."""


@dataclass(slots=True)
class Tally:
    """What was checked."""

    points: int = 0
    nested: int = 0
    operations: int = 0
    records: int = 0
    """Acknowledged records, over all points."""
    unacknowledged: int = 0
    """Records that were found though nobody had been told of them."""
    problems: list[str] = field(default_factory=list)


class Gateway:
    """Spool, store and pipelines on one disk."""

    def __init__(self, log: CrashLog | None, folder: Path) -> None:
        options: dict[str, Any] = {} if log is None else {"disk": log.disk, "vfs": log.vfs}
        self.spool = Spool(folder / "spool.db", SPOOL_KEY, **options)
        self.store = LocalStore(folder / "store", file_size_min=FILE_SIZE_MIN, **options)
        for database in self.databases:
            database.wal_autocheckpoint(CHECKPOINT_PAGES)
        self.pipelines = {name: open_pipeline(self.spool, name, kind) for name, kind in STREAMS.items()}

    @property
    def databases(self) -> list[Any]:
        return [self.spool._database, self.store._database]

    def flush(self) -> None:
        """Seals everything."""
        for pipeline in self.pipelines.values():
            pipeline.flush()

    def close(self) -> None:
        """Closes both databases."""
        self.spool.close()
        self.store.close()


def make_batch(rng: random.Random, kind: str, taken_ns: int) -> Batch:
    """Up to 40 samples in a few seconds, and sometimes a gap or a clock that has jumped."""
    count = rng.randrange(40)
    step_ns = rng.choice([10**6, 10**8, 2 * 10**8])
    if rng.random() < 0.1:
        taken_ns += rng.choice([-1, 1]) * 10**16
    times = [taken_ns + number * step_ns for number in range(count)]
    values: list[Any] = (
        [CanFrame(rng.randrange(0x800), 0, rng.randbytes(8)) for _ in range(count)]
        if kind == "can"
        else [{"t": rng.randrange(1000), "x": rng.randbytes(rng.randrange(60))} for _ in range(count)]
    )
    gaps = []
    if not count or rng.random() < 0.2:
        gaps.append((rng.randint(0, count), Gap("lost", rng.randrange(9), taken_ns, taken_ns + 1)))
    return Batch(times, values, gaps)


def numbered(batch: Batch, pipeline: StreamPipeline, boot: int) -> list[Item]:
    """The batch's records with the numbers that they get."""
    return [(boot, seq, *item) for seq, item in enumerate(items(batch), pipeline.accepted_count)]


def accept(gateway: Gateway, log: CrashLog, name: str, batch: Batch, now_ms: int) -> None:
    """Offers a batch, and tells the log what was promised."""
    pipeline = gateway.pipelines[name]
    offered = numbered(batch, pipeline, gateway.spool.boot)
    log.mark("offered", (name, offered))
    pipeline.accept(batch, now_ms)
    log.mark("acknowledged", (name, offered))


def store_one(gateway: Gateway, log: CrashLog) -> None:
    """Moves a segment into the store."""
    unstored = gateway.spool.next_unstored()
    if unstored is not None:
        segment, chunks = unstored
        gateway.store.put(chunks)
        log.mark("stored", tuple(chunks))
        gateway.spool.mark_stored(segment)


def form_uploads(gateway: Gateway, segment_count: int) -> None:
    """Forms what can be formed, and keeps the signed anchor."""
    for stream in gateway.spool.streams():
        upload = gateway.spool.form_upload(stream, segment_count)
        if upload is not None:
            gateway.spool.set_transaction(upload, b"signed" + upload.manifest.digest)


def finish_one(gateway: Gateway, log: CrashLog) -> None:
    """What the uploader does with an upload whose anchor is proven; the evidence is made up."""
    for upload in gateway.spool.uploads(1):
        manifest = upload.manifest
        gateway.store.put({manifest.digest: manifest.encode()})
        names = (
            (manifest_name(manifest.stream_id, manifest.upload_index), manifest.digest),
            (evidence_name(manifest.stream_id, manifest.upload_index), b"evidence"),
        )
        for name, data in names:
            gateway.store.put_named(name, data)
            log.mark("named", (name, data))
        gateway.spool.finish_upload(upload)


@contextmanager
def seeded(rng: random.Random) -> Iterator[None]:
    """Salts, keys and ids from the seed: a run can then be repeated byte by byte."""
    with mock.patch.object(os, "urandom", rng.randbytes):
        yield


def record_run(log: CrashLog, folder: Path, seed: int, steps: int = STEPS) -> None:
    """The life of a gateway, on a disk that records it."""
    rng = random.Random(seed)
    now_ms, taken_ns = 0, NOON_NS
    gateway = Gateway(log, folder)
    for _ in range(steps):
        step = rng.random()
        try:
            if step < 0.55:
                name = rng.choice(list(STREAMS))
                accept(gateway, log, name, make_batch(rng, STREAMS[name], taken_ns), now_ms)
            elif step < 0.75:
                store_one(gateway, log)
            elif step < 0.85:
                form_uploads(gateway, rng.randint(1, 2))
            elif step < 0.93:
                finish_one(gateway, log)
            elif step < 0.97:
                now_ms += 6_000
                for pipeline in gateway.pipelines.values():
                    pipeline.tick(now_ms)
            else:
                gateway = reopen(gateway, log, folder)
        except (SpoolFull, StoreFull, DiskFull):
            # Only with a fault: the spool keeps what it has, and the steps go on.
            log.mark("full")
        except DiskError:
            # Only with a fault: a gateway ends then, and is started again.
            log.mark("failed")
            gateway = reopen(gateway, log, folder)
        taken_ns += rng.randrange(3 * 10**9)
        now_ms += 500
    fault, log.fault = log.fault, None
    gateway.flush()
    gateway.close()
    log.fault = fault


def reopen(gateway: Gateway, log: CrashLog, folder: Path) -> Gateway:
    """Another boot."""
    # A fault would also hit what SQLite does as it closes, and forgives.
    fault, log.fault = log.fault, None
    gateway.close()
    gateway = Gateway(log, folder)
    log.fault = fault
    return gateway


def recover(log: CrashLog | None, image: Image) -> Gateway:
    """What a gateway does after the power is back, until everything is in the store."""
    gateway = Gateway(log, image.directory)
    try:
        for database in gateway.databases:
            check_database(database)
        check_confirmed(image, gateway.store)
        gateway.flush()
        drain(gateway.spool, gateway.store, segment_count=2)
    except BaseException:
        gateway.close()
        raise
    return gateway


def check_confirmed(image: Image, store: LocalStore) -> None:
    """What the store had confirmed before the cut is in it."""
    for names in image.payloads("stored"):
        assert isinstance(names, tuple)
        for chunk_id in names:
            store.get(chunk_id)
    for payload in image.payloads("named"):
        assert isinstance(payload, tuple)
        name, data = payload
        if store.get_named(name) != data:
            raise Broken(f"the store had confirmed {name}")


def check(image: Image, gateway: Gateway, tally: Tally) -> None:
    """Holds what is in the store now against what was promised before the cut."""
    counts = gateway.spool.counts()
    if (counts.entries, counts.segments, counts.uploads) != (0, 0, 0):
        raise Broken(f"the spool is not empty: {counts}")
    for chunk_id in gateway.store.chunk_ids():
        if sha256(gateway.store.read(chunk_id)) != chunk_id:
            raise Broken(f"chunk {chunk_id.hex()} has another hash")
    for name in STREAMS:
        got = [
            (record.name.boot, record.name.seq, record.taken_ns, record.value)
            for record in read_all(open_archive(gateway.store, name))
        ]
        at = 0
        for batch, is_acknowledged in _offers(image, name):
            if got[at : at + len(batch)] == batch:
                at += len(batch)
                tally.records += len(batch) if is_acknowledged else 0
                tally.unacknowledged += 0 if is_acknowledged else len(batch)
            elif is_acknowledged:
                raise Broken(
                    f"{name}: of {len(batch)} records that were acknowledged, from {batch[0]} on, "
                    f"{sum(item in got for item in batch)} are in the store, or they are out of order"
                )
        if at != len(got):
            raise Broken(f"{name}: {got[at]} is in the store and was never offered, or is there twice")


def _offers(image: Image, name: str) -> list[tuple[list[Item], bool]]:
    """(records, whether they were acknowledged) of every batch that was offered to the stream."""
    offers: list[tuple[list[Item], bool]] = []
    for mark in image.marks:
        if mark.name in ("offered", "acknowledged"):
            stream, batch = cast(tuple[str, list[Item]], mark.payload)
            if stream == name:
                # An acknowledgement follows its offer.
                offers[len(offers) - (mark.name == "acknowledged") :] = [(batch, mark.name == "acknowledged")]
    return offers


def crash_at(
    log: CrashLog, point: int, seed: int, folder: Path, tally: Tally, is_nested: bool = False
) -> None:
    """Cuts the power at one point, recovers and checks; and again during that recovery.  Raises Broken."""
    image = log.image(point, seed, folder / "image")
    with CrashLog(image.directory) as recovery:
        gateway = recover(recovery, image)
        check(image, gateway, tally)
        gateway.close()
        tally.points += 1
        if is_nested:
            for second in recovery.points(NESTED_POINTS, seed + point):
                again = recovery.image(second, seed, folder / "again")
                story = f"{image.story}; then, during the recovery, {again.story}"
                nested = Image(again.directory, image.marks, story)
                gateway = recover(None, nested)
                check(nested, gateway, tally)
                gateway.close()
                shutil.rmtree(again.directory)
                tally.nested += 1
    shutil.rmtree(image.directory)


def run(
    points: int, seed: int, folder: Path, steps: int = STEPS, only: int | None = None, is_quiet: bool = False
) -> Tally:
    """Records one run of so many steps and cuts it at so many points; at `only` alone if that is given."""
    tally = Tally()
    root = folder / "real"
    root.mkdir()
    with CrashLog(root) as log, seeded(random.Random(seed)):
        record_run(log, root, seed, steps)
        if log.differences():
            raise Broken(f"the recording has holes: {log.differences()}")
        tally.operations = len(log.operations)
        chosen = log.points(points, seed)
        progress = tqdm(chosen if only is None else [only], unit=" points", disable=is_quiet, leave=False)
        for number, point in enumerate(progress):
            try:
                # A random state of its own, so that a point alone replays like it went among all.
                with seeded(random.Random(f"{seed}/{point}")):
                    crash_at(
                        log, point, seed, folder, tally, is_nested=only is not None or number % NESTED == 0
                    )
            except Exception as error:
                # Whatever keeps a gateway from coming back is a promise that was not kept.
                tally.problems.append(
                    f"operation {point} ({log.describe(point)}): {type(error).__name__}: {error}\n"
                    f"  replay: python -m tests.crash --seed {seed} --steps {steps} --only {point}"
                )
                for left in ("image", "again"):
                    shutil.rmtree(folder / left, ignore_errors=True)
    return tally


def main(arguments: list[str] | None = None) -> int:
    """The command; 1 when a promise was not kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--points", type=int, default=500, help="where to cut [500]")
    parser.add_argument("--seed", type=int, default=1, help="of the run and of what each cut leaves [1]")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"length of the run [{STEPS}]")
    parser.add_argument("--only", type=int, help="cut at this operation alone")
    args = parser.parse_args(arguments)
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        tally = run(args.points, args.seed, Path(name), args.steps, args.only)
    for problem in tally.problems:
        print(f"BROKEN at {problem}")
    print(
        f"seed {args.seed}: {tally.points} power cuts in {tally.operations} operations, and {tally.nested} "
        f"more during recovery: {tally.records} acknowledged records looked for, {len(tally.problems)} cuts "
        f"broke a promise; {tally.unacknowledged} records were there before anybody was told; "
        f"{time.monotonic() - begun_s:.0f} s"
    )
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main())
