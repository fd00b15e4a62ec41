"""Finds the one bit that a disk or a wire has flipped, from nothing but the bytes and their right hash.

Runs on CPython.  Pure.  The most common damage is one bit; naming it tells rot from tampering, and undoes it.

Brute force: each of the 8 n candidates is hashed, but only from its 64-byte SHA-256 block on, out of the
saved state of all that stands before.  That is about 4 n^2 bytes to hash if no bit explains the damage, and
a third of that on average if one does, because the search runs from the end, where candidates are cheap.
"""

import hashlib
from collections.abc import Callable

from gateway.crypto.errors import SearchRefused

FLIP_SEARCH_SIZE_MAX = 128 << 10
"""At most 4 * 2^34 bytes to hash: a minute at 1.2 GB/s (*measured* on x86-64 with SHA instructions)."""

_HASH_BLOCK_SIZE = 64


def find_flipped_bit(
    chunk: bytes, expected_sha256: bytes, progress: Callable[[int, int], object] | None = None
) -> tuple[int, int] | None:
    """The bit to flip in `chunk` so that its SHA-256 is `expected_sha256`: (byte offset, bit), or None.

    Bit 0 is the least significant.  None: no single bit explains the hash (or nothing is wrong).
    progress(done, total) is called after each 64 bytes, both in bytes hashed.  Raises SearchRefused for
    more than FLIP_SEARCH_SIZE_MAX bytes.
    """
    if len(chunk) > FLIP_SEARCH_SIZE_MAX:
        raise SearchRefused(len(chunk), FLIP_SEARCH_SIZE_MAX)
    starts = range(0, len(chunk), _HASH_BLOCK_SIZE)
    before = []
    state = hashlib.sha256()
    for start in starts:
        before.append(state.copy())
        state.update(chunk[start : start + _HASH_BLOCK_SIZE])
    if state.digest() == expected_sha256:
        return None
    total = sum(8 * min(_HASH_BLOCK_SIZE, len(chunk) - start) * (len(chunk) - start) for start in starts)
    done = 0
    for start, state in zip(reversed(starts), reversed(before), strict=True):
        # Copied once: the tail that every candidate of these 64 bytes is followed by.
        tail = bytearray(chunk[start:])
        width = min(_HASH_BLOCK_SIZE, len(tail))
        for offset in range(width):
            for bit in range(8):
                tail[offset] ^= 1 << bit
                candidate = state.copy()
                candidate.update(tail)
                tail[offset] ^= 1 << bit
                if candidate.digest() == expected_sha256:
                    return start + offset, bit
        done += 8 * width * len(tail)
        if progress is not None:
            progress(done, total)
    return None
