"""Finding the one flipped bit of a chunk."""

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.crypto.bit_rot import FLIP_SEARCH_SIZE_MAX, find_flipped_bit
from gateway.crypto.errors import SearchRefused


def flipped(data: bytes, bit: int) -> bytes:
    out = bytearray(data)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=200), st.data())
def test_the_flipped_bit_is_found(good: bytes, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, 8 * len(good) - 1))
    assert find_flipped_bit(flipped(good, bit), hashlib.sha256(good).digest()) == (bit // 8, bit % 8)


@pytest.mark.parametrize("size", [1, 63, 64, 65, 128, 1000])
def test_the_first_and_the_last_bit_are_found(size: int) -> None:
    good = random.Random(size).randbytes(size)
    expected = hashlib.sha256(good).digest()
    assert find_flipped_bit(flipped(good, 0), expected) == (0, 0)
    assert find_flipped_bit(flipped(good, 8 * size - 1), expected) == (size - 1, 7)


@pytest.mark.parametrize("bad", [b"", b"good", b"gold", b"good!"])
def test_what_one_bit_does_not_explain_is_not_explained(bad: bytes) -> None:
    # "gold" is two bits and more away, "good!" another length, "good" not damaged at all.
    assert find_flipped_bit(bad, hashlib.sha256(b"good").digest()) is None


def test_the_search_tells_how_far_it_is() -> None:
    seen: list[tuple[int, int]] = []
    find_flipped_bit(bytes(200), bytes(32), lambda done, total: seen.append((done, total)))
    assert len(seen) == 4
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] == 8 * (8 * 8 + 64 * 72 + 64 * 136 + 64 * 200)


def test_a_chunk_too_long_for_the_search_is_refused() -> None:
    with pytest.raises(SearchRefused) as caught:
        find_flipped_bit(bytes(FLIP_SEARCH_SIZE_MAX + 1), bytes(32))
    assert (caught.value.size, caught.value.size_max) == (FLIP_SEARCH_SIZE_MAX + 1, FLIP_SEARCH_SIZE_MAX)
