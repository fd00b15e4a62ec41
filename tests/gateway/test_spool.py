"""The spool: what it took is there, whole and once, whatever happens between two steps."""

import contextlib
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from gateway import manifest as manifest_module
from gateway import spool as spool_module
from gateway.block import NO_BLOCK, Samples, decode_block
from gateway.crypto.seal import SealedSegment, open_chunk, seal_segment
from gateway.disk import Disk, DiskFull
from gateway.errors import BlockError, SpoolError, SpoolFull
from gateway.manifest import NO_MANIFEST
from gateway.segmenter import ClosedSegment, Segmenter
from gateway.sensors.source import Gap
from gateway.spool import Spool, SpooledStream, read_counts, read_entries, read_streams
from obd.can_frame import CanFrame
from tests.gateway.telemetry import NOON_NS, SPOOL_KEY, can_batch, files, items, open_spool, stream_keys

KEYS = stream_keys()


def open_stream(spool: Spool, name: str = "can0") -> SpooledStream:
    return spool.open_stream(stream_keys(name).stream_id, name, "can", 1_000, 5)


def samples_of(spool: Spool, first_seq: int, count: int, from_ns: int = NOON_NS) -> Samples:
    batch = can_batch(count, from_ns)
    return Samples(spool.boot, first_seq, batch.taken_ns, batch.values)


def left(spool: Spool, stream: SpooledStream) -> list[tuple[int, int]]:
    """(boot, number) of every record that waits to be sealed."""
    row = next(each for each in spool.streams() if each.row == stream.row)
    return [
        (samples.boot, seq)
        for samples in spool.recover(row)
        for seq in range(samples.first_seq, samples.end_seq)
    ]


def seal(
    stream: SpooledStream, closed: ClosedSegment, number: int = 0
) -> tuple[ClosedSegment, bytes, SealedSegment]:
    segment_id = bytes([number]) * 16
    key = KEYS.segment_key(closed.slot, segment_id)
    blocks = [block.data for block in closed.blocks]
    return closed, segment_id, seal_segment(key, stream.stream_id, closed.slot, segment_id, blocks)


def closed_segments(*parts: Samples) -> list[ClosedSegment]:
    segmenter = Segmenter("can", "can0", 1_000, 5, 0, NO_BLOCK)
    closed = [segment for samples in parts for segment in segmenter.add(samples, 0)]
    return closed + segmenter.flush()


class TestBoots:
    def test_every_opening_is_a_boot(self, tmp_path: Path) -> None:
        for boot in (1, 2, 3):
            spool = open_spool(tmp_path)
            assert spool.boot == boot
            spool.close()

    def test_a_boot_number_is_never_used_again_though_rows_are_tidied(self, tmp_path: Path) -> None:
        for _ in range(3):
            spool = open_spool(tmp_path)
            spool.close()
        raw = sqlite3.connect(tmp_path / "spool.db")
        assert raw.execute("SELECT boot FROM boot").fetchall() == [(3,)]
        raw.close()
        assert open_spool(tmp_path).boot == 4

    def test_boots_can_be_skipped(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        spool.skip_boots(0)
        assert spool.boot == 1
        spool.skip_boots(41)
        assert spool.boot == 42
        spool.append(open_stream(spool), samples_of(spool, 0, 1))
        spool.close()
        spool = open_spool(tmp_path)
        assert spool.boot == 43
        assert left(spool, open_stream(spool)) == [(42, 0)]

    def test_another_key_is_refused_and_changes_nothing(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        stream = open_stream(spool)
        spool.append(stream, samples_of(spool, 0, 3))
        spool.close()
        with pytest.raises(SpoolError, match="written with another key file"):
            Spool(tmp_path / "spool.db", bytes(32))
        spool = open_spool(tmp_path)
        assert spool.boot == 2
        assert left(spool, stream) == [(1, 0), (1, 1), (1, 2)]


class TestStreams:
    def test_a_stream_keeps_its_row(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        one, other = open_stream(spool), open_stream(spool, "can1")
        assert open_stream(spool) == one
        assert spool.streams() == [one, other]
        assert (one.next_block, one.head, one.next_upload, one.manifest) == (0, NO_BLOCK, 0, NO_MANIFEST)
        assert (one.sealed_boot, one.sealed_seq, one.slot_ms) == (0, 0, 5_000)

    def test_shorter_blocks_in_slots_of_the_same_length_are_the_same_stream(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        one = open_stream(spool)
        again = spool.open_stream(KEYS.stream_id, "can0", "can", 500, 10)
        assert (again.row, again.block_ms, again.segment_blocks, again.slot_ms) == (one.row, 500, 10, 5_000)

    def test_a_stream_does_not_change_its_kind(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        open_stream(spool)
        with pytest.raises(SpoolError, match="holds records of kind can, its source yields reading"):
            spool.open_stream(KEYS.stream_id, "can0", "reading", 1_000, 5)

    def test_entries_of_one_stream_are_not_those_of_another(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        one, other = open_stream(spool), open_stream(spool, "can1")
        for seq in range(3):
            spool.append(one, samples_of(spool, seq, 1))
        spool.append(other, samples_of(spool, 0, 2))
        assert left(spool, one) == [(1, 0), (1, 1), (1, 2)]
        assert left(spool, other) == [(1, 0), (1, 1)]
        assert (spool.next_seq(one), spool.next_seq(other)) == (3, 2)
        spool.commit_segments(one, [seal(one, closed_segments(samples_of(spool, 0, 3))[0])])
        assert (spool.has_entries(one), spool.has_entries(other)) == (False, True)


class TestAppend:
    def test_what_was_appended_is_there_after_reopening(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        appended = samples_of(spool, 0, 100)
        spool.append(open_stream(spool), appended)
        # No close: the process was killed.
        again = open_spool(tmp_path)
        assert list(again.recover(again.streams()[0])) == [appended]
        assert again.boot == 2

    def test_nothing_makes_no_entry(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        stream = open_stream(spool)
        spool.append(stream, Samples(1, 0))
        assert not spool.has_entries(stream)

    def test_what_cannot_be_stored_is_refused_and_leaves_nothing(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        stream = open_stream(spool)
        with pytest.raises(BlockError):
            spool.append(stream, Samples(1, 0, [1], [CanFrame(-1, 0, b"")]))
        assert not spool.has_entries(stream)
        spool.append(stream, samples_of(spool, 0, 1))
        assert left(spool, stream) == [(1, 0)]

    def test_a_nonce_is_not_used_twice_though_the_commit_failed(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        stream = open_stream(spool)
        rows: list[int] = []
        for attempt in range(3):
            pages = spool._database.pragma("page_count")
            spool._database.pragma("max_page_count", pages if attempt == 1 else 1 << 20)
            try:
                spool.append(stream, samples_of(spool, len(rows), 4_000))
            except SpoolFull:
                assert attempt == 1
            rows = [row for row, _ in read_entries(spool._database, SPOOL_KEY, stream, 0)]
        assert [row & 0xFFFF for row in rows] == [0, 2]

    def test_one_thousand_bytes_of_one_frame_are_not_in_any_file(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        marker = b"PLAINTEXT-MARKER-0123456789"
        stream = open_stream(spool)
        batch = can_batch(20, payload=marker)
        samples = Samples(spool.boot, 0, batch.taken_ns, batch.values)
        spool.append(stream, samples)
        spool.commit_segments(stream, [seal(stream, closed_segments(samples)[0])])
        spool.append(stream, samples_of(spool, 20, 5))
        content = b"".join(path.read_bytes() for path in files(tmp_path))
        assert len(content) > 10_000
        assert marker not in content
        assert marker[:8] not in content


def fill(spool: Spool, stream: SpooledStream) -> list[Samples]:
    """Appends until no more is taken: what was."""
    parts: list[Samples] = []
    with contextlib.suppress(SpoolFull):
        while len(parts) < 1_000:
            part = samples_of(spool, 500 * len(parts), 500)
            spool.append(stream, part)
            parts.append(part)
    return parts


class TestRoom:
    def test_the_limit_is_kept_and_said(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path, size_max_bytes=100_000)
        stream = open_stream(spool)
        count = 500 * len(fill(spool, stream))
        with pytest.raises(SpoolFull, match=r"spool\.size_max_mib is reached") as caught:
            spool.append(stream, samples_of(spool, count, 1))
        assert caught.value.limit_bytes == 100_000
        assert caught.value.used_bytes == spool.used_bytes >= 100_000
        assert left(spool, stream) == [(1, seq) for seq in range(count)]

    def test_room_that_was_freed_is_used_again(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path, size_max_bytes=100_000)
        stream = open_stream(spool)
        parts = fill(spool, stream)
        spool.commit_segments(stream, [seal(stream, closed_segments(*parts)[0])])
        spool.append(stream, samples_of(spool, 500 * len(parts), 1))

    def test_room_on_the_disk_is_left_to_those_who_empty_the_spool(self, tmp_path: Path) -> None:
        class Nearly(Disk):
            free = 1_000_000

            def free_bytes(self, path: Any) -> int:
                assert Path(path) == tmp_path
                return self.free

        disk = Nearly()
        spool = open_spool(tmp_path, free_min_bytes=1_000_000, disk=disk)
        stream = open_stream(spool)
        spool.append(stream, samples_of(spool, 0, 1))
        disk.free -= 1
        with pytest.raises(SpoolFull, match="less than 1000000 bytes of disk are free"):
            spool.append(stream, samples_of(spool, 1, 1))
        spool.commit_segments(stream, [seal(stream, closed_segments(samples_of(spool, 0, 1))[0])])
        assert left(spool, stream) == []

    def test_a_full_disk_takes_nothing_or_all(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        stream = open_stream(spool)
        spool.append(stream, samples_of(spool, 0, 100))
        spool._database.pragma("max_page_count", spool._database.pragma("page_count"))
        with pytest.raises(SpoolFull, match="the disk is full"):
            spool.append(stream, samples_of(spool, 100, 4_000))
        assert left(spool, stream) == [(1, seq) for seq in range(100)]
        assert spool.next_seq(stream) == 100
        spool._database.pragma("max_page_count", 1 << 20)
        spool.append(stream, samples_of(spool, 100, 4_000))
        assert spool.next_seq(stream) == 4_100


class TestCommit:
    def test_a_segment_takes_the_place_of_the_entries_that_it_covers(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        stream = open_stream(spool)
        parts = [samples_of(spool, 0, 10), samples_of(spool, 10, 10)]
        for part in parts:
            spool.append(stream, part)
        spool.append(stream, samples_of(spool, 20, 1))
        (closed,) = closed_segments(*parts)
        spool.commit_segments(stream, [seal(stream, closed)])
        (row,) = spool.streams()
        assert (row.next_block, row.head) == (1, closed.blocks[-1].digest)
        assert (row.sealed_boot, row.sealed_seq) == (1, 20)
        assert left(spool, stream) == [(1, 20)]
        counts = spool.counts()
        assert (counts.entries, counts.records, counts.segments, counts.segments_unstored) == (1, 1, 1, 1)

    def test_an_entry_is_kept_until_its_last_record_is_sealed(self, tmp_path: Path) -> None:
        """An entry that reaches into the next slot, with a gap on either side of the watermark."""
        spool = open_spool(tmp_path)
        stream = open_stream(spool)
        batch = can_batch(10, NOON_NS - NOON_NS % (5 * 10**9), step_ns=10**9)
        gap = Gap("x", 1, NOON_NS, NOON_NS)
        whole = Samples(spool.boot, 0, batch.taken_ns, batch.values, [(4, gap), (5, gap), (6, gap)])
        spool.append(stream, whole)
        first, second = closed_segments(whole)
        assert sum(block.count for block in first.blocks) == 6
        spool.commit_segments(stream, [seal(stream, first, 1)])
        assert left(spool, stream) == [(1, seq) for seq in range(6, 13)]
        assert (spool.counts().entries, spool.counts().records) == (1, 7)
        assert list(items(next(iter(spool.recover(spool.streams()[0]))))) == list(items(whole))[6:]
        spool.commit_segments(stream, [seal(stream, second, 2)])
        assert spool.counts().entries == 0

    def test_several_segments_are_one_step(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        stream = open_stream(spool)
        batch = can_batch(10, step_ns=10**9)
        whole = Samples(spool.boot, 0, batch.taken_ns, batch.values)
        spool.append(stream, whole)
        sealed = [seal(stream, closed, number) for number, closed in enumerate(closed_segments(whole))]
        assert len(sealed) >= 2
        spool._database.pragma("max_page_count", spool._database.pragma("page_count"))
        bulky = [(closed, segment_id, in_large_chunks(one)) for closed, segment_id, one in sealed]
        with pytest.raises(DiskFull):
            spool.commit_segments(stream, bulky)
        assert spool.next_unstored() is None
        assert left(spool, stream) == [(1, seq) for seq in range(10)]
        assert spool.streams() == [stream]
        spool._database.pragma("max_page_count", 1 << 20)
        spool.commit_segments(stream, sealed)
        assert spool.counts().segments == len(sealed)
        assert left(spool, stream) == []

    def test_the_chunks_are_those_that_were_sealed(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        stream = open_stream(spool)
        whole = samples_of(spool, 0, 3_000)
        spool.append(stream, whole)
        (closed,) = closed_segments(whole)
        spool.commit_segments(stream, [seal(stream, closed, 7)])
        unstored = spool.next_unstored()
        assert unstored is not None
        segment, chunks = unstored
        assert segment.damaged == ()
        assert list(chunks) == [chunk.chunk_id for chunk in segment.entry.chunks]
        values = []
        for place, (chunk_id, data) in enumerate(chunks.items()):
            key = KEYS.segment_key(closed.slot, bytes([7]) * 16)
            plain = open_chunk(key, data, stream.stream_id, closed.slot, bytes([7]) * 16, place, chunk_id)
            values += decode_block(plain).samples.values
        assert values == whole.values


def in_large_chunks(sealed: SealedSegment) -> SealedSegment:
    """One whose chunks need more room than there is."""
    return replace(sealed, chunks=tuple(bytes(1 << 20) for _ in sealed.chunks))


def sealed_segments(spool: Spool, stream: SpooledStream, count: int) -> None:
    """Seals segments of one record, `count` of them."""
    parts = [samples_of(spool, seq, 1, NOON_NS + seq * 5 * 10**9) for seq in range(count)]
    for part in parts:
        spool.append(stream, part)
    sealed = [seal(stream, closed, number) for number, closed in enumerate(closed_segments(*parts))]
    assert len(sealed) == count
    spool.commit_segments(stream, sealed)


def mark_all_stored(spool: Spool) -> list[int]:
    rows = []
    while (unstored := spool.next_unstored()) is not None:
        rows.append(unstored[0].row)
        spool.mark_stored(unstored[0])
    return rows


class TestUploads:
    def test_segments_are_stored_oldest_first(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        sealed_segments(spool, open_stream(spool), 3)
        assert mark_all_stored(spool) == [1, 2, 3]
        assert spool.counts().segments_unstored == 0

    def test_an_upload_needs_its_number_of_stored_segments_unless_flushing(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        stream = open_stream(spool)
        assert spool.form_upload(stream, 2, is_flush=True) is None
        sealed_segments(spool, stream, 3)
        assert spool.form_upload(stream, 2, is_flush=True) is None
        mark_all_stored(spool)
        first = spool.form_upload(stream, 2)
        assert first is not None
        assert spool.form_upload(stream, 2) is None
        second = spool.form_upload(stream, 2, is_flush=True)
        assert second is not None
        assert [len(upload.manifest.segments) for upload in (first, second)] == [2, 1]
        assert [upload.manifest.upload_index for upload in (first, second)] == [0, 1]
        assert [upload.manifest.previous for upload in (first, second)] == [
            NO_MANIFEST,
            first.manifest.digest,
        ]
        assert (first.manifest.slot_ms, first.manifest.kind) == (5_000, "can")
        blocks = [chunk.block_index for upload in (first, second) for _, _, chunk in upload.manifest.chunks()]
        assert blocks == [0, 1, 2]
        assert spool.uploads() == [first, second]
        assert spool.uploads(1) == [first]
        (row,) = spool.streams()
        assert (row.next_upload, row.manifest) == (2, second.manifest.digest)

    def test_an_old_copy_of_the_row_forms_the_right_upload(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        stream = open_stream(spool)
        sealed_segments(spool, stream, 2)
        mark_all_stored(spool)
        indexes = [spool.form_upload(stream, 1), spool.form_upload(stream, 1)]
        assert [upload.manifest.upload_index for upload in indexes if upload] == [0, 1]

    def test_an_upload_takes_no_more_than_a_manifest_holds(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(spool_module, "MANIFEST_SIZE_MAX", 1_024 + 400)
        spool = open_spool(tmp_path)
        stream = open_stream(spool)
        sealed_segments(spool, stream, 5)
        mark_all_stored(spool)
        counts = []
        while upload := spool.form_upload(stream, 5):
            counts.append(len(upload.manifest.segments))
        # The last, which is neither full nor of five segments, waits for more.
        assert counts == [3]
        assert spool.form_upload(stream, 5, is_flush=True) is not None
        assert manifest_module.MANIFEST_SIZE_MAX > 1_024 + 400

    def test_the_same_anchor_is_sent_again_after_a_crash(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        stream = open_stream(spool)
        sealed_segments(spool, stream, 1)
        mark_all_stored(spool)
        upload = spool.form_upload(stream, 1)
        assert upload is not None
        signed = spool.set_transaction(upload, b"signed")
        again = open_spool(tmp_path)
        assert again.uploads() == [signed]
        assert again.uploads()[0].tx == b"signed"

    def test_what_is_finished_is_gone_and_nothing_else(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        stream = open_stream(spool)
        sealed_segments(spool, stream, 3)
        mark_all_stored(spool)
        first, second = spool.form_upload(stream, 2), spool.form_upload(stream, 1)
        assert first is not None
        spool.finish_upload(first)
        assert spool.uploads() == [second]
        assert spool.counts().segments == 1
        raw = apsw.Connection(str(tmp_path / "spool.db"))
        assert raw.execute("SELECT segment FROM chunk").fetchall() == [(3,)]
        raw.close()


class TestDamage:
    """What the disk does to rows behind the spool's back."""

    def test_an_altered_chunk_is_named_and_given_to_no_store(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        stream = open_stream(spool)
        whole = samples_of(spool, 0, 3_000)
        spool.append(stream, whole)
        spool.commit_segments(stream, [seal(stream, closed_segments(whole)[0])])
        raw = apsw.Connection(str(tmp_path / "spool.db"))
        raw.execute("UPDATE chunk SET body = zeroblob(length(body)) WHERE place = 1")
        raw.execute("DELETE FROM chunk WHERE place = 2")
        raw.close()
        unstored = spool.next_unstored()
        assert unstored is not None
        segment, chunks = unstored
        names = [chunk.chunk_id for chunk in segment.entry.chunks]
        assert list(chunks) == names[:1]
        assert segment.damaged == tuple(names[1:3])

    def test_an_altered_summary_is_an_error_that_says_so(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        sealed_segments(spool, open_stream(spool), 1)
        raw = apsw.Connection(str(tmp_path / "spool.db"))
        raw.execute("UPDATE segment SET summary = x'ff'")
        raw.close()
        with pytest.raises(SpoolError, match="segment 1 in the spool does not decode"):
            spool.next_unstored()


class TestBeside:
    """A connection that only reads, beside the gateway."""

    def test_it_sees_streams_entries_and_counts(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        stream = open_stream(spool)
        parts = [samples_of(spool, 0, 2), samples_of(spool, 2, 2)]
        for part in parts:
            spool.append(stream, part)
        reader = apsw.Connection(str(tmp_path / "spool.db"), flags=apsw.SQLITE_OPEN_READONLY)
        assert read_streams(reader) == [stream]
        seen = list(read_entries(reader, SPOOL_KEY, stream, 0))
        assert [samples for _, samples in seen] == parts
        assert list(read_entries(reader, SPOOL_KEY, stream, seen[0][0])) == seen[1:]
        assert list(read_entries(reader, SPOOL_KEY, stream, seen[1][0])) == []
        assert read_counts(reader, 77) == spool.counts().__class__(2, 4, 0, 0, 0, spool.used_bytes, 77)
        reader.close()

    def test_rows_of_entries_rise_for_ever(self, tmp_path: Path) -> None:
        spool = open_spool(tmp_path)
        stream = open_stream(spool)
        sealed_segments(spool, stream, 2)
        spool.append(stream, samples_of(spool, 2, 1))
        ((before, _),) = read_entries(spool._database, SPOOL_KEY, stream, 0)
        again = open_spool(tmp_path)
        again.append(stream, samples_of(again, 0, 1))
        rows = [row for row, _ in read_entries(again._database, SPOOL_KEY, stream, 0)]
        assert rows[0] == before < rows[1]


def test_only_the_owner_can_look(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    sealed_segments(spool, open_stream(spool), 2)
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in files(tmp_path)}
    assert found == {"spool.db": 0o600, "spool.db-wal": 0o600, "spool.db-shm": 0o600}
