"""The upper envelope of each family: at each radius the best of its models (Salman et al. 2019).

The best is chosen on the images that it is shown for, which favours families of many models.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from smoothcert.analysis.experiment import Experiment, Row
from smoothcert.analysis.figures import curves, style, tidy

Cell = tuple[Row, float]


def measure(experiment: Experiment) -> pd.DataFrame:
    """Return each envelope: at each radius the model with the highest mean over seeds.

    Column ``over`` is the noise level whose models an envelope is of, or ``all``; ``models`` is
    their number.
    """
    parts = []
    for over, sigmas in _groups(experiment):
        at = curves.radii(experiment.cap(max(sigmas)))
        for family in _families(experiment):
            logs = {
                cell: runs[0].log is not None
                for cell, runs in experiment.cells.items()
                if cell[1] in sigmas and runs[0].family == family
            }
            # Logs are rounded, which would decide between them and runs of ours.
            cells = [cell for cell, log in logs.items() if not log or all(logs.values())]
            if cells:
                best = _best(experiment, cells, at)
                parts.append(best.assign(family=family, over=over, models=len(cells)))
    data = tidy.counted(experiment, parts)
    first = ["family", "over", "models", "radius"]
    return data[[*first, *data.columns.drop(first)]]


def draw(experiment: Experiment, data: pd.DataFrame) -> Figure:
    """Return the figure of what ``measure`` returned: a panel a group of noise levels."""
    families, groups = _families(experiment), _groups(experiment)
    legend = [style.entry(name, style.line_style(i)) for i, name in enumerate(families)]
    note = (
        "At each radius the model with the highest mean, chosen on these images. "
        f"{style.bands(data)} {style.counts(experiment)} Dotted: the largest radius for each σ."
    )
    figure, panels = style.grid(len(groups), legend, note)
    for panel, (over, sigmas) in zip(panels, groups, strict=True):
        for index, family in enumerate(families):
            own = data[(data["family"] == family) & (data["over"] == over)]
            curves.draw_curve(panel, own, index)
        curves.finish(panel, [experiment.cap(sigma) for sigma in sigmas])
        if len(sigmas) == 1:
            style.sigma_title(panel, *sigmas)
        else:  # higher than the labels of the caps
            panel.set_title("all $\\sigma$", loc="left", pad=16)
    return figure


def _groups(experiment: Experiment) -> list[tuple[str, list[float]]]:
    """Return the noise levels that envelopes go over: one where it has several models, and all."""
    several = [sigma for sigma in experiment.sigmas if _several(experiment, sigma)]
    groups = [(f"{sigma:.2f}", [sigma]) for sigma in several]
    return groups + [("all", experiment.sigmas)] * (len(experiment.sigmas) > 1)


def _several(experiment: Experiment, sigma: float) -> bool:
    families = [runs[0].family for cell, runs in experiment.cells.items() if cell[1] == sigma]
    return len(set(families)) < len(families)


def _families(experiment: Experiment) -> list[str]:
    return list(dict.fromkeys(run.family for run in experiment.runs))


def _best(experiment: Experiment, cells: Sequence[Cell], at: np.ndarray) -> pd.DataFrame:
    """Return for each radius the row of the cell that has the highest mean there."""
    found = [
        tidy.frame(
            {"radius": at, **tidy.cell(experiment, *cell)},
            curves.certified_accuracy(experiment.cells[cell], at),
        )
        for cell in cells
    ]
    best = np.argmax([data["mean"] for data in found], axis=0)
    return pd.concat(found, keys=range(len(found))).loc[
        list(zip(best, range(len(at)), strict=True))
    ]
