"""What several readouts of one chip say of its cells: how often each is 1, how readouts differ, what repeats.

Runs on CPython.  A readout is one large integer, its first cell the highest bit, so that whole chips are
compared in one operation.
"""

import math
from collections.abc import Sequence

from puf.errors import ReadoutError

LAG_MAX = 2048
"""Up to here every distance of two cells is looked at for repetition, beyond it each multiple of 64."""
LAG_STEP = 64


def to_cells(readouts: Sequence[bytes]) -> tuple[list[int], int]:
    """(readouts as integers, cells of each).  Raises ReadoutError when there is nothing to compare."""
    if len(readouts) < 2:
        raise ReadoutError(
            f"noise shows only in comparison, and there {'is one readout' if readouts else 'are none'}; "
            "give two or more of one chip, ten for a good estimate"
        )
    sizes = {len(readout) for readout in readouts}
    if len(sizes) > 1:
        raise ReadoutError(f"readouts of one chip are of one size, and these have {sorted(sizes)} bytes")
    if len(readouts[0]) < 8:
        raise ReadoutError(
            f"a readout of {len(readouts[0])} bytes is too short to say anything; read a larger region"
        )
    return [int.from_bytes(readout, "big") for readout in readouts], 8 * len(readouts[0])


def counts_of(cells: Sequence[int], cell_count: int) -> list[int]:
    """Of how many readouts each cell is 1, in the order of cells."""
    # Counters lie across: plane k holds bit k of every cell's counter.
    planes: list[int] = []
    for readout in cells:
        carry = readout
        for index, plane in enumerate(planes):
            planes[index], carry = plane ^ carry, plane & carry
        if carry:
            planes.append(carry)
    counts = [0] * cell_count
    for index, plane in enumerate(planes):
        for cell, bit in enumerate(format(plane, f"0{cell_count}b")):
            if bit == "1":
                counts[cell] += 1 << index
    return counts


def reference_of(cells: Sequence[int], counts: Sequence[int]) -> int:
    """The response to enrol: each cell's commoner value, the first readout's where there is none."""
    readout_count = len(cells)
    more = _where(counts, [2 * count > readout_count for count in range(readout_count + 1)])
    even = _where(counts, [2 * count == readout_count for count in range(readout_count + 1)])
    return more | (even & cells[0])


def distances_between(cells: Sequence[int], cell_count: int) -> list[float]:
    """The share of cells in which two readouts differ, for each pair of them."""
    return [
        (first ^ second).bit_count() / cell_count
        for index, second in enumerate(cells)
        for first in cells[:index]
    ]


def error_rates(cells: Sequence[int], counts: Sequence[int]) -> list[float]:
    """For each readout, the share of cells that differ from the majority of all *other* readouts.

    A tie is half an error.  No readout is held against a majority that it voted for, as no later one will be.
    """
    others = len(cells) - 1
    every = range(len(cells) + 1)
    one_errs = _where(counts, [2 * (count - 1) < others for count in every])
    one_ties = _where(counts, [2 * (count - 1) == others for count in every])
    zero_errs = _where(counts, [2 * count > others for count in every])
    zero_ties = _where(counts, [2 * count == others for count in every])
    return [
        (
            (readout & one_errs).bit_count()
            + (~readout & zero_errs).bit_count()
            + ((readout & one_ties).bit_count() + (~readout & zero_ties).bit_count()) / 2
        )
        / len(counts)
        for readout in cells
    ]


def dense_lags(cell_count: int) -> int:
    """Up to which distance `correlations` looks at every one."""
    return min(LAG_MAX, cell_count // 8)


def correlations(response: int, cell_count: int) -> list[tuple[int, float]]:
    """(lag, how much cells that lie so far apart agree beyond chance: -1 to 1, 0 for independent cells).

    Up to half the memory: a content that is there twice, or a readout that is two, repeats at its length.
    """
    ones = response.bit_count() / cell_count
    by_chance = ones * ones + (1 - ones) * (1 - ones)
    result: list[tuple[int, float]] = []
    dense = dense_lags(cell_count)
    beyond = range(dense // LAG_STEP * LAG_STEP + LAG_STEP, cell_count // 2 + 1, LAG_STEP)
    for lag in (*range(1, dense + 1), *beyond):
        length = cell_count - lag
        differ = ((response >> lag) ^ (response & ((1 << length) - 1))).bit_count()
        agreement = (1 - differ / length - by_chance) / (1 - by_chance) if by_chance < 1 else 1.0
        result.append((lag, agreement))
    return result


def significance(correlation: float, lag: int, cell_count: int) -> float:
    """Standard deviations of a correlation from 0 if the cells were independent."""
    return correlation * math.sqrt(cell_count - lag)


def bits_of(response: int, cell_count: int) -> list[int]:
    """The bits in the order of cells."""
    return [int(bit) for bit in format(response, f"0{cell_count}b")]


def chi_square(ones: Sequence[int], totals: Sequence[int]) -> float:
    """How unevenly ones lie among classes of cells; near the number of classes less one if by chance."""
    share = sum(ones) / sum(totals)
    if share in (0, 1):
        return 0.0
    return sum(
        (one - total * share) ** 2 / (total * share * (1 - share))
        for one, total in zip(ones, totals, strict=True)
    )


def _where(counts: Sequence[int], table: Sequence[bool]) -> int:
    """The cells whose count has a true entry."""
    return int("".join("1" if table[count] else "0" for count in counts), 2)
