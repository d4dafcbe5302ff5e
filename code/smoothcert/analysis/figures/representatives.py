"""One model of each row, picked at random among its seeds: what one training gives."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from smoothcert.analysis.experiment import Experiment, Row
from smoothcert.analysis.figures import curves, style, tidy

PICKING_SEED = 0
"""Of the generator that picks; fixed, so that nobody picks a figure."""


def measure(experiment: Experiment) -> pd.DataFrame:
    """Return the curve of each picked model, with the seed of the model and the picking one."""
    picked, parts = _pick(experiment), []
    for (row, sigma), runs in experiment.cells.items():
        at = curves.radii(experiment.cap(sigma))
        chosen = [run for run in runs if run.point.seed == picked[row]]
        if chosen:  # entries of one label may have other seeds at other noise levels
            named = tidy.cell(experiment, row, sigma) | {"seed": picked[row], "radius": at}
            parts.append(tidy.frame(named, curves.certified_accuracy(chosen, at)))
    return tidy.counted(experiment, parts).assign(picking_seed=PICKING_SEED)


def draw(experiment: Experiment, data: pd.DataFrame) -> Figure:
    """Return the figure of what ``measure`` returned."""
    picked = _pick(experiment)
    legend = [
        style.entry(f"{row.title} (seed {picked[row]})", style.line_style(index))
        for index, row in tidy.rows(experiment, data)
    ]
    note = (
        "One model for each method, picked at random among its seeds (picking seed "
        f"{PICKING_SEED}); bands: ± 1 standard error over the images."
    )
    return curves.draw_per_sigma(experiment, data, legend, note)[0]


def _pick(experiment: Experiment) -> dict[Row, int]:
    """Return a seed for each row, the same at all its noise levels."""
    generator = np.random.default_rng(PICKING_SEED)
    return {row: int(generator.choice(_seeds(experiment, row))) for row in experiment.rows}


def _seeds(experiment: Experiment, row: Row) -> list[int]:
    return sorted({run.point.seed for run in experiment.runs if run.row == row})
