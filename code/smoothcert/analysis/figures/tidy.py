"""The data behind the figures: tidy tables whose rows carry their spread, counts and protocol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from smoothcert.analysis import measurement, metrics
from smoothcert.analysis.experiment import Experiment, Row, Run
from smoothcert.analysis.figures import style
from smoothcert.analysis.metrics import Estimate

POINTS = 400
"""At which a curve, a step function, is evaluated."""


def cell(experiment: Experiment, row: Row, sigma: float) -> dict[str, Any]:
    """Return the columns that name a row of the experiment at one noise level."""
    (weight,) = {run.point.weight for run in experiment.cells[row, sigma]}
    return {"label": row.label, "lambda": weight, "sigma": sigma}


def counted(experiment: Experiment, data: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return the parts as one table, with the number of images and the protocol."""
    table = pd.concat(data, ignore_index=True)
    return table.assign(images=experiment.images, **measurement.protocol(experiment))


def frame(named: Mapping[str, Any], estimate: Estimate) -> pd.DataFrame:
    """Return the columns ``named`` and those of an estimate, a row for each of its values."""
    return pd.DataFrame({**named, **estimate.columns()})


def of(row: Row, data: pd.DataFrame) -> pd.DataFrame:
    """Return the part of ``data`` that belongs to a row of the experiment."""
    own = data["label"] == row.label
    return data[own if row.weight is None else own & (data["lambda"] == row.weight)]


def rows(experiment: Experiment, data: pd.DataFrame) -> list[tuple[int, Row]]:
    """Return the rows of the experiment that ``data`` has, with the numbers of their looks."""
    numbers = style.numbers(experiment)
    return [(numbers[row], row) for row in experiment.rows if len(of(row, data))]


def acr(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the columns of the ACR of a cell's runs."""
    credited = [metrics.credited_radius(run.outcomes) for run in runs]
    return metrics.over_seeds(credited).columns("acr_")
