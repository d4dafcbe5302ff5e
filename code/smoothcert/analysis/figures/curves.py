"""Curves of certified accuracy against the radius, as several figures draw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from smoothcert.analysis import metrics
from smoothcert.analysis.experiment import Experiment, Run
from smoothcert.analysis.figures import style, tidy
from smoothcert.analysis.metrics import Estimate


def radii(largest: float) -> NDArray[np.float64]:
    """Return the radii at which a curve is evaluated, from 0 to ``largest``."""
    return np.linspace(0, largest, tidy.POINTS)


def certified_accuracy(runs: Sequence[Run], at: NDArray[np.float64]) -> Estimate:
    """Return the certified accuracy of a cell's runs at the radii ``at``."""
    return metrics.certified_accuracy([run.outcomes for run in runs], at)


def draw_curve(panel: Axes, data: pd.DataFrame, index: int) -> None:
    """Draw a curve that ends in a drop to 0, since nothing is certified beyond its last radius."""
    if len(data):
        drop = data.iloc[[-1]].assign(mean=0.0, lowest=0.0, highest=0.0, standard_error=0.0)
        style.line(panel, "radius", pd.concat([data, drop]), index)


def draw_per_sigma(
    experiment: Experiment,
    data: pd.DataFrame,
    legend: Sequence[Line2D],
    note: str,
    farthest: Mapping[float, float] | None = None,
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a panel for each noise level, and a curve for each row in it.

    ``farthest`` are the radii that panels have to show, by noise level, beside the curves.
    """
    note = f"{note} {style.counts(experiment)} Dotted: the largest radius at this n."
    figure, panels = style.grid(len(experiment.sigmas), legend, note)
    for panel, sigma in zip(panels, experiment.sigmas, strict=True):
        at_sigma = data[data["sigma"] == sigma]
        for index, row in tidy.rows(experiment, at_sigma):
            draw_curve(panel, tidy.of(row, at_sigma), index)
        style.sigma_title(panel, sigma)
        finish(panel, [experiment.cap(sigma)], (farthest or {}).get(sigma, 0))
    return figure, panels


def finish(panel: Axes, caps: Sequence[float], farthest: float = 0) -> None:
    """Mark the caps, of which close ones share a label, and label the axes.

    They end beyond the largest cap, or beyond ``farthest``.
    """
    end = max([*caps, farthest])
    labelled = max(caps) * 1.1
    for radius in sorted(caps, reverse=True):
        panel.axvline(radius, color=style.INK, linewidth=0.9, linestyle=":")
        if labelled - radius < 0.08 * max(caps):
            continue  # the label of the next larger cap stands there
        labelled = radius
        label = f"cap {radius:.2f}" if len(caps) == 1 else f"{radius:.2f}"
        # Above the panel, but not in its title: beyond a lone cap the panel is empty.
        inside = len(caps) == 1 and radius < 0.42 * end
        place = {"ha": "left", "va": "top"} if inside else {"ha": "right", "va": "bottom"}
        panel.text(
            radius, 0.97 if inside else 1.01, f" {label}" if inside else label, **place,
            transform=panel.get_xaxis_transform(), fontsize="small",
        )  # fmt: skip
    panel.set(xlim=(0, end * 1.03), ylim=(0, 1), xlabel="Certified $\\ell_2$ radius $r$")
    if style.first_column(panel):
        panel.set_ylabel("Certified accuracy")
