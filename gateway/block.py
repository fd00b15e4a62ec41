"""A block: the records of one period T of one stream, columnar, compressed, chained by hash.

Runs on CPython.  Deterministic CBOR, so that a block's bytes have one hash:

    block = [1, kind, stream, index, previous, boot, first_seq, count, first_ns, gaps, columns]
    gap   = [place, reason, count, from_ns, to_ns]

`previous` is the SHA-256 of the stream's block before (32 zero bytes for the first): a stream is a
chain.  All records of a block are of one boot; their numbers run on from `first_seq`, gaps included.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway import columns
from gateway.errors import BlockError
from gateway.record import Record, RecordName
from gateway.sensors.source import Gap
from puf import cbor
from puf.errors import DecodeError
from puf.hkdf import sha256

VERSION = 1
NO_BLOCK = bytes(32)
"""What the first block of a stream names as its predecessor."""
REASON_SIZE_MAX = 300


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
        """(earliest, latest) time of these samples; of a gap its beginning counts."""
        times = self.taken_ns or [gap.from_ns for _, gap in self.gaps]
        return min(times), max(times)


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
    """The fields that block and spool entry share: boot, first seq, count, first time, gaps, columns."""
    first_ns, packed = columns.pack(kind, samples.taken_ns, samples.values, is_grouped)
    gaps = [
        [place, gap.reason[:REASON_SIZE_MAX], gap.count, gap.from_ns, gap.to_ns]
        for place, gap in samples.gaps
    ]
    return [samples.boot, samples.first_seq, len(samples.values), first_ns, gaps, packed]


def decode_samples(kind: str, fields: Sequence[Any]) -> Samples:
    """Samples from the fields of `encode_samples`.  Raises BlockError."""
    match fields:
        case [int(boot), int(first_seq), int(count), int(first_ns), list(gaps), bytes(packed)] if (
            boot >= 0 and first_seq >= 0 and abs(first_ns) < 1 << 63
        ):
            taken_ns, values = columns.unpack(kind, first_ns, count, packed)
            return Samples(boot, first_seq, taken_ns, values, _decode_gaps(gaps, count))
    raise BlockError("the fields of the samples have wrong types")


def _decode_gaps(gaps: list[Any], count: int) -> list[tuple[int, Gap]]:
    decoded = []
    floor = 0
    for gap in gaps:
        match gap:
            case [int(place), str(reason), int(lost), int(from_ns), int(to_ns)] if (
                floor <= place <= count and lost >= 0
            ):
                decoded.append((place, Gap(reason, lost, from_ns, to_ns)))
                floor = place
            case _:
                raise BlockError("a gap has wrong fields, or gaps are out of order")
    return decoded


def encode_block(kind: str, stream: str, index: int, previous: bytes, samples: Samples) -> bytes:
    """The bytes of a block.  Raises BlockError when a sample cannot be stored."""
    return cbor.encode(
        [VERSION, kind, stream, index, previous, *encode_samples(kind, samples, is_grouped=True)]
    )


def decode_block(data: bytes) -> Block:
    """The block of `data`.  Raises BlockError."""
    try:
        fields = cbor.decode(data, size_max=columns.BODY_SIZE_MAX)
    except DecodeError as error:
        raise BlockError(f"not a block: {error}") from error
    match fields:
        case [int(version), str(kind), str(stream), int(index), bytes(previous), *rest]:
            if version != VERSION:
                raise BlockError(f"block version {version}; this program reads version {VERSION}")
            if len(previous) != 32 or index < 0:
                raise BlockError("the block's place in its chain has wrong fields")
            return Block(kind, stream, index, previous, decode_samples(kind, rest))
    raise BlockError("not a block: the fields have wrong types")


def block_hash(data: bytes) -> bytes:
    """What the next block names as `previous`."""
    return sha256(data)
