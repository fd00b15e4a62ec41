"""Who may be connected: members always, strangers in number, and nobody again soon who has misbehaved.

Runs on CPython; pure.  A place is given twice: when a connection comes, which may be anybody's and is
bounded by address before it costs anything, and when its peer has proven its key.  A new connection is worth
more than one that has not said anything yet, so idle ones never keep anybody out.

An address is in disgrace when a peer of it was dropped for what it did, or many connections of it came to
nothing.  It is then refused when it connects, for a time that doubles; an address of which a member of the
committee has proven its key, or that we have dialled one at, keeps a few connections a second even so, for
addresses can be shared.  Places and handshakes of such addresses are apart from strangers'.
"""

from collections import OrderedDict
from dataclasses import dataclass

from chain_node.peer import Bucket, Cost

ADDRESSES_MAX = 4_096
"""Addresses, and keys, that something is remembered of."""
HOSTS_MAX = 256
"""Addresses of members that are remembered."""
CONNECTS = Cost(20, 60)
"""Connections from one address: a handshake costs milliseconds."""
CONNECTS_SHARED = Cost(40, 120)
"""From all addresses together that no member is known at."""
CONNECTS_DISGRACED = Cost(2, 4)
"""From an address in disgrace that a member is known at."""
CONNECTS_SHUT = Cost(1, 5)
"""From all unknown addresses while the node is shut: a member may have a new one."""
COST_BYTES_EACH = Cost(1 << 20, 4 << 20)
"""Bytes that the plain nodes of one address may make us decrypt."""
BAN_MS = 10_000
"""How long a peer is kept away that has misbehaved; twice as long each time."""
BAN_DOUBLINGS_MAX = 6
BAN_FORGOTTEN_MS = 3_600_000
POINTS_MAX = 100
"""An address with so much against it is in disgrace."""
POINTS_BRIEF = 2
"""For a stranger's connection that came to nothing."""
POINT_FORGIVEN_MS = 1_000


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


class Bans:
    """Who is kept away, keys or addresses: for a while, twice as long each time; bounded."""

    def __init__(self) -> None:
        self._bans: OrderedDict[bytes | str, _Ban] = OrderedDict()

    def __len__(self) -> int:
        return len(self._bans)

    def add(self, who: bytes | str, now_ms: int) -> int:
        """Keep it away; how long, in milliseconds."""
        ban = self._bans.get(who)
        if ban is None or now_ms >= ban.until_ms + BAN_FORGOTTEN_MS:
            ban = self._bans[who] = _Ban(now_ms, 0)
        self._bans.move_to_end(who)
        if len(self._bans) > ADDRESSES_MAX:
            self._bans.popitem(last=False)
        duration_ms = BAN_MS << min(ban.count, BAN_DOUBLINGS_MAX)
        ban.until_ms, ban.count = now_ms + duration_ms, ban.count + 1
        return duration_ms

    def holds(self, who: bytes | str, now_ms: int) -> bool:
        """Whether it is kept away."""
        ban = self._bans.get(who)
        return ban is not None and now_ms < ban.until_ms


class _Address:
    """What is remembered of one address."""

    __slots__ = ("at_ms", "bytes", "connects", "disgraced", "points")

    def __init__(self, now_ms: int) -> None:
        self.connects = Bucket(CONNECTS, now_ms)
        self.disgraced = Bucket(CONNECTS_DISGRACED, now_ms)
        self.bytes = Bucket(COST_BYTES_EACH, now_ms)
        self.points = 0
        self.at_ms = now_ms

    def blame(self, points: int, now_ms: int) -> bool:
        """Whether it is too much; it then begins anew."""
        forgiven = (now_ms - self.at_ms) // POINT_FORGIVEN_MS
        self.points = max(self.points - forgiven, 0) + points
        self.at_ms += forgiven * POINT_FORGIVEN_MS
        if self.points < POINTS_MAX:
            return False
        self.points = 0
        return True


class Admission:
    """What is remembered of addresses and keys."""

    def __init__(self, now_ms: int = 0) -> None:
        self._addresses: OrderedDict[str, _Address] = OrderedDict()
        self._hosts: OrderedDict[str, None] = OrderedDict()
        """Of members."""
        self._keys = Bans()
        self._disgraced = Bans()
        self._shared = Bucket(CONNECTS_SHARED, now_ms)
        self._shut = Bucket(CONNECTS_SHUT, now_ms)
        self.refused_count = 0
        """Connections that were turned away before they cost anything, since the start."""
        self.tried_count = 0
        """Of strangers' addresses, that only the bound for all of them or the shutter could turn away."""

    def may_connect(self, host: str, now_ms: int, *, is_shut: bool = False) -> bool:
        """Whether one more connection of this address is worth a handshake."""
        is_welcome = self._may_connect(host, now_ms, is_shut=is_shut)
        self.refused_count += not is_welcome
        return is_welcome

    def _may_connect(self, host: str, now_ms: int, *, is_shut: bool) -> bool:
        address, is_known = self._address(host, now_ms), host in self._hosts
        if self.is_disgraced(host, now_ms):
            return is_known and address.disgraced.take(1, now_ms)
        if not address.connects.take(1, now_ms):
            return False
        if is_known:
            return True
        self.tried_count += 1
        return (self._shut if is_shut else self._shared).take(1, now_ms)

    def bytes_owed_ms(self, host: str, size: int, now_ms: int) -> int:
        """A plain node of this address has sent so many bytes; how long it should not be read now."""
        return self._address(host, now_ms).bytes.owe(size, now_ms)

    def know(self, host: str) -> None:
        """A member of the committee has proven its key at this address."""
        self._hosts[host] = None
        self._hosts.move_to_end(host)
        if len(self._hosts) > HOSTS_MAX:
            self._hosts.popitem(last=False)

    def is_known(self, host: str) -> bool:
        """Whether a member has proven its key at this address."""
        return host in self._hosts

    def suspect(self, host: str, now_ms: int, points: int) -> int:
        """Hold something against an address; for how long it is in disgrace now, if it is."""
        if self._address(host, now_ms).blame(points, now_ms) and not self.is_disgraced(host, now_ms):
            return self._disgraced.add(host, now_ms)
        return 0

    def is_disgraced(self, host: str, now_ms: int) -> bool:
        """Whether an address is kept away."""
        return self._disgraced.holds(host, now_ms)

    def ban(self, public: bytes, now_ms: int) -> int:
        """Keep a node away for a while; how long, in milliseconds."""
        return self._keys.add(public, now_ms)

    def is_banned(self, public: bytes, now_ms: int) -> bool:
        """Whether a node is kept away."""
        return self._keys.holds(public, now_ms)

    def _address(self, host: str, now_ms: int) -> _Address:
        address = self._addresses.get(host)
        if address is None:
            address = self._addresses[host] = _Address(now_ms)
        self._addresses.move_to_end(host)
        if len(self._addresses) > ADDRESSES_MAX:
            self._addresses.popitem(last=False)
        return address
