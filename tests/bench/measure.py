"""How a bench measures: laps of CPU time, taken turn by turn, each with a digest of its result.

Runs on CPython.  A lap does its set-up first, then its work inside `Stopwatch`, then hashes what came
out.  `compare` runs the laps A B A B .. and gives one row for each peer.
"""

import gc
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from types import TracebackType
from typing import Any

from puf import cbor

TINY = "tiny"
FULL = "full"
CPU_US = "us"
"""The unit of CPU time."""


@dataclass(frozen=True, slots=True)
class Lap:
    """One measured run."""

    cost: float
    """Of all items together: CPU microseconds."""
    count: int
    """Items."""
    digest: str
    """Of the result, so that a lap that computes nothing, or something else, is noticed."""

    @property
    def per_item(self) -> float:
        """Cost of one item."""
        return self.cost / self.count


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, as printed."""

    bench: str
    what: str
    """What one item is."""
    unit: str
    ours: float
    peer_name: str
    """Empty when nothing is there to compare with."""
    peer: float | None
    ratio: float | None
    """Ours by the peer's, median of the rounds; below 1 ours is the cheaper."""
    digest: str
    target: float | None = None
    """What ours should not exceed."""
    note: str = ""
    """The figure in other words, such as how many a second."""

    @property
    def remark(self) -> str:
        """What a person reads at the end of the row."""
        parts = [self.note] if self.note else []
        if self.target is not None:
            parts.append(f"target {self.target:g}: {'met' if self.ours <= self.target else 'MISSED'}")
        return ", ".join(parts)

    def as_json(self) -> dict[str, Any]:
        """The row as JSON-ready values."""
        return asdict(self)


class DigestChanged(Exception):
    """The same work gave two results: the bench, or what it measures, is wrong."""

    def __init__(self, bench: str, who: str, digests: Iterable[str]) -> None:
        super().__init__(f"bench {bench}: {who} gave different results: {', '.join(sorted(set(digests)))}")


class Stopwatch:
    """CPU time of this process, all threads of it, between `with` and its end."""

    def __init__(self) -> None:
        self.cpu_us = 0.0
        self._begin_ns = 0

    def __enter__(self) -> "Stopwatch":
        # What the set-up left behind is not the work's to clean up.
        gc.collect()
        self._begin_ns = time.process_time_ns()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cpu_us = (time.process_time_ns() - self._begin_ns) / 1_000


def digest_of(*values: Any) -> str:
    """SHA-256 over the deterministic CBOR of `values`, in hex."""
    hasher = hashlib.sha256()
    for value in values:
        hasher.update(cbor.encode(value))
    return hasher.hexdigest()


def compare(
    bench: str,
    what: str,
    ours: Callable[[], Lap],
    peers: Mapping[str, Callable[[], Lap]],
    rounds: int,
    *,
    is_same_result: bool = False,
    target: float | None = None,
    note: Callable[[float], str] | None = None,
) -> list[Row]:
    """A row for each peer; one row when there is none.

    is_same_result: ours and the peers compute the same, so their digests must agree.
    note: says what a cost of ours means in other words.  Raises DigestChanged.
    """
    our_laps: list[Lap] = []
    peer_laps: dict[str, list[Lap]] = {name: [] for name in peers}
    for _ in range(rounds):
        our_laps.append(ours())
        for name, peer in peers.items():
            peer_laps[name].append(peer())
    digest = _one_digest(bench, "ours", our_laps)
    our_cost = median(lap.per_item for lap in our_laps)
    remark = "" if note is None else note(our_cost)
    if not peers:
        return [Row(bench, what, CPU_US, our_cost, "", None, None, digest, target, remark)]
    rows = []
    for name, laps in peer_laps.items():
        peer_digest = _one_digest(bench, name, laps)
        if is_same_result and peer_digest != digest:
            raise DigestChanged(bench, f"ours and {name}", (digest, peer_digest))
        ratio = median(our.per_item / lap.per_item for our, lap in zip(our_laps, laps, strict=True))
        peer_cost = median(lap.per_item for lap in laps)
        rows.append(Row(bench, what, CPU_US, our_cost, name, peer_cost, ratio, digest, target, remark))
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows for a person."""
    lines = [f"{'bench':<20} {'item':<36} {'ours':>12} {'peer':>12} {'ratio':>7}  {'digest':<16}  against"]
    for row in rows:
        peer = "-" if row.peer is None else f"{row.peer:,.3f}"
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
        ours = f"{row.ours:,.3f} {row.unit}"
        lines.append(
            f"{row.bench:<20} {row.what:<36} {ours:>12} {peer:>12} {ratio:>7}  {row.digest[:16]}  "
            f"{row.peer_name or '-'}{'; ' if row.remark else ''}{row.remark}"
        )
    return "\n".join(lines)


def _one_digest(bench: str, who: str, laps: Sequence[Lap]) -> str:
    digests = {lap.digest for lap in laps}
    if len(digests) != 1:
        raise DigestChanged(bench, who, digests)
    return laps[0].digest
