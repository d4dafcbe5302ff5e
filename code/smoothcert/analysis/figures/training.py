"""The training logs: a column for each noise level, a row for each quantity."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from smoothcert.analysis import metrics
from smoothcert.analysis.experiment import Experiment
from smoothcert.analysis.figures import style, tidy

QUANTITIES = {"loss": "Loss", "regularizer": "Regularizer", "noisy_accuracy": "Noisy accuracy"}


def measure(experiment: Experiment) -> pd.DataFrame:
    """Return each quantity of each row and sigma by epoch."""
    parts = []
    for (row, sigma), runs in experiment.cells.items():
        logs = [log for run in runs if (log := run.read_training()) is not None]
        regularized = runs[0].point.parameters.regularized
        for name in QUANTITIES:
            if not logs or (name == "regularizer" and not regularized):
                continue
            values = np.array([log[name] for log in logs])[:, None]  # a log has no images
            named = {"quantity": name, "epoch": logs[0]["epoch"]}
            parts.append(
                tidy.frame(tidy.cell(experiment, row, sigma) | named, metrics.over_seeds(values))
            )
    return pd.concat(parts, ignore_index=True).drop(columns="standard_error")


def draw(experiment: Experiment, data: pd.DataFrame) -> Figure:
    """Return the figure of what ``measure`` returned."""
    shown = [name for name in QUANTITIES if (data["quantity"] == name).any()]
    sigmas = [sigma for sigma in experiment.sigmas if (data["sigma"] == sigma).any()]
    legend = style.entries(tidy.rows(experiment, data), style.line_style)
    note = f"{style.bands(data)} Means over each epoch's noisy training images."
    if "regularizer" in shown:
        note += " The loss includes the regularizer, with its weight."
    figure, panels = style.panels([2.0] * len(shown), len(sigmas), legend, note, share="row")
    for column, sigma in zip(panels.T, sigmas, strict=True):
        for panel, name in zip(column, shown, strict=True):
            at_sigma = data[(data["sigma"] == sigma) & (data["quantity"] == name)]
            for index, row in tidy.rows(experiment, at_sigma):
                style.line(panel, "epoch", tidy.of(row, at_sigma), index)
        style.sigma_title(column[0], sigma)
        for panel in column:
            panel.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        column[-1].set_xlabel("Epoch")
    for panel, name in zip(panels[:, 0], shown, strict=True):
        panel.set_ylabel(QUANTITIES[name])
    return figure
