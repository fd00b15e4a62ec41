"""SHA-512 in plain Python, for Ed25519 on MicroPython, whose hashlib stops at SHA-256.

Runs on CPython and MicroPython.  Source: FIPS 180-4, sections 4.1.3, 4.2.3, 5.1.2, 5.3.5 and 6.4.
"""

import struct

MASK = (1 << 64) - 1
BLOCK_BYTES = 128

# The first 64 bits of the fractional parts of the cube roots of the first 80 primes.  As bytes: a
# tuple of 80 integers beyond 31 bits would take five times the room on a microcontroller.
K = bytes.fromhex(
    "428a2f98d728ae227137449123ef65cdb5c0fbcfec4d3b2fe9b5dba58189dbbc3956c25bf348b53859f111f1b605d019"
    "923f82a4af194f9bab1c5ed5da6d8118d807aa98a303024212835b0145706fbe243185be4ee4b28c550c7dc3d5ffb4e2"
    "72be5d74f27b896f80deb1fe3b1696b19bdc06a725c71235c19bf174cf692694e49b69c19ef14ad2efbe4786384f25e3"
    "0fc19dc68b8cd5b5240ca1cc77ac9c652de92c6f592b02754a7484aa6ea6e4835cb0a9dcbd41fbd476f988da831153b5"
    "983e5152ee66dfaba831c66d2db43210b00327c898fb213fbf597fc7beef0ee4c6e00bf33da88fc2d5a79147930aa725"
    "06ca6351e003826f142929670a0e6e7027b70a8546d22ffc2e1b21385c26c9264d2c6dfc5ac42aed53380d139d95b3df"
    "650a73548baf63de766a0abb3c77b2a881c2c92e47edaee692722c851482353ba2bfe8a14cf10364a81a664bbc423001"
    "c24b8b70d0f89791c76c51a30654be30d192e819d6ef5218d69906245565a910f40e35855771202a106aa07032bbd1b8"
    "19a4c116b8d2d0c81e376c085141ab532748774cdf8eeb9934b0bcb5e19b48a8391c0cb3c5c95a634ed8aa4ae3418acb"
    "5b9cca4f7763e373682e6ff3d6b2b8a3748f82ee5defb2fc78a5636f43172f6084c87814a1f0ab728cc702081a6439ec"
    "90befffa23631e28a4506cebde82bde9bef9a3f7b2c67915c67178f2e372532bca273eceea26619cd186b8c721c0c207"
    "eada7dd6cde0eb1ef57d4f7fee6ed17806f067aa72176fba0a637dc5a2c898a6113f9804bef90dae1b710b35131c471b"
    "28db77f523047d8432caab7b40c724933c9ebe0a15c9bebc431d67c49c100d4c4cc5d4becb3e42b6597f299cfc657e2a"
    "5fcb6fab3ad6faec6c44198c4a475817"
)
# The same of the square roots of the first eight primes.
START = bytes.fromhex(
    "6a09e667f3bcc908bb67ae8584caa73b3c6ef372fe94f82ba54ff53a5f1d36f1510e527fade682d19b05688c2b3e6c1f"
    "1f83d9abfb41bd6b5be0cd19137e2179"
)


def sha512(*parts: bytes) -> bytes:
    """The SHA-512 hash of `parts`, one after the other: 64 bytes."""
    state = list(struct.unpack(">8Q", START))
    schedule = [0] * 80
    size = 0
    pending = b""
    for part in parts:
        size += len(part)
        at = 0
        if pending:
            at = BLOCK_BYTES - len(pending)
            pending += part[:at]
            if len(pending) < BLOCK_BYTES:
                continue
            _compress(state, schedule, pending, 0)
        while at + BLOCK_BYTES <= len(part):
            _compress(state, schedule, part, at)
            at += BLOCK_BYTES
        pending = part[at:]
    # One 1 bit, zeros, and the length in bits as 128 bits fill the last block.
    zeros = -(len(pending) + 17) % BLOCK_BYTES
    pending = pending + b"\x80" + bytes(zeros + 8) + struct.pack(">Q", 8 * size)
    for at in range(0, len(pending), BLOCK_BYTES):
        _compress(state, schedule, pending, at)
    return struct.pack(">8Q", *state)


def _compress(state: list[int], w: list[int], data: bytes, at: int) -> None:
    """Mix the 128 bytes of `data` from `at` into `state`; `w` is room for the message schedule.

    The names are those of section 6.4.2; rotations are written out, since a call costs more than they do.
    """
    for t in range(16):
        w[t] = struct.unpack_from(">Q", data, at + 8 * t)[0]
    for t in range(16, 80):
        x = w[t - 15]
        y = w[t - 2]
        w[t] = (
            w[t - 16]
            + ((x >> 1 | x << 63) ^ (x >> 8 | x << 56) ^ x >> 7)
            + w[t - 7]
            + ((y >> 19 | y << 45) ^ (y >> 61 | y << 3) ^ y >> 6)
        ) & MASK
    a, b, c, d, e, f, g, h = state
    for t in range(80):
        t1 = h + ((e >> 14 | e << 50) ^ (e >> 18 | e << 46) ^ (e >> 41 | e << 23)) + (e & f ^ ~e & g)
        t1 += struct.unpack_from(">Q", K, 8 * t)[0] + w[t]
        t2 = ((a >> 28 | a << 36) ^ (a >> 34 | a << 30) ^ (a >> 39 | a << 25)) + (a & b ^ a & c ^ b & c)
        h = g
        g = f
        f = e
        e = (d + t1) & MASK
        d = c
        c = b
        b = a
        a = (t1 + t2) & MASK
    for index, value in enumerate((a, b, c, d, e, f, g, h)):
        state[index] = (state[index] + value) & MASK
