"""Certified accuracy against the radius: a panel for each noise level, a curve for each row.

The published numbers that the experiment names stand as points over the curves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from smoothcert.analysis import metrics
from smoothcert.analysis.experiment import Experiment
from smoothcert.analysis.figures import curves, style, tidy
from smoothcert.published import N0

OURS = "ours"


def measure(content: Experiment) -> pd.DataFrame:
    """Return each curve from radius 0 to the cap, and the published points.

    ``source`` is OURS or the publication, whose images and protocol then stand beside the point.
    """
    parts = []
    for (row, sigma), runs in content.cells.items():
        at = curves.radii(curves.cap(content, sigma))
        named = {"source": OURS, **tidy.cell(content, row, sigma), "radius": at}
        parts.append(tidy.frame(named, curves.certified_accuracy(runs, at)))
    ours, published = tidy.counted(content, parts), list(_published(content))
    if not published:
        return ours
    # Where n is not known, it is missing: whole numbers must allow for it.
    kinds = dict.fromkeys(("seeds", "images", "n0", "n"), "Int64") | {"std": float}
    return pd.concat([ours, pd.DataFrame(published)], ignore_index=True).astype(kinds)


def draw(content: Experiment, data: pd.DataFrame) -> Figure:
    """Return the figure of what ``measure`` returned."""
    ours = data[data["source"] == OURS]
    series = list(_series(content, data[data["source"] != OURS]))
    legend = style.entries(tidy.rows(content, ours), style.line_style)
    legend += [style.entry(title, look) for title, look, _ in series]
    note = style.bands(ours)
    if series:
        note += " Marks: published; bars: ± 1 standard deviation over seeds where it is known."
    figure, panels = curves.draw_per_sigma(content, ours, legend, note)
    for panel, sigma in zip(panels, content.sigmas, strict=True):
        for _, look, points in series:
            shown = points["radius"] <= curves.cap(content, sigma)
            own = points[shown & (points["sigma"] == sigma)]
            if len(own):
                bars = own["std"].fillna(0)
                panel.errorbar(own["radius"], own["mean"], bars, clip_on=False, **look)
    return figure


def _published(content: Experiment) -> Iterator[dict[str, Any]]:
    """Yield the published certified accuracies as rows of the data.

    A published log's stand beside runs of ours already, where these repeat the same numbers.
    """
    ours = [n for cell in content.published if not cell["log"] for n in cell["numbers"]]
    for cell in content.published:
        for number in cell["numbers"]:
            repeated = cell["log"] and number in ours
            if number["metric"] == metrics.CERTIFIED and not repeated:
                yield {
                    "source": number["source"],
                    **{key: cell[key] for key in ("label", "lambda", "sigma")},
                    "mean": float(number["printed"]),
                    **{
                        key: number[key]
                        for key in ("radius", "std", "seeds", "subset", "images", "n", "alpha")
                    },
                    "n0": N0,
                }


def _series(
    content: Experiment, published: pd.DataFrame
) -> Iterator[tuple[str, dict[str, Any], pd.DataFrame]]:
    """Yield the published points of each row: name, look and points.

    They have their row's colour and its mark, empty; a row that was not run gets others.
    """
    titles = [row.title for row in content.rows]
    named = published.assign(
        title=[_title(content, point) for point in published.to_dict("records")]
    )
    for (title, source, *protocol), points in named.groupby(
        ["title", "source", "subset", "n0", "n", "alpha"], sort=False, dropna=False
    ):
        if title not in titles:
            titles.append(title)
        look = {**style.marker_style(titles.index(title)), "markerfacecolor": "none"}
        about = ", ".join([source, *_differences(content, *protocol)])
        yield f"{title}, published ({about})", look, points


def _title(content: Experiment, point: Mapping[str, Any]) -> str:
    """Return the title of the row that a published point belongs to, or its label."""
    for row in content.rows:
        if row.label == point["label"] and row.weight in (None, point["lambda"]):
            return row.title
    return point["label"]


def _differences(content: Experiment, subset: str, n0: int, n: float, alpha: float) -> list[str]:
    """Return what keeps published numbers from being compared with ours, in words."""
    protocol, words = content.protocol, []
    if subset != protocol.subset:
        words.append(f"subset {subset}")
    if n0 != protocol.n0:
        words.append(f"n₀ = {n0}")
    if n != protocol.n:
        words.append(f"n = {n:,.0f}" if pd.notna(n) else "n unknown")
    if alpha != protocol.alpha:
        words.append(f"α = {alpha:g}" if pd.notna(alpha) else "α unknown")
    return words
