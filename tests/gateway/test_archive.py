"""Reading back: exactly what was asked for, and a store that lies is found out."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.archive import Archive, ReadReport, evidence_name, manifest_name, stored_streams
from gateway.crypto.grant import make_grant, open_grant
from gateway.crypto.seal import seal_segment
from gateway.crypto.slot import slot_end_ns, slot_of, slot_start_ns
from gateway.errors import BlockError, ChunkMissing, EvidenceError, StoreError
from gateway.manifest import NO_MANIFEST, Manifest, SegmentEntry
from gateway.record import Record, RecordName
from gateway.sensors.source import Batch, Gap
from gateway.store import ChunkStore, LocalStore
from puf.hkdf import sha256
from puf.x25519 import PrivateKey
from tests.gateway.telemetry import (
    NOON_NS,
    OWNER,
    YEAR_NS,
    batches,
    can_batch,
    drain,
    items,
    open_archive,
    open_pipeline,
    open_spool,
    read_all,
    stream_keys,
)

SECOND_NS = 10**9
SLOT_MS = 5_000


class LyingStore(ChunkStore):
    """A store that gives what a test wants, and the truth about all else."""

    def __init__(self, truth: ChunkStore) -> None:
        self.truth = truth
        self.chunks: dict[bytes, bytes | None] = {}
        self.named: dict[str, bytes | None] = {}

    def put(self, chunks: Any) -> None:
        self.chunks.update(chunks)

    def read(self, chunk_id: bytes) -> bytes:
        data = self.chunks.get(chunk_id, b"?")
        if data is None:
            raise ChunkMissing(chunk_id, "the lying store")
        return self.truth.read(chunk_id) if data == b"?" else data

    def where(self, chunk_id: bytes) -> str:
        return "the lying store"

    def put_named(self, name: str, data: bytes) -> None:
        self.named[name] = data

    def get_named(self, name: str) -> bytes | None:
        return self.named[name] if name in self.named else self.truth.get_named(name)

    def names(self, prefix: str) -> list[str]:
        all_names = {*self.truth.names(prefix), *(name for name in self.named if name.startswith(prefix))}
        return sorted(name for name in all_names if self.get_named(name) is not None)

    def put_manifest(self, manifest: Manifest, upload_index: int | None = None) -> None:
        """In the place of the true one."""
        index = manifest.upload_index if upload_index is None else upload_index
        self.chunks[manifest.digest] = manifest.encode()
        self.named[manifest_name(manifest.stream_id, index)] = manifest.digest


def filled(folder: Path, batches: list[Batch], segment_count: int = 2) -> LocalStore:
    """A store with all of these batches, accepted in one boot."""
    spool = open_spool(folder)
    store = LocalStore(folder / "store")
    taking = open_pipeline(spool)
    for batch in batches:
        taking.accept(batch, 0)
    taking.flush()
    drain(spool, store, segment_count)
    spool.close()
    return store


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStore]:
    """40 s at ten frames a second: 8 segments of 5 blocks in 4 uploads; starts where a slot does."""
    start_ns = slot_start_ns(slot_of(NOON_NS, SLOT_MS), SLOT_MS)
    batches = [can_batch(10, start_ns + second * SECOND_NS, SECOND_NS // 10) for second in range(40)]
    store = filled(tmp_path_factory.mktemp("truth"), batches)
    yield store
    store.close()


@pytest.fixture
def lying(truth: LocalStore) -> LyingStore:
    return LyingStore(truth)


def read(archive: Archive, from_ns: int = 0, to_ns: int = 1 << 62) -> tuple[list[Record], ReadReport]:
    report = ReadReport()
    return list(archive.records(from_ns, to_ns, report)), report


def seqs(records: list[Record]) -> list[int]:
    return [record.name.seq for record in records]


class TestTruth:
    def test_the_fixture_is_what_it_says(self, truth: LocalStore) -> None:
        archive = open_archive(truth)
        assert archive.upload_indexes() == [0, 1, 2, 3]
        manifests = [archive.manifest(index) for index in range(4)]
        assert [[len(segment.chunks) for segment in manifest.segments] for manifest in manifests] == [
            [5, 5]
        ] * 4
        assert [manifest.previous for manifest in manifests] == [
            NO_MANIFEST,
            *(manifest.digest for manifest in manifests[:3]),
        ]
        assert seqs(read_all(archive)) == list(range(400))

    def test_evidence_is_found_by_upload(self, truth: LocalStore) -> None:
        archive = open_archive(truth)
        assert archive.evidence(3) == b"evidence"
        assert archive.evidence(4) is None
        assert evidence_name(b"\xab" * 32, 3) == "evidence/" + "ab" * 32 + "/0000000003"

    def test_progress_is_told(self, truth: LocalStore) -> None:
        told: list[tuple[int, int]] = []
        list(open_archive(truth).records(0, 1, ReadReport(), lambda *step: told.append(step)))
        assert told == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]

    def test_a_store_tells_which_streams_it_has(self, lying: LyingStore) -> None:
        lying.named |= {"manifest/zz/0000000000": b"", "manifest/x": b"", f"manifest/{'ab' * 32}/7": b""}
        lying.named[f"manifest/{'ab' * 32}/0000000007"] = b""
        assert stored_streams(lying) == {stream_keys().stream_id: [0, 1, 2, 3], b"\xab" * 32: [7]}

    def test_an_upload_that_is_not_there(self, truth: LocalStore) -> None:
        with pytest.raises(StoreError, match="no upload 4 of stream can0"):
            open_archive(truth).manifest(4)


class TestTime:
    @given(st.lists(batches(), min_size=1, max_size=4), st.data())
    @settings(deadline=None, max_examples=40)
    def test_exactly_what_lies_in_the_range_is_read(
        self, given_batches: list[Batch], data: st.DataObject
    ) -> None:
        with tempfile.TemporaryDirectory() as name:
            store = filled(Path(name), given_batches)
            every = [item for batch in given_batches for item in items(batch)]
            moments = sorted({0, NOON_NS, *(item[0] + shift for item in every for shift in (0, 1))})
            from_ns = data.draw(st.sampled_from(moments))
            to_ns = data.draw(st.sampled_from([moment for moment in moments if moment >= from_ns]))
            records, report = read(open_archive(store), from_ns, to_ns)
            store.close()
        want = [
            (seq, *item)
            for seq, item in enumerate(every)
            if (
                min(item[1].from_ns, item[1].to_ns) < to_ns and max(item[1].from_ns, item[1].to_ns) >= from_ns
                if isinstance(item[1], Gap)
                else from_ns <= item[0] < to_ns
            )
        ]
        assert [(record.name.seq, record.taken_ns, record.value) for record in records] == want
        assert report == ReadReport()

    def test_the_beginning_is_in_the_range_and_the_end_is_not(self, truth: LocalStore) -> None:
        start_ns = slot_start_ns(slot_of(NOON_NS, SLOT_MS), SLOT_MS)
        records, _ = read(open_archive(truth), start_ns + SECOND_NS // 5, start_ns + SECOND_NS // 2)
        assert seqs(records) == [2, 3, 4]

    def test_a_gap_is_seen_from_every_moment_that_it_spans(self, tmp_path: Path) -> None:
        """The bus was gone for ten minutes; who asks for one of them must learn why there is nothing."""
        gap = Gap("bus off", 0, NOON_NS, NOON_NS + 600 * SECOND_NS)
        later = Batch([NOON_NS + 600 * SECOND_NS], can_batch(1).values, [(0, gap)])
        store = filled(tmp_path, [can_batch(1), later])
        records, _ = read(open_archive(store), NOON_NS + 300 * SECOND_NS, NOON_NS + 301 * SECOND_NS)
        assert [record.value for record in records] == [gap]
        store.close()


class TestLocate:
    def test_every_record_is_found(self, truth: LocalStore) -> None:
        archive = open_archive(truth)
        for seq in (0, 9, 10, 99, 100, 101, 250, 399):
            found = archive.locate(RecordName("can0", 1, seq))
            assert found.chunk.holds(1, seq)
            assert found.manifest.upload_index == seq // 100
            assert (found.leaf, found.place) == (seq % 100 // 10, seq % 50 // 10)
            assert found.segment.chunks[found.place] == found.chunk
            assert list(found.manifest.chunks())[found.leaf][2] == found.chunk

    @pytest.mark.parametrize(("boot", "seq"), [(0, 0), (0, 5), (1, 400), (2, 0)])
    def test_one_that_is_not_there_is_said_to_be_maybe_in_the_spool(
        self, truth: LocalStore, boot: int, seq: int
    ) -> None:
        with pytest.raises(EvidenceError, match="may still be in the gateway's spool") as caught:
            open_archive(truth).locate(RecordName("can0", boot, seq))
        assert caught.value.link == "record"

    @pytest.mark.parametrize("hidden", [0, 1, 2, 3])
    def test_an_upload_that_cannot_be_read_hides_no_other(self, lying: LyingStore, hidden: int) -> None:
        archive = open_archive(lying)
        lying.chunks[archive.manifest(hidden).digest] = None
        for seq in range(5, 400, 50):
            name = RecordName("can0", 1, seq)
            if seq // 100 == hidden:
                with pytest.raises(ChunkMissing):
                    archive.locate(name)
            else:
                assert archive.locate(name).manifest.upload_index == seq // 100


class TestLies:
    def chunk_of(self, store: ChunkStore, seq: int) -> bytes:
        return open_archive(store).locate(RecordName("can0", 1, seq)).chunk.chunk_id

    def test_a_missing_chunk_is_named_and_the_rest_is_given(self, lying: LyingStore) -> None:
        lying.chunks[self.chunk_of(lying, 123)] = None
        records, report = read(open_archive(lying))
        assert seqs(records) == [*range(120), *range(130, 400)]
        (problem,) = report.problems
        assert problem.startswith("upload 1, block 12 (records can0/1/120 to 129): chunk ")
        assert problem.endswith("is not in the lying store")

    def test_one_flipped_bit_is_noticed(self, lying: LyingStore) -> None:
        chunk_id = self.chunk_of(lying, 123)
        data = bytearray(lying.truth.read(chunk_id))
        data[len(data) // 2] ^= 4
        lying.chunks[chunk_id] = bytes(data)
        records, report = read(open_archive(lying))
        assert seqs(records) == [*range(120), *range(130, 400)]
        assert [problem for problem in report.problems if "is altered" not in problem] == []
        assert len(report.problems) == 1

    def test_another_chunk_in_the_place_of_one_is_noticed(self, lying: LyingStore) -> None:
        lying.chunks[self.chunk_of(lying, 123)] = lying.truth.read(self.chunk_of(lying, 133))
        records, report = read(open_archive(lying))
        assert seqs(records) == [*range(120), *range(130, 400)]
        assert "is altered" in report.problems[0]

    @pytest.mark.parametrize(
        ("hidden", "problems"),
        [
            ([0], ["upload 0: not in the store"]),
            ([1, 2], ["upload 1 to 2: not in the store"]),
            ([0, 2], ["upload 0: not in the store", "upload 2: not in the store"]),
        ],
    )
    def test_an_upload_left_out_is_noticed(
        self, lying: LyingStore, hidden: list[int], problems: list[str]
    ) -> None:
        for index in hidden:
            lying.named[manifest_name(stream_keys().stream_id, index)] = None
        records, report = read(open_archive(lying))
        assert {seq // 100 for seq in seqs(records)} == {0, 1, 2, 3} - set(hidden)
        assert report.problems == problems

    @pytest.mark.parametrize(
        ("harm", "why"),
        [
            (lambda data: None, "is not in the lying store"),
            (lambda data: b"", "is altered"),
            (lambda data: data[:-1] + b"x", "is altered"),
        ],
    )
    def test_a_damaged_manifest_costs_its_upload_only(
        self, lying: LyingStore, harm: Callable[[bytes], bytes | None], why: str
    ) -> None:
        digest = open_archive(lying).manifest(1).digest
        lying.chunks[digest] = harm(lying.truth.read(digest))
        records, report = read(open_archive(lying))
        assert seqs(records) == [*range(100), *range(200, 400)]
        assert len(report.problems) == 1
        assert report.problems[0].startswith("upload 1: ")
        assert why in report.problems[0]

    def test_a_manifest_of_another_upload_is_refused(self, lying: LyingStore) -> None:
        lying.put_manifest(open_archive(lying.truth).manifest(2), upload_index=1)
        records, report = read(open_archive(lying))
        assert seqs(records) == [*range(100), *range(200, 400)]
        assert report.problems == ["upload 1: manifest: the store gave another upload's for upload 1"]

    def test_bytes_that_are_no_manifest_are_refused(self, lying: LyingStore) -> None:
        digest = sha256(b"junk")
        lying.chunks[digest] = b"junk"
        lying.named[manifest_name(stream_keys().stream_id, 1)] = digest
        _, report = read(open_archive(lying))
        assert [problem[:19] for problem in report.problems] == ["upload 1: manifest:"]

    def test_a_manifest_that_leaves_out_the_last_segment_is_noticed(self, lying: LyingStore) -> None:
        """A shorter manifest, made by the store, of genuine segments."""
        manifest = open_archive(lying.truth).manifest(1)
        lying.put_manifest(replace(manifest, segments=manifest.segments[:1]))
        records, report = read(open_archive(lying))
        assert seqs(records) == [*range(150), *range(200, 400)]
        assert report.problems == ["upload 2: it does not follow the upload before it"]

    def test_a_manifest_that_leaves_out_the_first_segment_is_noticed(self, lying: LyingStore) -> None:
        manifest = open_archive(lying.truth).manifest(1)
        lying.put_manifest(replace(manifest, segments=manifest.segments[1:]))
        _, report = read(open_archive(lying))
        assert report.problems == [
            "upload 1: it does not follow the upload before it",
            "upload 2: it does not follow the upload before it",
        ]

    def test_a_manifest_that_says_other_times_of_a_block_is_noticed(self, lying: LyingStore) -> None:
        """So that who asks for those times would not find it."""
        manifest = open_archive(lying.truth).manifest(1)
        first, *others = manifest.segments[0].chunks
        moved = replace(first, first_ns=first.first_ns + 1)
        segment = replace(manifest.segments[0], chunks=(moved, *others))
        lying.put_manifest(replace(manifest, segments=(segment, manifest.segments[1])))
        _, report = read(open_archive(lying))
        assert "block 10" in report.problems[0]
        assert "the manifest says" in report.problems[0]

    def test_names_that_are_no_uploads_are_passed_over(self, lying: LyingStore) -> None:
        prefix = f"manifest/{stream_keys().stream_id.hex()}/"
        lying.named |= {
            f"{prefix}x": b"",
            f"{prefix}-000000001": b"",
            f"{prefix}\u0662000000001": b"",
            prefix: b"",
        }
        assert open_archive(lying).upload_indexes() == [0, 1, 2, 3]

    def test_an_owner_who_forks_his_own_chain_is_noticed(self, lying: LyingStore) -> None:
        """A block sealed with the right key in the right place, but not the one that the next names."""
        archive = open_archive(lying.truth)
        manifest = archive.manifest(1)
        segment = manifest.segments[0]
        plain = archive.open_plain(segment, 0)
        other = plain.replace(archive.open_block(segment, 0).previous, bytes(32))
        key = stream_keys().segment_key(segment.slot, bytes(16))
        blocks = [other, *(archive.open_plain(segment, place) for place in range(1, 5))]
        sealed = seal_segment(key, manifest.stream_id, segment.slot, bytes(16), blocks)
        lying.put(dict(zip(sealed.chunk_ids, sealed.chunks, strict=True)))
        chunks = tuple(
            replace(entry, chunk_id=chunk_id)
            for entry, chunk_id in zip(segment.chunks, sealed.chunk_ids, strict=True)
        )
        forged = SegmentEntry(bytes(16), segment.slot, chunks)
        lying.put_manifest(replace(manifest, segments=(forged, manifest.segments[1])))
        _, report = read(open_archive(lying))
        assert report.problems[0].startswith("upload 1, block 10 ")
        assert report.problems[0].endswith("it does not follow the block before it")


class TestKeys:
    def test_another_name_than_the_streams_is_noticed(self, truth: LocalStore) -> None:
        keys = stream_keys()
        records, report = read(Archive(truth, keys.stream_id, "can1", keys.segment_key))
        assert records == []
        assert len(report.problems) == 40
        other = Archive(truth, keys.stream_id, "can1", keys.segment_key)
        segment = other.manifest(0).segments[0]
        with pytest.raises(BlockError, match="the manifest says"):
            other.open_block(segment, 0)

    def test_a_wrong_key_is_said_to_be_one(self, truth: LocalStore) -> None:
        wrong = stream_keys("other").segment_key
        records, report = read(open_archive(truth, key=wrong))
        assert records == []
        assert all("this key does not open it" in problem for problem in report.problems)

    @given(st.integers(-2, 10), st.integers(0, 5))
    @settings(deadline=None, max_examples=25)
    def test_a_grant_opens_exactly_its_slots(self, truth: LocalStore, begin: int, length: int) -> None:
        keys, reader = stream_keys(), PrivateKey(bytes(range(32)))
        first_slot = slot_of(NOON_NS, SLOT_MS) + begin
        grant = open_grant(
            make_grant(
                OWNER,
                keys.tree,
                keys.stream_id,
                keys.name,
                SLOT_MS,
                first_slot,
                first_slot + length,
                reader.public,
            ),
            reader,
            OWNER.public,
        )
        archive = open_archive(
            truth, key=lambda slot, segment_id: grant.segment_key(slot, keys.stream_id, segment_id)
        )
        records, report = read(archive)
        from_ns, to_ns = slot_start_ns(first_slot, SLOT_MS), slot_end_ns(first_slot + length, SLOT_MS)
        every = read_all(open_archive(truth))
        assert records == [record for record in every if from_ns <= record.taken_ns < to_ns]
        assert report.problems == []
        assert report.not_granted_count == 400 - len(records)


def test_a_clock_that_jumped_does_not_hide_records(tmp_path: Path) -> None:
    store = filled(tmp_path, [can_batch(10), can_batch(10, NOON_NS - YEAR_NS), can_batch(10, NOON_NS + 1)])
    records, report = read(open_archive(store), NOON_NS - YEAR_NS, NOON_NS - YEAR_NS + SECOND_NS)
    assert seqs(records) == list(range(10, 20))
    assert report == ReadReport()
    store.close()
