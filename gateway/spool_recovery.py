"""Taking up what earlier boots have left in a spool, on a disk that may have altered it.

Runs on CPython.  Entries of one boot run on in their numbers.  So whatever is missing between them, for
whatever reason, is a hole in the numbers, and a gap stands for it; only at the very end of a boot an
entry that does not open must itself say how many records it had.

    sealed | entry 100..149 | does not open | entry 200..249      ->   100..149, gap of 50 at 150, 200..249
"""

from collections.abc import Iterator

import apsw

from gateway.block import Samples
from gateway.columns import TIME_END_NS
from gateway.sensors.source import Gap
from gateway.spool_rows import SpooledEntry, SpooledStream, entries

LOST = "damaged on the gateway's disk before they were sealed"
"""Reason of a gap in the place of records."""
_LOST_MAX = 1 << 20
"""Records that an entry can have had, at most: what a damaged row says of itself is not trusted."""


def recover(database: apsw.Connection, key: bytes, stream: SpooledStream) -> Iterator[Samples]:
    """As Spool.recover.  stream: its row as it is now."""
    boot, seq = stream.sealed_boot, stream.sealed_seq
    unopened: list[SpooledEntry] = []
    for entry in entries(database, key, stream):
        if entry.samples is None:
            unopened.append(entry)
            continue
        if entry.boot != boot:
            # Of those of this boot, the hole before its first record will tell.
            yield from _lost(boot, seq, [each for each in unopened if each.boot < entry.boot])
            unopened = [each for each in unopened if each.boot == entry.boot]
            boot, seq = entry.boot, 0
        # An entry whose commit failed may be there all the same, beside the one that was made instead.
        samples = entry.samples.part(max(seq - entry.first_seq, 0), len(entry.samples))
        if samples.first_seq > seq:
            yield _gap(boot, seq, samples.first_seq - seq, [*_moments(unopened), entry.first_ns])
        unopened = []
        if samples:
            yield samples
            seq = samples.end_seq
    yield from _lost(boot, seq, unopened)


def _lost(boot: int, seq: int, unopened: list[SpooledEntry]) -> Iterator[Samples]:
    """What stands for entries that do not open and behind which nothing of their boot follows."""
    count = sum(min(max(entry.end_seq - entry.first_seq, 0), _LOST_MAX) for entry in unopened)
    if unopened:
        yield _gap(boot, seq, count, _moments(unopened))


def _moments(unopened: list[SpooledEntry]) -> list[int]:
    return [moment for entry in unopened for moment in (entry.first_ns, entry.last_ns)]


def _gap(boot: int, seq: int, count: int, moments_ns: list[int]) -> Samples:
    # Damaged rows may name any time.
    times_ns = [min(max(moment, -TIME_END_NS), TIME_END_NS - 1) for moment in moments_ns]
    return Samples(boot, seq, gaps=[(0, Gap(LOST, count, min(times_ns), max(times_ns)))])
