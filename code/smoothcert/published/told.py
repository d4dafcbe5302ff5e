"""Settings as a source tells them: what it may tell of a method, and whether ours are the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from smoothcert import methods
from smoothcert.errors import UserError, suggestion
from smoothcert.settings import Training

SELECTION = ("best_of", "best_at")
"""Keys of the settings that say how the run was chosen, not how it was trained."""

ELSEWHERE = ("train_sigma", "pretrain", "self_training", "self_training_weight")
"""Keys of the settings that tell of a training for which our methods have no setting."""


def misfit(key: str, method: str | None, also: Iterable[str] = ()) -> str | None:
    """Return why ``key`` is no setting of a method of ours, or of every method, if it is none.

    Of other methods nothing is known, and any key may be theirs.
    """
    names = Training.model_fields.keys() if method is None else _setting_names(method)
    known = {*names, *also}
    if not names or key in known:
        return None
    whose = "every method" if method is None else f"method {method}"
    return f"{key!r} is no setting of {whose}{suggestion(key, known)}"


@cache
def _setting_names(method: str) -> frozenset[str]:
    """Return the names of a method's settings, of training too; none if we cannot load it."""
    try:
        objective = methods.load(method)
    except UserError:  # not ours, or just being written
        return frozenset()
    weight = {"lambda"} if objective.regularized else set()
    return frozenset(weight | objective.model_fields.keys() | Training.model_fields.keys())


def differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> tuple[str, ...]:
    """Return, in words, which of their settings are others than ours; of None or "" is none."""
    return tuple(
        f"{key} (ours {plain(ours.get(key))}, theirs {plain(value)})"
        for key, value in theirs.items()
        if value not in (None, "") and not same(ours.get(key), value)
    )


def same(left: Any, right: Any) -> bool:
    """Return whether two settings agree: as numbers if both are numbers, else as text.

    One that is absent agrees with none.
    """
    try:
        return float(left) == float(right)
    except (TypeError, ValueError):
        return plain(left) == plain(right)


def plain(value: Any) -> str:
    """Return a value as a row tells it: ``0.1`` of 0.1, ``90`` of 90.0, ``none`` of None."""
    if value is None or value != value:  # NaN is what a table makes of None
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
