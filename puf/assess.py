"""Is this chip fit to carry a key?  Measures its readouts, estimates the entropy, and says yes or why not.

Runs on CPython.  `assess(readouts)` measures; `Assessment.judge(key_bits, is_debiased)` decides; `verdict`,
`reasons` and `is_fit` say what was decided.

Limits: a share of ones outside 0.45 to 0.55 is debiased or refused; errors up to 15 %, for which the code is
made; two chips differ in 45 to 55 % of their cells; the secrets behind the helper data keep at least as many
bits of min-entropy as the key has.

What a key keeps is computed for independent cells that an attacker guesses with one chance, `guess`.  Real
cells are not quite independent, so that chance is the best of several predictors', each with its 99 %
allowance: the commoner value (SP 800-90B, 6.3.1), a Markov chain (6.3.3), a cell's neighbour at whatever
distance repeats most, its place in the byte, its region.  The last three count only where they are no
accident.  The collision estimate (6.3.2) is shown and not used: its allowance alone takes a perfect chip of
32,768 cells down to 0.80.  None of this finds what a predictor would that knows how chips of one kind are
alike; other chips show that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from puf import debias
from puf.assess_bits import Bits, Spatial, debiased_bits, raw_bits, spatial_of
from puf.assess_cells import (
    correlations,
    counts_of,
    distances_between,
    error_rates,
    reference_of,
    to_cells,
)
from puf.entropy import (
    BLOCK_CELLS,
    BLOCKS,
    REPETITION,
    failure_rate,
    key_entropy,
    plain_key_entropy,
)
from puf.errors import ReadoutError

BIAS_MIN, BIAS_MAX = 0.45, 0.55
ERROR_RATE_MAX = 0.15
INTER_OFF_MAX = 0.05
"""How far from one half the distance of two chips may be."""
FAILURE_RATE_MAX = 1e-6
"""A device that asks for its key once a minute fails once in two years."""
PASS = "PASS"  # noqa: S105
PASS_DEBIASED = "PASS AFTER DEBIASING"  # noqa: S105
REFUSED_BIAS = "REFUSED (bias)"
REFUSED_CELLS = "REFUSED (too few cells)"
REFUSED_CELLS_DEBIASED = "REFUSED (too few cells after debiasing)"
REFUSED_NOISE = "REFUSED (noise)"
REFUSED_ENTROPY = "REFUSED (entropy)"
REFUSED_ALIKE = "REFUSED (chips are alike)"


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one kind, as shares from 0 to 1."""

    mean: float
    lowest: float
    highest: float
    count: int


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a key of some length may be built on this chip, and on what grounds."""

    key_bits: int
    is_debiased: bool
    verdict: str
    reasons: tuple[str, ...]
    """Why, a sentence each; of a refusal the grounds first."""
    blocks: int
    bits_needed: int
    bits_available: int
    entropy_bits: float
    """Min-entropy of the secrets at least, all helper data known."""
    plain_entropy_bits: float
    """The same by counting n - k bits as lost, for comparison."""
    failure_rate: float
    """How often the key does not come back, at the worst readout's error rate."""

    @property
    def is_pass(self) -> bool:
        """Whether the key may be built."""
        return self.verdict in (PASS, PASS_DEBIASED)


@dataclass(frozen=True, slots=True)
class Measured:
    """What plots are drawn from; much of it grows with the chip."""

    counts: list[int]
    """Of how many readouts each cell is 1."""
    intra: list[float]
    inter: list[float]
    correlations: list[tuple[int, float]]
    reference: bytes


@dataclass(frozen=True, slots=True)
class Assessment:
    """What was measured on one chip."""

    readout_count: int
    cell_count: int
    bias: Spread
    """Share of ones, by readout."""
    intra: Spread
    """Distance of two readouts of this chip."""
    inter: Spread | None
    """Distance to each other chip's reference; None without other chips."""
    errors: Spread
    """Distance of each readout to the majority of the others: what a device's error correction must bear."""
    debiased_errors: Spread
    """The same for the debiased bits, which a mask of the majority of all readouts selects."""
    stable: float
    """Share of cells that never changed."""
    unsure: float
    """Share of cells that are wrong in more than a quarter of the readouts."""
    worst_cell: float
    """Error rate of the worst cell: the rarer value's share."""
    cells: Bits
    """The reference, cell by cell."""
    debiased: Bits
    """One independent bit for each pair of unequal cells."""
    spatial: Spatial
    fit: Fit
    """The decision that was asked for."""
    measured: Measured = field(repr=False, compare=False)

    @property
    def verdict(self) -> str:
        """The decision in capitals."""
        return self.fit.verdict

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, a sentence each."""
        return self.fit.reasons

    def is_fit(self, key_bits: int, is_debiased: bool = False) -> bool:
        """Whether a key of 128 or 256 bits may be built, with debiasing or without."""
        return self.judge(key_bits, is_debiased).is_pass

    def judge(self, key_bits: int, is_debiased: bool = False) -> Fit:
        """The decision for a key of 128 or 256 bits, with debiasing or without."""
        return _judge(self, key_bits, is_debiased)


def assess(
    readouts: Sequence[bytes],
    others: Sequence[bytes] = (),
    key_bits: int = 128,
    is_debiased: bool = False,
) -> Assessment:
    """Measure a chip and decide on it.

    readouts: two or more of one chip, bytes of equal length, one bit per cell, MSB first, each from power-on.
    others: a response of each other chip, for uniqueness; `response_of` makes one of several readouts.
    Raises ReadoutError when there is too little to say anything, or sizes differ.
    """
    cells, cell_count = to_cells(readouts)
    if any(len(other) * 8 != cell_count for other in others):
        raise ReadoutError("chips of different sizes cannot be compared; read the same region of each")
    counts = counts_of(cells, cell_count)
    reference = reference_of(cells, counts)
    response = reference.to_bytes(cell_count // 8, "big")
    intra = distances_between(cells, cell_count)
    inter = [(int.from_bytes(other, "big") ^ reference).bit_count() / cell_count for other in others]
    repeats = correlations(reference, cell_count)
    half = len(cells) / 2
    rarer = [min(count, len(cells) - count) for count in counts]
    measured = Measured(counts, intra, inter, repeats, response)
    values = {
        "readout_count": len(cells),
        "cell_count": cell_count,
        "bias": _spread([readout.bit_count() / cell_count for readout in cells]),
        "intra": _spread(intra),
        "inter": _spread(inter) if inter else None,
        "errors": _spread(error_rates(cells, counts)),
        "debiased_errors": _debiased_errors(readouts, response),
        "stable": sum(count == 0 for count in rarer) / cell_count,
        "unsure": sum(count > half / 2 for count in rarer) / cell_count,
        "worst_cell": max(rarer) / len(cells),
        "cells": raw_bits(reference, cell_count, repeats),
        "debiased": debiased_bits(response),
        "spatial": spatial_of(reference, cell_count, repeats),
        "measured": measured,
    }
    undecided = Assessment(fit=_UNDECIDED, **values)  # type: ignore[arg-type]
    return Assessment(fit=undecided.judge(key_bits, is_debiased), **values)  # type: ignore[arg-type]


def response_of(readouts: Sequence[bytes]) -> bytes:
    """The response to enrol: the commoner value of each cell.  Raises ReadoutError."""
    cells, cell_count = to_cells(readouts)
    return reference_of(cells, counts_of(cells, cell_count)).to_bytes(cell_count // 8, "big")


_UNDECIDED = Fit(0, False, "", (), 0, 0, 0, 0.0, 0.0, 1.0)


def _judge(chip: Assessment, key_bits: int, is_debiased: bool) -> Fit:
    if key_bits not in BLOCKS:
        raise ValueError(f"keys have {' or '.join(map(str, BLOCKS))} bits, not {key_bits}")
    blocks = BLOCKS[key_bits]
    needed = blocks * BLOCK_CELLS
    if is_debiased:
        source, independent = chip.debiased, debias.PAIRS_PER_GROUP
        available = source.count // debias.PAIRS_PER_GROUP * debias.BITS_PER_GROUP
        errors = max(chip.errors.highest, chip.debiased_errors.highest)
    else:
        source, independent = chip.cells, REPETITION
        available, errors = source.count, chip.errors.highest
    present = min(blocks, available // BLOCK_CELLS)
    entropy = key_entropy(source.guess, present, independent)
    # Of a debiased group's seven bits four are independent; three follow from them and are no entropy.
    plain = plain_key_entropy(-math.log2(source.guess) * independent / REPETITION, present)
    fails = failure_rate(errors, blocks)
    refusals: list[tuple[str, str]] = []
    if not is_debiased and not BIAS_MIN <= chip.cells.ones <= BIAS_MAX:
        helps = (
            "debiasing makes it fit" if chip.is_fit(key_bits, True) else "debiasing does not suffice either"
        )
        why = (
            f"{_percent(chip.cells.ones)} of the cells are 1; outside 45 to 55 % the helper data gives the "
            f"key away; {helps}"
        )
        refusals.append((REFUSED_BIAS, why))
    if available < needed:
        refusals.append(_too_few(chip, available, needed, is_debiased))
    if chip.inter and max(abs(chip.inter.lowest - 0.5), abs(chip.inter.highest - 0.5)) > INTER_OFF_MAX:
        far = max(chip.inter.lowest, chip.inter.highest, key=lambda share: abs(share - 0.5))
        why = (
            f"another chip differs in {_percent(far)} of the cells, where 45 to 55 % is right: who reads one "
            "knows much of the other; either both are one chip, or firmware writes there before it is read"
        )
        refusals.append((REFUSED_ALIKE, why))
    if errors > ERROR_RATE_MAX or fails > FAILURE_RATE_MAX:
        why = (
            f"the worst readout has {_percent(errors)} errors, and the code is made for 15 %: a key would "
            f"fail {fails:.2g} of the time"
        )
        refusals.append((REFUSED_NOISE, why))
    if entropy < key_bits:
        why = (
            f"when the helper data is known, {entropy:.0f} bits of min-entropy are left of the {key_bits} "
            f"that the key has: {source.predictor} guesses a bit with {_percent(source.guess)}"
        )
        refusals.append((REFUSED_ENTROPY, why))
    if refusals:
        verdict, reasons = refusals[0][0], tuple(why for _, why in refusals)
    else:
        verdict = PASS_DEBIASED if is_debiased else PASS
        kind = "bits after debiasing" if is_debiased else "cells"
        reasons = (
            f"{available:,} {kind} for the {needed:,} that a key of {key_bits} bits takes",
            f"at least {entropy:.0f} bits of min-entropy are left when the helper data is known",
            f"errors up to {_percent(errors)}: a key fails {fails:.2g} of the time",
        )
    return Fit(key_bits, is_debiased, verdict, reasons, blocks, needed, available, entropy, plain, fails)


def _too_few(chip: Assessment, available: int, needed: int, is_debiased: bool) -> tuple[str, str]:
    if not is_debiased:
        return REFUSED_CELLS, f"{available:,} cells, and the key takes {needed:,}; read a larger region"
    if not available:
        return REFUSED_CELLS_DEBIASED, "no neighbours differ, so nothing is left after debiasing"
    size = math.ceil(chip.cell_count * needed / available / 8)
    why = (
        f"{available:,} bits are left of {chip.cell_count:,} cells after debiasing, and the key takes "
        f"{needed:,}; some {8 * size:,} cells like these ({size:,} bytes) would be needed"
    )
    return REFUSED_CELLS_DEBIASED, why


def _debiased_errors(readouts: Sequence[bytes], response: bytes) -> Spread:
    bit_count = debias.group_count(response) * debias.BITS_PER_GROUP
    if not bit_count:
        return Spread(0.0, 0.0, 0.0, 0)
    mask, bits = debias.enrol(response, bit_count)
    reference = int.from_bytes(bits, "big")
    return _spread(
        [
            (int.from_bytes(debias.reproduce(readout, mask), "big") ^ reference).bit_count() / bit_count
            for readout in readouts
        ]
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(sum(values) / len(values), min(values), max(values), len(values))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
