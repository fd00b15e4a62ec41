"""Samples that wait for their reader: bounded, in order, and with a gap for whatever did not fit.

Runs on CPython; pure.  What becomes of samples for which there is no room is the loss policy of the source:

    drop-newest   what comes is counted and dropped: what waits was there first
    drop-oldest   what waits longest is: the newest say most about now
    block         nothing: the source itself waits, and nothing is put in without room

Gaps take room, too: those between the same two samples are one for each reason, and beyond GAPS_MAX reasons
one for all others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from gateway.sensors.source import BLOCK, DROP_OLDEST, Batch, Gap, SourceStats

GAPS_MAX = 16
"""Reasons that gaps between the same two samples may have."""
OTHERS = "more went wrong than can be listed"


class Backlog:
    """One source's samples on their way to one reader; who calls from several threads brings a lock."""

    def __init__(self, stats: SourceStats, size_max: int, overrun: str, full_reason: str) -> None:
        """size_max: samples that may wait.  full_reason: that of the gap for those that did not fit."""
        self.size_max = size_max
        self._stats = stats
        self._overrun = overrun
        self._full_reason = full_reason
        self._taken: deque[int] = deque()
        self._values: deque[Any] = deque()
        self._first = 0
        """Number of the first sample that waits, counted from the first that was ever put in."""
        self._before: dict[str, Gap] = {}
        """Gaps before the first that waits, by reason."""
        self._between: deque[tuple[int, Gap]] = deque()
        """(number of the sample behind it, gap)."""
        self._behind: dict[str, Gap] = {}
        """Gaps behind the last that waits, by reason."""

    def __len__(self) -> int:
        return len(self._values)

    @property
    def has_gaps(self) -> bool:
        """There are gaps to be taken."""
        return bool(self._before or self._between or self._behind)

    def put(self, taken_ns: Sequence[int], values: Sequence[Any]) -> int:
        """Samples in order.  How many of those that waited had to go for them."""
        missing = len(values) - (self.size_max - len(self._values))
        if missing <= 0 or self._overrun == BLOCK:
            self._append(taken_ns, values)
            return 0
        if self._overrun == DROP_OLDEST:
            waited = self.drop_oldest(missing)
            new = missing - waited
            if new:
                self._lose(self._before, new, taken_ns[0], taken_ns[new - 1])
            self._append(taken_ns[new:], values[new:])
            return waited
        kept = len(values) - missing
        self._append(taken_ns[:kept], values[:kept])
        self.drop_newest(missing, taken_ns[kept], taken_ns[-1])
        return 0

    def drop_newest(self, count: int, from_ns: int, to_ns: int) -> None:
        """So many samples have come that are not kept."""
        self._lose(self._behind, count, from_ns, to_ns)

    def drop_oldest(self, count: int) -> int:
        """Drops up to so many of those that wait longest: how many there were."""
        count = min(count, len(self._values))
        if not count:
            return 0
        from_ns = to_ns = self._taken[0]
        for _ in range(count):
            to_ns = self._taken.popleft()
            self._values.popleft()
        self._first += count
        while self._between and self._between[0][0] <= self._first:
            self._merge(self._before, self._between.popleft()[1])
        self._lose(self._before, count, from_ns, to_ns)
        return count

    def gap(self, reason: str, count: int, from_ns: int, to_ns: int) -> None:
        """Something is missing behind what has been put in.  The caller counts it, as dropped or damaged."""
        self._merge(self._behind, Gap(reason, count, min(from_ns, to_ns), to_ns))

    def take(self, size_max: int) -> Batch:
        """Up to so many samples, and the gaps between them; behind the last only when none waits any more."""
        count = min(size_max, len(self._values))
        if count == len(self._values):
            batch = Batch(list(self._taken), list(self._values))
            self._taken.clear()
            self._values.clear()
        else:
            batch = Batch(
                [self._taken.popleft() for _ in range(count)], [self._values.popleft() for _ in range(count)]
            )
        batch.gaps.extend((0, gap) for gap in self._before.values())
        self._before = {}
        end = self._first + count
        while self._between and (self._between[0][0] < end or not self._values):
            place, gap = self._between.popleft()
            batch.gaps.append((place - self._first, gap))
        if not self._values:
            batch.gaps.extend((count, gap) for gap in self._behind.values())
            self._behind = {}
        self._first = end
        self._stats.received += count
        return batch

    def _append(self, taken_ns: Sequence[int], values: Sequence[Any]) -> None:
        if not values:
            return
        if self._behind:
            place = self._first + len(self._values)
            self._between.extend((place, gap) for gap in self._behind.values())
            self._behind = {}
        self._taken.extend(taken_ns)
        self._values.extend(values)

    def _lose(self, gaps: dict[str, Gap], count: int, from_ns: int, to_ns: int) -> None:
        self._stats.dropped += count
        self._merge(gaps, Gap(self._full_reason, count, min(from_ns, to_ns), max(from_ns, to_ns)))

    def _merge(self, gaps: dict[str, Gap], gap: Gap) -> None:
        """Adds a gap, or lengthens the one of that reason."""
        reason = gap.reason
        self._stats.note(reason)
        if reason not in gaps and len(gaps) >= GAPS_MAX:
            # What is counted must stay apart from what nobody can count.
            reason = OTHERS if gap.count else f"{OTHERS}; nobody knows how much"
        before = gaps.get(reason)
        if before is None:
            gaps[reason] = Gap(reason, gap.count, gap.from_ns, gap.to_ns)
            return
        count = before.count + gap.count if before.count and gap.count else 0
        from_ns, to_ns = min(before.from_ns, gap.from_ns), max(before.to_ns, gap.to_ns)
        gaps[reason] = Gap(reason, count, from_ns, to_ns)
