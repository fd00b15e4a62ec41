"""The time of a row, from the text of one of its cells.

Runs on CPython.  Pure.  Known are

    2026-11-22T10:15:30.25+01:00   ISO 8601; without a zone it is UTC; a space may stand for the T
    1511336000.25                  seconds since 1970; as a whole number also milli-, micro- and nanoseconds,
                                   told by its size: years 1973 to 5138 in each
    00:03:02.5                     hours, minutes, seconds since some beginning: has no date

The fraction is exact to the nanosecond: nothing goes through a float.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

_CLOCK = re.compile(r"([0-9]{1,6}):([0-5][0-9]):([0-5][0-9])(?:[.,]([0-9]{1,9}))?")
_EPOCH = re.compile(r"([0-9]{9,19})(?:\.([0-9]{1,9}))?")
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:]{4,8}(?:[.,]([0-9]{1,9}))?(?:Z|[+-][0-9:]{2,5})?")
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_ns(text: str) -> tuple[int, bool] | None:
    """(nanoseconds, whether since 1970) that `text` says; None when it says no time."""
    text = text.strip()
    if found := _CLOCK.fullmatch(text):
        hours, minutes, seconds, part = found.groups()
        return ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 10**9 + _nanos(part), False
    if found := _EPOCH.fullmatch(text):
        whole, part = found.groups()
        scale = 9
        # 1e11 seconds is the year 5138; 1e11 milliseconds 1973.
        while scale and int(whole) >= 10 ** (20 - scale):
            scale -= 3
        if part and scale < 9:
            return None
        return int(whole) * 10**scale + _nanos(part), True
    if found := _ISO.fullmatch(text):
        part = found[1]
        bare = text[: found.start(1) - 1] + text[found.end(1) :] if part else text
        try:
            moment = datetime.fromisoformat(bare)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        since = moment - _UNIX_EPOCH
        return (since.days * 86_400 + since.seconds) * 10**9 + _nanos(part), True
    return None


def _nanos(part: str | None) -> int:
    return int(part.ljust(9, "0")) if part else 0
