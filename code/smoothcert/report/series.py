"""Certificates reduced to what the page's charts and its explorer show: some kilobytes a run."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

from smoothcert.analysis import metrics, published_points
from smoothcert.analysis.experiment import Experiment, subset
from smoothcert.records import ABSTAIN
from smoothcert.smoothing.bounds import certified_radius, lower_bound
from smoothcert.smoothing.protocol import Protocol

POINTS = 250
"""Radii of a curve, at most, evenly apart; the largest radius comes on top."""

EDGES = (0.5, 0.9, 0.99, 0.999)
"""Where the lower bounds on p_A of the correct images are divided."""

AT_CAP, ABSTAINED, WRONG = "At the cap", "Abstained", "Wrong class"
NOT_CERTIFIED = "Abstained or wrong"
"""What mode evaluate, which does not tell them apart, leaves of the two."""

SHARE_DIGITS = 6
"""Of shares, which are shown in percent with two decimals: rounding twice should not show."""
LEVELS = 2**16 - 1
"""Of a radius between 0 and the largest, as the explorer has it."""
SPREAD_LEVELS = 2**8 - 1
"""Of a deviation between 0 and the largest."""


def reduce(experiment: Experiment) -> dict[str, Any]:
    """Return a JSON-like description of every cell, from one reading of each certificate table.

    ``panels`` has an entry a sigma, with the curves of certified accuracy at 0, ``step``, twice
    ``step`` ... and at the largest radius, ``cap``, the ``published`` points among them, and the
    outcomes of ``outcome_names``.
    ``images`` holds, in base64, each image's label and, for each cell, the mean and the sample
    standard deviation over seeds of its radius x correct (see ``_pack``), in shares of the
    ``largest`` of its sigma; beside published logs all radii are rounded as theirs.
    ``commonest`` is the share of the commonest label.
    """
    panels, images, largest = [], [], {}
    rounding = metrics.LOG_ROUNDING if any(run.log for run in experiment.runs) else ""
    points = list(published_points.points(experiment))
    labels = None
    for sigma in experiment.sigmas:
        cap = experiment.cap(sigma)
        step = _step(cap)
        grid = np.append(metrics.radii(step, cap), cap)
        curves, outcomes = [], []
        # Rounded to three digits, radii may exceed the cap by half a percent.
        largest[f"{sigma:.2f}"] = top = 1.005 * cap if rounding else cap
        for index, row in enumerate(experiment.rows):
            runs = experiment.cells.get((row, sigma))
            if not runs:
                continue
            tables = [run.read_certificates() for run in runs]
            labels = tables[0]["label"]
            of = {"row": index, "seeds": len(runs)}
            curves.append(of | _curve(tables, grid))
            outcomes.append(of | _outcomes(tables, experiment, sigma))
            images.append(of | {"sigma": f"{sigma:.2f}"} | _pack(tables, top, rounding))
        panel = {"sigma": f"{sigma:.2f}", "cap": cap, "step": step}
        published = list(_published(experiment, points, sigma, cap))
        panels.append(panel | {"curves": curves, "published": published, "outcomes": outcomes})
    certified = subset(experiment.dataset, experiment.protocol)
    return {
        "panels": panels,
        "outcomes": outcome_names(experiment),
        "images": {
            "first": certified.start,
            "step": certified.step,
            "levels": [LEVELS, SPREAD_LEVELS],
            "largest": largest,
            "labels": _base64(labels.to_numpy(), "<u2"),
            "commonest": float(labels.value_counts(normalize=True).max()),
            "cells": images,
        },
    }


def outcome_names(experiment: Experiment) -> list[str]:
    """Return what can become of an image, from the best to the worst."""
    edges = [*_edges(experiment), None]
    steps = [
        f"Bound {low:g} to {high:g}" if high else f"Bound {low:g} to the cap"
        for low, high in pairwise(edges)
    ]
    worst = [NOT_CERTIFIED] if experiment.protocol.mode == "evaluate" else [ABSTAINED, WRONG]
    return [AT_CAP, *reversed(steps), *worst]


def _step(cap: float) -> float:
    """Return the smallest of 1, 2, 5, 10 ... x 10^k with at most POINTS steps up to ``cap``."""
    least = cap / POINTS
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(f * power for f in (1, 2, 5, 10) if f * power >= least))


def _edges(experiment: Experiment) -> list[float]:
    """Return the edges below the bound of unanimous votes."""
    return [edge for edge in EDGES if edge < experiment.largest_bound]


def _curve(tables: list[pd.DataFrame], grid: NDArray[np.float64]) -> dict[str, Any]:
    found = metrics.certified_accuracy(tables, grid)
    return {
        "mean": _shares(found.mean),
        "spread": _shares(found.spread),
        "low": _shares(found.lowest),
        "high": _shares(found.highest),
    }


def _published(
    experiment: Experiment, points: list[dict[str, Any]], sigma: float, cap: float
) -> Iterator[dict[str, Any]]:
    """Yield the published points at ``sigma``; the row of one that was not run is None."""
    titles = [row.title for row in experiment.rows]
    for point in points:
        if point["sigma"] != sigma or point["radius"] > cap:
            continue
        title = experiment.row_of(point["label"], point["lambda"]).title
        yield {
            "row": titles.index(title) if title in titles else None,
            "title": title,
            **{key: point[key] for key in ("source", "radius", "mean", "std", "seeds")},
        }


def _outcomes(tables: list[pd.DataFrame], experiment: Experiment, sigma: float) -> dict[str, Any]:
    found = metrics.over_seeds([_outcomes_of(table, experiment, sigma) for table in tables])
    return {"mean": _shares(found.mean), "spread": _shares(found.spread)}


def _outcomes_of(table: pd.DataFrame, experiment: Experiment, sigma: float) -> NDArray[np.bool_]:
    """Return whether each image (images, outcomes) belongs to ``outcome_names``: to one of them."""
    correct = table["correct"].to_numpy(bool)
    cap = correct & _at_cap(table, experiment.protocol, sigma)
    # The bound on p_A that belongs to the radius, which published logs have alone.
    step = np.digitize(ndtr(table["radius"] / sigma), _edges(experiment)[1:])
    steps = [correct & ~cap & (step == i) for i in range(len(_edges(experiment)))]
    abstained = (table["predict"] == ABSTAIN).to_numpy()
    if experiment.protocol.mode == "evaluate":
        worst = [~correct]
    else:
        worst = [abstained, ~correct & ~abstained]
    return np.column_stack([cap, *reversed(steps), *worst])


def _at_cap(table: pd.DataFrame, protocol: Protocol, sigma: float) -> NDArray[np.bool_]:
    """Return whether the n votes were unanimous; published logs tell it by their rounded radius."""
    if "count" in table:
        return metrics.at_cap(table, protocol.n)
    counts = np.array([protocol.n - 1, protocol.n])
    radii = certified_radius(lower_bound(counts, protocol.n, protocol.alpha), sigma)
    return (table["radius"] > radii.mean()).to_numpy()


def _pack(tables: list[pd.DataFrame], largest: float, rounding: str) -> dict[str, Any]:
    """Return mean and deviation of each image's radius x correct over the seeds, in base64.

    A mean is a uint16, in units of ``largest`` / LEVELS; a deviation a uint8, in units of
    ``largest`` / SPREAD_LEVELS. One seed has no deviation.
    """
    rounded = (t.assign(radius=metrics.round_radii(t["radius"], rounding)) for t in tables)
    radii = np.array([metrics.credited_radius(table) for table in rounded])
    mean = _base64(np.rint(np.minimum(radii.mean(0) / largest, 1) * LEVELS), "<u2")
    if len(radii) == 1:
        return {"mean": mean}
    spread = np.rint(radii.std(0, ddof=1) / largest * SPREAD_LEVELS)
    return {"mean": mean, "spread": _base64(spread, "u1")}


def _base64(values: NDArray, kind: str) -> str:
    return base64.b64encode(values.astype(kind).tobytes()).decode()


def _shares(values: NDArray[np.float64]) -> list[float]:
    # JSON has no NaN, which is the standard error of a single image.
    return np.nan_to_num(values).round(SHARE_DIGITS).tolist()
