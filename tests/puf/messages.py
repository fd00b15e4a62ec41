"""What may become of a message on its way."""

from collections.abc import Iterator


def all_bits_flipped(data: bytes) -> Iterator[bytes]:
    """`data` with each single bit flipped."""
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        yield bytes(damaged)


def all_truncated(data: bytes) -> Iterator[bytes]:
    """Each proper beginning of `data`."""
    for size in range(len(data)):
        yield data[:size]
