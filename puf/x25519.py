"""X25519: two parties who know each other's public keys share a secret nobody else has.

Runs on CPython and MicroPython.  On CPython `cryptography` does the work.  A peer key of low order,
whose secret would be all zeros whatever our key is, is refused.  Source: RFC 7748, sections 5 and 6.1.
"""

import os
import sys

from puf.curve25519 import P, from_bytes, is_small_order
from puf.errors import KeyFormatError

if sys.implementation.name == "micropython":
    from puf.x25519_pure import exchange, public_of
else:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    def public_of(seed: bytes) -> bytes:
        """The 32-byte public key of a 32-byte seed."""
        return X25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()

    def exchange(seed: bytes, peer_public: bytes) -> bytes:
        """The shared 32 bytes; all zeros for a peer key of low order."""
        try:
            return X25519PrivateKey.from_private_bytes(seed).exchange(
                X25519PublicKey.from_public_bytes(peer_public)
            )
        except ValueError:  # Of 32-byte inputs OpenSSL refuses exactly those that give all zeros.
            return bytes(32)


__all__ = ["PrivateKey", "exchange", "public_from_ed25519", "public_of"]


class PrivateKey:
    """A private key.  `seed`: bytes, 32, secret; `public`: bytes, 32.  Printing it shows only `public`."""

    __slots__ = ("public", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise KeyFormatError(f"the seed of an X25519 key has 32 bytes, not {len(seed)}")
        self.seed = seed
        self.public = public_of(self.seed)

    @classmethod
    def generate(cls) -> "PrivateKey":
        """A new key from the operating system's randomness."""
        return cls(os.urandom(32))

    def exchange(self, peer_public: bytes) -> bytes:
        """The 32-byte secret shared with the holder of `peer_public`; derive keys from it.

        Raises KeyFormatError when `peer_public` has not 32 bytes or is a point of low order.
        """
        if len(peer_public) != 32:
            raise KeyFormatError(f"an X25519 public key has 32 bytes, not {len(peer_public)}")
        shared = exchange(self.seed, peer_public)
        if shared == bytes(32):
            raise KeyFormatError(f"X25519 public key {peer_public.hex()} is a point of low order")
        return shared

    def __repr__(self) -> str:
        return f"PrivateKey(public={self.public.hex()})"


def public_from_ed25519(public: bytes) -> bytes:
    """The X25519 public key of whoever holds the Ed25519 key `public`: u = (1 + y) / (1 - y).

    Raises KeyFormatError when `public` is not the canonical encoding of a point, or is one of small
    order.  Source: RFC 7748, section 4.1.
    """
    point = from_bytes(public) if len(public) == 32 else None
    if point is None or is_small_order(point):
        raise KeyFormatError(f"{public.hex()} is not an Ed25519 public key")
    y = point[1]
    return ((1 + y) * pow(1 - y, P - 2, P) % P).to_bytes(32, "little")
