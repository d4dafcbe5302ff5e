"""The published certified accuracies that an experiment names, as points beside its curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from smoothcert.analysis import metrics
from smoothcert.analysis.experiment import Experiment
from smoothcert.published import N0


def points(content: Experiment) -> Iterator[dict[str, Any]]:
    """Yield the points: source, cell, radius, mean, std, seeds and what they were certified on.

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


def title(content: Experiment, point: Mapping[str, Any]) -> str:
    """Return the title of the row that a point belongs to, or its label if that was not run."""
    for row in content.rows:
        if row.label == point["label"] and row.weight in (None, point["lambda"]):
            return row.title
    return point["label"]


def about(
    content: Experiment, source: str, subset: str, n0: int, n: float | None, alpha: float | None
) -> str:
    """Return a point's source, and in what it is not comparable with ours."""
    protocol, words = content.protocol, [source]
    if subset != protocol.subset:
        words.append(f"subset {subset}")
    if n0 != protocol.n0:
        words.append(f"n₀ = {n0}")
    if n != protocol.n:
        words.append(f"n = {n:,.0f}" if pd.notna(n) else "n unknown")
    if alpha != protocol.alpha:
        words.append(f"α = {alpha:g}" if pd.notna(alpha) else "α unknown")
    return ", ".join(words)
