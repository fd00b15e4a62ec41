"""How well a chip's bits can be guessed, by their values and by where their cells lie.

Runs on CPython.  A predictor's chance to guess a bit carries its 99 % allowance; what one chip in a
thousand shows by accident does not count.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from puf.assess_cells import bits_of, chi_square, correlations, significance
from puf.entropy import (
    Z,
    collision_entropy,
    markov_entropy,
    most_common_value,
    most_common_value_entropy,
)

LAG_Z = 5.0
"""Of 2,048 independent distances one lies this far out once in a thousand chips."""
REGIONS = 16
_CHI_SQUARE_MAX = {4: 16.27, 8: 24.32, 16: 37.70}
"""Number of classes -> what one chip in a thousand exceeds when ones lie evenly."""


@dataclass(frozen=True, slots=True)
class Bits:
    """Min-entropy of some bits in their order, each an estimate a bit."""

    count: int
    ones: float
    """Share of ones."""
    ones_lowest: float
    ones_highest: float
    """Its 99 % interval, were the bits independent."""
    most_common_value: float
    collision: float
    markov: float
    guess: float
    """Chance of the best predictor to guess a bit, its allowance included."""
    predictor: str
    """Which that is."""


@dataclass(frozen=True, slots=True)
class Spatial:
    """What depends on where a cell lies."""

    ones_by_place: tuple[float, ...]
    """Share of ones by place in the byte, the highest bit first."""
    place_chi_square: float
    region_chi_square: float
    lag: int
    """The distance in cells at which cells agree or disagree most."""
    correlation: float
    significance: float
    """Of that correlation, in standard deviations; beyond 5 it is no accident."""


def raw_bits(reference: int, cell_count: int, repeats: Sequence[tuple[int, float]]) -> Bits:
    """The cells of a response as they are; `repeats`: its `correlations`."""
    bits = bits_of(reference, cell_count)
    by_place, by_region = _by_place(bits), _by_region(bits)
    return _bits(bits, repeats, {"place in the byte": by_place, "region": by_region})


def debiased_bits(response: bytes) -> Bits:
    """One bit for each pair of cells that differ, its first; the pair's other bit says the same."""
    bits, by_place = [], [[], [], [], []]  # type: tuple[list[int], list[list[int]]]
    for byte in response:
        for pair in range(4):
            both = byte >> (6 - 2 * pair) & 3
            if both in (1, 2):
                bits.append(both >> 1)
                by_place[pair].append(both >> 1)
    if len(bits) < 64:
        return Bits(len(bits), 0.5, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, "too few to say")
    repeats = correlations(int("".join(map(str, bits)), 2), len(bits))
    return _bits(bits, repeats, {"place in the byte": by_place})


def _bits(bits: list[int], repeats: Sequence[tuple[int, float]], classes: dict[str, list[list[int]]]) -> Bits:
    count, ones = len(bits), sum(bits) / len(bits)
    allowance = Z * math.sqrt(ones * (1 - ones) / count)
    markov = markov_entropy(bits)
    guesses = [
        (most_common_value(sum(bits), count), "the commoner value"),
        (2**-markov, "a Markov chain"),
    ]
    lag, correlation = _strongest(repeats, count)
    if lag and abs(significance(correlation, lag, count)) > LAG_Z:
        sure = math.copysign(min(1.0, abs(correlation) + Z / math.sqrt(count - lag)), correlation)
        guesses.append((_guess_by_neighbour(ones, sure), f"the cell {lag} before"))
    for name, groups in classes.items():
        totals = [len(group) for group in groups]
        if (
            min(totals) == 0
            or chi_square([sum(group) for group in groups], totals) <= _CHI_SQUARE_MAX[len(groups)]
        ):
            continue
        right = sum(max(sum(group), len(group) - sum(group)) for group in groups)
        guesses.append((min(1.0, right / count + Z * 0.5 / math.sqrt(count)), f"the {name}"))
    guess, predictor = max(guesses)
    return Bits(
        count,
        ones,
        max(0.0, ones - allowance),
        min(1.0, ones + allowance),
        most_common_value_entropy(bits),
        collision_entropy(bits),
        markov,
        guess,
        predictor,
    )


def _guess_by_neighbour(ones: float, correlation: float) -> float:
    """The chance to guess a cell from one with which it is so correlated."""
    both = ones * (1 - ones)
    differ = max(0.0, both * (1 - correlation))
    return min(
        1.0, max(ones * ones + correlation * both, differ) + max((1 - ones) ** 2 + correlation * both, differ)
    )


def _strongest(repeats: Sequence[tuple[int, float]], count: int) -> tuple[int, float]:
    """(lag, correlation) of what is furthest from chance; lag 0 for none."""
    return max(
        repeats,
        key=lambda pair: abs(significance(pair[1], pair[0], count)),
        default=(0, 0.0),
    )


def spatial_of(reference: int, cell_count: int, repeats: Sequence[tuple[int, float]]) -> Spatial:
    """What depends on where a cell lies; `repeats`: the response's `correlations`."""
    bits = bits_of(reference, cell_count)
    by_place, by_region = _by_place(bits), _by_region(bits)
    lag, correlation = _strongest(repeats, cell_count)
    return Spatial(
        tuple(sum(group) / len(group) for group in by_place),
        chi_square([sum(group) for group in by_place], [len(group) for group in by_place]),
        chi_square([sum(group) for group in by_region], [len(group) for group in by_region]),
        lag,
        correlation,
        significance(correlation, lag, cell_count),
    )


def _by_place(bits: list[int]) -> list[list[int]]:
    return [bits[place::8] for place in range(8)]


def _by_region(bits: list[int]) -> list[list[int]]:
    return [bits[at * len(bits) // REGIONS : (at + 1) * len(bits) // REGIONS] for at in range(REGIONS)]
