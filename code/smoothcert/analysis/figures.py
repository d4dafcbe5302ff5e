"""The figures of an experiment: certified accuracy against radius, and the training logs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from smoothcert import files
from smoothcert.analysis import experiment, metrics
from smoothcert.analysis.experiment import Experiment, Run
from smoothcert.smoothing.bounds import largest_radius

FIGURES = ("certified_accuracy", "training")
FIGURE_FORMATS = ("svg", "pdf", "png")

INK, PAPER = "#222222", "#ffffff"
"""Colours of text and lines, and of the background, for those who recolour the SVG."""

POINTS = 400
"""Radii at which a certified-accuracy curve, a step function, is evaluated."""
COLUMNS = 3
"""Panels of curves side by side."""
WIDTH = 9.6
"""Of a figure, in inches; a lone panel takes half of it, and many sigmas' logs take more."""

_PALETTE = [
    colour for i, colour in enumerate(sns.color_palette("colorblind").as_hex()) if i not in (6, 8)
]
"""Seaborn's colour-blind safe palette without its pink and yellow, which are faint on white."""
_DASHES = ("-", (0, (4, 1.8)), (0, (1.4, 1.4)), (0, (5, 1.8, 1.4, 1.8)), (0, (9, 2.5)))
_METADATA = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "pdf": {"CreationDate": None},
    "png": {"Software": None},
}
"""No times or versions, so that equal runs leave equal files."""
_STYLE = {
    **sns.axes_style("ticks"),
    **sns.plotting_context("paper"),
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    ),
    "axes.grid": True,
    "grid.color": "#88888844",
    "font.family": "DejaVu Sans",
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "lines.linewidth": 1.4,
    "svg.hashsalt": "smoothcert",
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}


def draw_figures(manifest: Path, folder: Path) -> None:
    """Draw the figures of ``manifest`` into ``folder``: FIGURES x FIGURE_FORMATS.

    Lines are means over seeds; bands reach from the lowest seed to the highest. Equal runs give
    equal files. Raises UserError if the manifest or a run's file is missing or damaged.
    """
    content = experiment.load(manifest)
    with mpl.rc_context(_STYLE):
        for name, figure in zip(FIGURES, (_curves(content), _training(content)), strict=True):
            for suffix in FIGURE_FORMATS:
                with files.replacing(folder / f"{name}.{suffix}") as temporary:
                    figure.savefig(temporary, format=suffix, metadata=_METADATA[suffix])


def _curves(content: Experiment) -> Figure:
    """Return one panel a sigma: certified accuracy of each row against the radius."""
    sigmas = content.sigmas
    columns = min(len(sigmas), COLUMNS)
    figure, panels = _panels(-(-len(sigmas) // columns), columns, content)
    for panel in panels.flat[len(sigmas) :]:
        panel.remove()
    for panel, sigma in zip(panels.flat, sigmas, strict=False):
        cap = largest_radius(content.protocol.n, content.protocol.alpha, sigma)
        grid = np.linspace(0, cap, POINTS)
        for index, row in enumerate(content.rows):
            runs = content.cells.get((row, sigma), [])
            curves = [metrics.certified(run.read_certificates(), grid).mean(0) for run in runs]
            if curves:
                # Beyond the cap nothing is certified: the curves end in a drop to 0.
                _line(panel, [*grid, cap], np.pad(curves, ((0, 0), (0, 1))), index)
        panel.axvline(cap, color=INK, linewidth=0.9, linestyle=":")
        panel.text(
            cap, 1.01, f"cap {cap:.2f}", transform=panel.get_xaxis_transform(),
            ha="right", va="bottom", fontsize="small",
        )  # fmt: skip
        panel.set(xlim=(0, cap * 1.03), ylim=(0, 1), xlabel="Certified $\\ell_2$ radius $r$")
        panel.set_title(f"$\\sigma$ = {sigma:.2f}", loc="left")
        if panel.get_subplotspec().is_first_col():
            panel.set_ylabel("Certified accuracy")
    return figure


def _training(content: Experiment) -> Figure:
    """Return one column a sigma: loss, regularizer and noisy accuracy of each row by epoch."""
    regularized = any(run.point.parameters.regularized for run in content.runs)
    quantities = {
        "loss": "Loss",
        **({"regularizer": "Regularizer"} if regularized else {}),
        "noisy_accuracy": "Noisy accuracy",
    }
    sigmas = content.sigmas
    figure, panels = _panels(len(quantities), len(sigmas), content, height=2.0, share="row")
    for column, sigma in zip(panels.T, sigmas, strict=True):
        for index, row in enumerate(content.rows):
            runs = content.cells.get((row, sigma), [])
            logs = [run.read_training() for run in runs]
            for panel, name in zip(column, quantities, strict=True):
                if logs and (name != "regularizer" or _regularized(runs)):
                    _line(panel, logs[0]["epoch"], np.array([log[name] for log in logs]), index)
        column[0].set_title(f"$\\sigma$ = {sigma:.2f}", loc="left")
        column[-1].set_xlabel("Epoch")
    for panel, title in zip(panels[:, 0], quantities.values(), strict=True):
        panel.set_ylabel(title)
    return figure


def _panels(
    rows: int, columns: int, content: Experiment, height: float = 3.0, share: str | bool = False
) -> tuple[Figure, NDArray]:
    """Return a figure with a legend of all rows below its panels (rows, columns)."""
    legend_columns = min(len(content.rows), 4 if columns > 1 else 2)
    legend = 0.25 * -(-len(content.rows) // legend_columns) + 0.15
    width = columns * max(WIDTH / max(columns, 2), 3.1)
    figure = Figure(figsize=(width, height * rows + legend), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=share)
    handles = [
        Line2D([], [], label=_plain(row.title), **appearance(index))
        for index, row in enumerate(content.rows)
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=legend_columns, frameon=False,
        handlelength=3.2,
    )  # fmt: skip
    sns.despine(figure)
    return figure, panels


def _line(panel: Axes, x: Sequence[float], seeds: NDArray[np.float64], index: int) -> None:
    """Draw the mean of ``seeds`` (seeds, points) and a band from the lowest to the highest."""
    look = appearance(index)
    panel.plot(x, seeds.mean(0), **look)
    if len(seeds) > 1:
        panel.fill_between(
            x, seeds.min(0), seeds.max(0), color=look["color"], alpha=0.2, linewidth=0
        )


def appearance(index: int) -> dict:
    """Return colour and dashes of a row: different for the first 40."""
    return {
        "color": _PALETTE[index % len(_PALETTE)],
        "linestyle": _DASHES[index % len(_DASHES)],
    }


def _regularized(runs: list[Run]) -> bool:
    return any(run.point.parameters.regularized for run in runs)


def _plain(label: str) -> str:
    """Return a label that matplotlib shows as it is: neither formula nor hidden."""
    return f"\u200b{label}".replace("$", r"\$")
