"""What a manifest tells of its experiment; the workflow's dry run asks, so nothing loads pandas."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

Manifest = Mapping[str, Any]
"""What ``experiment.json`` holds."""

Model = tuple[str, float, float]
"""Label, sigma and lambda, whatever the seed."""


def models(manifest: Manifest) -> dict[Model, str]:
    """Return the models of an experiment, and the family of each."""
    return {_model(run): run["family"] for run in manifest["runs"]}


def swept(models: Iterable[Model]) -> set[str]:
    """Return the labels with several lambdas at one sigma.

    A label with one lambda a sigma, as tuned in the papers, is not swept.
    """
    weights = defaultdict(set)
    for label, sigma, weight in models:
        weights[label, sigma].add(weight)
    return {label for (label, _), found in weights.items() if len(found) > 1}


def has_sweep(manifest: Manifest) -> bool:
    """Return whether some label is swept."""
    return bool(swept(models(manifest)))


def has_several_models(manifest: Manifest) -> bool:
    """Return whether some family has several models."""
    return _most_common(models(manifest).values()) > 1


def has_several_seeds(manifest: Manifest) -> bool:
    """Return whether some model was trained with several seeds."""
    return _most_common(_model(run) for run in manifest["runs"]) > 1


def has_attack(manifest: Manifest) -> bool:
    """Return whether some run was attacked."""
    return any(run["attacked"] for run in manifest["runs"])


def has_training(manifest: Manifest) -> bool:
    """Return whether some run was trained here and is no published log."""
    return any(not run["log"] for run in manifest["runs"])


def has_several_costs(manifest: Manifest) -> bool:
    """Return whether several models of one noise level were trained here."""
    trained = {_model(run) for run in manifest["runs"] if not run["log"]}
    return _most_common(sigma for _, sigma, _ in trained) > 1


def has_votes(manifest: Manifest) -> bool:
    """Return whether the votes for all images of some run are known."""
    return has_training(manifest) and manifest["protocol"]["mode"] != "evaluate"


def _model(run: Mapping[str, Any]) -> Model:
    return run["label"], run["point"]["sigma"], run["point"]["lambda"]


def _most_common(items: Iterable[Hashable]) -> int:
    """Return how often the most frequent item occurs."""
    return max(Counter(items).values(), default=0)
