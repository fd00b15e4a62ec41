"""Who may be connected: members always, strangers in number, and nobody again soon who has misbehaved.

Runs on CPython; pure.  A place is given twice: when a connection comes, which may be anybody's and is
bounded by address, and when its peer has proven its key.  A new connection is worth more than one that has
not said anything yet, so idle ones never keep anybody out.
"""

from collections import OrderedDict
from dataclasses import dataclass

from chain_node.peer import Bucket, Cost

ADDRESSES_MAX = 4_096
"""Addresses, and keys, that something is remembered of."""
CONNECTS = Cost(20, 60)
"""Connections from one address: a handshake costs milliseconds."""
BAN_MS = 10_000
"""How long a peer is kept away that has misbehaved; twice as long each time."""
BAN_DOUBLINGS_MAX = 6
BAN_FORGOTTEN_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections a node takes."""

    unproven_max: int = 64
    """That have not said who they are."""
    unproven_by_address_max: int = 16
    strangers_max: int = 32
    """Nodes that are no members of the committee, and that we have not dialled."""
    strangers_by_address_max: int = 8


@dataclass(slots=True)
class _Ban:
    until_ms: int
    count: int


class Admission:
    """What is remembered of addresses and keys."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._bans: OrderedDict[bytes, _Ban] = OrderedDict()

    def may_connect(self, host: str, now_ms: int) -> bool:
        """Whether one more connection of this address is worth a handshake."""
        bucket = self._buckets.setdefault(host, Bucket(CONNECTS, now_ms))
        self._buckets.move_to_end(host)
        if len(self._buckets) > ADDRESSES_MAX:
            self._buckets.popitem(last=False)
        return bucket.take(1, now_ms)

    def ban(self, public: bytes, now_ms: int) -> int:
        """Keep a node away for a while; how long, in milliseconds."""
        ban = self._bans.get(public)
        if ban is None or now_ms >= ban.until_ms + BAN_FORGOTTEN_MS:
            ban = self._bans[public] = _Ban(now_ms, 0)
        self._bans.move_to_end(public)
        if len(self._bans) > ADDRESSES_MAX:
            self._bans.popitem(last=False)
        duration_ms = BAN_MS << min(ban.count, BAN_DOUBLINGS_MAX)
        ban.until_ms, ban.count = now_ms + duration_ms, ban.count + 1
        return duration_ms

    def is_banned(self, public: bytes, now_ms: int) -> bool:
        """Whether a node is kept away."""
        ban = self._bans.get(public)
        return ban is not None and now_ms < ban.until_ms
