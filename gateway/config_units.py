"""What a person means by "1s", "64 MB" or `block_seconds`, so that an error can say what to write instead.

Runs on CPython; pure.  Nothing here makes a wrong value right: configuration is whole numbers in the
unit that its key ends in, and these functions only word the hints.
"""

import re
from fractions import Fraction

UNIT_NAMES = {"ms": "milliseconds", "mib": "MiB", "kib": "KiB", "ucpc": "micro-CPC"}
"""The units that keys end in, as a message says them."""

# Factors to one base unit for each kind: milliseconds, bytes, micro-CPC.
_FACTORS_MS: dict[str, Fraction] = {
    **dict.fromkeys(("ns", "nanoseconds"), Fraction(1, 1_000_000)),
    **dict.fromkeys(("us", "microseconds"), Fraction(1, 1_000)),
    **dict.fromkeys(("ms", "msec", "millis", "milliseconds"), Fraction(1)),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), Fraction(1_000)),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), Fraction(60_000)),
    **dict.fromkeys(("h", "hour", "hours"), Fraction(3_600_000)),
}
_FACTORS_BYTE: dict[str, Fraction] = {
    **dict.fromkeys(("b", "byte", "bytes"), Fraction(1)),
    **dict.fromkeys(("k", "kib"), Fraction(1 << 10)),
    **dict.fromkeys(("m", "mib"), Fraction(1 << 20)),
    **dict.fromkeys(("g", "gib"), Fraction(1 << 30)),
    "tib": Fraction(1 << 40),
    "kb": Fraction(10**3),
    "mb": Fraction(10**6),
    "gb": Fraction(10**9),
    "tb": Fraction(10**12),
}
_FACTORS_UCPC: dict[str, Fraction] = {
    "ucpc": Fraction(1),
    "mcpc": Fraction(1_000),
    "cpc": Fraction(1_000_000),
}
_KINDS = {"ms": _FACTORS_MS, "mib": _FACTORS_BYTE, "kib": _FACTORS_BYTE, "ucpc": _FACTORS_UCPC}

_QUANTITY = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)\s*")


def unit_of(key: str) -> str | None:
    """The unit that `key` ends in, or None when it is a bare count or a text."""
    last = key.rpartition("_")[2]
    return last if "_" in key and last in UNIT_NAMES else None


def whole_number(value: object, unit: str | None, said_in: str | None = None) -> int | None:
    """The whole number of `unit` that `value` ("1s", 1.0, "2 GiB") comes to, or None when it is a guess.

    `said_in` is the unit of a value that carries none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    match = _QUANTITY.fullmatch(str(value)) if not isinstance(value, int) or abs(value) < 1 << 63 else None
    if match is None:
        return None
    amount = Fraction(match[1])
    word = match[2].lower() or said_in
    if word is not None:
        if unit is None or word not in _KINDS[unit]:
            return None
        amount *= _KINDS[unit][word] / _KINDS[unit][unit]
    return int(amount) if amount.denominator == 1 else None


def same_in_another_unit(key: str, known: list[str]) -> tuple[str, str | None] | None:
    """The known key that `key` says in another unit, and that unit: `block_s` -> (`block_ms`, `s`).

    The unit is None when `key` has none at all (`block`).
    """
    for right in known:
        unit = unit_of(right)
        if unit is None:
            continue
        stem = right.removesuffix(f"_{unit}")
        if key == stem:
            return right, None
        said_in = key.removeprefix(f"{stem}_").lower()
        if key.startswith(f"{stem}_") and said_in in _KINDS[unit]:
            return right, said_in
    return None
