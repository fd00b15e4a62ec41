"""One stream's way through the gateway: batch -> spool -> block -> segment -> sealed.

Runs on CPython; no clock and no thread of its own: the caller passes `now_ms` and calls from one
thread.  `accept` returns when the samples are durable.  What comes after (store, anchor) is
`gateway.uploader`.

What earlier boots have left is sealed first, as far as the disk has room; until all of it is, and as
long as a closed segment waits for room, nothing new is taken.  So the order of a stream is the order
in which it was accepted, and a full disk cannot fill the memory.

A tap (gateway.uplink_handover) is told of every record as soon as it is durable, also of those that an
earlier boot has left, and is waited for before records leave the spool as such.
"""

import os
from collections.abc import Callable, Collection, Iterator, Sequence

from gateway import columns
from gateway.block import REASON_SIZE_MAX, Samples
from gateway.crypto.seal import SealedSegment, seal_segment
from gateway.crypto.stream import StreamKeys
from gateway.disk import DiskFull
from gateway.errors import BlockError, SpoolError
from gateway.segmenter import ClosedSegment, Segmenter
from gateway.sensors.source import Batch, Gap
from gateway.spool import Spool
from gateway.uplink_handover import Tap

ACCEPT_RECORDS_MAX = {columns.CAN: 4_096, columns.READING: 500}
"""Records that one `accept` takes, by kind; `pieces` cuts larger batches.

So many readings of columns.SAMPLE_SIZE_MAX are still one spool entry (columns.BODY_SIZE_MAX)."""


def pieces(batch: Batch, kind: str) -> Iterator[Batch]:
    """`batch` in parts that `accept` takes; none of an empty one."""
    whole = Samples(0, 0, batch.taken_ns, batch.values, batch.gaps)
    count_max = ACCEPT_RECORDS_MAX[kind]
    if 0 < len(whole) <= count_max:
        yield batch
        return
    for begin in range(0, len(whole), count_max):
        part = whole.part(begin, min(begin + count_max, len(whole)))
        yield Batch(part.taken_ns, part.values, part.gaps)


def joined(batches: Sequence[Batch]) -> Batch:
    """Batches of one source, at least one, as a single one."""
    if len(batches) == 1:
        return batches[0]
    whole = Batch([], [], [])
    for batch in batches:
        offset = len(whole.values)
        whole.taken_ns.extend(batch.taken_ns)
        whole.values.extend(batch.values)
        whole.gaps.extend((place + offset, gap) for place, gap in batch.gaps)
    return whole


class StreamPipeline:
    """Takes batches of one stream; everything it accepted is in the spool."""

    def __init__(
        self,
        spool: Spool,
        keys: StreamKeys,
        name: str,
        kind: str,
        block_ms: int,
        segment_blocks: int,
        now_ms: int,
        tap: Tap | None = None,
    ) -> None:
        """Takes up what earlier boots have left: its records are sealed before any new one.

        tap: is told of every durable record.  Raises SpoolError when the spool has the stream with another
        kind of records.
        """
        self.name = name
        self.kind = kind
        self._keys = keys
        self._spool = spool
        self.tap = tap
        """What is told of every durable record."""
        self._closed: list[ClosedSegment] = []
        self.row = spool.open_stream(keys.stream_id, name, kind, block_ms, segment_blocks)
        self.slot_ms = self.row.slot_ms
        self._segmenter = Segmenter(kind, name, block_ms, segment_blocks, self.row.next_block, self.row.head)
        self._next_seq = spool.next_seq(self.row)
        self._backlog = spool.recover(self.row)
        self._is_recovered = False
        self._failure: Exception | None = None
        self.recovered_count = 0
        """Records of earlier boots that were taken up."""
        self._make_way(now_ms)

    @property
    def is_drained(self) -> bool:
        """Everything that was accepted is sealed."""
        return self._is_recovered and not self.pending_count

    @property
    def pending_count(self) -> int:
        """Records that are durable, in hand, and not yet sealed."""
        return self._segmenter.pending_count + sum(
            block.count for segment in self._closed for block in segment.blocks
        )

    @property
    def accepted_count(self) -> int:
        """Records accepted since this boot, gaps included."""
        return self._next_seq

    def accept(self, batch: Batch, now_ms: int) -> Samples:
        """Makes `batch` durable and returns it with its numbers; as `pieces` cuts them.

        A value that cannot be stored becomes a gap that says why.  Raises SpoolFull when there is no room:
        nothing of the batch was taken then, offer it again.
        """
        samples = Samples(self._spool.boot, self._next_seq, batch.taken_ns, batch.values, batch.gaps)
        if not self._make_way(now_ms):
            raise self._spool.full("the disk is full, what was accepted before waits to be sealed")
        if self.tap is not None and not self.tap.has_room:
            raise self._spool.full("the uplink's outbox has no room for this stream, whose policy is to wait")
        try:
            self._spool.append(self.row, samples)
        except BlockError:
            samples = self._without_bad(samples)
            self._spool.append(self.row, samples)
        self._next_seq = samples.end_seq
        if self.tap is not None:
            self.tap.take(samples)
        self._closed += self._segmenter.add(samples, now_ms)
        self._seal_closed()
        return samples

    def tick(self, now_ms: int) -> None:
        """Seals what has waited for a whole slot."""
        if self._make_way(now_ms):
            self._closed += self._segmenter.tick(now_ms)
            self._seal_closed()

    def flush(self, now_ms: int = 0) -> None:
        """Seals all that was accepted, if the disk has room."""
        if self._make_way(now_ms):
            self._closed += self._segmenter.flush()
            self._seal_closed()

    def _make_way(self, now_ms: int) -> bool:
        """Seals what comes before any new record; False when the disk has no room for that."""
        while self._seal_closed():
            if self._is_recovered:
                return True
            samples = self._next_left()
            if samples is not None:
                self.recovered_count += len(samples)
                if self.tap is not None:
                    self.tap.take(samples)
                self._closed += self._segmenter.add(samples, now_ms)
            elif self._segmenter.pending_count:
                # What a power cut has left must not wait for more.
                self._closed += self._segmenter.flush()
            else:
                try:
                    self._spool.end_recovery(self.row)
                except DiskFull:
                    return False
                self._is_recovered = True
        return False

    def _next_left(self) -> Samples | None:
        """What earlier boots have left next; None when that was all."""
        if self._failure is not None:
            raise self._failure
        try:
            return next(self._backlog, None)
        except Exception as error:
            # Asked again, an iterator that has failed would say that this was all, and the rest be deleted.
            self._failure = error
            raise

    def _seal_closed(self) -> bool:
        """Seals closed segments; False when the disk is full: their records stay in the spool, as entries."""
        if not self._closed:
            return True
        sealed = [(closed, *self._seal(closed)) for closed in self._closed]
        try:
            if self.tap is not None:
                self.tap.settle()
            self._spool.commit_segments(self.row, sealed)
        except DiskFull:
            return False
        self._closed = []
        return True

    def _seal(self, closed: ClosedSegment) -> tuple[bytes, SealedSegment]:
        # A new id at each attempt, hence a new key: no two contents are ever sealed under one.
        segment_id = os.urandom(16)
        key = self._keys.segment_key(closed.slot, segment_id)
        blocks = [block.data for block in closed.blocks]
        return segment_id, seal_segment(key, self._keys.stream_id, closed.slot, segment_id, blocks)

    def _without_bad(self, samples: Samples) -> Samples:
        """`samples` with each value that cannot be stored replaced by a gap that says why."""
        good = Samples(samples.boot, samples.first_seq)
        gaps = iter([*samples.gaps, (len(samples.values), None)])
        gap_place, gap = next(gaps)
        for place, (taken_ns, value) in enumerate(zip(samples.taken_ns, samples.values, strict=True)):
            while gap is not None and gap_place <= place:
                good.gaps.append((len(good.values), _possible(gap)))
                gap_place, gap = next(gaps)
            try:
                columns.pack(self.kind, [taken_ns], [value], is_grouped=False)
            except BlockError as error:
                good.gaps.append((len(good.values), _possible(Gap(str(error), 1, taken_ns, taken_ns))))
            else:
                good.taken_ns.append(taken_ns)
                good.values.append(value)
        while gap is not None:
            good.gaps.append((len(good.values), _possible(gap)))
            gap_place, gap = next(gaps)
        return good


def unfinished_pipelines(
    spool: Spool,
    keys_of: Callable[[str, int], StreamKeys],
    live: Collection[bytes],
    now_ms: int,
    tap_of: Callable[[str, str, bytes], Tap | None] = lambda name, kind, stream_id: None,
) -> list[StreamPipeline]:
    """Pipelines of streams that nothing feeds any more, and whose records are not all sealed yet.

    A stream leaves the configuration when it is taken out of it, or when its slots become longer or
    shorter; what it had accepted is sealed under its own keys.  Those that are not `is_drained`, because
    the disk is full, want a `tick` now and then.

    keys_of: (stream's name, slot_ms) -> its keys.  live: ids of the streams that have a pipeline.
    tap_of: (name, kind, stream id) -> its tap.
    Raises SpoolError for a stream of another owner.
    """
    pipelines = []
    for stream in spool.streams():
        if stream.stream_id in live or not spool.has_entries(stream):
            continue
        keys = keys_of(stream.name, stream.slot_ms)
        if keys.stream_id != stream.stream_id:
            raise SpoolError(
                f"the spool holds records of a stream {stream.name} of another gateway: "
                "put that gateway's key file back, or give this one a spool of its own"
            )
        tap = tap_of(stream.name, stream.kind, stream.stream_id)
        shape = (stream.name, stream.kind, stream.block_ms, stream.segment_blocks)
        pipelines.append(StreamPipeline(spool, keys, *shape, now_ms, tap))
    return pipelines


def _possible(gap: Gap) -> Gap:
    """The gap, or the nearest that can be stored."""
    first_ns, last_ns = -columns.TIME_END_NS, columns.TIME_END_NS - 1
    from_ns, to_ns = (min(max(moment, first_ns), last_ns) for moment in (gap.from_ns, gap.to_ns))
    return Gap(gap.reason[:REASON_SIZE_MAX], max(gap.count, 0), from_ns, to_ns)
