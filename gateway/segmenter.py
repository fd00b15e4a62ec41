"""From samples to blocks to segments: where one ends and the next begins.

Runs on CPython; pure: samples and the clock in, closed segments out.  A block holds the samples of one
period T, a segment those of one slot (e periods), by the time they were taken: whoever is granted a
range of time gets whole slots, so a segment must never reach beyond its own.  Hence a record that
lies in another slot closes the segment, also when the clock has jumped; several segments may lie in
one slot, each under a key of its own.

              add: same period        add: another period        add: another slot, or tick: too old
    [block] --------------------> [block] ------------> [blocks] ------------------------> ClosedSegment
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from gateway.block import Samples, block_hash, encode_block
from gateway.columns import VALUES_MAX
from gateway.crypto.seal import BLOCK_SIZE_MAX
from gateway.crypto.slot import SLOT_EPOCH_NS, SLOT_MAX
from gateway.errors import BlockError

NS_PER_MS = 1_000_000
SEGMENT_SIZE_MAX = 4 << 20
"""Bytes of blocks at which a segment is closed early: it is in memory several times while it is sealed."""
SEGMENT_BLOCKS_MAX = 4_096
"""Blocks at which a segment is closed early: they are all in the upload's manifest."""


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
    """Earliest moment that its records tell of, Unix nanoseconds."""
    last_ns: int
    """Latest moment that its records tell of; a gap may reach out of the slot."""

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
        self._period = 0
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
            if self._slot is not None and (slot != self._slot or self._is_full()):
                closed += self.flush()
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
        if self._slot is None:
            return []
        self._close_block()
        segment = ClosedSegment(self._slot, tuple(self._blocks))
        self._slot = None
        self._blocks = []
        self._size = 0
        return [segment]

    def _is_full(self) -> bool:
        # One more block is open.
        return self._size > SEGMENT_SIZE_MAX or len(self._blocks) + 1 >= SEGMENT_BLOCKS_MAX

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
        begin = place = 0
        for period, group in groupby([(taken_ns - SLOT_EPOCH_NS) // self._block_ns for taken_ns in times]):
            place += len(list(group))
            # A gap lies in the run of the value that it stands before, one behind all values in the last run.
            is_last = place == len(times)
            end = len(samples) if is_last else place + bisect_left(samples.gaps, place, key=itemgetter(0))
            yield period, samples.part(begin, end)
            begin = end

    def _period_of(self, taken_ns: int) -> int:
        # Counted from where slots are, so that no period lies in two of them.
        return (taken_ns - SLOT_EPOCH_NS) // self._block_ns

    def _append(self, period: int, run: Samples) -> None:
        block = self._open
        if block is not None and (
            period != self._period
            or run.boot != block.boot
            or run.first_seq != block.end_seq
            or len(block) + len(run) > VALUES_MAX[self._kind]
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
        if self._open is not None:
            self._encode(self._open)
            self._open = None

    def _encode(self, samples: Samples) -> None:
        """Adds the block of `samples`, or several if that would be too large to seal."""
        try:
            data = encode_block(self._kind, self._stream, self._next_index, self._previous, samples)
            is_small = len(data) <= BLOCK_SIZE_MAX
        except BlockError:
            # Only together can they be too large: each sample has been through the spool's encoding.
            if len(samples) < 2:
                raise
            is_small = False
        if not is_small:
            middle = len(samples) // 2
            self._encode(samples.part(0, middle))
            self._encode(samples.part(middle, len(samples)))
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
