"""What lambda trades: clean accuracy against ACR, a path over the lambdas of each swept label."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from smoothcert.analysis.experiment import Experiment
from smoothcert.analysis.figures import curves, style, tidy


def measure(experiment: Experiment) -> pd.DataFrame:
    """Return clean accuracy and ACR of each row and sigma."""
    parts = []
    for (row, sigma), runs in experiment.cells.items():
        clean = curves.certified_accuracy(runs, np.zeros(1)).columns("clean_accuracy_")
        parts.append(pd.DataFrame({**tidy.cell(experiment, row, sigma), **clean, **tidy.acr(runs)}))
    return tidy.counted(experiment, parts)


def draw(experiment: Experiment, data: pd.DataFrame) -> Figure:
    """Return the figure of what ``measure`` returned."""
    swept = {row.label for row in experiment.rows if row.weight is not None}
    labels = dict.fromkeys(row.label for row in experiment.rows)
    looks = {label: _look(index, label in swept) for index, label in enumerate(labels)}
    legend = [style.entry(label, look) for label, look in looks.items()]
    counts = style.counts(experiment)
    note = f"Mean and {style.spread(data)}. Numbers: λ, where there is room. {counts}"
    figure, panels = style.grid(len(experiment.sigmas), legend, note)
    for panel, sigma in zip(panels, experiment.sigmas, strict=True):
        for label, look in looks.items():
            own = data[(data["label"] == label) & (data["sigma"] == sigma)].sort_values("lambda")
            style.points(panel, "clean_accuracy", "acr", own, look)
        panel.margins(0.12)
        panel.set_xlabel("Clean accuracy")
        style.sigma_title(panel, sigma)
        if style.first_column(panel):
            panel.set_ylabel("ACR")
    figure.draw_without_rendering()  # the names need the final places of the points
    for panel, sigma in zip(panels, experiment.sigmas, strict=True):
        at_sigma = data[data["sigma"] == sigma]
        places = at_sigma[["clean_accuracy_mean", "acr_mean"]].to_numpy()
        names = [f"{weight:g}" for weight in at_sigma["lambda"]]
        style.name_points(panel, places, names, at_sigma["label"].isin(swept))
    return figure


def _look(index: int, swept: bool) -> dict[str, Any]:
    """Return the look of a label's points, joined by a line where it is swept."""
    look = style.marker_style(index)
    return look | {"linestyle": style.line_style(index)["linestyle"]} if swept else look
