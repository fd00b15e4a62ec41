"""HMAC-SHA-256 and the comparison of secrets in plain Python: what `puf.hkdf` runs on MicroPython.

Runs on CPython and MicroPython.  Source: RFC 2104, section 2.
"""

import hashlib


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """The MAC of `data` under `key`: 32 bytes."""
    if len(key) > 64:
        key = hashlib.sha256(key).digest()
    padded = bytes(key) + bytes(64 - len(key))
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
    inner.update(data)
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))
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
