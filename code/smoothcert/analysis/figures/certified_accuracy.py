"""Certified accuracy against the radius: a panel for each noise level, a curve for each row.

The published numbers that the experiment names stand as points over the curves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from smoothcert.analysis import published_points
from smoothcert.analysis.experiment import Experiment
from smoothcert.analysis.figures import curves, style, tidy

OURS = "ours"


def measure(experiment: Experiment) -> pd.DataFrame:
    """Return each curve from radius 0 to the cap, and the published points.

    ``source`` is OURS or the publication, whose images and protocol then stand beside the point.
    """
    parts = []
    for (row, sigma), runs in experiment.cells.items():
        at = curves.radii(experiment.cap(sigma))
        named = {"source": OURS, **tidy.cell(experiment, row, sigma), "radius": at}
        parts.append(tidy.frame(named, curves.certified_accuracy(runs, at)))
    ours, published = tidy.counted(experiment, parts), list(published_points.points(experiment))
    if not published:
        return ours
    # Where n is not known, it is missing: whole numbers must allow for it.
    kinds = dict.fromkeys(("seeds", "images", "n0", "n"), "Int64") | {"std": float}
    return pd.concat([ours, pd.DataFrame(published)], ignore_index=True).astype(kinds)


def draw(experiment: Experiment, data: pd.DataFrame) -> Figure:
    """Return the figure of what ``measure`` returned."""
    ours = data[data["source"] == OURS]
    series = list(_series(experiment, data[data["source"] != OURS]))
    legend = style.entries(tidy.rows(experiment, ours), style.line_style)
    legend += [style.entry(title, look) for title, look, _ in series]
    note = style.bands(ours)
    if series:
        note += " Marks: published; bars: ± 1 standard deviation over seeds where it is known."
    figure, panels = curves.draw_per_sigma(experiment, ours, legend, note)
    for panel, sigma in zip(panels, experiment.sigmas, strict=True):
        for _, look, points in series:
            shown = points["radius"] <= experiment.cap(sigma)
            own = points[shown & (points["sigma"] == sigma)]
            if len(own):
                bars = own["std"].fillna(0)
                panel.errorbar(own["radius"], own["mean"], bars, clip_on=False, **look)
    return figure


def _series(
    experiment: Experiment, published: pd.DataFrame
) -> Iterator[tuple[str, dict[str, Any], pd.DataFrame]]:
    """Yield the published points of each row: name, look and points.

    They have their row's colour and its mark, empty; a row that was not run gets others.
    """
    titles = [row.title for row in experiment.rows]
    cells = zip(published["label"], published["lambda"], strict=True)
    named = published.assign(title=[experiment.row_of(*cell).title for cell in cells])
    for (title, *origin), points in named.groupby(
        ["title", "source", "subset", "n0", "n", "alpha"], sort=False, dropna=False
    ):
        if title not in titles:
            titles.append(title)
        look = {**style.marker_style(titles.index(title)), "markerfacecolor": "none"}
        about = published_points.about(experiment, *origin)
        yield f"{title}, published ({about})", look, points
