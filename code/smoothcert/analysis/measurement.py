"""What an experiment's certificates, logs and benchmarks come to, each file read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from smoothcert.analysis import metrics
from smoothcert.analysis.experiment import Experiment, Row, Run
from smoothcert.analysis.metrics import Quantity
from smoothcert.analysis.t_tests import Sample
from smoothcert.errors import UserError

PROTOCOL = ("subset", "n0", "n", "alpha", "mode")
"""What numbers must share to be comparable: columns of every table."""

CLEAN = Quantity(metrics.CERTIFIED, 0.0)
"""The papers' clean accuracy."""


@dataclass(frozen=True)
class Value:
    """One quantity of one cell: its mean over seeds and images, with both spreads."""

    mean: float
    """NaN where the mode of certification leaves it unknown."""
    std: float
    """Sample standard deviation over seeds (ddof = 1); NaN for one seed."""
    standard_error: float
    """Over images; NaN for one image."""
    seeds: int
    by_image: NDArray[np.float64]
    """Each image's value (images,), averaged over the seeds."""
    rounded: bool = False
    """Whether radii are rounded, as in published logs."""

    @property
    def spread(self) -> float:
        """Return what stands behind ±: the std over seeds or, for one seed, the standard error."""
        return self.std if self.seeds > 1 else self.standard_error

    @property
    def sample(self) -> Sample:
        """Return the value as a mean over seeds, to be compared with others."""
        return Sample(self.mean, self.std if self.seeds > 1 else None, self.seeds)


@dataclass(frozen=True)
class Measured:
    """A cell: the runs of one row at one sigma, one a seed, measured."""

    row: Row
    sigma: float
    runs: tuple[Run, ...]
    cap: float
    """Largest radius that n votes allow."""
    quantities: list[Quantity]
    estimate: metrics.Estimate
    """Of the quantities."""
    by_image: NDArray[np.float64]
    """(images, quantities), averaged over the seeds."""

    @property
    def family(self) -> str:
        """Return the name of the cells among which the best at each radius is sought."""
        return self.runs[0].family

    @property
    def weight(self) -> float:
        """Return lambda, which the runs of a cell share."""
        return self.runs[0].point.weight

    @property
    def seeds(self) -> int:
        """Return the number of seeds."""
        return self.estimate.seeds

    def __contains__(self, quantity: Quantity) -> bool:
        return quantity in self.quantities

    def __getitem__(self, quantity: Quantity) -> Value:
        i = self.quantities.index(quantity)
        estimate = self.estimate
        return Value(
            mean=float(estimate.mean[i]),
            std=float(estimate.std[i]),
            standard_error=float(estimate.standard_error[i]),
            seeds=estimate.seeds,
            by_image=self.by_image[:, i],
            rounded=self.runs[0].log is not None,
        )


@dataclass(frozen=True)
class Results:
    """An experiment with its numbers."""

    experiment: Experiment
    cells: dict[tuple[Row, float], Measured]
    runs: pd.DataFrame
    """A row a run, in their order: metrics, costs, devices, protocol, folder."""

    def at(self, sigma: float) -> list[Measured]:
        """Return the cells of a noise level, in the order of the rows."""
        rows = self.experiment.rows
        return [self.cells[row, sigma] for row in rows if (row, sigma) in self.cells]

    @cached_property
    def numbers(self) -> pd.DataFrame:
        """Return a row for each quantity of each cell: mean, spreads, counts, protocol."""
        return pd.DataFrame(
            {**self.key(cell), **quantity._asdict(), **numbers(cell[quantity]), **self.protocol}
            for cell in self.cells.values()
            for quantity in cell.quantities
        )

    def of(self, metric: str) -> pd.DataFrame:
        """Return the numbers of a metric that needs no radius."""
        found = self.numbers[self.numbers["metric"] == metric]
        return found.drop(columns=["metric", "radius"])

    @property
    def protocol(self) -> dict[str, Any]:
        """Return the columns that say what the numbers are comparable with."""
        return {"images": self.experiment.images, **protocol(self.experiment)}

    @staticmethod
    def key(cell: Measured) -> dict[str, Any]:
        """Return the columns that name a cell."""
        return {"label": cell.row.label, "lambda": cell.weight, "sigma": cell.sigma}


def measure(experiment: Experiment) -> Results:
    """Return the experiment's numbers.

    Raises UserError if a run's file is missing, damaged or of another protocol, or if runs are of
    different versions of the data.
    """
    _refuse_different_data(experiment.runs)
    cells, runs = {}, {}
    for (row, sigma), members in experiment.cells.items():
        cap = experiment.cap(sigma)
        radii = metrics.radii(experiment.radius_step, cap)
        quantities = metrics.quantities(radii)
        values = []
        for run in members:
            values.append(metrics.image_values(run.outcomes, radii, experiment.protocol.n))
            one = metrics.over_seeds(values[-1:])
            measured = Measured(row, sigma, (run,), cap, quantities, one, values[-1])
            runs[id(run)] = _run(experiment, run, measured)
        cells[row, sigma] = Measured(
            row,
            sigma,
            tuple(members),
            cap,
            quantities,
            metrics.over_seeds(values),
            np.mean(values, axis=0),
        )
    return Results(experiment, cells, pd.DataFrame([runs[id(run)] for run in experiment.runs]))


def _refuse_different_data(runs: Sequence[Run]) -> None:
    first = runs[0]
    for run in runs:
        if not run.outcomes["label"].equals(first.outcomes["label"]):
            raise UserError(
                f"{run.certificates} has other labels than {first.certificates}: they are of "
                "different data; certify again"
            )


def numbers(value: Value) -> dict[str, Any]:
    """Return the columns of a value."""
    return {
        "mean": value.mean,
        "std": value.std,
        "seeds": value.seeds,
        "standard_error": value.standard_error,
    }


def protocol(experiment: Experiment) -> dict[str, Any]:
    """Return the columns of what was certified, and of the protocol."""
    names = {"dataset": experiment.dataset, "arch": experiment.arch}
    return names | {key: getattr(experiment.protocol, key) for key in PROTOCOL}


def _run(experiment: Experiment, run: Run, measured: Measured) -> dict[str, Any]:
    columns = {}
    for name, quantity in (
        ("acr", Quantity(metrics.ACR)),
        ("clean_accuracy", CLEAN),
        ("abstention", Quantity(metrics.ABSTENTION)),
        ("at_cap", Quantity(metrics.AT_CAP)),
    ):
        value = measured[quantity]
        columns[name], columns[f"{name}_standard_error"] = value.mean, value.standard_error
    return {
        "label": run.row.label,
        "method": run.point.method,
        "lambda": run.point.weight,
        "sigma": run.point.sigma,
        "seed": run.point.seed,
        **columns,
        "radius_cap": measured.cap,
        **{
            f"p_lower_q{q * 100:02.0f}": value
            for q, value in metrics.p_lower_quantiles(run.outcomes).items()
        },
        **_training(run),
        "seconds_per_image": run.outcomes["time"].mean(),
        "certify_memory": run.read_peak_memory("certify"),
        "device": run.description["provenance"]["device"],
        **run.arithmetic,
        "unpublished": " ".join(run.unpublished),
        "images": len(run.outcomes),
        **protocol(experiment),
        "folder": str(run.certificates),
    }


def _training(run: Run) -> dict[str, Any]:
    """Return the columns of a run's training, which published logs say nothing of."""
    log = run.read_training()
    if log is None:
        return dict.fromkeys(("epochs", "train_seconds", "train_memory", "train_device"), np.nan)
    return {
        "epochs": len(log),
        "train_seconds": log["seconds"].sum(),
        "train_memory": run.read_peak_memory("train"),
        "train_device": run.description["model"]["provenance"]["device"],
    }
