"""Pictures of what `cpc puf assess` measured, as PNG.

Runs on CPython.  Needs matplotlib, the extra `plot`; colours are those of Okabe and Ito, which people with
any kind of colour vision tell apart, and nothing is told by colour alone.
"""

import importlib.util
import logging
from pathlib import Path
from typing import Any

from gateway.cli_output import UsageError
from gateway.cli_puf_show import error_map
from puf.assess import BIAS_MAX, BIAS_MIN, ERROR_RATE_MAX, Assessment
from puf.assess_bits import LAG_Z
from puf.assess_cells import dense_lags

BLUE, ORANGE, GREY, RED = "#0072B2", "#E69F00", "#666666", "#D55E00"
DPI = 120


def need_matplotlib() -> None:
    """Raises UsageError where it is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError(
            "pictures need matplotlib, the extra `plot`, which is not installed: pip install "
            "'cpchain-edge[plot]', or in a checkout .venv/bin/pip install '.[plot]'; without --plot the "
            "terminal shows the same"
        )


def draw(path: Path, name: str, chip: Assessment) -> None:
    """Write one picture of four panels.  Raises OSError."""
    # Only here: it takes half a second and much memory, and most runs draw nothing.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # At its first use it tells of fonts it has found.
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    figure = Figure(figsize=(12, 8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2)
    _distances(panels[0][0], chip)
    _preferences(panels[0][1], chip)
    _map(figure, panels[1][0], chip)
    _repetition(panels[1][1], chip)
    figure.suptitle(
        f"{name}: {chip.verdict}, {chip.fit.key_bits}-bit key\n{chip.readout_count} readouts, "
        f"{chip.cell_count:,} cells, {100 * chip.cells.ones:.1f} % prefer 1",
        fontsize=13,
    )
    figure.savefig(path, dpi=DPI, format="png", metadata={"Software": None})


def _distances(axes: Any, chip: Assessment) -> None:
    bins = [at / 2 for at in range(121)]
    intra = [100 * share for share in chip.measured.intra]
    axes.hist(intra, bins=bins, weights=[100 / len(intra)] * len(intra), color=BLUE, label="within this chip")
    inter = [100 * share for share in chip.measured.inter]
    if inter:
        axes.hist(
            *(inter, bins),
            weights=[100 / len(inter)] * len(inter),
            **{"color": ORANGE, "hatch": "///", "edgecolor": "black", "label": "to other chips"},
        )
    axes.axvline(100 * ERROR_RATE_MAX, color=GREY, linestyle="--", label="what the code corrects")
    axes.axvspan(45, 55, color=GREY, alpha=0.15, label="where other chips should be")
    axes.set(xlim=(0, 60), xlabel="cells that differ, %", ylabel="pairs, %", title="Distances")
    axes.legend(loc="upper center", fontsize="small")


def _preferences(axes: Any, chip: Assessment) -> None:
    steps = min(20, chip.readout_count)
    shares = [100 * count / chip.readout_count for count in chip.measured.counts]
    # Edges between the possible values, or a bin would hold two of them and its neighbour one.
    half = 50 / steps
    edges = [100 * at / steps - half for at in range(steps + 2)]
    axes.hist(
        *(shares, edges),
        weights=[100 / len(shares)] * len(shares),
        color=BLUE,
        edgecolor="white",
        log=True,
        zorder=2,
    )
    axes.set(
        xlabel="readouts in which a cell is 1, %", ylabel="cells, % (logarithmic)", title="What cells prefer"
    )
    axes.set_xlim(-half - 1, 100 + half + 1)
    bias = 100 * chip.bias.mean
    axes.axvline(bias, color=RED, linestyle="--", zorder=3, label=f"ones on average: {bias:.1f} %")
    axes.axvspan(
        100 * BIAS_MIN, 100 * BIAS_MAX, color=GREY, alpha=0.15, zorder=0, label="where the average should be"
    )
    axes.legend(loc="upper center", fontsize="small")


def _map(figure: Any, axes: Any, chip: Assessment) -> None:
    columns = 64
    rows = max(1, min(64, chip.cell_count // 8 // columns))
    shares = error_map(chip, columns * rows)
    columns = min(columns, len(shares))
    grid = [
        [100 * share for share in shares[at : at + columns]]
        for at in range(0, len(shares) // columns * columns, columns)
    ]
    image = axes.imshow(grid, cmap="cividis", aspect="auto", interpolation="nearest", vmin=0)
    figure.colorbar(image, ax=axes, label="errors, %")
    axes.set(
        xlabel=f"groups of {chip.cell_count // len(shares)} cells, in their order",
        ylabel=f"rows of {chip.cell_count // len(grid):,} cells",
        title="Where cells err",
    )


def _repetition(axes: Any, chip: Assessment) -> None:
    # Further off only some distances are looked at, which do not make a line.
    near_max = dense_lags(chip.cell_count)
    near = [(lag, 100 * value) for lag, value in chip.measured.correlations if lag <= near_max]
    lags, values = [lag for lag, _ in near], [value for _, value in near]
    axes.plot(lags, values, color=BLUE, linewidth=0.6, label="agreement beyond chance")
    limits = [100 * LAG_Z / (chip.cell_count - lag) ** 0.5 for lag in lags]
    axes.plot(lags, limits, color=GREY, linestyle="--", label="beyond this it is no accident")
    axes.plot(lags, [-limit for limit in limits], color=GREY, linestyle="--")
    worst = chip.spatial
    axes.text(
        *(0.03, 0.95, f"most at {worst.lag:,} cells apart: {100 * worst.correlation:+.1f} %"),
        **{"transform": axes.transAxes, "color": RED, "va": "top"},
    )
    reach = 1.6 * max(*limits, *(abs(value) for value in values))
    axes.set(
        xlim=(0, lags[-1]),
        ylim=(-reach, reach),
        xlabel="cells apart",
        ylabel="agreement, %",
        title="Repetition",
    )
    axes.legend(loc="lower right", fontsize="small")
