"""Certified accuracy and, as marks, what an attack has left (Salman et al. 2019, figure 1)."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from smoothcert.analysis import empirical
from smoothcert.analysis.experiment import Experiment
from smoothcert.analysis.figures import curves, style, tidy


def measure(experiment: Experiment) -> pd.DataFrame:
    """Return the curves of the attacked runs and, as ``empirical``, their accuracies under attack.

    The ``radius`` of those is the norm that the attack may have.
    """
    cells = list(empirical.cells(experiment))
    parts = []
    for cell in cells:
        at = curves.radii(experiment.cap(cell.sigma))
        named = {**tidy.cell(experiment, cell.row, cell.sigma), "share": "certified", "radius": at}
        parts.append(tidy.frame(named, curves.certified_accuracy(cell.runs, at)))
    points = empirical.numbers(experiment, cells).rename(columns={"epsilon": "radius"})
    points = points[points["share"] == "empirical"]
    return pd.concat([tidy.counted(experiment, parts), points], ignore_index=True)


def draw(experiment: Experiment, data: pd.DataFrame) -> Figure:
    """Return the figure of what ``measure`` returned."""
    certified, attacked = (data[data["share"] == share] for share in ("certified", "empirical"))
    legend = style.entries(
        tidy.rows(experiment, data), lambda i: {**style.marker_style(i), **style.appearance(i)}
    )
    note = (
        f"{style.bands(certified)} Marks: accuracy under attack, abstentions being wrong; "
        f"bars: ± 1 {style.spread(attacked)}. {empirical.describe(experiment)}"
    )
    farthest = attacked.groupby("sigma")["radius"].max().to_dict()
    figure, panels = curves.draw_per_sigma(experiment, certified, legend, note, farthest)
    for panel, sigma in zip(panels, experiment.sigmas, strict=True):
        for line in panel.get_lines():  # marks here are attacks, and tell no dashes apart
            line.set_marker("none")
        at_sigma = attacked[attacked["sigma"] == sigma]
        for index, row in tidy.rows(experiment, at_sigma):
            own = tidy.of(row, at_sigma)
            panel.errorbar(
                own["radius"], own["mean"], style.bar(own), clip_on=False, elinewidth=0.9,
                capsize=2, **style.marker_style(index),
            )  # fmt: skip
        panel.set_xlabel("$\\ell_2$ norm of the perturbation")
        if style.first_column(panel):
            panel.set_ylabel("Accuracy")
    return figure
