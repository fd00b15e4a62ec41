"""A block: the records of one period T of one stream, columnar, compressed, chained by hash.

Runs on CPython.  Deterministic CBOR, so that a block's bytes have one hash:

    block = [1, kind, stream, index, previous, boot, first_seq, count, first_ns, gaps, columns]
    gap   = [place, reason, count, from_ns, to_ns]

`previous` is the SHA-256 of the stream's block before (32 zero bytes for the first): a stream is a
chain.  All records of a block are of one boot; their numbers run on from `first_seq`, gaps included.
What `encode_samples` takes, `decode_samples` gives back.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway import columns
from gateway.crypto.seal import BLOCK_SIZE_MAX
from gateway.errors import BlockError
from gateway.layout import has_layout
from gateway.record import Record, RecordName
from gateway.sensors.source import Gap
from puf import cbor
from puf.errors import DecodeError
from puf.hkdf import sha256

VERSION = 1
NO_BLOCK = bytes(32)
"""What the first block of a stream names as its predecessor."""
GAPS_MAX = 8_192
REASON_SIZE_MAX = 300
"""Characters of a gap's reason that are kept."""

_BLOCK = (int, str, str, int, bytes, int, int, int, int, list, bytes)
_SAMPLES = _BLOCK[5:]
_GAP = (int, str, int, int, int)


@dataclass(slots=True)
class Samples:
    """Samples of one boot with running numbers, in the order they arrived."""

    boot: int
    """The gateway's boot in which they were taken."""
    first_seq: int
    """Number of the first record."""
    taken_ns: list[int] = field(default_factory=list)
    """When each value was taken, Unix nanoseconds."""
    values: list[Any] = field(default_factory=list)
    """The values, gaps left out."""
    gaps: list[tuple[int, Gap]] = field(default_factory=list)
    """(place in `values` before which it lies, gap), ascending."""

    def __len__(self) -> int:
        return len(self.values) + len(self.gaps)

    @property
    def end_seq(self) -> int:
        """Number of the record after the last."""
        return self.first_seq + len(self)

    @property
    def span_ns(self) -> tuple[int, int]:
        """(earliest, latest) moment that the records, at least one, tell of; a gap tells of all it spans."""
        times = self.taken_ns
        if self.gaps:
            times = [*times, *(moment for _, gap in self.gaps for moment in (gap.from_ns, gap.to_ns))]
        return min(times), max(times)

    def part(self, begin: int, end: int) -> "Samples":
        """The records from number `begin` to `end`, excluded, both counted from the first record."""
        # Before gap number n, at place p, lie p values and n gaps.
        gaps = self.gaps
        gap_begin, gap_end = (
            bisect_left(range(len(gaps)), at, key=lambda number: gaps[number][0] + number)
            for at in (begin, end)
        )
        place = begin - gap_begin
        return Samples(
            self.boot,
            self.first_seq + begin,
            self.taken_ns[place : end - gap_end],
            self.values[place : end - gap_end],
            [(at - place, gap) for at, gap in gaps[gap_begin:gap_end]],
        )


@dataclass(frozen=True, slots=True)
class Block:
    """A decoded block."""

    kind: str
    """`can` or `reading`."""
    stream: str
    """The stream's name."""
    index: int
    """Number of the block in its stream, from 0."""
    previous: bytes
    """SHA-256 of the block before, 32 bytes."""
    samples: Samples
    """What was sampled."""

    def records(self) -> Iterator[Record]:
        """Every record, in the order of their numbers."""
        samples = self.samples
        seq = samples.first_seq
        gaps = iter(samples.gaps)
        place, gap = next(gaps, (None, None))
        for at in range(len(samples.values) + 1):
            while place == at and gap is not None:
                yield Record(RecordName(self.stream, samples.boot, seq), gap.from_ns, gap)
                seq += 1
                place, gap = next(gaps, (None, None))
            if at < len(samples.values):
                name = RecordName(self.stream, samples.boot, seq)
                yield Record(name, samples.taken_ns[at], samples.values[at])
                seq += 1


def encode_samples(kind: str, samples: Samples, is_grouped: bool) -> list[Any]:
    """The fields that block and spool entry share: boot, first seq, count, first time, gaps, columns.

    Raises BlockError when a sample or a gap cannot be stored.
    """
    first_ns, packed = columns.pack(kind, samples.taken_ns, samples.values, is_grouped)
    gaps = [
        # A reason may quote a file's name or a line of a trace, which need not be text.
        [place, encodable(gap.reason), gap.count, gap.from_ns, gap.to_ns]
        for place, gap in samples.gaps
    ]
    _check_gaps(gaps, len(samples.values))
    return [samples.boot, samples.first_seq, len(samples.values), first_ns, gaps, packed]


def decode_samples(kind: str, fields: Sequence[Any]) -> Samples:
    """Samples, at least one, from the fields of `encode_samples`.  Raises BlockError."""
    if not has_layout(fields, _SAMPLES):
        raise BlockError("the fields of the samples have wrong types")
    boot, first_seq, count, first_ns, gaps, packed = fields
    if boot < 0 or first_seq < 0 or not (count or gaps):
        raise BlockError("the samples have no possible numbers")
    _check_gaps(gaps, count)
    taken_ns, values = columns.unpack(kind, first_ns, count, packed)
    return Samples(boot, first_seq, taken_ns, values, [(place, Gap(*gap)) for place, *gap in gaps])


def encodable(reason: str) -> str:
    """A gap's reason as it is kept: text that CBOR can say, of REASON_SIZE_MAX characters at most."""
    return reason[:REASON_SIZE_MAX].encode(errors="backslashreplace").decode()[:REASON_SIZE_MAX]


def _check_gaps(gaps: list[Any], count: int) -> None:
    if len(gaps) > GAPS_MAX:
        raise BlockError(f"{len(gaps)} gaps; at most {GAPS_MAX} go together")
    floor = 0
    for gap in gaps:
        if not has_layout(gap, _GAP):
            raise BlockError("a gap has fields of wrong types")
        place, reason, lost, *times_ns = gap
        if not floor <= place <= count or lost < 0 or len(reason) > REASON_SIZE_MAX:
            raise BlockError("gaps are out of order, or one has impossible fields")
        columns.check_times(times_ns)
        floor = place


def encode_block(kind: str, stream: str, index: int, previous: bytes, samples: Samples) -> bytes:
    """The bytes of a block.  Raises BlockError when a sample cannot be stored."""
    return cbor.encode(
        [VERSION, kind, stream, index, previous, *encode_samples(kind, samples, is_grouped=True)]
    )


def decode_block(data: bytes) -> Block:
    """The block of `data`.  Raises BlockError."""
    try:
        fields: Any = cbor.decode(data, size_max=BLOCK_SIZE_MAX)
    except DecodeError as error:
        raise BlockError(f"not a block: {error}") from error
    if not has_layout(fields, _BLOCK):
        raise BlockError("not a block: the fields have wrong types")
    version, kind, stream, index, previous, *rest = fields
    if version != VERSION:
        raise BlockError(f"block version {version}; this program reads version {VERSION}")
    if len(previous) != 32 or index < 0:
        raise BlockError("the block's place in its chain has wrong fields")
    return Block(kind, stream, index, previous, decode_samples(kind, rest))


def block_hash(data: bytes) -> bytes:
    """What the next block names as `previous`."""
    return sha256(data)
