"""What goes wrong for a while, said often enough to be seen and seldom enough to be read.

Runs on CPython; the caller's clock.  A node that is away for days, or comes and goes, must not fill a
log: each kind of trouble is said at most once an hour, and that it is over as often.

    anchor: node http://10.0.0.7:7545/: Cannot connect to host; the spool keeps what waits
    anchor: works again, after 3 h 12 min
"""

import logging
import re
from dataclasses import dataclass, field

from gateway.sensors.source import Clock

log = logging.getLogger("cpc.gateway")

REMIND_MS = 3_600_000
"""How often the same kind of trouble is said."""
KINDS_MAX = 16
"""Kinds of one trouble that are said in that time: a node that lies chooses what it says."""
NS_PER_MS = 1_000_000
_NUMBER = re.compile(r"[0-9a-f]*[0-9][0-9a-f]*")


@dataclass(slots=True)
class _Trouble:
    said_ns: dict[str, int] = field(default_factory=dict)
    """When each kind was said last."""
    since_ns: int | None = None
    """Since when it lasts; None when it is over."""
    is_said: bool = False
    """It was said since it began."""


class Troubles:
    """What does not work at present, by name."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._troubles: dict[str, _Trouble] = {}

    def happened(self, what: str, error: Exception, rest: str = "") -> None:
        """`what` does not work now, because of `error`.  rest: what becomes of it, for the log."""
        now_ns = self._clock.monotonic_ns()
        trouble = self._troubles.setdefault(what, _Trouble())
        if trouble.since_ns is None:
            trouble.since_ns, trouble.is_said = now_ns, False
        if _is_new(trouble.said_ns, error, now_ns):
            trouble.is_said = True
            log.error("%s: %s%s", what, error, rest)

    def over(self, what: str) -> None:
        """`what` works."""
        trouble = self._troubles.get(what)
        if trouble is None or trouble.since_ns is None:
            return
        duration_ms = (self._clock.monotonic_ns() - trouble.since_ns) // NS_PER_MS
        trouble.since_ns = None
        if trouble.is_said:
            log.warning("%s: works again, after %s", what, duration_text(duration_ms))


def _is_new(said_ns: dict[str, int], error: Exception, now_ns: int) -> bool:
    """Whether `error` is to be said; notes that it is."""
    for kind in [kind for kind, moment_ns in said_ns.items() if now_ns - moment_ns >= REMIND_MS * NS_PER_MS]:
        del said_ns[kind]
    # A height or a hash is another one each time.
    kind = type(error).__name__ + _NUMBER.sub("0", str(error))
    if kind in said_ns or len(said_ns) >= KINDS_MAX:
        return False
    said_ns[kind] = now_ns
    return True


def duration_text(duration_ms: int) -> str:
    """A duration for a person: its two largest units."""
    seconds = duration_ms // 1000
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    if minutes:
        return f"{minutes} min {seconds % 60} s"
    return f"{seconds} s" if seconds else f"{duration_ms} ms"
