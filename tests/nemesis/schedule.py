"""What goes wrong, and when: a list of faults that follows from one seed.

Runs on CPython; pure.  Faults come one after another, each of one kind, each ended before the next begins;
how long one lasts is counted in blocks that the others make meanwhile.  Of four validators one at a time is
hurt, so that the others must go on; at a split nobody has a quorum and nobody may.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

SHIFT_MAX_MS = 3_600_000


class Kind(StrEnum):
    """The kinds of faults; the text is what a schedule shows."""

    KILL = "kill -9, and start again"
    PAUSE = "SIGSTOP, and SIGCONT"
    CUT = "cut links"
    HALF_OPEN = "half-open links, both ways"
    DEAF = "half-open links, inwards"
    MUTE = "half-open links, outwards"
    SLOW = "slow links"
    SPLIT = "split in halves"
    CLOCK = "clock shift"
    DISK = "full disk"
    UNPLUGGED = "interface down"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault."""

    kind: Kind
    targets: tuple[str, ...]
    """Nodes; of a split, those of one side."""
    block_count: int
    """Blocks that the others make before it ends."""
    amount_ms: int = 0
    """How far a clock is off, how late bytes come."""
    is_forgiving: bool = True
    """Half-open links are reset at the end; else they stay silent, and their nodes must notice."""

    def __str__(self) -> str:
        parts = [f"{self.kind.value}: {', '.join(self.targets)}"]
        if self.amount_ms:
            parts.append(f"by {self.amount_ms} ms")
        if self.kind is not Kind.SPLIT:
            parts.append(f"for {self.block_count} blocks")
        if not self.is_forgiving:
            parts.append("and never reset")
        return " ".join(parts)


def schedule(
    seed: int,
    count: int,
    validators: Sequence[str],
    others: Sequence[str],
    disk_of: str | None = None,
    *,
    is_short: bool = False,
    has_interfaces: bool = False,
) -> list[Fault]:
    """`count` faults: every kind once before any comes again.

    validators: by index.  others: proposers and plain nodes.  disk_of: whose disk can be full, if any.
    is_short: only what heals at once.  has_interfaces: nodes have some of their own, which can go down.
    """
    source = random.Random(seed)
    possible = {Kind.DISK: disk_of is not None, Kind.UNPLUGGED: has_interfaces}
    kinds = [kind for kind in Kind if possible.get(kind, True)]
    faults: list[Fault] = []
    waiting: list[Kind] = []
    while len(faults) < count:
        if not waiting:
            waiting = source.sample(kinds, len(kinds))
        faults.append(_fault(source, waiting.pop(), validators, others, disk_of, is_short=is_short))
    return faults


def _fault(
    source: random.Random,
    kind: Kind,
    validators: Sequence[str],
    others: Sequence[str],
    disk_of: str | None,
    *,
    is_short: bool,
) -> Fault:
    block_count = source.randint(2, 3 if is_short else 12)
    # At most one validator, and sometimes one who is none.
    targets = tuple(source.sample(validators, 1) + source.sample(others, source.randint(0, 1)))
    if kind is Kind.DISK:
        assert disk_of
        return Fault(kind, (disk_of,), block_count)
    if kind is Kind.SPLIT:
        half = source.sample(validators, len(validators) // 2)
        rest = [name for name in others if source.random() < 0.5]
        return Fault(kind, tuple(half + rest), block_count)
    if kind is Kind.CLOCK:
        return Fault(kind, targets, block_count, amount_ms=source.randint(-SHIFT_MAX_MS, SHIFT_MAX_MS))
    if kind is Kind.SLOW:
        return Fault(kind, targets, block_count, amount_ms=source.randint(20, 300))
    if kind in (Kind.HALF_OPEN, Kind.DEAF, Kind.MUTE):
        return Fault(kind, targets, block_count, is_forgiving=is_short or source.random() < 0.7)
    return Fault(kind, targets, block_count)
