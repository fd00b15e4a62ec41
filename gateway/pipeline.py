"""One stream's way through the gateway: batch -> spool -> block -> segment -> sealed.

Runs on CPython; no clock and no thread of its own: the caller passes `now_ms` and calls from one
thread.  `accept` returns when the samples are durable.  What comes after (store, anchor) is
`gateway.uploader`.
"""

import os
from collections import deque
from collections.abc import Iterator

from gateway import columns
from gateway.block import Samples
from gateway.crypto.seal import seal_segment
from gateway.crypto.stream import StreamKeys
from gateway.disk import DiskFull
from gateway.errors import BlockError
from gateway.segmenter import ClosedSegment, Segmenter
from gateway.sensors.source import Batch, Gap
from gateway.spool import Spool
from puf import cbor

ACCEPT_VALUES_MAX = {columns.CAN: 4_096, columns.READING: 500}
"""Values that one `accept` takes, by kind; `pieces` cuts larger batches."""
SAMPLE_SIZE_MAX = 16 << 10
"""Bytes of one encoded reading; a larger one becomes a gap that says so.

ACCEPT_VALUES_MAX readings of this size are still one spool entry (columns.BODY_SIZE_MAX)."""


def pieces(batch: Batch, kind: str) -> Iterator[Batch]:
    """`batch` in parts that `accept` takes."""
    count = len(batch.values)
    count_max = ACCEPT_VALUES_MAX[kind]
    if count <= count_max:
        yield batch
        return
    for begin in range(0, count, count_max):
        end = min(begin + count_max, count)
        gaps = [
            (place - begin, gap) for place, gap in batch.gaps if begin <= place < end or place == end == count
        ]
        yield Batch(batch.taken_ns[begin:end], batch.values[begin:end], gaps)


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
    ) -> None:
        """Takes up what the last boot has left: its records are sealed before any new one."""
        self.name = name
        self.kind = kind
        self.slot_ms = block_ms * segment_blocks
        self._keys = keys
        self._spool = spool
        self._next_seq = 0
        self._closed: deque[ClosedSegment] = deque()
        self.row = spool.open_stream(keys.stream_id, name, kind)
        self._segmenter = Segmenter(kind, name, block_ms, segment_blocks, self.row.next_block, self.row.head)
        self.recovered_count = 0
        for _, samples in spool.entries(self.row):
            self.recovered_count += len(samples)
            self._closed += self._segmenter.add(samples, now_ms)
            self._seal_closed()
        # A segment holds records of one boot, so that what a power cut left behind does not wait for more.
        self.flush()

    @property
    def pending_count(self) -> int:
        """Records that are durable and not yet sealed."""
        return self._segmenter.pending_count + sum(
            block.count for segment in self._closed for block in segment.blocks
        )

    @property
    def accepted_count(self) -> int:
        """Records accepted since this boot, gaps included."""
        return self._next_seq

    def accept(self, batch: Batch, now_ms: int) -> Samples:
        """Makes `batch` durable and returns it with its numbers; as `pieces` cuts them.

        Raises SpoolFull when there is no room: nothing of the batch was taken then, offer it again.
        """
        samples = Samples(self._spool.boot, self._next_seq, batch.taken_ns, batch.values, batch.gaps)
        try:
            self._spool.append(self.row, samples)
        except BlockError:
            samples = self._without_bad(samples)
            self._spool.append(self.row, samples)
        self._next_seq = samples.end_seq
        self._closed += self._segmenter.add(samples, now_ms)
        self._seal_closed()
        return samples

    def tick(self, now_ms: int) -> None:
        """Seals what has waited for a whole slot."""
        self._closed += self._segmenter.tick(now_ms)
        self._seal_closed()

    def flush(self) -> None:
        """Seals all that was accepted."""
        self._closed += self._segmenter.flush()
        self._seal_closed()

    def _seal_closed(self) -> None:
        while self._closed:
            segment = self._closed[0]
            segment_id = os.urandom(16)
            sealed = seal_segment(
                self._keys.segment_key(segment.slot, segment_id),
                self._keys.stream_id,
                segment.slot,
                segment_id,
                [block.data for block in segment.blocks],
            )
            try:
                self._spool.commit_segment(self.row, segment.slot, segment_id, sealed, segment.blocks)
            except DiskFull:
                # Its records stay where they are, as entries; the next tick tries again.
                return
            self._closed.popleft()

    def _without_bad(self, samples: Samples) -> Samples:
        """`samples` with each value that cannot be stored replaced by a gap that says why."""
        good = Samples(samples.boot, samples.first_seq)
        gaps = deque(samples.gaps)
        for place, (taken_ns, value) in enumerate(zip(samples.taken_ns, samples.values, strict=True)):
            while gaps and gaps[0][0] <= place:
                good.gaps.append((len(good.values), gaps.popleft()[1]))
            try:
                columns.pack(self.kind, [taken_ns], [value], is_grouped=False)
                size = 0 if self.kind == columns.CAN else len(cbor.encode(value))
                if size > SAMPLE_SIZE_MAX:
                    raise BlockError(f"a sample takes {size} bytes; at most {SAMPLE_SIZE_MAX}")
            except BlockError as error:
                at_ns = min(max(taken_ns, 0), (1 << 63) - 1)
                good.gaps.append((len(good.values), Gap(str(error), 1, at_ns, at_ns)))
            else:
                good.taken_ns.append(taken_ns)
                good.values.append(value)
        good.gaps += [(len(good.values), gap) for _, gap in gaps]
        return good
