"""How much one address may ask: a bucket of tokens for each, and a bound on how many addresses are known.

Runs on CPython; pure: the clock is handed in.  A call takes tokens; a bucket fills again at `per_second` up
to `burst`.  Whoever finds too few is told after how long there are enough, and has lost none by asking.  IPv6
addresses count by their /64, which one household has, or it would have 2^64 buckets.  This machine's own
programs (a gateway, a wallet, a reverse proxy) have a bucket each address as well, a larger one.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

ADDRESSES_MAX = 4_096
"""Buckets that are kept; the one used longest ago goes, and whoever comes back begins with a full one."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What one address may do."""

    per_second: int
    """Tokens that come back."""
    burst: int
    """Tokens of a full bucket."""


REMOTE = Rate(per_second=200, burst=1_000)
"""Of another machine: a light client that follows a million headers takes a while, an explorer has plenty."""
LOCAL = Rate(per_second=20_000, burst=50_000)
"""Of this machine: enough for a load of thousands of transactions a second."""


REFUSED_REMOTE = Rate(per_second=20, burst=200)
REFUSED_LOCAL = Rate(per_second=100, burst=500)
"""Requests of one address that are refused for what they are, or that come though it was told to wait; then
it is read no faster.  A refused transaction costs a verification, and any request more than its answer."""
CONNECTS_REMOTE = Rate(per_second=20, burst=100)
CONNECTS_LOCAL = Rate(per_second=100, burst=1_000)
"""Connections of one address."""
DEBT_MS = 20_000
"""The longest that anybody is made to wait for what it owes."""


@dataclass(slots=True)
class _Bucket:
    micro_tokens: int
    at_ms: int


class RateLimit:
    """The buckets of all addresses.  now_ms: a clock that never goes back."""

    def __init__(self, now_ms: Callable[[], int], remote: Rate = REMOTE, local: Rate = LOCAL) -> None:
        self._now_ms = now_ms
        self._remote, self._local = remote, local
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, address: str, tokens: int) -> int:
        """Milliseconds to wait; 0: the tokens are taken.  More than a bucket holds counts as a full one."""
        bucket, rate = self._bucket(address)
        lacking = min(tokens, rate.burst) * 1_000_000 - bucket.micro_tokens
        if lacking > 0:
            return -(-lacking // (rate.per_second * 1_000))
        bucket.micro_tokens = -lacking
        return 0

    def owe(self, address: str, tokens: int) -> int:
        """Take tokens whether they are there or not; milliseconds until they would be, DEBT_MS at most."""
        bucket, rate = self._bucket(address)
        most = DEBT_MS * rate.per_second * 1_000
        bucket.micro_tokens = max(bucket.micro_tokens - tokens * 1_000_000, -most)
        return max(-(bucket.micro_tokens // (rate.per_second * 1_000)), 0)

    def _bucket(self, address: str) -> tuple[_Bucket, Rate]:
        owner, is_local = owner_of(address)
        rate = self._local if is_local else self._remote
        now_ms = self._now_ms()
        bucket = self._buckets.pop(owner, None) or _Bucket(rate.burst * 1_000_000, now_ms)
        self._buckets[owner] = bucket
        if len(self._buckets) > ADDRESSES_MAX:
            self._buckets.popitem(last=False)
        gained = (now_ms - bucket.at_ms) * rate.per_second * 1_000
        bucket.micro_tokens = min(bucket.micro_tokens + gained, rate.burst * 1_000_000)
        bucket.at_ms = now_ms
        return bucket, rate


def owner_of(address: str) -> tuple[str, bool]:
    """Whose bucket an address takes from, and whether it is of this machine."""
    try:
        # A link-local address names its interface after a %.
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address, False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            parsed = parsed.ipv4_mapped
        elif not parsed.is_loopback:
            return str(ipaddress.ip_network((parsed, 64), strict=False)), False
    return str(parsed), parsed.is_loopback
