"""X25519 in plain Python: what `puf.x25519` runs on MicroPython.

Runs on CPython and MicroPython.  A Montgomery ladder: the same operations in the same order whatever
the key.  It is NOT constant time all the same: big integers take a little longer when they are larger,
and which variables a step works on depends on a key bit.  An attacker who times many exchanges with
one long-lived key at close quarters learns something; one who sees the radio delay added does not
learn it cheaply.  Source: RFC 7748, section 5.
"""

from puf.curve25519 import P

A24 = 121665
"""(486662 - 2) / 4, of the curve's equation."""


def public_of(seed: bytes) -> bytes:
    """The 32-byte public key of a 32-byte seed."""
    return exchange(seed, b"\x09" + bytes(31))


def exchange(seed: bytes, peer_public: bytes) -> bytes:
    """The shared 32 bytes; all zeros for a peer key of low order.  The names are those of section 5."""
    k = int.from_bytes(seed, "little")
    k = k & ((1 << 255) - 8) | 1 << 254
    # The top bit is ignored, and values from P up are taken, as the RFC has it.
    x1 = (int.from_bytes(peer_public, "little") & ((1 << 255) - 1)) % P
    x2, z2, x3, z3 = 1, 0, x1, 1
    swap = 0
    t = 254
    while t >= 0:
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3 = x3, x2
            z2, z3 = z3, z2
        swap = bit
        a = x2 + z2
        b = x2 - z2
        da = (x3 - z3) * a % P
        cb = (x3 + z3) * b % P
        aa = a * a % P
        bb = b * b % P
        e = aa - bb
        x3 = (da + cb) * (da + cb) % P
        z3 = x1 * ((da - cb) * (da - cb) % P) % P
        x2 = aa * bb % P
        z2 = e * (aa + A24 * e) % P
        t -= 1
    # The last bits of k are zeros, so nothing is left to swap back.
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")
