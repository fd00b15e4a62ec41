"""Ed25519: who said it.  Deterministic signatures, and the one verdict on them that all of us share.

Runs on CPython and MicroPython.  Verifiers of the world disagree about malformed and mixed-order
inputs, and a committee that disagrees forks.  Ours is libsodium's verdict, on both interpreters: S
below the group order, key and R canonical and not of small order, and R equal, byte for byte, to
[S]B - [k]A (no cofactor).  On CPython PyNaCl does the work.  Source: RFC 8032, section 5.1.
"""

import os
import sys

from puf.errors import KeyFormatError

if sys.implementation.name == "micropython":
    from puf.ed25519_pure import public_of, sign, verify
else:
    from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
    from nacl.exceptions import BadSignatureError

    def public_of(seed: bytes) -> bytes:
        """The 32-byte public key of a 32-byte seed."""
        public: bytes = crypto_sign_seed_keypair(seed)[0]
        return public

    def sign(seed: bytes, public: bytes, message: bytes) -> bytes:
        """The 64-byte signature of `message`; `public` must be that of `seed`."""
        signature: bytes = crypto_sign(message, seed + public)[:64]
        return signature

    def verify(public: bytes, message: bytes, signature: bytes) -> bool:
        """Whether the holder of `public` signed `message`.  Never raises, whatever bytes it is given."""
        # The lengths first: libsodium reads 32 and 64 bytes, whatever is there.
        if len(public) != 32 or len(signature) != 64:
            return False
        try:
            crypto_sign_open(signature + message, public)
        except BadSignatureError:
            return False
        return True


__all__ = ["SigningKey", "verify"]


class SigningKey:
    """A private key.  `seed`: bytes, 32, secret; `public`: bytes, 32.  Printing it shows only `public`."""

    __slots__ = ("public", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise KeyFormatError(f"the seed of an Ed25519 key has 32 bytes, not {len(seed)}")
        self.seed = seed
        self.public = public_of(self.seed)

    @classmethod
    def generate(cls) -> "SigningKey":
        """A new key from the operating system's randomness."""
        return cls(os.urandom(32))

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of `message`; the same every time.  Source: RFC 8032, section 5.1.6."""
        return sign(self.seed, self.public, message)

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.hex()})"
