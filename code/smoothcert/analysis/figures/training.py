"""The training logs: a stack of panels for each noise level, a panel for each quantity."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from smoothcert.analysis import metrics
from smoothcert.analysis.experiment import Experiment
from smoothcert.analysis.figures import style, tidy

QUANTITIES = {"loss": "Loss", "regularizer": "Regularizer", "noisy_accuracy": "Noisy accuracy"}
WIDE = 20
"""How many times the lowest loss the highest is where a logarithmic axis shows both."""


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
    table = pd.concat(parts, ignore_index=True).drop(columns="standard_error")
    return table.assign(dataset=experiment.dataset, arch=experiment.arch)


def draw(experiment: Experiment, data: pd.DataFrame) -> Figure:
    """Return the figure of what ``measure`` returned."""
    shown = [name for name in QUANTITIES if (data["quantity"] == name).any()]
    sigmas = [sigma for sigma in experiment.sigmas if (data["sigma"] == sigma).any()]
    legend = style.entries(tidy.rows(experiment, data), style.line_style)
    note = f"{style.bands(data)} Means over each epoch's noisy training images."
    if "regularizer" in shown:
        note += " The loss includes the regularizer, with its weight."
    figure, stacks = style.stacks(len(sigmas), [2.0] * len(shown), legend, note, share="row")
    scales = {name: _scale(name, data[data["quantity"] == name]) for name in shown}
    for stack, sigma in zip(stacks, sigmas, strict=True):
        for panel, name in zip(stack, shown, strict=True):
            panel.set_yscale(scales[name])
            at_sigma = data[(data["sigma"] == sigma) & (data["quantity"] == name)]
            for index, row in tidy.rows(experiment, at_sigma):
                style.line(panel, "epoch", tidy.of(row, at_sigma), index)
            if style.first_column(panel):
                panel.set_ylabel(QUANTITIES[name])
            panel.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        style.sigma_title(stack[0], sigma)
        stack[-1].set_xlabel("Epoch")
    return figure


def _scale(name: str, data: pd.DataFrame) -> str:
    """Return the scale of a quantity's axis: forms of a loss may differ by a large constant."""
    low, high = data["lowest"].min(), data["highest"].max()
    return "log" if name != "noisy_accuracy" and 0 < low * WIDE < high else "linear"
