"""What `cpc puf assess` prints for people: figures, and plots of characters.

Runs on CPython.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from gateway.cli_output import wrapped
from puf.assess import Assessment, Spread
from puf.assess_bits import LAG_Z

INDENT = 20
"""Where the second column begins."""
AXIS_PERCENT = 60
"""Distances on the axis, a column for each percent."""
MAP_COLUMNS = 64
MAP_ROWS = 8


@dataclass(frozen=True, slots=True)
class Blocks:
    """Characters of rising weight."""

    bars: str
    shades: str

    @staticmethod
    def fitting() -> "Blocks":
        """Those that standard output can show."""
        is_unicode = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
        return Blocks("▁▂▃▄▅▆▇█", " ░▒▓█") if is_unicode else Blocks(".:-=+*#@", " .:+#")


def text_of(name: str, chip: Assessment, blocks: Blocks) -> str:
    """All about one chip, in lines."""
    fit, where = chip.fit, chip.spatial
    cells = chip.cells
    source = chip.debiased if fit.is_debiased else cells
    entropies = [("per cell", cells)] + ([("debiased, per pair", chip.debiased)] if fit.is_debiased else [])
    repeats = (
        f"cells {where.lag} apart agree {100 * where.correlation:+.1f} % beyond chance "
        f"({where.significance:+.1f} deviations{', no accident' if abs(where.significance) > LAG_Z else ''})"
    )
    lines = [
        f"{name}: {chip.readout_count} readouts of {chip.cell_count // 8:,} bytes, {chip.cell_count:,} cells",
        _row(
            "ones",
            f"{_percent(chip.bias.mean)} in readouts ({_range(chip.bias)}); cells that prefer 1: "
            f"{_percent(cells.ones)}, 99 % interval {100 * cells.ones_lowest:.1f} to "
            f"{_percent(cells.ones_highest)}",
        ),
        _row(
            "noise",
            f"readouts differ in {_percent(chip.intra.mean)} (worst {_percent(chip.intra.highest)}), from "
            f"the others' majority in {_percent(chip.errors.mean)} (worst {_percent(chip.errors.highest)})",
        ),
        _row(
            "stable cells",
            f"{_percent(chip.stable)} never changed; {_percent(chip.unsure)} err in more than a quarter of "
            f"the readouts, the worst in {_percent(chip.worst_cell)}",
        ),
    ]
    if chip.inter:
        lines.append(
            _row(
                "other chips",
                f"differ in {_percent(chip.inter.mean)} on average ({_range(chip.inter)}), "
                f"{chip.inter.count} compared",
            )
        )
    lines += [
        _row("by place in byte", " ".join(f"{100 * share:.1f}" for share in where.ones_by_place) + " % ones"),
        _row("repetition", repeats),
    ]
    lines += [
        _row(
            "min-entropy",
            f"{kind}: most common value {bits.most_common_value:.3f}, collision {bits.collision:.3f}, "
            f"Markov {bits.markov:.3f} (SP 800-90B); best guess {_percent(bits.guess)}, by {bits.predictor}",
        )
        for kind, bits in entropies
    ]
    # Pairs hold half the bits, so that counting bits says nothing of them.
    by_counting = "" if fit.is_debiased else f" ({fit.plain_entropy_bits:.0f} by counting n - k)"
    what = f"{fit.bits_available:,} debiased bits" if fit.is_debiased else f"{source.count:,} cells"
    lines += [
        _row(
            f"{fit.key_bits}-bit key",
            f"takes {fit.bits_needed:,} of {what} in {fit.blocks} blocks; helper data known, at least "
            f"{fit.entropy_bits:.0f} bits are left{by_counting}; "
            f"fails {fit.failure_rate:.1g} of the time",
        ),
        "",
        *distance_plot(chip, blocks),
        "",
        *stability_map(chip, blocks),
        "",
        wrapped(f"  {fit.verdict}: {fit.reasons[0]}", 4),
        *(wrapped(f"    {'also: ' if not fit.is_pass else ''}{reason}", 6) for reason in fit.reasons[1:]),
    ]
    return "\n".join(lines)


def distance_plot(chip: Assessment, blocks: Blocks) -> list[str]:
    """Two histograms over one axis: within this chip, and to others."""
    rows = [("within this chip", chip.measured.intra)]
    if chip.measured.inter:
        rows.append(("to other chips", chip.measured.inter))
    lines = [f"  {label:<{INDENT - 2}}{_bars(values, blocks)}".rstrip() for label, values in rows]
    axis = "".join(f"{at} %".ljust(10) for at in range(0, AXIS_PERCENT + 1, 10)).rstrip()
    return [*lines, f"  {'cells that differ':<{INDENT - 2}}{axis}"]


def stability_map(chip: Assessment, blocks: Blocks) -> list[str]:
    """Error rates of neighbouring cells together, in their order, row by row."""
    shares = error_map(chip, MAP_COLUMNS * MAP_ROWS)
    worst = max(shares)
    top = len(blocks.shades) - 1
    marks = [blocks.shades[min(top, int(share / worst * top + 0.5)) if worst else 0] for share in shares]
    lines = ["".join(marks[at : at + MAP_COLUMNS]) for at in range(0, len(marks), MAP_COLUMNS)]
    labels = ["errors by cells"] + [""] * (len(lines) - 1)
    scale = (
        f"each mark {chip.cell_count // len(shares)} cells; '{blocks.shades[0]}' 0 %, '{blocks.shades[-1]}' "
    )
    return [
        *(f"  {label:<{INDENT - 2}}|{line}|" for label, line in zip(labels, lines, strict=True)),
        f"  {'':<{INDENT - 2}}{scale}{_percent(worst)} errors",
    ]


def error_map(chip: Assessment, marks: int) -> list[float]:
    """Mean error rate of each of at most `marks` groups of neighbouring cells."""
    counts, readouts = chip.measured.counts, chip.readout_count
    marks = min(marks, len(counts) // 8)
    bounds = [at * len(counts) // marks for at in range(marks + 1)]
    return [
        sum(min(count, readouts - count) for count in counts[first:end]) / (readouts * (end - first))
        for first, end in pairwise(bounds)
    ]


def _bars(values: Sequence[float], blocks: Blocks) -> str:
    columns = [0] * (AXIS_PERCENT + 1)
    for value in values:
        columns[min(AXIS_PERCENT, int(100 * value))] += 1
    most, top = max(columns), len(blocks.bars) - 1
    return "".join(
        blocks.bars[max(0, round(count / most * top))] if count else " " for count in columns
    ).rstrip()


def _row(label: str, text: str) -> str:
    return wrapped(f"  {label:<{INDENT - 2}}{text}", INDENT)


def _range(spread: Spread) -> str:
    return f"{100 * spread.lowest:.1f} to {_percent(spread.highest)}"


def _percent(share: float) -> str:
    # Some chips err in so few cells that one digit says nothing.
    return f"{100 * share:.2f} %" if 0 < share < 0.005 else f"{100 * share:.1f} %"
