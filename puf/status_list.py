"""Status lists: one signed, compressed array of bits that says which credentials count no more.

Runs on CPython.  A Token Status List of 1 bit an entry in a CWT of type "application/statuslist+cwt":

    2 sub: the list's address   6 iat   4 exp (optional)   65534 ttl, seconds   65533 {"bits": 1, "lst": zlib}

A credential says where its bit is: claim 65535 {"status_list": {"idx": index, "uri": address}}.  Indices are
drawn at random among those that are free, so they tell neither order nor number of credentials; a verifier
that fetches the whole list tells nobody which one it looked up.  Reading knows 1, 2, 4 and 8 bits an entry;
what a hostile list would inflate to is bounded before it is inflated.  Lists of others are taken in
deterministic CBOR only, which the draft asks of nobody.

Raises DecodeError, SignatureError; CredentialError with reason "revoked", "stale" or "list".
Source: draft-ietf-oauth-status-list-21, sections 4 to 6 and 8.3; RFC 1950.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

from puf import cwt
from puf.ed25519 import SigningKey
from puf.errors import CredentialError, DecodeError

TYP = "application/statuslist+cwt"
STATUS_LIST, TTL = 65533, 65534
VALID, INVALID, SUSPENDED = 0, 1, 2
"""Source: section 7.1."""
BITS = (1, 2, 4, 8)
ENTRIES = 1 << 16
"""Of a new list: 8 KiB, some hundred bytes compressed while few are revoked."""
SIZE_MAX = 1 << 17
"""Bytes of a list: 2^20 entries of 1 bit."""
TOKEN_SIZE_MAX = SIZE_MAX + (1 << 12)
INDEX_TRIES_MAX = 10_000


class StatusList:
    """The statuses of many credentials.  array: bytes, entries from the least significant bit on."""

    __slots__ = ("array", "bits")

    def __init__(self, array: bytes, bits: int = 1) -> None:
        if bits not in BITS or not 1 <= len(array) <= SIZE_MAX:
            raise ValueError(f"a status list has 1, 2, 4 or 8 bits an entry and 1 to {SIZE_MAX} bytes")
        self.array = bytearray(array)
        self.bits = bits

    @property
    def size(self) -> int:
        """Entries that it has room for."""
        return len(self.array) * 8 // self.bits

    def get(self, index: int) -> int:
        """The status of an entry.  Raises CredentialError with reason "list" when there is no such entry."""
        if not 0 <= index < self.size:
            raise CredentialError(
                "list", f"the status list ends at {self.size - 1}, there is no entry {index}"
            )
        at, shift = divmod(index * self.bits, 8)
        return self.array[at] >> shift & (1 << self.bits) - 1

    def put(self, index: int, status: int) -> None:
        """Set the status of an entry.  Raises ValueError for one that it has not or cannot hold."""
        if not 0 <= index < self.size or not 0 <= status < 1 << self.bits:
            raise ValueError(
                f"entry {index} cannot become {status} in a list of {self.size} of {self.bits} bit"
            )
        at, shift = divmod(index * self.bits, 8)
        self.array[at] = self.array[at] & ~((1 << self.bits) - 1 << shift) | status << shift

    def encode(self) -> dict[str, object]:
        """The list as a value of CBOR."""
        return {"bits": self.bits, "lst": zlib.compress(bytes(self.array), 9)}

    @classmethod
    def decode(cls, value: object) -> "StatusList":
        """The list that a value of CBOR is.  Raises DecodeError."""
        if not isinstance(value, dict) or set(value) != {"bits", "lst"}:
            raise DecodeError("a status list is a map of bits and lst")
        bits, data = value["bits"], value["lst"]
        if type(bits) is not int or bits not in BITS or not isinstance(data, bytes):
            raise DecodeError("a status list has 1, 2, 4 or 8 bits an entry, and bytes")
        return cls(_inflated(data), bits)


@dataclass(frozen=True, slots=True)
class StatusToken:
    """A status list whose signature holds."""

    issuer: bytes
    """The Ed25519 key that signed it, 32 bytes."""
    uri: str
    """The list's address."""
    issued_ms: int
    """Unix milliseconds, whole seconds."""
    ttl_ms: int
    """How long it may be used without looking for a newer one."""
    expires_ms: int | None
    """When it ends for good, whatever grace a verifier gives, Unix milliseconds; None: it does not say."""
    statuses: StatusList


def sign(statuses: StatusList, uri: str, key: SigningKey, now_ms: int, ttl_ms: int) -> bytes:
    """The list, signed as it is now.  Raises ValueError."""
    if ttl_ms < 1000:
        raise ValueError("a status list counts for a second at least")
    claims: dict[int | str, object] = {
        cwt.SUB: uri,
        cwt.IAT: now_ms // 1000,
        TTL: ttl_ms // 1000,
        STATUS_LIST: statuses.encode(),
    }
    return cwt.sign(claims, key, TYP)


def open_list(data: bytes, uri: str, issuer: bytes) -> StatusToken:
    """The status list of that address, by that issuer (Ed25519 key).

    Raises DecodeError, SignatureError, and CredentialError with reason "list" for another address or issuer.
    """
    token = cwt.open_cwt(data, TYP, TOKEN_SIZE_MAX)
    claims = token.claims
    if set(claims) not in (
        {cwt.SUB, cwt.IAT, TTL, STATUS_LIST},
        {cwt.SUB, cwt.IAT, cwt.EXP, TTL, STATUS_LIST},
    ):
        raise DecodeError("a status list has an address, a time, a time to live and its bits")
    if type(claims[TTL]) is not int or not 1 <= claims[TTL] <= cwt.SECONDS_MAX:
        raise DecodeError("the time to live of a status list is a number of seconds")
    if token.kid != issuer:
        raise CredentialError("list", f"the status list is signed by {token.kid.hex()}, not by the issuer")
    if claims[cwt.SUB] != uri:
        raise CredentialError("list", f"this is the status list {claims[cwt.SUB][:80]!r}, not {uri!r}")
    expires_ms = 1000 * claims[cwt.EXP] if cwt.EXP in claims else None
    statuses = StatusList.decode(claims[STATUS_LIST])
    return StatusToken(issuer, uri, 1000 * claims[cwt.IAT], 1000 * claims[TTL], expires_ms, statuses)


def reference(index: int, uri: str) -> dict[str, object]:
    """The claim `status` of a credential."""
    return {"status_list": {"idx": index, "uri": uri}}


def read_reference(value: object) -> tuple[int, str]:
    """Index and address that a claim `status` names.  Raises DecodeError."""
    inner = value.get("status_list") if isinstance(value, dict) and len(value) == 1 else None
    if not isinstance(inner, dict) or set(inner) != {"idx", "uri"}:
        raise DecodeError("the status of a credential is a status_list with idx and uri")
    index, uri = inner["idx"], inner["uri"]
    if type(index) is not int or not 0 <= index < 8 * SIZE_MAX or not isinstance(uri, str) or len(uri) > 255:
        raise DecodeError("the status of a credential is an index and an address")
    return index, uri


def check_status(status: object, token: StatusToken, now_ms: int, grace_ms: int = 0) -> None:
    """Raises CredentialError unless the credential with this claim `status` counts by this list.

    grace_ms: how much longer than its time to live a list counts where no newer one can be had.  0: a stale
    list counts as none, and the credential is refused.  More is the verifier's risk: for so long a credential
    that was revoked meanwhile is still taken.
    """
    index, uri = read_reference(status)
    if uri != token.uri:
        raise CredentialError("list", f"its status is in {uri[:80]!r}, not in {token.uri!r}")
    if now_ms < token.issued_ms - cwt.SKEW_MS:
        raise CredentialError("list", "the status list is of the future; check both clocks")
    if token.expires_ms is not None and now_ms >= token.expires_ms:
        raise CredentialError("stale", "the status list has expired; fetch a newer one")
    if now_ms >= token.issued_ms + token.ttl_ms + grace_ms:
        late_ms = now_ms - token.issued_ms - token.ttl_ms
        raise CredentialError(
            "stale", f"the status list is {late_ms // 1000} s older than it may be; fetch a newer one"
        )
    if token.statuses.get(index) != VALID:
        raise CredentialError("revoked", "its issuer has revoked it")


def free_index(random: Callable[[int], bytes], taken: set[int], size: int = ENTRIES) -> int:
    """An index that nobody has, each as likely as another.  Raises ValueError when the list is full."""
    for _ in range(INDEX_TRIES_MAX):
        # Far more bits than needed: the bias that is left is beyond measuring.
        index = int.from_bytes(random(16), "big") % size
        if index not in taken:
            return index
    raise ValueError(f"{len(taken)} of the {size} entries of the status list are taken; begin another list")


def _inflated(data: bytes) -> bytes:
    """What it was before it was compressed.  Raises DecodeError, before more than SIZE_MAX is made of it."""
    machine = zlib.decompressobj()
    try:
        array = machine.decompress(data, SIZE_MAX + 1)
    except zlib.error as error:
        raise DecodeError(f"the status list cannot be inflated: {error}") from None
    if len(array) > SIZE_MAX:
        raise DecodeError(f"the status list has more than {SIZE_MAX} bytes")
    if not machine.eof or machine.unused_data or not array:
        raise DecodeError("the status list is cut short, empty, or something follows it")
    return array
