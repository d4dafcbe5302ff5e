"""The published certified accuracies that an experiment names, as points beside its curves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from smoothcert.analysis import metrics
from smoothcert.analysis.experiment import Experiment
from smoothcert.published import N0

OWN = "source", "dataset", "arch", "radius", "std", "seeds", "subset", "images", "n", "alpha"
"""What a point takes from its number."""


def points(experiment: Experiment) -> Iterator[dict[str, Any]]:
    """Yield the points: source, cell, radius, mean, std, seeds and what they were certified on.

    A published log's stand beside runs of ours already, where these repeat the same numbers.
    """
    ours = [n for target in experiment.published if not target.log for n in target.numbers]
    for target in experiment.published:
        for number in target.numbers:
            repeated = target.log and number in ours
            if number.metric == metrics.CERTIFIED and not repeated:
                yield {
                    "label": target.label,
                    "lambda": target.weight,
                    "sigma": target.sigma,
                    "mean": number.value,
                    **{key: getattr(number, key) for key in OWN},
                    "n0": N0,
                }


def about(
    experiment: Experiment, source: str, subset: str, n0: int, n: float | None, alpha: float | None
) -> str:
    """Return a point's source, and in what it is not comparable with ours."""
    protocol, words = experiment.protocol, [source]
    if subset != protocol.subset:
        words.append(f"subset {subset}")
    if n0 != protocol.n0:
        words.append(f"n₀ = {n0}")
    if n != protocol.n:
        words.append(f"n = {n:,.0f}" if pd.notna(n) else "n unknown")
    if alpha != protocol.alpha:
        words.append(f"α = {alpha:g}" if pd.notna(alpha) else "α unknown")
    return ", ".join(words)
