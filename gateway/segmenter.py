"""From samples to blocks to segments: where one ends and the next begins.

Runs on CPython; pure: samples and the clock in, closed segments out.  A block holds the samples of one
period T, a segment those of one slot (e periods), by the time they were taken: whoever is granted a
range of time gets whole slots, so a segment must never reach beyond its own.  Hence a record that
lies in another slot closes the segment, also when the clock has jumped; several segments may lie in
one slot, each under a key of its own.

              add: same period        add: another period        add: another slot, or tick: too old
    [block] --------------------> [block] ------------> [blocks] ------------------------> ClosedSegment
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from gateway.block import Samples, block_hash, encode_block
from gateway.crypto.seal import BLOCK_SIZE_MAX
from gateway.crypto.slot import SLOT_EPOCH_NS, SLOT_MAX
from gateway.errors import BlockError

NS_PER_MS = 1_000_000
BLOCK_VALUES_MAX = 8_192
"""Values in a block: 64-byte CAN FD frames of random content still fit BLOCK_SIZE_MAX."""
SEGMENT_SIZE_MAX = 16 << 20
"""Bytes of blocks that a segment may keep in memory before it is closed early."""


@dataclass(frozen=True, slots=True)
class EncodedBlock:
    """A block's bytes and what the manifest says of it."""

    data: bytes
    index: int
    """Number in the stream."""
    digest: bytes
    """SHA-256 of `data`: what the next block names."""
    boot: int
    first_seq: int
    count: int
    """Records, gaps included."""
    first_ns: int
    last_ns: int

    @property
    def end_seq(self) -> int:
        """Number of the record after the last."""
        return self.first_seq + self.count


@dataclass(frozen=True, slots=True)
class ClosedSegment:
    """Blocks to be sealed under one key."""

    slot: int
    """The slot of time in which all of them lie."""
    blocks: tuple[EncodedBlock, ...]
    """At least one, in the order of their indexes."""


class Segmenter:
    """Groups one stream's samples.  After a restart it is built anew and fed what the spool still holds."""

    def __init__(
        self, kind: str, stream: str, block_ms: int, segment_blocks: int, next_index: int, previous: bytes
    ) -> None:
        """next_index, previous: number of the next block, and the hash of the one before it."""
        self._kind = kind
        self._stream = stream
        self._block_ns = block_ms * NS_PER_MS
        self._segment_blocks = segment_blocks
        self._next_index = next_index
        self._previous = previous
        self._slot: int | None = None
        self._period: int | None = None
        self._open: Samples | None = None
        self._blocks: list[EncodedBlock] = []
        self._size = 0
        self._opened_ms = 0

    @property
    def pending_count(self) -> int:
        """Records that no closed segment holds yet."""
        return sum(block.count for block in self._blocks) + (len(self._open) if self._open else 0)

    @property
    def deadline_ms(self) -> int | None:
        """When `tick` will close the open segment, on the clock of `now_ms`; None when nothing is open."""
        if self._slot is None:
            return None
        return self._opened_ms + self._block_ns * self._segment_blocks // NS_PER_MS

    def add(self, samples: Samples, now_ms: int) -> list[ClosedSegment]:
        """Segments that `samples` close.  now_ms: any clock that does not jump."""
        closed = []
        for period, run in self._by_period(samples):
            slot = min(max(period // self._segment_blocks, 0), SLOT_MAX)
            if self._slot is not None and (slot != self._slot or self._size > SEGMENT_SIZE_MAX):
                closed += self._close_segment()
            if self._slot is None:
                self._slot = slot
                self._opened_ms = now_ms
            self._append(period, run)
        return closed

    def tick(self, now_ms: int) -> list[ClosedSegment]:
        """The open segment, when it was open for a whole slot: what came before a silence must not wait."""
        deadline_ms = self.deadline_ms
        return self.flush() if deadline_ms is not None and now_ms >= deadline_ms else []

    def flush(self) -> list[ClosedSegment]:
        """The open segment, if any."""
        return self._close_segment()

    def _by_period(self, samples: Samples) -> Iterator[tuple[int, Samples]]:
        """`samples` in runs of one period each, in the order they came."""
        times = samples.taken_ns
        if not times:
            if samples.gaps:
                yield self._period_of(samples.gaps[-1][1].to_ns), samples
            return
        first = self._period_of(min(times))
        if first == self._period_of(max(times)):
            yield first, samples
            return
        begin = 0
        seq = samples.first_seq
        gaps = list(samples.gaps)
        for period, group in groupby(times, self._period_of):
            end = begin + sum(1 for _ in group)
            is_last = end == len(times)
            mine = [gap for gap in gaps if gap[0] < end or is_last]
            gaps = gaps[len(mine) :]
            run = Samples(samples.boot, seq, times[begin:end], samples.values[begin:end])
            run.gaps = [(place - begin, gap) for place, gap in mine]
            seq = run.end_seq
            begin = end
            yield period, run

    def _period_of(self, taken_ns: int) -> int:
        # Counted from where slots are, so that no period lies in two of them.
        return (taken_ns - SLOT_EPOCH_NS) // self._block_ns

    def _append(self, period: int, run: Samples) -> None:
        block = self._open
        if block is not None and (
            period != self._period
            or run.boot != block.boot
            or run.first_seq != block.end_seq
            or len(block.values) + len(run.values) > BLOCK_VALUES_MAX
        ):
            self._close_block()
            block = None
        if block is None:
            self._open = Samples(
                run.boot, run.first_seq, list(run.taken_ns), list(run.values), list(run.gaps)
            )
            self._period = period
            return
        offset = len(block.values)
        block.taken_ns += run.taken_ns
        block.values += run.values
        block.gaps += [(place + offset, gap) for place, gap in run.gaps]

    def _close_block(self) -> None:
        samples, self._open, self._period = self._open, None, None
        if samples is not None:
            self._encode(samples)

    def _encode(self, samples: Samples) -> None:
        try:
            data = encode_block(self._kind, self._stream, self._next_index, self._previous, samples)
        except BlockError:
            # Only the size can be wrong here: every sample has been through the spool's encoding.
            if len(samples.values) < 2:
                raise
            data = b""
        if not data or len(data) > BLOCK_SIZE_MAX:
            for half in split(samples):
                self._encode(half)
            return
        first_ns, last_ns = samples.span_ns
        block = EncodedBlock(
            data,
            self._next_index,
            block_hash(data),
            samples.boot,
            samples.first_seq,
            len(samples),
            first_ns,
            last_ns,
        )
        self._blocks.append(block)
        self._size += len(data)
        self._next_index += 1
        self._previous = block.digest

    def _close_segment(self) -> list[ClosedSegment]:
        if self._slot is None:
            return []
        self._close_block()
        segment = ClosedSegment(self._slot, tuple(self._blocks))
        self._slot = None
        self._blocks = []
        self._size = 0
        return [segment]


def split(samples: Samples) -> tuple[Samples, Samples]:
    """`samples` in two halves, each with the gaps that lie in it."""
    middle = len(samples.values) // 2
    left = Samples(samples.boot, samples.first_seq, samples.taken_ns[:middle], samples.values[:middle])
    left.gaps = [(place, gap) for place, gap in samples.gaps if place < middle]
    right = Samples(samples.boot, left.end_seq, samples.taken_ns[middle:], samples.values[middle:])
    right.gaps = [(place - middle, gap) for place, gap in samples.gaps if place >= middle]
    return left, right
