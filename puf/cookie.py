"""Cookies: whoever wants costly work done shows first that answers reach them; nothing is kept meanwhile.

Runs on CPython and MicroPython.  Pure: the caller passes the clock and where a message came from.

    stranger                                    device under load
      |  message                       ------>    |   keeps nothing
      |  [0, cookie]                   <------    |   cookie of sender, message and time: 12 bytes
      |  [0, cookie, message]          ------>    |   one HMAC; then the curve work, or whatever is costly

    cookie = low byte of the time slot + HMAC-SHA-256(secret of the slot,
                                        << ["cpc/cookie", slot, sender, SHA-256(message)] >>), cut to 8 bytes

The secret of a slot is the HMAC of the one before, which is then overwritten; those of this slot and the one
before are known, no older one.  In its life of one to two slots a cookie is good for its one message only,
but as often as it is sent: that is what the second bucket of `Gate` bounds.  A cookie proves no identity.
What it asks for is shorter than any first message, so nobody is flooded by way of a device.
Source: RFC 7296, section 2.6; RFC 9147, section 5.1; in both the cookie proves a return path, no more.
"""

from collections import namedtuple

from puf import cbor
from puf.errors import CookieError, DecodeError
from puf.hkdf import hmac_sha256, is_equal, sha256

COOKIE_BYTES = 9
SLOT_MS = 10_000
MESSAGE_BYTES_MAX = 512
"""A longer first message is dropped unread."""
DEMANDS_MAX = 2
"""How often a stranger answers a demand: once, and once more because the slot may have passed."""
WRAPPER_BYTES_MAX = 16
"""What a cookie and its array add to a message."""

ADMITTED, CHALLENGED, DROPPED = "admitted", "challenged", "dropped"


class Cookies:
    """Makes and checks cookies.  `secret`: bytes, 32, fresh and random at each start."""

    def __init__(self, secret: bytes, now_ms: int, slot_ms: int = SLOT_MS) -> None:
        if len(secret) != 32:
            raise ValueError(f"a cookie secret is 32 fresh random bytes, not {len(secret)}")
        self._slot_ms = slot_ms
        self._slot = now_ms // slot_ms
        self._present = secret
        self._past: bytes | None = None

    def make(self, sender: bytes, message: bytes, now_ms: int) -> bytes:
        """The cookie with which `sender` may send `message` again: bytes, 9."""
        self._turn(now_ms)
        return self._cookie(self._present, self._slot, sender, message)

    def is_good(self, cookie: bytes, sender: bytes, message: bytes, now_ms: int) -> bool:
        """Whether we made this cookie for this sender and message, in this slot or the one before."""
        self._turn(now_ms)
        if len(cookie) != COOKIE_BYTES:
            return False
        if cookie[0] == self._slot & 0xFF:
            return is_equal(cookie, self._cookie(self._present, self._slot, sender, message))
        if self._past is None:
            return False
        return is_equal(cookie, self._cookie(self._past, self._slot - 1, sender, message))

    def _cookie(self, secret: bytes, slot: int, sender: bytes, message: bytes) -> bytes:
        said = cbor.encode(["cpc/cookie", slot, sender, sha256(message)])
        return bytes((slot & 0xFF,)) + hmac_sha256(secret, said)[: COOKIE_BYTES - 1]

    def _turn(self, now_ms: int) -> None:
        """Overwrites secrets whose slots are past.  A clock that goes back changes nothing."""
        slot = now_ms // self._slot_ms
        if slot > self._slot:
            self._past = self._present if slot == self._slot + 1 else None
            self._present = hmac_sha256(self._present, b"cpc/cookie next")
            self._slot = slot


class TokenBucket:
    """Lets `burst` pass at once, and one more each `interval_ms`."""

    def __init__(self, burst: int, interval_ms: int, now_ms: int) -> None:
        self._interval_ms = interval_ms
        self._full_ms = burst * interval_ms
        self._level_ms = self._full_ms
        self._last_ms = now_ms

    def take(self, now_ms: int) -> bool:
        """Whether one more may pass now."""
        # A clock that goes back gives nothing, and takes nothing away.
        now_ms = max(now_ms, self._last_ms)
        self._level_ms = min(self._level_ms + now_ms - self._last_ms, self._full_ms)
        self._last_ms = now_ms
        if self._level_ms < self._interval_ms:
            return False
        self._level_ms -= self._interval_ms
        return True


class Verdict(namedtuple("Verdict", ("kind", "message", "answer"))):
    """What becomes of a first message.

    `kind`: ADMITTED (do the work that `message` asks for), CHALLENGED (send `answer`, keep nothing) or
    DROPPED (say nothing).  `message`, `answer`: bytes, empty where the kind needs none.
    """

    __slots__ = ()
    KIND = "verdict"


class Gate:
    """Stands before whatever is costly.  `quiet`: what is let in without a cookie, as long as it is not too
    often; `total`: what is let in at all.  Its memory does not grow, whoever comes.
    """

    def __init__(self, cookies: Cookies, quiet: TokenBucket, total: TokenBucket) -> None:
        self._cookies = cookies
        self._quiet = quiet
        self._total = total

    def admit(self, sender: bytes, data: bytes, now_ms: int) -> Verdict:
        """What becomes of `data`, a first message that came from `sender` (address or connection)."""
        if len(data) > MESSAGE_BYTES_MAX + WRAPPER_BYTES_MAX:
            return Verdict(DROPPED, b"", b"")
        try:
            cookie, message = _unwrap(data)
        except DecodeError:
            return Verdict(DROPPED, b"", b"")
        if len(message) > MESSAGE_BYTES_MAX:
            return Verdict(DROPPED, b"", b"")
        is_known = cookie is not None and self._cookies.is_good(cookie, sender, message, now_ms)
        if not is_known and (cookie is not None or not self._quiet.take(now_ms)):
            return Verdict(CHALLENGED, b"", _demand(self._cookies.make(sender, message, now_ms)))
        if not self._total.take(now_ms):
            return Verdict(DROPPED, b"", b"")
        return Verdict(ADMITTED, message, b"")


class Knock:
    """A stranger's first message, and what to say when a cookie is demanded for it."""

    def __init__(self, message: bytes) -> None:
        self.message = message
        self._demand_count = 0

    def again(self, data: bytes) -> "bytes | None":
        """What to send after `data` came, or None when that is no demand but an answer to the message.

        Raises CookieError for one demand too many.
        """
        try:
            demand = cbor.decode(data, 16, 1)
        except DecodeError:
            return None
        if not isinstance(demand, list) or len(demand) != 2 or not cbor.is_int(demand[0], 0, 0):
            return None
        cookie = demand[1]
        if not isinstance(cookie, bytes) or len(cookie) != COOKIE_BYTES:
            return None
        self._demand_count += 1
        if self._demand_count > DEMANDS_MAX:
            raise CookieError("the peer demands one cookie after another; try again later")
        return cbor.encode([0, cookie, self.message])


def _demand(cookie: bytes) -> bytes:
    return cbor.encode([0, cookie])


def _unwrap(data: bytes) -> "tuple[bytes | None, bytes]":
    """(cookie or None, message).  First messages of ours begin otherwise, so what begins so is wrapped."""
    if data[:2] != b"\x83\x00":
        return None, data
    parts = cbor.decode(data, MESSAGE_BYTES_MAX + WRAPPER_BYTES_MAX, 1)
    assert isinstance(parts, list)  # noqa: S101  its first byte said so
    if not isinstance(parts[1], bytes) or not isinstance(parts[2], bytes) or len(parts[1]) != COOKIE_BYTES:
        raise DecodeError("a cookie and a message are byte strings, and a cookie has its length")
    return parts[1], parts[2]
