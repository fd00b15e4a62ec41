"""From the spool to the outbox: every record that became durable is handed over once, whatever happens.

Runs on CPython, in the spool's thread.  The pipeline tells of records when they are durable (`take`), and
waits before they leave the spool until they are in the outbox (`settle`).  In between they are kept in
memory, so that the outbox syncs its disk once for many batches.  A crash loses that memory and nothing
else: the spool still has the records, the next run takes them up and tells of them again, and the outbox's
mark says from which number on they are new.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from gateway.block import Samples
from gateway.outbox import NewMessage, Outbox
from gateway.sensors.source import Gap
from gateway.uplink_format import StreamFormat

DUE_RECORDS = 5_000
"""Records in memory at which a commit should not wait any longer."""


class Tap(Protocol):
    """What a pipeline tells of its records to; see gateway.pipeline."""

    @property
    def has_room(self) -> bool:
        """More may be accepted."""

    def take(self, samples: Samples) -> None:
        """These have become durable in the spool, in the order of their numbers."""

    def settle(self) -> None:
        """All that was taken is about to leave the spool.  Raises DiskFull: then it must not."""


class Handover:
    """All streams' records on their way into one outbox."""

    def __init__(self, outbox: Outbox, records_max: int, message_size_max: int) -> None:
        """records_max, message_size_max: of one message."""
        self.outbox = outbox
        self._records_max = records_max
        self._message_size_max = message_size_max
        self._pending: list[tuple[StreamFormat, Samples]] = []
        self.pending_count = 0
        """Records that are only in memory, and in the spool."""
        self.committed_count = 0
        """Records handed over since the start."""

    def set_limits(self, records_max: int, message_size_max: int) -> None:
        """Of one message, from now on."""
        self._records_max, self._message_size_max = records_max, message_size_max

    def tap(self, stream: StreamFormat, policy: str) -> StreamTap:
        """What the pipeline of `stream` is given."""
        return StreamTap(self, stream, self.outbox.open_stream(stream.stream_id, stream.stream, policy))

    def add(self, stream: StreamFormat, samples: Samples) -> None:
        """Records that are not in the outbox yet."""
        self._pending.append((stream, samples))
        self.pending_count += len(samples)

    def settle(self) -> None:
        """Makes all that was taken durable in the outbox.  Raises DiskFull; nothing has changed then."""
        if not self._pending and not self.outbox.done_count:
            return
        messages: list[NewMessage] = []
        told: dict[bytes, list[Gap]] = {}
        for stream, samples in _joined(self._pending):
            messages += stream.messages(samples, self._records_max, self._message_size_max)
            told.setdefault(stream.stream_id, []).extend(gap for _, gap in samples.gaps)
        self.outbox.commit(messages, told)
        self._pending = []
        self.committed_count += self.pending_count
        self.pending_count = 0


class StreamTap:
    """A pipeline's end of the handover."""

    def __init__(self, handover: Handover, stream: StreamFormat, mark: tuple[int, int]) -> None:
        self._handover = handover
        self.stream = stream
        """How what is taken from now on leaves."""
        self._mark = mark
        self._told: set[str] = set()

    @property
    def has_room(self) -> bool:
        """More may be accepted."""
        return self._handover.outbox.has_room(self.stream.stream_id)

    def take(self, samples: Samples) -> None:
        """Hands over what the outbox does not have yet."""
        boot, seq = self._mark
        if samples.boot < boot or (samples.boot == boot and samples.end_seq <= seq):
            return
        if samples.boot == boot and samples.first_seq < seq:
            samples = samples.part(seq - samples.first_seq, len(samples))
        self._handover.add(self.stream, samples)
        self._mark = (samples.boot, samples.end_seq)

    def settle(self) -> None:
        """All that was taken is about to leave the spool."""
        self._handover.settle()
        self._told.clear()

    def new_losses(self) -> list[Gap]:
        """Gaps for records that were dropped, each to be put into the stream; `told` once it is there.

        The outbox forgets a loss when its gap comes by; until then it is told again after a restart.
        """
        losses = self._handover.outbox.losses(self.stream.stream_id)
        return [loss.gap for loss in losses if loss.gap.reason not in self._told]

    def told(self, gap: Gap) -> None:
        """The gap is durable in the stream."""
        self._told.add(gap.reason)


def _joined(pending: Iterable[tuple[StreamFormat, Samples]]) -> list[tuple[StreamFormat, Samples]]:
    """The same records, those of a stream that follow each other in one."""
    joined: list[tuple[StreamFormat, Samples]] = []
    last: dict[bytes, Samples] = {}
    for stream, samples in pending:
        before = last.get(stream.stream_id)
        if before is not None and (before.boot, before.end_seq) == (samples.boot, samples.first_seq):
            count = len(before.values)
            before.taken_ns += samples.taken_ns
            before.values += samples.values
            before.gaps += [(place + count, gap) for place, gap in samples.gaps]
            continue
        # A copy: the lists are the pipeline's, too.
        whole = samples.part(0, len(samples))
        last[stream.stream_id] = whole
        joined.append((stream, whole))
    return joined
