"""Debiasing: a mask that says nothing, bits that prefer nothing, the same on both interpreters."""

import itertools
import random
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puf import debias
from puf.errors import TooFewCells
from tests import micropython
from tests.puf import debias_outcomes

# Cells 01 10 11 00 | 10 01 00 01: pairs 0, 1, 4, 5, 7 differ; the first four make a group, 01 10 10 0.
RESPONSE = bytes([0b01101100, 0b10010001])
GOLDEN_MASK = bytes([0b11001100])
GOLDEN_BITS = bytes([0b01101000])


def biased(seed: int, size: int, ones: float) -> bytes:
    """A chip of independent cells."""
    cells = np.random.default_rng(seed).random(8 * size) < ones
    return np.packbits(cells).tobytes()


def straightforward(response: bytes, bit_count: int) -> tuple[str, str]:
    """Mask and bits as text, from the description alone."""
    cells = "".join(f"{byte:08b}" for byte in response)
    mask, bits, kept = "", "", 0
    for at in range(0, len(cells), 2):
        pair = cells[at : at + 2]
        if pair[0] != pair[1] and len(bits) < bit_count:
            bits += pair if kept % 4 < 3 else pair[0]
            mask += "1"
            kept += 1
        else:
            mask += "0"
    return mask, bits


def test_the_golden_response() -> None:
    assert debias.enrol(RESPONSE, 7) == (GOLDEN_MASK, GOLDEN_BITS)
    assert debias.group_count(RESPONSE) == 1
    # Noise in a kept pair changes bits, noise in a dropped one changes nothing.
    assert debias.reproduce(bytes([0b11101100, 0b10010001]), GOLDEN_MASK) == bytes([0b11101000])
    assert debias.reproduce(bytes([0b01100000, 0b10011101]), GOLDEN_MASK) == GOLDEN_BITS


@given(st.binary(min_size=1, max_size=80), st.integers(1, 12))
def test_mask_and_bits_are_those_of_the_description(response: bytes, groups: int) -> None:
    if groups > debias.group_count(response):
        with pytest.raises(TooFewCells, match="are left after debiasing") as caught:
            debias.enrol(response, 7 * groups)
        assert (caught.value.bits, caught.value.wanted) == (7 * debias.group_count(response), 7 * groups)
        return
    mask, bits = debias.enrol(response, 7 * groups)
    mask_text, bits_text = straightforward(response, 7 * groups)
    assert "".join(f"{byte:08b}" for byte in mask) == mask_text.ljust(8 * len(mask), "0")
    assert "".join(f"{byte:08b}" for byte in bits) == bits_text.ljust(8 * len(bits), "0")
    assert debias.reproduce(response, mask) == bits


@pytest.mark.parametrize("ones", [Fraction(1, 2), Fraction(395, 1000), Fraction(9, 10)])
def test_given_the_mask_every_value_of_the_bits_is_equally_likely(ones: Fraction) -> None:
    """Exactly, over all responses of ten cells: five pairs, of which four make the group."""
    chances: dict[bytes, dict[bytes, Fraction]] = defaultdict(lambda: defaultdict(Fraction))
    for cells in itertools.product((0, 1), repeat=10):
        response = int("".join(map(str, cells)).ljust(16, "0"), 2).to_bytes(2, "big")
        if debias.group_count(response):
            mask, bits = debias.enrol(response, 7)
            chances[mask][bits] += ones ** sum(cells) * (1 - ones) ** (10 - sum(cells))
    assert len(chances) == 5
    for by_bits in chances.values():
        assert len(by_bits) == 16
        assert len(set(by_bits.values())) == 1


def test_mask_and_helper_data_together_say_nothing_of_the_code_bit() -> None:
    """Exactly: given both, the code bits of two groups are as likely one value as another."""
    ones = Fraction(3, 10)
    joint: dict[tuple[bytes, int], dict[tuple[int, int], Fraction]] = defaultdict(
        lambda: defaultdict(Fraction)
    )
    for cells in itertools.product((0, 1), repeat=16):
        response = int("".join(map(str, cells)), 2).to_bytes(2, "big")
        if debias.group_count(response) < 2:
            continue
        mask, bits = debias.enrol(response, 14)
        value = int.from_bytes(bits, "big") >> 2
        chance = ones ** sum(cells) * (1 - ones) ** (16 - sum(cells))
        for first, second in itertools.product((0, 1), repeat=2):
            helper = value ^ (0x7F * first) << 7 ^ 0x7F * second
            joint[mask, helper][first, second] += chance
    assert joint
    for by_secret in joint.values():
        assert len(by_secret) == 4
        assert len(set(by_secret.values())) == 1


def test_pairs_that_straddle_two_groups_would_publish_how_their_code_bits_relate() -> None:
    """Why the eighth bit of four pairs is left out: else helper data of 7 + 7 bits leaks one."""
    seen = set()
    for first, second in itertools.product((0, 1), repeat=2):
        for pairs in itertools.product(("01", "10"), repeat=7):
            bits = int("".join(pairs), 2)
            helper = bits ^ (0x7F * first) << 7 ^ 0x7F * second
            # The fourth pair has one bit in each group.
            seen.add((helper >> 7 & 1 ^ helper >> 6 & 1 ^ 1, first ^ second))
    assert seen == {(0, 0), (1, 1)}


@pytest.mark.parametrize("ones", [0.5, 0.395, 0.3])
def test_a_biased_chip_has_as_many_bits_as_its_unequal_pairs_and_no_bias(ones: float) -> None:
    response = biased(7, 8192, ones)
    groups = debias.group_count(response)
    expected = 2 * ones * (1 - ones) * 4 * 8192 / 4
    assert groups == pytest.approx(expected, rel=0.03)
    _, bits = debias.enrol(response, 7 * groups)
    values = np.unpackbits(np.frombuffer(bits, np.uint8))[: 7 * groups].reshape(groups, 7)
    assert (values[:, 0:6:2] != values[:, 1:6:2]).all()
    independent = values[:, ::2].ravel()
    assert abs(independent.mean() - 0.5) < 4 * 0.5 / len(independent) ** 0.5


def test_noise_reaches_the_bits_as_it_is_and_no_further() -> None:
    response = biased(11, 2048, 0.4)
    mask, bits = debias.enrol(response, 5355)
    flips = np.random.default_rng(12).random(8 * 2048) < 0.05
    noisy = (np.frombuffer(response, np.uint8) ^ np.packbits(flips)).tobytes()
    again = debias.reproduce(noisy, mask)
    assert len(again) == len(bits) == 670
    errors = (int.from_bytes(bits, "big") ^ int.from_bytes(again, "big")).bit_count()
    assert errors / 5355 == pytest.approx(0.05, abs=0.012)


@pytest.mark.parametrize("bit_count", [0, -7, 6, 8, 100])
def test_bits_come_in_whole_groups(bit_count: int) -> None:
    with pytest.raises(ValueError, match="groups of 7"):
        debias.enrol(bytes(100), bit_count)


@given(st.binary(max_size=40), st.binary(max_size=20))
def test_any_mask_gives_whole_groups_or_is_refused(response: bytes, mask: bytes) -> None:
    kept = sum(byte.bit_count() for byte in mask)
    try:
        bits = debias.reproduce(response, mask)
    except ValueError:
        return
    assert len(mask) == debias.mask_size(len(response))
    assert kept % 4 == 0
    assert len(bits) == (kept // 4 * 7 + 7) // 8


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="does not belong"):
        debias.reproduce(bytes(4), bytes(1))
    with pytest.raises(ValueError, match="whole groups"):
        debias.reproduce(bytes(4), b"\x80\x00")
    # Pairs behind the last cell of an odd response.
    with pytest.raises(ValueError, match="whole groups"):
        debias.reproduce(bytes(1), b"\x0f")


def test_both_interpreters_agree() -> None:
    chance = random.Random(3)
    lines = [f"{RESPONSE.hex()}|{RESPONSE.hex()}|7"]
    for _ in range(60):
        size = chance.randrange(1, 60)
        response = biased(chance.randrange(1 << 30), size, chance.choice([0.1, 0.4, 0.5]))
        noisy = biased(chance.randrange(1 << 30), size, 0.5)
        lines.append(f"{response.hex()}|{noisy.hex()}|{chance.choice([0, 7, 14, 21, 70])}")
    got = micropython.run(Path(debias_outcomes.__file__), stdin="\n".join(lines) + "\n").splitlines()
    assert got == [debias_outcomes.outcome(line) for line in lines]
    assert sum("Error" in line or "TooFewCells" in line for line in got) not in (0, len(got))


def test_a_whole_region_is_debiased_within_a_boards_heap() -> None:
    """2,040 bytes of RTC memory at 40 % ones, and the bits of a 128-bit key, on the real MicroPython."""
    response = biased(5, 2040, 0.4)
    line = f"{response.hex()}|{response.hex()}|5355"
    got = micropython.run(Path(debias_outcomes.__file__), stdin=line + "\n").strip()
    assert got == debias_outcomes.outcome(line)
    assert len(got.split()) == 4


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_a_mask_tells_no_chip_from_its_complement(seed: int) -> None:
    response = biased(seed, 64, 0.35)
    turned = bytes(byte ^ 0xFF for byte in response)
    bit_count = 7 * debias.group_count(response)
    mask, bits = debias.enrol(response, bit_count)
    other_mask, other_bits = debias.enrol(turned, bit_count)
    assert mask == other_mask
    pad = -bit_count % 8
    assert int.from_bytes(bits, "big") ^ int.from_bytes(other_bits, "big") == ((1 << bit_count) - 1) << pad
