"""The plain SHA-512 against hashlib's, and its constants against the primes they come from."""

import hashlib
from math import isqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puf.sha512 import START, K, sha512


@pytest.mark.parametrize("size", [0, 1, 111, 112, 119, 120, 127, 128, 129, 239, 240, 255, 256, 1000])
def test_every_way_to_fill_the_last_block_is_hashed_right(size: int) -> None:
    data = bytes(index % 251 for index in range(size))
    assert sha512(data) == hashlib.sha512(data).digest()


@given(st.lists(st.binary(max_size=300), max_size=5))
@settings(deadline=None, max_examples=60)
def test_parts_hash_as_the_whole(parts: list[bytes]) -> None:
    assert sha512(*parts) == hashlib.sha512(b"".join(parts)).digest()


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


def _cube_root(number: int) -> int:
    low, high = 0, 1 << (number.bit_length() // 3 + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**3 <= number else (low, middle)
    return low


def test_the_constants_are_fractions_of_roots_of_primes() -> None:
    mask = (1 << 64) - 1
    assert b"".join((_cube_root(prime << 192) & mask).to_bytes(8, "big") for prime in _primes(80)) == K
    assert b"".join((isqrt(prime << 128) & mask).to_bytes(8, "big") for prime in _primes(8)) == START
