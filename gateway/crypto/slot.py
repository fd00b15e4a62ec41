"""Slots: the intervals of time that share a key, and the calendar between Unix time and leaf numbers.

Runs on CPython.  Pure, integers only.  Slot s of a stream with slots of `slot_ms` is the time from
`SLOT_EPOCH_NS + s * slot_ms` on, up to the start of slot s + 1.

Slots are counted from 2010, not from 1970: 2^30 seconds from 1970 ran out in January 2004, and every
record of a stream with slots of one second would since then fall into the last one.  From 2010, slots of
one second, the shortest allowed, last until January 2044, slots of a minute until the year 4051.
"""

from gateway.crypto.errors import SlotRefused
from gateway.crypto.key_tree import SLOT_COUNT

SLOT_EPOCH_NS = 1_262_304_000_000_000_000
"""2010-01-01T00:00:00Z in Unix nanoseconds: where slot 0 starts."""
SLOT_MAX = SLOT_COUNT - 2
"""The last slot with a key: a key derives from its leaf and the next one, which must exist."""
SLOT_MS_MIN = 1_000
SLOT_MS_MAX = (1 << 32) - 1
"""49 days; a bound for decoders, no one wants slots that long."""


def check_slot_ms(slot_ms: int) -> None:
    """Raises SlotRefused for a slot length outside of SLOT_MS_MIN..SLOT_MS_MAX."""
    if not SLOT_MS_MIN <= slot_ms <= SLOT_MS_MAX:
        raise SlotRefused(
            f"a slot of {slot_ms} ms: {SLOT_MS_MIN}..{SLOT_MS_MAX} ms are possible "
            "(with shorter ones the key tree would run out of leaves within a few years)"
        )


def slot_of(taken_ns: int, slot_ms: int) -> int:
    """The slot of a record taken at `taken_ns` (Unix nanoseconds): 0..SLOT_MAX.

    Times before the first slot fall into slot 0, times after the last into SLOT_MAX: a clock that jumps
    must cost no record.  These two slots have therefore no outer bound, and `slots_within` never names
    them.  SLOT_MAX is not the last leaf, for a key needs its leaf and the next.
    """
    check_slot_ms(slot_ms)
    return min(max((taken_ns - SLOT_EPOCH_NS) // (slot_ms * 1_000_000), 0), SLOT_MAX)


def slot_start_ns(slot: int, slot_ms: int) -> int:
    """When `slot` starts, Unix nanoseconds, included."""
    check_slot_ms(slot_ms)
    return SLOT_EPOCH_NS + slot * slot_ms * 1_000_000


def slot_end_ns(slot: int, slot_ms: int) -> int:
    """When `slot` ends, Unix nanoseconds, excluded: the start of the next."""
    return slot_start_ns(slot + 1, slot_ms)


def slots_within(from_ns: int, to_ns: int, slot_ms: int) -> tuple[int, int] | None:
    """The slots that lie wholly inside of [from_ns, to_ns): (first, last), both included, or None.

    Rounded inwards, since a key opens its whole slot and nobody may read a record outside of the times
    that were granted.  Slot 0 and SLOT_MAX lie inside of no time range: `slot_of` puts there whatever
    was taken before or after the calendar.
    """
    check_slot_ms(slot_ms)
    slot_ns = slot_ms * 1_000_000
    first = max(-((SLOT_EPOCH_NS - from_ns) // slot_ns), 1)
    last = min((to_ns - SLOT_EPOCH_NS) // slot_ns - 1, SLOT_MAX - 1)
    return (first, last) if first <= last else None
