"""Entropy before and after helper data: NIST's own figures, exact enumeration, the design's limits."""

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puf import entropy

# SP 800-90B (January 2018), sections 6.3.2.2 and 6.3.3.2: one sequence for both worked examples.
EXAMPLE = [int(bit) for bit in "1000111001010101110011000111001010101110"]
MANY_BITS = st.lists(st.integers(0, 1), min_size=2, max_size=300)


def test_the_standards_worked_example_of_the_collision_estimate() -> None:
    # v = 14, mean 2.7143, deviation 0.4688, bound 2.3915, p = 0.7329, min-entropy 0.4483.
    assert entropy.collision_probability(2.3915) == pytest.approx(0.7329, abs=1e-4)
    assert entropy.collision_entropy(EXAMPLE) == pytest.approx(0.4483, abs=1e-4)


def test_the_standards_worked_example_of_the_markov_estimate() -> None:
    assert entropy.markov_entropy(EXAMPLE) == pytest.approx(0.761, abs=5e-4)


# The reference results of NIST's own program for its sample files: counts, and what it makes of them.
@pytest.mark.parametrize(
    ("ones", "total", "bound"),
    [
        (5008, 10_000, 0.51367977403722886),
        (40_099, 80_000, 0.50579098043220405),
        (20_033, 40_000, 0.50726464498906265),
        (20_012, 1_000_000, 0.98034872224294312),
    ],
)
def test_the_most_common_value_as_nists_program_has_it(ones: int, total: int, bound: float) -> None:
    assert entropy.most_common_value(ones, total) == pytest.approx(bound, abs=1e-12)
    bits = [1] * ones + [0] * (total - ones)
    assert entropy.most_common_value_entropy(bits) == pytest.approx(-math.log2(bound), abs=1e-12)


@pytest.mark.parametrize(
    ("pairs", "triples", "bound", "p"),
    [
        # v repeats that take t_i bits in sum: pairs + triples = v, 2 pairs + 3 triples = sum.
        (3 * 4013 - 10_000, 10_000 - 2 * 4013, 2.47157074650488, 0.61922510955147203),
        (3 * 32_005 - 79_999, 79_999 - 2 * 32_005, 2.4923789816296962, 0.56172932192363589),
        (3 * 15_952 - 40_000, 40_000 - 2 * 15_952, 2.4973262356970052, 0.53656339906925155),
        (3 * 490_415 - 999_999, 999_999 - 2 * 490_415, 2.0383744580128056, 0.98042977738018067),
    ],
)
def test_the_collision_estimate_as_nists_program_has_it(
    pairs: int, triples: int, bound: float, p: float
) -> None:
    assert entropy.collision_probability(bound) == pytest.approx(p, abs=1e-9)
    bits = [0, 0] * pairs + [0, 1, 0] * triples
    assert entropy.collision_entropy(bits) == pytest.approx(-math.log2(p), abs=1e-9)


@pytest.mark.parametrize(
    ("one", "zero_zero", "one_zero", "result"),
    [
        (0.5008, 0.49489080344620318, 0.50359424920127793, 0.98759610445940904),
        (0.4987625, 0.50078555574951988, 0.5016791979949875, 0.99772497672796534),
        (0.499175, 0.49755391373801916, 0.50413181749887315, 0.99061680777094752),
        (0.02001200000000003, 0.98001606143754971, 0.97861283230061957, 0.029123023940057065),
    ],
)
def test_the_markov_estimate_as_nists_program_has_it(
    one: float, zero_zero: float, one_zero: float, result: float
) -> None:
    steps = [(zero_zero, 1 - zero_zero), (one_zero, 1 - one_zero)]
    assert entropy.markov_chain_entropy((1 - one, one), steps) == pytest.approx(result, abs=1e-9)


CHAINS = ["0" * 128, "01" * 64, "0" + "1" * 127, "1" + "0" * 127, "10" * 64, "1" * 128]
"""What table 1 of section 6.3.3 lists, written out."""


def _walked(bits: list[int]) -> float:
    """The estimate by walking along each chain, and with exact shares."""
    steps = {before: [0, 0] for before in (0, 1)}
    for one, other in itertools.pairwise(bits):
        steps[one][other] += 1
    likeliest = Fraction(0)
    for chain in CHAINS:
        first = int(chain[0])
        chance = Fraction(bits.count(first), len(bits))
        for before, after in itertools.pairwise(chain):
            total = sum(steps[int(before)])
            chance *= Fraction(steps[int(before)][int(after)], total) if total else 0
        likeliest = max(likeliest, chance)
    if not likeliest:
        return 1.0
    # In two parts, since such a chance is too small for one float.
    return min(1.0, (math.log2(likeliest.denominator) - math.log2(likeliest.numerator)) / 128)


@given(MANY_BITS)
def test_the_markov_estimate_is_what_walking_along_the_standards_chains_gives(bits: list[int]) -> None:
    assert entropy.markov_entropy(bits) == pytest.approx(_walked(bits), abs=1e-9)


@given(MANY_BITS)
def test_estimates_lie_between_nothing_and_one_bit_and_do_not_care_which_value_is_which(
    bits: list[int],
) -> None:
    turned = [1 - bit for bit in bits]
    for estimate in (
        entropy.most_common_value_entropy,
        entropy.collision_entropy,
        entropy.markov_entropy,
    ):
        value = estimate(bits)
        assert 0 <= value <= 1
        assert estimate(turned) == pytest.approx(value)


def test_a_constant_has_no_entropy() -> None:
    for bits in ([0] * 1000, [1] * 1000):
        assert entropy.most_common_value_entropy(bits) == 0
        assert entropy.collision_entropy(bits) == 0
        assert entropy.markov_entropy(bits) == 0
    assert str(entropy.most_common_value_entropy([0] * 10)) == "0.0"


# What helper data leaves


def _enumerated(length: int, p: Fraction) -> float:
    """-log2 of the chance to guess the secret bit, over every helper datum of a repetition code."""
    right = Fraction(0)
    for helper in itertools.product((0, 1), repeat=length):
        chances = []
        for secret in (0, 1):
            chance = Fraction(1, 2)
            for bit in helper:
                chance *= p if bit ^ secret else 1 - p
            chances.append(chance)
        right += max(chances)
    return -math.log2(right)


@pytest.mark.parametrize("length", [1, 3, 4, 5, 7])
@pytest.mark.parametrize(
    "p", [Fraction(1, 2), Fraction(11, 20), Fraction(3, 5), Fraction(9, 10), Fraction(1)]
)
def test_what_a_repetition_group_keeps_is_what_enumeration_finds(length: int, p: Fraction) -> None:
    assert entropy.repetition_entropy(float(p), length) == pytest.approx(_enumerated(length, p), abs=1e-12)


def test_the_bound_of_a_key_holds_for_a_code_small_enough_to_enumerate() -> None:
    """A [3, 2] parity code over repetition 3: all helper data, all code words, exactly."""
    p = Fraction(3, 5)
    words = [word for word in itertools.product((0, 1), repeat=3) if sum(word) % 2 == 0]
    right = Fraction(0)
    for helper in itertools.product((0, 1), repeat=9):
        chances = []
        for word in words:
            chance = Fraction(1, len(words))
            for index, bit in enumerate(helper):
                chance *= p if bit ^ word[index // 3] else 1 - p
            chances.append(chance)
        right += max(chances)
    exact = -math.log2(right)
    bound = 2 - 3 * (1 - entropy.repetition_entropy(0.6, 3))
    plain = 9 * -math.log2(0.6) - (9 - 2)
    assert plain < bound <= exact


def test_a_key_of_perfect_cells_keeps_every_bit_and_each_per_cent_of_bias_costs() -> None:
    assert entropy.key_entropy(0.5, 3) == 393
    left = [entropy.key_entropy(0.5 + at / 100, 3) for at in range(12)]
    assert left == sorted(left, reverse=True)
    # Inside of 0.45 to 0.55 both keys keep their strength, and soon beyond they do not: the design's limits.
    assert entropy.key_entropy(0.55, 3) == pytest.approx(176.6, abs=0.1)
    assert entropy.key_entropy(0.55, 5) > 256
    assert entropy.key_entropy(0.57, 3) < 128
    assert entropy.key_entropy(0.605, 3) == 0
    # Counting n - k bits gives up long before.
    assert entropy.plain_key_entropy(0.926, 3) == 0
    assert entropy.plain_key_entropy(1.0, 3) == 393


def test_failures_are_as_rare_as_the_design_says() -> None:
    assert entropy.failure_rate(0.15, 3) == pytest.approx(1.6e-9, rel=0.05)
    assert entropy.failure_rate(0.0, 3) == 0
    assert entropy.failure_rate(0.5, 3) == pytest.approx(1.0)
    assert entropy.failure_rate(0.15, 5) / entropy.failure_rate(0.15, 3) == pytest.approx(5 / 3, rel=1e-6)


@settings(max_examples=50)
@given(st.floats(0, 1), st.sampled_from([3, 5]))
def test_a_failure_rate_is_a_probability(error_rate: float, blocks: int) -> None:
    assert 0 <= entropy.failure_rate(error_rate, blocks) <= 1
