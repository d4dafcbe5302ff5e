"""Certified accuracy against the radius: a panel for each noise level, a curve for each row.

The published numbers that the experiment names stand as points over the curves, if they are of the
same protocol.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from smoothcert.analysis import published_points
from smoothcert.analysis.experiment import Experiment
from smoothcert.analysis.figures import curves, style, tidy
from smoothcert.records import PUBLISHED_LOG

OURS = "ours"
"""The source of our curves; that of a log's is PUBLISHED_LOG."""


def measure(experiment: Experiment) -> pd.DataFrame:
    """Return each curve from radius 0 to the cap, and the published points.

    ``source`` is OURS, PUBLISHED_LOG or the publication of a point.
    """
    parts = []
    for (row, sigma), runs in experiment.cells.items():
        at = curves.radii(experiment.cap(sigma))
        source = OURS if runs[0].log is None else PUBLISHED_LOG
        named = {"source": source, **tidy.cell(experiment, row, sigma), "radius": at}
        parts.append(tidy.frame(named, curves.certified_accuracy(runs, at)))
    lines = tidy.counted(experiment, parts)
    published = list(published_points.points(experiment))
    if not published:
        return lines
    # Where n is not known, it is missing: whole numbers must allow for it.
    kinds = dict.fromkeys(("seeds", "images", "n0", "n"), "Int64") | {"std": float}
    return pd.concat([lines, pd.DataFrame(published)], ignore_index=True).astype(kinds)


def draw(experiment: Experiment, data: pd.DataFrame) -> Figure:
    """Return the figure of what ``measure`` returned."""
    is_curve = data["source"].isin([OURS, PUBLISHED_LOG])
    lines, series = data[is_curve], list(_series(experiment, data[~is_curve]))
    legend = style.entries(tidy.rows(experiment, lines), style.line_style)
    legend += [style.entry(title, look) for title, look, _ in series]
    note = style.bands(lines)
    if series:
        note += " Marks: published; bars: ± 1 standard deviation over seeds where it is known."
    if published_points.some_are_left_out(experiment):
        note += " Published numbers of other images or votes are left out."
    figure, panels = curves.draw_per_sigma(experiment, lines, legend, note)
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
    numbers = {row.title: number for row, number in style.numbers(experiment).items()}
    cells = zip(published["label"], published["lambda"], strict=True)
    named = published.assign(title=[experiment.row_of(*cell).title for cell in cells])
    for (title, source), points in named.groupby(["title", "source"], sort=False):
        number = numbers.setdefault(title, max(numbers.values()) + 1)
        look = {**style.marker_style(number), "markerfacecolor": "none"}
        yield f"{title}, published ({source})", look, points
