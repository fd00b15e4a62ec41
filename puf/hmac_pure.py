"""HMAC-SHA-256 and the comparison of secrets in plain Python: what `puf.hkdf` runs on MicroPython.

Runs on CPython and MicroPython.  Source: RFC 2104, section 2.
"""

import hashlib

_INNER = int.from_bytes(b"\x36" * 64, "big")
_OUTER = int.from_bytes(b"\x5c" * 64, "big")


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """The MAC of `data` under `key`: 32 bytes."""
    if len(key) > 64:
        key = hashlib.sha256(key).digest()
    # All 64 bytes at once, as one integer: a loop over them took longer than the hashing.
    padded = int.from_bytes(bytes(key) + bytes(64 - len(key)), "big")
    inner = hashlib.sha256((padded ^ _INNER).to_bytes(64, "big"))
    inner.update(data)
    outer = hashlib.sha256((padded ^ _OUTER).to_bytes(64, "big"))
    outer.update(inner.digest())
    return outer.digest()


def is_equal(a: bytes, b: bytes) -> bool:
    """Whether two secrets are the same, in a time that depends on their lengths only."""
    if len(a) != len(b):
        return False
    difference = 0
    for index in range(len(a)):
        difference |= a[index] ^ b[index]
    return difference == 0
