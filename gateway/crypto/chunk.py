"""A chunk: one sealed block, as the store keeps it, and the key that opens it.

Runs on CPython.  Pure but for one look at /proc/cpuinfo.

A chunk is the deterministic CBOR array
`[version = 1, aead, stream_id, slot, segment_id, index, is_last, ciphertext]`; the same array without the
ciphertext is the associated data.  AEAD 1 is ChaCha20-Poly1305 (RFC 8439), 2 is AES-256-GCM (NIST SP
800-38D); the ciphertext ends in its 16-byte tag.  What the fields protect is told in `seal.py`.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from gateway.crypto.errors import ChunkMalformed, SizeRefused
from gateway.crypto.slot import SLOT_MAX
from puf import cbor
from puf.errors import DecodeError
from puf.hkdf import hkdf, hkdf_expand, hmac_sha256

CHACHA20_POLY1305 = 1
AES_256_GCM = 2
BLOCK_SIZE_MAX = 1 << 20
BLOCK_COUNT_MAX = (1 << 32) - 1
TAG_SIZE = 16
CHUNK_SIZE_MAX = BLOCK_SIZE_MAX + TAG_SIZE + 96
"""96 bytes hold the longest header there is."""

VERSION = 1
CIPHERS: dict[int, type[ChaCha20Poly1305] | type[AESGCM]] = {
    CHACHA20_POLY1305: ChaCha20Poly1305,
    AES_256_GCM: AESGCM,
}
_LAYOUT = (int, int, bytes, int, bytes, int, bool, bytes)


def has_aes(cpuinfo: str) -> bool:
    """Whether a text like /proc/cpuinfo (x86: `flags`, ARM: `Features`) names AES instructions."""
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    return any(name.strip() in ("flags", "Features") and "aes" in value.split() for name, _, value in lines)


@cache
def aead_default() -> int:
    """The AEAD that is faster on this CPU: AES_256_GCM where it has AES, else CHACHA20_POLY1305.

    A Raspberry Pi 4 has none, and AES in software leaks its key through the cache.
    """
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:  # No such file: not Linux, or a container that hides it.
        return CHACHA20_POLY1305
    return AES_256_GCM if has_aes(text) else CHACHA20_POLY1305


class SegmentKey:
    """The key of one segment; opens its chunks and computes the plain leaves of its blocks.

    Make it with `segment_key`, or with `from_bytes` out of what `export` gave.
    """

    __slots__ = ("_ciphers", "_nonce_prefix", "_salt_key", "_secret")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:
            raise SizeRefused("a segment key", len(secret), 32)
        self._secret = bytes(secret)
        self._nonce_prefix = hkdf_expand(self._secret, b"cpc/segment/1/nonce", 7)
        self._salt_key = hkdf_expand(self._secret, b"cpc/segment/1/leaf-salt", 32)
        self._ciphers: dict[int, ChaCha20Poly1305 | AESGCM] = {}

    def __repr__(self) -> str:
        return "SegmentKey(hidden)"

    def export(self) -> bytes:
        """The key, 32 bytes, secret: who has it reads this one segment and no other."""
        return self._secret

    @classmethod
    def from_bytes(cls, data: bytes) -> "SegmentKey":
        """The key that `export` gave.  Raises SizeRefused unless it is 32 bytes."""
        return cls(data)

    def cipher(self, aead: int) -> ChaCha20Poly1305 | AESGCM:
        """The AEAD `aead` under this key; each has a key of its own, as one key never serves two."""
        cipher = self._ciphers.get(aead)
        if cipher is None:
            key = hkdf_expand(self._secret, b"cpc/segment/1/aead/%d" % aead, 32)
            cipher = self._ciphers.setdefault(aead, CIPHERS[aead](key))
        return cipher

    def nonce(self, index: int, is_last: bool) -> bytes:
        """The nonce of chunk `index`: bytes, 12."""
        return self._nonce_prefix + index.to_bytes(4, "big") + (b"\x01" if is_last else b"\x00")

    def leaf_salt(self, index: int) -> bytes:
        """The salt of plain leaf `index`: bytes, 32.  Disclosing it lets that one block be checked."""
        return hmac_sha256(self._salt_key, index.to_bytes(4, "big"))


def slot_key(leaf: bytes, next_leaf: bytes, stream_id: bytes) -> bytes:
    """The key of the slot whose tree leaves are `leaf` and `next_leaf`: bytes, 32, secret.

    Who holds it opens every segment of that slot, and learns nothing about either leaf.
    leaf, next_leaf: bytes, 32, secret.  stream_id: bytes, 32.  Raises SizeRefused.
    """
    wants = (("a leaf", leaf), ("the next leaf", next_leaf), ("a stream id", stream_id))
    for what, value in wants:
        if len(value) != 32:
            raise SizeRefused(what, len(value), 32)
    return hkdf(leaf + next_leaf, b"", b"cpc/slot/1/" + stream_id, 32)


def segment_key(slot_key: bytes, segment_id: bytes) -> SegmentKey:
    """The key of segment `segment_id` in the slot, and of the stream, that `slot_key` is of.

    slot_key: bytes, 32, secret.  segment_id: bytes, 16, random; it is the salt, so a segment id must never
    be given to two different contents: that would repeat nonces.  Raises SizeRefused.
    """
    for what, value, size in (("a slot key", slot_key, 32), ("a segment id", segment_id, 16)):
        if len(value) != size:
            raise SizeRefused(what, len(value), size)
    return SegmentKey(hkdf(slot_key, segment_id, b"cpc/segment/1/data", 32))


@dataclass(frozen=True, slots=True)
class ChunkHeader:
    """What a chunk says of itself.  Nothing of it is proven until the chunk has been opened."""

    aead: int
    stream_id: bytes
    slot: int
    segment_id: bytes
    index: int
    is_last: bool
    ciphertext: bytes
    """With its tag, so 16 bytes longer than the block."""

    @property
    def segment(self) -> tuple[bytes, int, bytes]:
        """Which segment it claims to be of: stream id, slot, segment id."""
        return self.stream_id, self.slot, self.segment_id

    def aad(self) -> bytes:
        """The associated data: the chunk's CBOR array without the ciphertext."""
        place = [self.stream_id, self.slot, self.segment_id, self.index, self.is_last]
        return cbor.encode([VERSION, self.aead, *place])


def parse_chunk(chunk: bytes) -> ChunkHeader:
    """What `chunk` says of itself.  Raises ChunkMalformed for bytes that are no chunk."""
    try:
        value = cbor.decode(chunk, size_max=CHUNK_SIZE_MAX, depth_max=2)
    except DecodeError as error:
        raise ChunkMalformed(str(error)) from error
    if not (isinstance(value, list) and tuple(type(part) for part in value) == _LAYOUT):
        raise ChunkMalformed("it is not the array of eight that a chunk is")
    version, *fields = value
    if version != VERSION:
        raise ChunkMalformed(f"its version is {version}, this program reads {VERSION}")
    header = ChunkHeader(*fields)
    if header.aead not in CIPHERS:
        raise ChunkMalformed(f"its AEAD is {header.aead}, known are {sorted(CIPHERS)}")
    if len(header.stream_id) != 32 or len(header.segment_id) != 16:
        raise ChunkMalformed("its stream id or segment id has a wrong length")
    if not (0 <= header.slot <= SLOT_MAX and 0 <= header.index < BLOCK_COUNT_MAX):
        raise ChunkMalformed("its slot or index is out of range")
    if not TAG_SIZE <= len(header.ciphertext) <= BLOCK_SIZE_MAX + TAG_SIZE:
        raise ChunkMalformed(f"a ciphertext of {len(header.ciphertext)} bytes cannot be")
    return header


def open_where_it_says(key: SegmentKey, header: ChunkHeader) -> bytes | None:
    """The block, if the chunk is authentic in the very place that its header names, else None."""
    nonce = key.nonce(header.index, header.is_last)
    try:
        return key.cipher(header.aead).decrypt(nonce, header.ciphertext, header.aad())
    except InvalidTag:
        return None
