"""Accuracy under attack beside certified accuracy, of the same runs on the same images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from smoothcert.analysis import measurement, metrics
from smoothcert.analysis.experiment import Experiment, Row, Run
from smoothcert.analysis.metrics import Estimate
from smoothcert.records import ABSTAIN

KINDS = {"certified": "certified", "empirical": "under attack", "abstained": "abstained"}
"""The shares of a cell, as data and as readers know them."""


@dataclass(frozen=True)
class Cell:
    """The attacked runs of a row at one sigma."""

    row: Row
    sigma: float
    runs: tuple[Run, ...]
    epsilons: NDArray[np.float64]
    """0, which is no attack, and those of the attack, ascending."""
    certified: Estimate
    """Certified accuracy at radius epsilon."""
    empirical: Estimate
    """Accuracy of PREDICT under the attack; abstentions are wrong."""
    abstained: Estimate
    """Abstentions of PREDICT under the attack. What is neither right nor abstained is wrong."""


def cells(experiment: Experiment) -> Iterator[Cell]:
    """Yield the cells of which some run was attacked, noise level by noise level.

    Raises UserError if a run's file is missing, damaged or of another attack.
    """
    for sigma, row in product(experiment.sigmas, experiment.rows):
        runs = [run for run in experiment.cells.get((row, sigma), []) if run.attacked]
        if not runs:
            continue
        epsilons = np.array([0.0, *experiment.attack.epsilons])
        yield Cell(
            row,
            sigma,
            tuple(runs),
            epsilons,
            metrics.certified_accuracy([run.outcomes for run in runs], epsilons),
            *(metrics.over_seeds(shares) for shares in zip(*map(_answers, runs), strict=True)),
        )


def numbers(experiment: Experiment, cells: Iterable[Cell]) -> pd.DataFrame:
    """Return a row for each cell, share (KINDS) and epsilon, with spread and counts."""
    attack = experiment.attack
    effort = {
        "attack_steps": attack.steps,
        "attack_m": attack.m,
        "predict_n": attack.n,
        "predict_alpha": attack.alpha,
    }
    parts = [
        pd.DataFrame(
            {
                "label": cell.row.label,
                "lambda": cell.runs[0].point.weight,
                "sigma": cell.sigma,
                "share": kind,
                "epsilon": cell.epsilons,
                **getattr(cell, kind).columns(),
            }
        )
        for cell in cells
        for kind in KINDS
    ]
    return pd.concat(parts, ignore_index=True).assign(
        images=experiment.images, **measurement.protocol(experiment), **effort
    )


def describe(experiment: Experiment) -> str:
    """Return the attack in a sentence."""
    attack = experiment.attack
    return (
        f"PGD on the smoothed classifier (Salman et al. 2019), T = {attack.steps:,} steps, "
        f"m = {attack.m:,} noises; PREDICT with n = {attack.n:,}, α = {attack.alpha:g}."
    )


def _answers(run: Run) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return whether each image is right and whether there is no answer, each (images, epsilons).

    The first column is without an attack.
    """
    table = run.read_attacked()
    clean = table.drop_duplicates("idx").assign(epsilon=0.0, predict=lambda rows: rows["clean"])
    answers = pd.concat([clean, table]).pivot(index="idx", columns="epsilon", values="predict")
    labels = clean["label"].to_numpy()[:, None]
    return (answers == labels).to_numpy(), (answers == ABSTAIN).to_numpy()
