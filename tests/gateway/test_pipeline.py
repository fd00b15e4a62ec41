"""The pipeline: every record that was accepted is sealed once, in order, whatever happens meanwhile."""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import columns, pipeline
from gateway.block import Samples
from gateway.columns import TIME_END_NS
from gateway.crypto.stream import StreamKeys
from gateway.database import DatabaseError
from gateway.errors import SpoolError, SpoolFull
from gateway.pipeline import ACCEPT_RECORDS_MAX, StreamPipeline, joined, pieces, unfinished_pipelines
from gateway.sensors.source import Batch, Gap
from gateway.spool import Spool
from gateway.store import LocalStore
from obd.can_frame import CanFrame
from tests.gateway.telemetry import (
    DATA_ROOT,
    NOON_NS,
    YEAR_NS,
    Item,
    batches,
    can_batch,
    drain,
    files,
    free_disk,
    items,
    limit_disk,
    open_archive,
    open_pipeline,
    open_spool,
    read_all,
    store_segments,
    stream_keys,
)

SECOND_NS = 10**9


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = open_spool(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    opened = LocalStore(tmp_path / "store", file_size_min=2_000)
    yield opened
    opened.close()


def noisy_batch(count: int, from_ns: int = NOON_NS) -> Batch:
    """Frames that do not compress, so that sealing them needs room."""
    rng = random.Random(count)
    batch = can_batch(count, from_ns)
    values = [CanFrame(frame.arbitration_id, 0, rng.randbytes(8)) for frame in batch.values]
    return Batch(batch.taken_ns, values)


class TestPieces:
    @given(batches(size_max=40), st.integers(1, 10))
    @settings(deadline=None, max_examples=60)
    def test_pieces_are_the_batch_in_order(self, batch: Batch, count_max: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(pipeline.ACCEPT_RECORDS_MAX, "can", count_max)
            parts = list(pieces(batch, "can"))
        assert [item for part in parts for item in items(part)] == list(items(batch))
        assert all(1 <= len(part.values) + len(part.gaps) <= count_max for part in parts)

    def test_a_batch_that_fits_is_itself(self) -> None:
        batch = can_batch(ACCEPT_RECORDS_MAX["can"])
        (part,) = pieces(batch, "can")
        assert part is batch

    def test_nothing_has_no_pieces(self) -> None:
        assert list(pieces(Batch([], []), "can")) == []

    def test_a_million_gaps_are_cut_too(self) -> None:
        batch = Batch([], [], [(0, Gap("x", 1, 1, 2))] * 10_000)
        assert [len(part.gaps) for part in pieces(batch, "can")] == [4_096, 4_096, 1_808]

    def test_the_largest_readings_that_are_accepted_fit_together(self, spool: Spool) -> None:
        taking = open_pipeline(spool, kind="reading")
        count = ACCEPT_RECORDS_MAX["reading"]
        value = os.urandom(columns.SAMPLE_SIZE_MAX - 3)
        samples = taking.accept(Batch([NOON_NS] * count, [value] * count), 0)
        assert samples.gaps == []


class TestJoined:
    @given(st.lists(batches(), min_size=1, max_size=4))
    @settings(deadline=None, max_examples=40)
    def test_batches_are_joined_in_order_and_stay_as_they_are(self, parts: list[Batch]) -> None:
        before = [list(items(part)) for part in parts]
        assert list(items(joined(parts))) == [item for part in before for item in part]
        assert [list(items(part)) for part in parts] == before

    def test_one_is_itself(self) -> None:
        batch = can_batch(3)
        assert joined([batch]) is batch


class TestAccept:
    def test_records_are_numbered_and_durable_before_it_returns(self, spool: Spool, tmp_path: Path) -> None:
        taking = open_pipeline(spool)
        batch = can_batch(10)
        batch.gaps.append((5, Gap("x", 1, 1, 2)))
        first, second = taking.accept(batch, 0), taking.accept(can_batch(1), 0)
        assert (first.boot, first.first_seq, second.first_seq) == (1, 0, 11)
        assert (taking.accepted_count, taking.pending_count) == (12, 12)
        other = open_spool(tmp_path)
        left = list(other.recover(other.streams()[0]))
        assert [item for samples in left for item in items(samples)] == [*items(batch), *items(can_batch(1))]
        other.close()

    def test_nothing_changes_nothing(self, spool: Spool) -> None:
        taking = open_pipeline(spool)
        assert len(taking.accept(Batch([], []), 0)) == 0
        assert (taking.accepted_count, spool.counts().entries) == (0, 0)

    def test_what_cannot_be_stored_becomes_a_gap_that_says_why(self, spool: Spool, store: LocalStore) -> None:
        taking = open_pipeline(spool)
        gap = Gap("before all", 1, NOON_NS, NOON_NS)
        batch = can_batch(5)
        batch.values[1] = CanFrame(-1, 0, b"")
        batch.taken_ns[3] = TIME_END_NS
        batch.values[4] = None
        batch.gaps.extend([(0, gap), (1, gap), (3, gap), (5, gap)])
        accepted = taking.accept(batch, 0)
        assert len(accepted) == 9
        taking.flush()
        drain(spool, store)
        values = [record.value for record in read_all(open_archive(store))]
        assert [value for value in values if not isinstance(value, Gap)] == [batch.values[0], batch.values[2]]
        reasons = [value.reason if isinstance(value, Gap) else "-" for value in values]
        assert reasons[0] == reasons[2] == reasons[5] == reasons[8] == "before all"
        assert "cannot be stored" in reasons[3]
        assert f"a time of {TIME_END_NS} ns" in reasons[6]
        assert "cannot be stored" in reasons[7]
        assert [values[place].from_ns for place in (3, 6, 7)] == [
            batch.taken_ns[1],
            TIME_END_NS - 1,
            batch.taken_ns[4],
        ]

    def test_gaps_that_cannot_be_are_kept_as_the_nearest_that_can(
        self, spool: Spool, store: LocalStore
    ) -> None:
        taking = open_pipeline(spool)
        bad = Gap("\udcff" * 400, -7, -(1 << 70), 1 << 70)
        taking.accept(Batch([NOON_NS], can_batch(1).values, [(1, bad), (0, bad)]), 0)
        taking.flush()
        drain(spool, store)
        records = read_all(open_archive(store))
        assert [isinstance(record.value, Gap) for record in records] == [False, True, True]
        assert records[1].value == Gap(("\\udcff" * 400)[:300], 0, -TIME_END_NS, TIME_END_NS - 1)

    def test_a_reading_too_long_is_named_and_the_others_are_kept(self, spool: Spool) -> None:
        taking = open_pipeline(spool, kind="reading")
        accepted = taking.accept(Batch([1, 2, 3], ["a", "x" * 20_000, "b"]), 0)
        assert accepted.values == ["a", "b"]
        ((place, gap),) = accepted.gaps
        assert (place, gap.count, gap.from_ns) == (1, 1, 2)
        assert gap.reason == "a sample takes 20003 bytes; at most 16384"

    def test_a_stream_does_not_change_its_kind(self, spool: Spool) -> None:
        open_pipeline(spool)
        with pytest.raises(SpoolError, match="give the new source a stream of its own"):
            open_pipeline(spool, kind="reading")


class TestTime:
    def test_a_silence_seals_what_came_before_it(self, spool: Spool) -> None:
        taking = open_pipeline(spool)
        taking.accept(can_batch(3), 1_000)
        taking.tick(5_999)
        assert taking.pending_count == 3
        taking.tick(6_000)
        assert (taking.pending_count, taking.is_drained) == (0, True)
        assert spool.counts().segments == 1

    @pytest.mark.parametrize("jump_ns", [YEAR_NS, -YEAR_NS, -NOON_NS, -NOON_NS - YEAR_NS])
    def test_a_clock_that_jumps_costs_nothing(self, spool: Spool, store: LocalStore, jump_ns: int) -> None:
        taking = open_pipeline(spool)
        accepted: list[Item] = []
        for number, shift_ns in enumerate((0, jump_ns, 0, jump_ns)):
            batch = can_batch(50, NOON_NS + shift_ns + number * SECOND_NS)
            taking.accept(batch, 0)
            accepted += items(batch)
        taking.flush()
        drain(spool, store)
        records = read_all(open_archive(store))
        assert [(record.taken_ns, record.value) for record in records] == accepted
        assert [record.name.seq for record in records] == list(range(200))

    def test_records_of_many_slots_in_one_batch_are_one_commit(self, spool: Spool) -> None:
        taking = open_pipeline(spool)
        commits: list[int] = []

        def count_commit() -> bool:
            commits.append(1)
            return False

        spool._database.set_commit_hook(count_commit)
        taking.accept(can_batch(200, step_ns=10 * SECOND_NS), 0)
        assert len(commits) == 2
        assert spool.counts().segments == 199


class TestNoRoom:
    def test_what_is_refused_was_not_taken_and_can_be_offered_again(self, spool: Spool) -> None:
        taking = open_pipeline(spool)
        taking.accept(can_batch(10), 0)
        limit_disk(spool)
        before = taking.accepted_count
        with pytest.raises(SpoolFull, match="nothing accepted is lost"):
            taking.accept(noisy_batch(4_000), 0)
        assert (taking.accepted_count, taking.pending_count) == (before, before)
        free_disk(spool)
        assert taking.accept(can_batch(4_000), 0).first_seq == 10

    def test_while_a_segment_waits_for_room_nothing_new_is_taken(
        self, spool: Spool, store: LocalStore
    ) -> None:
        """Else the closed segments would pile up in memory."""
        taking = open_pipeline(spool)
        accepted = noisy_batch(4_000)
        taking.accept(accepted, 0)
        later = can_batch(1, NOON_NS + 60 * SECOND_NS)
        limit_disk(spool, 1)
        taking.accept(later, 0)
        assert (taking.pending_count, spool.counts().segments) == (4_001, 0)
        for _ in range(3):
            with pytest.raises(SpoolFull, match="waits to be sealed"):
                taking.accept(can_batch(1, NOON_NS + 120 * SECOND_NS), 0)
            taking.tick(10**9)
            taking.flush()
        assert (taking.pending_count, taking.accepted_count) == (4_001, 4_001)
        free_disk(spool)
        taking.flush()
        assert taking.is_drained
        drain(spool, store)
        records = read_all(open_archive(store))
        assert [(record.taken_ns, record.value) for record in records] == [*items(accepted), *items(later)]

    def test_every_attempt_to_seal_has_an_id_and_a_key_of_its_own(
        self, spool: Spool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids, chunks = [], []
        commit = spool.commit_segments

        def watched(stream: Any, segments: Any) -> None:
            for _, segment_id, sealed in segments:
                ids.append(segment_id)
                chunks.extend(sealed.chunk_ids)
            commit(stream, segments)

        monkeypatch.setattr(spool, "commit_segments", watched)
        taking = open_pipeline(spool)
        taking.accept(noisy_batch(4_000), 0)
        limit_disk(spool, 1)
        for _ in range(4):
            taking.flush()
        free_disk(spool)
        taking.flush()
        assert len(ids) == len(set(ids)) == 5
        assert len(chunks) == len(set(chunks)) == 20


class TestRecovery:
    def crashed(self, folder: Path, *counts: int) -> None:
        """A boot that accepted batches of so many frames, one batch a slot, and sealed nothing."""
        spool = open_spool(folder)
        taking = open_pipeline(spool)
        for number, count in enumerate(counts):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(StreamPipeline, "_seal_closed", lambda self: True)
                taking.accept(noisy_batch(count, NOON_NS + number * 5 * SECOND_NS), 0)
        spool.close()

    def test_what_a_boot_has_left_is_sealed_before_anything_new(
        self, tmp_path: Path, store: LocalStore
    ) -> None:
        self.crashed(tmp_path, 10, 20, 30)
        spool = open_spool(tmp_path)
        taking = open_pipeline(spool)
        assert (taking.recovered_count, taking.is_drained, spool.counts().entries) == (60, True, 0)
        assert taking.accept(can_batch(5), 0).first_seq == 0
        taking.flush()
        drain(spool, store)
        names = [(record.name.boot, record.name.seq) for record in read_all(open_archive(store))]
        assert names == [*((1, seq) for seq in range(60)), *((2, seq) for seq in range(5))]

    def test_a_full_disk_stops_recovery_and_it_goes_on_where_it_stopped(
        self, tmp_path: Path, store: LocalStore
    ) -> None:
        self.crashed(tmp_path, *[1_000] * 20)
        spool = open_spool(tmp_path)
        limit_disk(spool)
        taking = open_pipeline(spool)
        stopped_at = taking.recovered_count
        assert 0 < stopped_at < 20_000
        # What waits is in the spool, and not all of it in memory.
        assert taking.pending_count <= 2_000
        assert not taking.is_drained
        with pytest.raises(SpoolFull, match="waits to be sealed"):
            taking.accept(can_batch(1), 0)
        limit_disk(spool, 3)
        taking.tick(0)
        assert taking.recovered_count >= stopped_at
        free_disk(spool)
        assert taking.accept(can_batch(1, NOON_NS + 3_600 * SECOND_NS), 0).first_seq == 0
        assert taking.recovered_count == 20_000
        taking.flush()
        drain(spool, store)
        names = [(record.name.boot, record.name.seq) for record in read_all(open_archive(store))]
        assert names == [*((1, seq) for seq in range(20_000)), (2, 0)]

    def test_a_recovery_that_failed_is_not_taken_for_one_that_is_through(self, tmp_path: Path) -> None:
        self.crashed(tmp_path, 10, 20)
        spool = open_spool(tmp_path)
        taking = open_pipeline(spool)
        # As if the disk could not be read for a while, behind the first entry.
        broken = DatabaseError("spool.db", "input/output error", "check the disk")

        def backlog() -> Iterator[Samples]:
            yield Samples(1, 30, [NOON_NS], can_batch(1).values)
            raise broken

        taking._is_recovered, taking._backlog = False, backlog()
        spool.append(taking.row, Samples(1, 30, [NOON_NS], can_batch(1).values))
        for _ in range(3):
            with pytest.raises(DatabaseError, match="input/output error"):
                taking.accept(can_batch(1), 0)
        assert spool.has_entries(taking.row)

    def test_a_second_pipeline_in_one_boot_goes_on_with_its_numbers(self, spool: Spool) -> None:
        first = open_pipeline(spool)
        first.accept(can_batch(10), 0)
        second = open_pipeline(spool)
        assert second.accept(can_batch(1), 0).first_seq == 10
        second.flush()
        assert open_pipeline(spool).accept(can_batch(1), 0).first_seq == 11


class TestConfiguration:
    """A gateway comes back with other periods, or without one of its streams."""

    def test_shorter_blocks_in_the_same_slots_go_on_in_the_same_stream(
        self, tmp_path: Path, store: LocalStore
    ) -> None:
        for block_ms, segment_blocks in ((1_000, 5), (500, 10)):
            spool = open_spool(tmp_path)
            taking = open_pipeline(spool, block_ms=block_ms, segment_blocks=segment_blocks)
            taking.accept(can_batch(3_000), 0)
            spool.close()
        spool = open_spool(tmp_path)
        open_pipeline(spool, block_ms=500, segment_blocks=10)
        drain(spool, store)
        records = read_all(open_archive(store))
        assert [(record.name.boot, record.name.seq) for record in records] == [
            (boot, seq) for boot in (1, 2) for seq in range(3_000)
        ]

    def test_longer_slots_are_another_stream_and_the_old_one_is_finished(
        self, tmp_path: Path, store: LocalStore
    ) -> None:
        spool = open_spool(tmp_path)
        open_pipeline(spool).accept(can_batch(10), 0)
        spool.close()
        spool = open_spool(tmp_path)
        new = open_pipeline(spool, segment_blocks=60)
        assert new.recovered_count == 0
        (old,) = unfinished_pipelines(spool, stream_keys, [new.row.stream_id], 0)
        assert (old.recovered_count, old.is_drained, old.slot_ms) == (10, True, 5_000)
        assert unfinished_pipelines(spool, stream_keys, [new.row.stream_id], 0) == []
        new.accept(can_batch(5), 0)
        new.flush()
        drain(spool, store)
        assert len(read_all(open_archive(store))) == 10
        assert [str(record.name) for record in read_all(open_archive(store, slot_ms=60_000))] == [
            f"can0/2/{seq}" for seq in range(5)
        ]

    def test_a_stream_taken_out_of_the_configuration_is_finished(
        self, tmp_path: Path, store: LocalStore
    ) -> None:
        spool = open_spool(tmp_path)
        open_pipeline(spool, "gone", "reading").accept(Batch([NOON_NS], ["x"]), 0)
        spool.close()
        spool = open_spool(tmp_path)
        live = open_pipeline(spool)
        live.accept(can_batch(1), 0)
        (old,) = unfinished_pipelines(spool, stream_keys, {live.row.stream_id}, 0)
        assert (old.name, old.kind) == ("gone", "reading")
        drain(spool, store)
        assert [record.value for record in read_all(open_archive(store, "gone"))] == ["x"]

    def test_with_no_room_it_is_finished_later(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        open_pipeline(spool).accept(noisy_batch(4_000), 0)
        spool.close()
        spool = open_spool(tmp_path)
        limit_disk(spool, 1)
        (old,) = unfinished_pipelines(spool, stream_keys, [], 0)
        assert not old.is_drained
        free_disk(spool)
        old.tick(0)
        assert old.is_drained

    def test_a_stream_of_another_owner_is_refused(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        open_pipeline(spool).accept(can_batch(1), 0)
        with pytest.raises(SpoolError, match="a stream can0 of another gateway"):
            unfinished_pipelines(
                spool, lambda name, slot_ms: StreamKeys(DATA_ROOT, bytes(32), name, slot_ms), [], 0
            )
        assert spool.has_entries(spool.streams()[0])


def test_no_plaintext_is_in_any_file(spool: Spool, store: LocalStore, tmp_path: Path) -> None:
    marker = b"PLAINTEXT-MARKER-0123456789"
    taking = open_pipeline(spool)
    reading = open_pipeline(spool, "temp", "reading")
    for second in range(20):
        taking.accept(can_batch(100, NOON_NS + second * SECOND_NS, payload=marker), 0)
        reading.accept(
            Batch([NOON_NS + second * SECOND_NS], [{"marker": marker, "id": os.urandom(4_000)}]), 0
        )
    drain(spool, store)
    reading.flush()
    store_segments(spool, store)
    assert spool.counts().entries > 0
    found = {path: path.read_bytes() for path in files(tmp_path)}
    assert {"spool.db", "spool.db-wal", "store.db"} <= {path.name for path in found}
    assert any("chunks" in path.parts for path in found)
    assert [path for path, data in found.items() if marker[:9] in data] == []
