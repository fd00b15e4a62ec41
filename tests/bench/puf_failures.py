"""How often a key does not come back: a million simulated tries at each noise, and what is computed.

Runs on CPython.  Cells err independently with the given probability.  64 blocks share a machine word, one bit
each, so a million reproductions of 3 x 255 x 7 cells take half a minute.  The first of them also go, cell by
cell, through the extractor itself, which must give back the key exactly where at most 18 code bits of each
block are wrong.  An item is one reproduction; the peer is the extractor.

Cells of real chips err with probabilities of their own.  Over all chips that changes nothing: seven cells
drawn at random err four times or more as often as seven cells of the mean.  Over the readouts of one chip it
does: its failures are those of its worst cells, so failing chips fail again.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from puf import bch
from puf.errors import ReproductionError
from puf.fuzzy_extractor import enrol, reproduce
from puf.helper_data import REPETITION
from tests.bench.measure import CPU_US, FULL, Row, Stopwatch, digest_of

Words = NDArray[np.uint64]

NOISES = (0.05, 0.10, 0.15, 0.18)
COUNT = {"tiny": 6_400, FULL: 1_024_000}
CHECKED_COUNT = {"tiny": 64, FULL: 1_024}
BLOCKS = 3
CHUNK = 64 * BLOCKS * 100
"""Blocks that are simulated at a time."""
PRECISION_BITS = 16
"""A probability is a multiple of 2^-16."""


class FailureRateOff(Exception):
    """What was simulated is not what was computed, or not what the extractor does."""


@dataclass(frozen=True, slots=True)
class Failures:
    """What became of many reproductions."""

    noise: float
    """Probability with which a cell errs, as simulated."""
    count: int
    failed: int
    worst: int
    """Most wrong code bits of a block; 18 are put right."""
    histogram: tuple[int, ...]
    """Blocks by their number of wrong code bits, 0 to 255."""
    cpu_us: float
    """Of the simulation."""
    extractor_cpu_us: float
    """Of one reproduction by the extractor."""


def quantised(noise: float) -> int:
    """The noise in units of 2^-16."""
    return round(noise * (1 << PRECISION_BITS))


def block_failure(noise: float) -> float:
    """Computed: the probability that more than 18 of 255 majorities of seven are wrong."""
    wrong = sum(
        math.comb(REPETITION, count) * noise**count * (1 - noise) ** (REPETITION - count)
        for count in range(REPETITION // 2 + 1, REPETITION + 1)
    )
    return math.fsum(
        math.comb(bch.N, count) * wrong**count * (1 - wrong) ** (bch.N - count)
        for count in range(bch.T + 1, bch.N + 1)
    )


def computed(noise: float, blocks: int = BLOCKS) -> float:
    """Computed: the probability that a key does not come back."""
    return -math.expm1(blocks * math.log1p(-min(1 - 1e-15, block_failure(noise))))


def _errors(dice: np.random.Generator, threshold: int, shape: tuple[int, ...]) -> Words:
    """Bits that are ones with the probability threshold / 2^16: digit by digit, from the last, of a random
    binary fraction that is compared with it.
    """
    total = np.zeros(shape, np.uint64)
    for digit in range(PRECISION_BITS):
        fraction = np.frombuffer(dice.bytes(8 * total.size), np.uint64).reshape(shape)
        if threshold >> digit & 1:
            total |= ~fraction
        else:
            total &= ~fraction
    return total


def _majority(cells: Words) -> Words:
    """Of seven copies along the first axis."""
    a, b, c, d, e, f, g = cells
    sum_1, carry_1 = a ^ b ^ c, a & b | (a ^ b) & c
    sum_2, carry_2 = d ^ e ^ f, d & e | (d ^ e) & f
    carry_3 = sum_1 & sum_2 | (sum_1 ^ sum_2) & g
    majority: Words = carry_1 & carry_2 | (carry_1 ^ carry_2) & carry_3
    return majority


def _chunks(noise: float, count: int, seed: int) -> Iterator[tuple[Words, NDArray[np.int64]]]:
    """(cells in error [copy, code bit, word], wrong code bits of each block), chunk by chunk."""
    dice = np.random.Generator(np.random.SFC64(seed))
    remaining = count * BLOCKS
    while remaining > 0:
        words = min(CHUNK, remaining) // 64
        cells = _errors(dice, quantised(noise), (REPETITION, bch.N, words))
        wrong = np.unpackbits(_majority(cells).view(np.uint8), axis=1, bitorder="little")
        yield cells, wrong.sum(axis=0, dtype=np.int64)
        remaining -= 64 * words


def simulate(noise: float, count: int, checked_count: int, seed: int) -> Failures:
    """`count` reproductions, a multiple of 64.  Raises FailureRateOff."""
    failed = 0
    histogram = np.zeros(bch.N + 1, np.int64)
    extractor_cpu_us = 0.0
    cpu_us = 0.0
    chunks = _chunks(noise, count, seed)
    while True:
        with Stopwatch() as watch:
            chunk = next(chunks, None)
            if chunk is not None:
                by_key = chunk[1].reshape(-1, BLOCKS)
                failed += int((by_key.max(axis=1) > bch.T).sum())
                histogram += np.bincount(chunk[1], minlength=bch.N + 1)
        cpu_us += watch.cpu_us
        if chunk is None:
            break
        if not extractor_cpu_us:
            extractor_cpu_us = _check(chunk[0], by_key, min(checked_count, len(by_key)))
    exact = quantised(noise) / (1 << PRECISION_BITS)
    expected = count * computed(exact)
    # Six deviations, and room for one event where hardly any is expected.
    if abs(failed - expected) > 6 * math.sqrt(expected) + 1:
        raise FailureRateOff(f"at {noise:.0%} {failed} of {count} failed, where {expected:.3g} were computed")
    worst = int(np.flatnonzero(histogram)[-1])
    return Failures(exact, count, failed, worst, tuple(histogram.tolist()), cpu_us, extractor_cpu_us)


def _check(cells: Words, wrong: NDArray[np.int64], count: int) -> float:
    """Puts the first keys through the extractor; CPU microseconds for each."""
    dice = random.Random(1)
    reference = dice.randbytes(670)
    readouts = [reference, reference, bytes((reference[0] ^ 1,)) + reference[1:]]
    helper, root = enrol(readouts, dice.randbytes(50))
    words = -(-count * BLOCKS // 64)
    lanes = np.unpackbits(np.ascontiguousarray(cells[:, :, :words]).view(np.uint8), axis=2, bitorder="little")
    noisy = []
    for key in range(count):
        bits = lanes[:, :, BLOCKS * key : BLOCKS * key + BLOCKS].transpose(0, 2, 1).reshape(-1)
        errors = int.from_bytes(np.packbits(bits).tobytes(), "big")
        noisy.append((int.from_bytes(reference, "big") ^ errors).to_bytes(670, "big"))
    verdicts = []
    with Stopwatch() as watch:
        for readout in noisy:
            try:
                verdicts.append(reproduce(readout, helper) == root)
            except ReproductionError:
                verdicts.append(False)
    if verdicts != [bool(of_key.max() <= bch.T) for of_key in wrong[:count]]:
        raise FailureRateOff("the extractor gives back other keys than those with 18 wrong code bits at most")
    return watch.cpu_us / count


def bench_failures(size: str) -> list[Row]:
    """A row for each noise; the note says how many failed, and how many were computed."""
    rows = []
    for seed, noise in enumerate(NOISES):
        found = simulate(noise, COUNT[size], CHECKED_COUNT[size], seed)
        ours = found.cpu_us / found.count
        rows.append(
            Row(
                "puf-failures",
                f"reproduction at {noise:.0%} noise",
                CPU_US,
                ours,
                "the extractor",
                found.extractor_cpu_us,
                ours / found.extractor_cpu_us,
                digest_of(found.count, found.failed, found.histogram),
                note=(
                    f"{found.failed} of {found.count:,} failed ({found.failed / found.count:.1e}), "
                    f"computed {computed(noise):.1e}; at most {found.worst} wrong code bits in a block"
                ),
            )
        )
    return rows
