"""SHA-256, HMAC and HKDF: one secret in, any number of independent keys out.

Runs on CPython and MicroPython.  On CPython OpenSSL does the hashing.
Source: RFC 2104 (HMAC), RFC 5869 (HKDF), both with SHA-256.
"""

import hashlib
import sys

if sys.implementation.name == "micropython":
    from puf.hmac_pure import hmac_sha256, is_equal
else:
    import hmac

    def hmac_sha256(key: bytes, data: bytes) -> bytes:
        """The MAC of `data` under `key`: 32 bytes."""
        return hmac.digest(key, data, "sha256")

    def is_equal(a: bytes, b: bytes) -> bool:
        """Whether two secrets are the same, in a time that depends on their lengths only."""
        return hmac.compare_digest(a, b)


__all__ = [
    "HASH_BYTES",
    "LENGTH_MAX",
    "hkdf",
    "hkdf_expand",
    "hkdf_extract",
    "hmac_sha256",
    "is_equal",
    "sha256",
]

HASH_BYTES = 32
"""Length of a SHA-256 hash, of a MAC, and of the key that `hkdf_extract` returns."""
LENGTH_MAX = 255 * HASH_BYTES
"""Bytes that `hkdf_expand` can give.  Source: RFC 5869, section 2.3."""


def sha256(data: bytes) -> bytes:
    """The SHA-256 hash of `data`: 32 bytes."""
    return hashlib.sha256(data).digest()


def hkdf_extract(salt: bytes, ikm: bytes) -> bytes:
    """Condense `ikm`, a secret of any length and shape, into a 32-byte key.  Source: section 2.2."""
    return hmac_sha256(salt, ikm)


def hkdf_expand(prk: bytes, info: bytes, length: int) -> bytes:
    """`length` bytes (at most LENGTH_MAX) that belong to the label `info`.  Source: section 2.3.

    Raises ValueError for a length that cannot be given.
    """
    if not 0 <= length <= LENGTH_MAX:
        raise ValueError(f"HKDF gives 0 to {LENGTH_MAX} bytes, not {length}")
    block = b""
    out = bytearray(length)
    for at in range(0, length, HASH_BYTES):
        block = hmac_sha256(prk, block + info + bytes((at // HASH_BYTES + 1,)))
        out[at : at + HASH_BYTES] = block[: length - at]
    return bytes(out)


def hkdf(ikm: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """Extract, then expand: `length` bytes from the secret `ikm` for the label `info`."""
    return hkdf_expand(hkdf_extract(salt, ikm), info, length)
