"""Two streams through crashes, full disks and changed configurations, in any order.

The model is a list of accepted records; at the end each of them is in the store, once.
"""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.errors import SpoolFull
from gateway.pipeline import unfinished_pipelines
from gateway.spool import Spool
from gateway.store import LocalStore
from tests.gateway.telemetry import (
    batches,
    drain,
    finish,
    free_disk,
    items,
    limit_disk,
    open_archive,
    open_pipeline,
    open_spool,
    read_all,
    stream_keys,
)


class Journey(RuleBasedStateMachine):
    """Two streams through crashes, full disks and changed configurations; the model is a list of records."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.store = LocalStore(self.path / "store", file_size_min=500)
        self.model: dict[str, list[tuple[int, int, int, Any]]] = {"can0": [], "temp": []}
        self.periods = (1_000, 5)
        self.now_ms = 0
        self.dead: list[Spool] = []
        self.open()

    def open(self) -> None:
        self.spool = open_spool(self.path)
        for database in (self.spool._database, self.store._database):
            # tests/crash.py is about what the disk keeps; here every sync would only take time.
            database.pragma("synchronous", "OFF")
        self.pipelines = {
            name: open_pipeline(self.spool, name, kind, *self.periods)
            for name, kind in (("can0", "can"), ("temp", "reading"))
        }
        live = [each.row.stream_id for each in self.pipelines.values()]
        assert all(
            each.is_drained for each in unfinished_pipelines(self.spool, stream_keys, live, self.now_ms)
        )

    @rule(data=st.data(), name=st.sampled_from(["can0", "temp"]), times=st.integers(1, 40))
    def accept(self, data: st.DataObject, name: str, times: int) -> None:
        taking = self.pipelines[name]
        batch = data.draw(batches(taking.kind))
        for _ in range(times if len(batch.values) == 12 else 1):
            before = taking.accepted_count
            try:
                samples = taking.accept(batch, self.now_ms)
            except SpoolFull:
                assert taking.accepted_count == before
                continue
            assert list(items(samples)) == list(items(batch))
            for seq, item in enumerate(items(batch), samples.first_seq):
                self.model[name].append((samples.boot, seq, *item))

    @rule(wait_ms=st.integers(0, 12_000))
    def tick(self, wait_ms: int) -> None:
        self.now_ms += wait_ms
        for taking in self.pipelines.values():
            taking.tick(self.now_ms)

    @rule()
    def flush(self) -> None:
        for taking in self.pipelines.values():
            taking.flush(self.now_ms)

    @rule(periods=st.sampled_from([(1_000, 5), (500, 10), (1_000, 60)]))
    def crash(self, periods: tuple[int, int]) -> None:
        self.dead.append(self.spool)
        self.periods = periods
        self.open()

    @rule(pages=st.integers(0, 4))
    def disk_full(self, pages: int) -> None:
        limit_disk(self.spool, pages)

    @rule()
    def disk_freed(self) -> None:
        free_disk(self.spool)

    @rule(count=st.integers(1, 3))
    def store_some(self, count: int) -> None:
        free_disk(self.spool)
        for _ in range(count):
            unstored = self.spool.next_unstored()
            if unstored is not None:
                segment, chunks = unstored
                assert segment.damaged == ()
                self.store.put(chunks)
                self.spool.mark_stored(segment)

    @rule(count=st.integers(1, 3), is_flush=st.booleans())
    def form_upload(self, count: int, is_flush: bool) -> None:
        free_disk(self.spool)
        for stream in self.spool.streams():
            self.spool.form_upload(stream, count, is_flush)

    @rule()
    def finish_upload(self) -> None:
        free_disk(self.spool)
        for upload in self.spool.uploads(1):
            finish(self.spool, self.store, self.spool.set_transaction(upload, b"tx"))

    @invariant()
    def nothing_is_in_memory_alone(self) -> None:
        if hasattr(self, "spool"):
            waiting = sum(taking.pending_count for taking in self.pipelines.values())
            assert waiting <= self.spool.counts().records

    def teardown(self) -> None:
        if not hasattr(self, "spool"):
            return
        free_disk(self.spool)
        self.flush()
        assert self.spool.counts().records == 0
        drain(self.spool, self.store)
        counts = self.spool.counts()
        assert (counts.entries, counts.segments, counts.uploads) == (0, 0, 0)
        for name, accepted in self.model.items():
            records = [
                record
                for slot_ms in (5_000, 60_000)
                for record in read_all(open_archive(self.store, name, slot_ms))
            ]
            got = [(record.name.boot, record.name.seq, record.taken_ns, record.value) for record in records]
            assert sorted(got, key=lambda each: each[:2]) == accepted
        for spool in (*self.dead, self.spool):
            spool.close()
        self.store.close()
        self.folder.cleanup()


TestJourney = Journey.TestCase
TestJourney.settings = settings(deadline=None, max_examples=40, stateful_step_count=25)
