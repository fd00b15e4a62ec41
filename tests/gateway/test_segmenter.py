"""The segmenter: nothing is lost, doubled or put out of order, and no segment leaves its slot."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import columns, segmenter
from gateway.block import NO_BLOCK, Block, Samples, block_hash, decode_block
from gateway.columns import TIME_END_NS
from gateway.crypto.seal import BLOCK_SIZE_MAX
from gateway.crypto.slot import SLOT_MAX, slot_of, slot_start_ns
from gateway.record import Record
from gateway.segmenter import ClosedSegment, Segmenter
from gateway.sensors.source import Batch, Gap
from tests.gateway.telemetry import NOON_NS, YEAR_NS, batches, can_batch, items

BLOCK_MS, SEGMENT_BLOCKS = 1_000, 5
SLOT_MS = BLOCK_MS * SEGMENT_BLOCKS
# At the beginning of a slot, so that the stories below can count periods from it.
START_NS = slot_start_ns(slot_of(NOON_NS, SLOT_MS), SLOT_MS)


def new(kind: str = "can", next_index: int = 0, previous: bytes = NO_BLOCK) -> Segmenter:
    return Segmenter(kind, "s", BLOCK_MS, SEGMENT_BLOCKS, next_index, previous)


def numbered(batch: Batch, boot: int = 1, first_seq: int = 0) -> Samples:
    return Samples(boot, first_seq, batch.taken_ns, batch.values, batch.gaps)


def blocks_of(segments: list[ClosedSegment]) -> list[Block]:
    return [decode_block(block.data) for segment in segments for block in segment.blocks]


def records_of(segments: list[ClosedSegment]) -> Iterator[Record]:
    for block in blocks_of(segments):
        yield from block.records()


def check_invariants(segments: list[ClosedSegment], next_index: int = 0, head: bytes = NO_BLOCK) -> None:
    for segment in segments:
        assert segment.blocks
        for encoded in segment.blocks:
            block = decode_block(encoded.data)
            samples = block.samples
            assert (block.index, block.previous) == (next_index, head)
            assert encoded.digest == block_hash(encoded.data)
            assert (encoded.index, encoded.boot, encoded.first_seq) == (
                block.index,
                samples.boot,
                samples.first_seq,
            )
            assert (encoded.count, encoded.end_seq) == (len(samples), samples.end_seq)
            assert (encoded.first_ns, encoded.last_ns) == samples.span_ns
            assert len(encoded.data) <= BLOCK_SIZE_MAX
            assert {slot_of(taken_ns, SLOT_MS) for taken_ns in samples.taken_ns} <= {segment.slot}
            # A period counts from where slots do; times beyond the calendar are clamped into the last slot.
            periods = {
                (taken_ns - slot_start_ns(0, SLOT_MS)) // (BLOCK_MS * 10**6) for taken_ns in samples.taken_ns
            }
            assert len(periods) <= 1
            next_index, head = encoded.index + 1, encoded.digest


@given(st.lists(st.tuples(batches(), st.integers(0, 4_000)), max_size=8), st.booleans())
@settings(deadline=None, max_examples=150)
def test_every_record_is_in_one_block_and_all_are_in_order(
    steps: list[tuple[Batch, int]], is_ticked: bool
) -> None:
    machine, now_ms, seq = new(next_index=7, previous=bytes(range(32))), 0, 0
    closed: list[ClosedSegment] = []
    want = []
    for batch, wait_ms in steps:
        now_ms += wait_ms
        if is_ticked:
            closed += machine.tick(now_ms)
        closed += machine.add(numbered(batch, first_seq=seq), now_ms)
        want += list(items(batch))
        seq += len(batch.values) + len(batch.gaps)
        assert machine.pending_count == seq - sum(
            block.count for segment in closed for block in segment.blocks
        )
    closed += machine.flush()
    assert machine.pending_count == 0
    assert machine.flush() == []
    records = list(records_of(closed))
    assert [(record.taken_ns, record.value) for record in records] == want
    assert [record.name.seq for record in records] == list(range(seq))
    check_invariants(closed, 7, bytes(range(32)))


@given(st.lists(batches(), max_size=8), st.lists(st.integers(0, 3), min_size=8, max_size=8))
@settings(deadline=None, max_examples=100)
def test_boots_and_holes_in_the_numbers_never_share_a_block(parts: list[Batch], jumps: list[int]) -> None:
    machine, boot, seq = new(), 1, 0
    closed: list[ClosedSegment] = []
    names = []
    for batch, jump in zip(parts, jumps, strict=False):
        if jump == 1:
            boot, seq = boot + 1, 0
        elif jump:
            seq += jump
        samples = numbered(batch, boot, seq)
        names += [(boot, number) for number in range(seq, samples.end_seq)]
        closed += machine.add(samples, 0)
        seq = samples.end_seq
    closed += machine.flush()
    assert [(record.name.boot, record.name.seq) for record in records_of(closed)] == names
    check_invariants(closed)


class TestStories:
    def test_a_steady_stream(self) -> None:
        """3 s of frames, then 3 s more: the second half of them lies in the next slot."""
        machine = new()
        assert machine.add(numbered(can_batch(3_000, START_NS + 2 * 10**9)), 0) == []
        closed = machine.add(numbered(can_batch(3_000, START_NS + 5 * 10**9), first_seq=3_000), 0)
        assert [(segment.slot, [block.count for block in segment.blocks]) for segment in closed] == [
            (slot_of(START_NS, SLOT_MS), [1_000, 1_000, 1_000])
        ]
        assert [block.count for segment in machine.flush() for block in segment.blocks] == [1_000] * 3

    def test_batches_of_one_period_share_a_block(self) -> None:
        machine = new()
        for number in range(10):
            machine.add(numbered(can_batch(10, START_NS + number * 10**7), first_seq=10 * number), 0)
        (segment,) = machine.flush()
        assert [block.count for block in segment.blocks] == [100]

    @pytest.mark.parametrize("jump_ns", [-YEAR_NS, YEAR_NS])
    def test_a_clock_that_jumps_a_year_and_back_makes_three_segments(self, jump_ns: int) -> None:
        machine = new()
        batch = can_batch(3, START_NS)
        batch.taken_ns[1] += jump_ns
        closed = machine.add(numbered(batch), 0) + machine.flush()
        here, there = slot_of(START_NS, SLOT_MS), slot_of(START_NS + jump_ns, SLOT_MS)
        assert [segment.slot for segment in closed] == [here, there, here]
        check_invariants(closed)

    @pytest.mark.parametrize(
        ("taken_ns", "slot"), [(-TIME_END_NS, 0), (-1, 0), (0, 0), (slot_start_ns(0, SLOT_MS) - 1, 0)]
    )
    def test_what_was_taken_before_the_calendar_lies_in_the_first_slot(
        self, taken_ns: int, slot: int
    ) -> None:
        (segment,) = self._closed_at(new(), taken_ns)
        assert segment.slot == slot

    def test_what_was_taken_after_the_calendar_lies_in_the_last_slot(self) -> None:
        machine = Segmenter("can", "s", 200, 5, 0, NO_BLOCK)
        (segment,) = self._closed_at(machine, TIME_END_NS - 1)
        assert segment.slot == SLOT_MAX == slot_of(TIME_END_NS - 1, 1_000)

    def _closed_at(self, machine: Segmenter, taken_ns: int) -> list[ClosedSegment]:
        machine.add(Samples(1, 0, [taken_ns], can_batch(1).values), 0)
        return machine.flush()

    def test_a_boot_ends_a_block_though_the_numbers_seem_to_run_on(self) -> None:
        machine = new()
        machine.add(numbered(can_batch(3), boot=1), 0)
        machine.add(numbered(can_batch(2), boot=2, first_seq=3), 0)
        assert [(block.samples.boot, len(block.samples)) for block in blocks_of(machine.flush())] == [
            (1, 3),
            (2, 2),
        ]

    def test_a_gap_lies_in_the_block_of_the_frame_that_follows_it(self) -> None:
        batch = can_batch(4, START_NS, step_ns=500_000_000)
        gap = Gap("lost", 3, START_NS, START_NS + 1)
        batch.gaps.extend([(0, gap), (2, gap), (3, gap), (4, gap)])
        machine = new()
        machine.add(numbered(batch), 0)
        assert [[place for place, _ in block.samples.gaps] for block in blocks_of(machine.flush())] == [
            [0],
            [0, 1, 2],
        ]

    def test_a_gap_alone_lies_where_it_ends(self) -> None:
        machine = new()
        gap = Gap("unplugged", 0, START_NS - YEAR_NS, START_NS)
        machine.add(Samples(1, 0, gaps=[(0, gap)]), 0)
        (segment,) = machine.flush()
        assert segment.slot == slot_of(START_NS, SLOT_MS)
        assert (segment.blocks[0].first_ns, segment.blocks[0].last_ns) == (START_NS - YEAR_NS, START_NS)

    def test_nothing_makes_nothing(self) -> None:
        machine = new()
        assert machine.add(Samples(1, 0), 0) == []
        assert machine.deadline_ms is None
        assert machine.tick(10**9) == []
        assert machine.flush() == []

    def test_what_came_before_a_silence_waits_for_one_slot(self) -> None:
        machine = new()
        machine.add(numbered(can_batch(1)), 100)
        machine.add(numbered(can_batch(1), first_seq=1), 3_000)
        assert machine.deadline_ms == 100 + SLOT_MS
        assert machine.tick(100 + SLOT_MS - 1) == []
        (segment,) = machine.tick(100 + SLOT_MS)
        assert [block.count for block in segment.blocks] == [2]
        assert machine.deadline_ms is None

    def test_the_callers_lists_are_not_changed_and_not_kept(self) -> None:
        machine, batch = new(), can_batch(2)
        machine.add(numbered(batch), 0)
        machine.add(numbered(can_batch(2), first_seq=2), 0)
        assert len(batch.values) == 2
        batch.values.clear()
        assert len(list(records_of(machine.flush()))) == 4


class TestBounds:
    def test_a_block_takes_no_more_values_than_columns_do(self) -> None:
        machine = new()
        for number in range(3):
            machine.add(numbered(can_batch(4_000, START_NS, 1), first_seq=4_000 * number), 0)
        counts = [len(block.samples) for block in blocks_of(machine.flush())]
        assert counts == [8_000, 4_000]
        assert counts[0] <= columns.VALUES_MAX["can"]

    def test_a_block_too_large_to_seal_becomes_several(self) -> None:
        """Readings that do not compress: 600 of 8 KB are 4.8 MB, a block at most 1 MB."""
        rng = random.Random(1)
        values = [rng.randbytes(8_000) for _ in range(600)]
        machine = new("reading")
        machine.add(Samples(1, 0, [START_NS] * 600, values, [(300, Gap("x", 1, 2, 3))]), 0)
        closed = machine.flush()
        check_invariants(closed)
        assert [record.value for record in records_of(closed)] == [
            *values[:300],
            Gap("x", 1, 2, 3),
            *values[300:],
        ]
        assert len(blocks_of(closed)) == 8

    def test_readings_too_large_for_one_set_of_columns_become_several_blocks(self) -> None:
        values = [bytes(16_000)] * 1_000
        machine = new("reading")
        for begin in (0, 500):
            machine.add(Samples(1, begin, [START_NS] * 500, values[begin : begin + 500]), 0)
        closed = machine.flush()
        check_invariants(closed)
        assert [len(block.samples) for block in blocks_of(closed)] == [500, 500]

    def test_gaps_alone_can_be_too_large_for_a_block(self) -> None:
        gap = Gap("\U0001f4a5" * 300, 1, START_NS, START_NS)
        machine = new()
        machine.add(Samples(1, 0, [START_NS], can_batch(1).values, [(0, gap)] * 2_000), 0)
        closed = machine.flush()
        check_invariants(closed)
        assert [len(block.samples) for block in blocks_of(closed)] == [500, 500, 500, 501]

    def test_a_segment_is_closed_early_when_it_has_grown_large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(segmenter, "SEGMENT_SIZE_MAX", 1_000)
        machine, seq = new(), 0
        closed: list[ClosedSegment] = []
        for number in range(20):
            batch = can_batch(100, START_NS + number % 2 * 10**9)
            closed += machine.add(numbered(batch, first_seq=seq), 0)
            seq += 100
        sizes = [sum(len(block.data) for block in segment.blocks) for segment in closed]
        assert len(sizes) >= 3
        assert all(1_000 < size < 2_000 for size in sizes)

    def test_a_segment_is_closed_early_when_it_has_many_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(segmenter, "SEGMENT_BLOCKS_MAX", 4)
        batch = can_batch(11, START_NS)
        batch.taken_ns[:] = [START_NS + number % 2 * 10**9 for number in range(11)]
        machine = new()
        closed = machine.add(numbered(batch), 0) + machine.flush()
        assert [len(segment.blocks) for segment in closed] == [4, 4, 3]
        check_invariants(closed)
