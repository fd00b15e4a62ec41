"""Consistent Overhead Byte Stuffing: any bytes, framed by zeros that never occur inside.

Runs on CPython.  Source: S. Cheshire and M. Baker, Consistent Overhead Byte Stuffing, IEEE/ACM
Transactions on Networking 7(2), 1999.

    CobsError   bytes between two zeros are not what an encoder writes
"""

from __future__ import annotations

BLOCK_MAX = 254
"""Bytes that one code byte can stand before."""


class CobsError(ValueError):
    """The bytes between two zeros are not what an encoder writes."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"byte {offset}: {reason}")
        self.offset = offset
        self.reason = reason


def encode(data: bytes) -> bytes:
    """`data` without a zero in it; the zero that ends a frame is the caller's to add."""
    parts: list[bytes] = []
    blocks = data.split(b"\0")
    for index, block in enumerate(blocks):
        is_last = index == len(blocks) - 1
        while len(block) > BLOCK_MAX or (len(block) == BLOCK_MAX and not is_last):
            parts.append(b"\xff" + block[:BLOCK_MAX])
            block = block[BLOCK_MAX:]
        if is_last and len(block) == BLOCK_MAX:
            # A full block says "no zero here", which is just right at the end.
            parts.append(b"\xff" + block)
        else:
            parts.append(bytes([len(block) + 1]) + block)
    return b"".join(parts)


def decode(data: bytes) -> bytes:
    """What `encode` was given.  Raises CobsError."""
    parts: list[bytes] = []
    at, end = 0, len(data)
    if not data:
        raise CobsError(0, "nothing between two zeros")
    while at < end:
        code = data[at]
        if not code:
            raise CobsError(at, "a zero inside a frame")
        stop = at + code
        if stop > end:
            raise CobsError(at, f"promises {code - 1} bytes, {end - at - 1} are there")
        block = data[at + 1 : stop]
        if 0 in block:
            raise CobsError(at + 1 + block.index(0), "a zero inside a frame")
        parts.append(block)
        if code <= BLOCK_MAX and stop < end:
            parts.append(b"\0")
        at = stop
    return b"".join(parts)
