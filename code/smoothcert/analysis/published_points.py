"""The published certified accuracies that an experiment names, as points beside its curves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from smoothcert.analysis import metrics
from smoothcert.analysis.experiment import Experiment, Target
from smoothcert.published import N0
from smoothcert.published.number import Number

OWN = "source", "dataset", "arch", "radius", "std", "seeds", "subset", "images", "n", "alpha"
"""What a point takes from its number."""


def points(experiment: Experiment) -> Iterator[dict[str, Any]]:
    """Yield the points: source, cell, radius, mean, std, seeds and what they were certified on.

    Numbers of other images, votes or levels than the curves' are left out: the eye would compare
    them. A published log's stand beside runs of ours already, where these repeat the same numbers.
    """
    for target, number in _numbers(experiment):
        if _is_comparable(experiment, number):
            yield {
                "label": target.label,
                "lambda": target.weight,
                "sigma": target.sigma,
                "mean": number.value,
                **{key: getattr(number, key) for key in OWN},
                "n0": N0,
            }


def some_are_left_out(experiment: Experiment) -> bool:
    """Return whether the experiment names numbers that cannot stand beside its curves."""
    return not all(_is_comparable(experiment, number) for _, number in _numbers(experiment))


def _numbers(experiment: Experiment) -> Iterator[tuple[Target, Number]]:
    ours = [n for target in experiment.published if not target.log for n in target.numbers]
    for target in experiment.published:
        for number in target.numbers:
            if number.metric == metrics.CERTIFIED and not (target.log and number in ours):
                yield target, number


def _is_comparable(experiment: Experiment, number: Number) -> bool:
    """Return whether a number is of the experiment's protocol, as far as its source tells."""
    protocol = experiment.protocol
    told = {"subset": number.subset, "n0": N0, "n": number.n, "alpha": number.alpha}
    return protocol.mode != "staged" and all(
        value is None or value == getattr(protocol, key) for key, value in told.items()
    )
