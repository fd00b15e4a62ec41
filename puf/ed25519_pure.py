"""Ed25519 in plain Python: what `puf.ed25519` is on MicroPython, with libsodium's verdicts.

Runs on CPython and MicroPython.  Signing does the same operations in the same order whatever the key,
but it is NOT constant time: big integers take a little longer when they are larger, and a table of
four points is indexed by secret digits.  Verification handles no secret.
Source: RFC 8032, section 5.1.
"""

from puf.curve25519 import BASE_BYTES, L, combine, from_bytes, is_small_order, negate, to_bytes
from puf.sha512 import sha512

_base = from_bytes(BASE_BYTES)
assert _base is not None  # noqa: S101  a constant of the curve
BASE = _base


def _expand(seed: bytes) -> tuple[int, bytes]:
    """The secret scalar and the prefix of the nonce hash.  Source: section 5.1.5."""
    digest = sha512(seed)
    scalar = int.from_bytes(digest[:32], "little")
    return scalar & ((1 << 254) - 8) | 1 << 254, digest[32:]


def public_of(seed: bytes) -> bytes:
    """The 32-byte public key of a 32-byte seed."""
    return to_bytes(combine(_expand(seed)[0], BASE, 0, BASE))


def sign(seed: bytes, public: bytes, message: bytes) -> bytes:
    """The 64-byte signature of `message`; `public` must be that of `seed`.  Source: section 5.1.6."""
    scalar, prefix = _expand(seed)
    nonce = int.from_bytes(sha512(prefix, message), "little") % L
    commitment = to_bytes(combine(nonce, BASE, 0, BASE))
    challenge = int.from_bytes(sha512(commitment, public, message), "little") % L
    return commitment + ((nonce + challenge * scalar) % L).to_bytes(32, "little")


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the holder of `public` signed `message`.  Never raises, whatever bytes it is given."""
    if len(public) != 32 or len(signature) != 64:
        return False
    response = int.from_bytes(signature[32:], "little")
    key = from_bytes(public)
    if response >= L or key is None or is_small_order(key):
        return False
    challenge = int.from_bytes(sha512(signature[:32], public, message), "little") % L
    commitment = combine(response, BASE, challenge, negate(key))
    # Without cofactor, and bytes rather than points: an R that is not canonical never passes.
    return to_bytes(commitment) == signature[:32] and not is_small_order(commitment)
