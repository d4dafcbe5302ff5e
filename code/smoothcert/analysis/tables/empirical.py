"""Certified accuracy and PREDICT's answers under attack, by sigma (Salman et al. 2019)."""

from __future__ import annotations

import pandas as pd

from smoothcert.analysis import empirical
from smoothcert.analysis.cells import Block, Column, Table
from smoothcert.analysis.cells import Cell as Shown
from smoothcert.analysis.empirical import Cell
from smoothcert.analysis.measurement import Results
from smoothcert.analysis.tables import base


def table(results: Results) -> Table:
    """Return the table: a line for each share of each row of the experiment that was attacked."""
    experiment = results.experiment
    cells = list(empirical.cells(experiment))
    if cells:
        notes = [
            "Percentage of the test images of the subset. Certified: right with a certified radius "
            "≥ ε, a lower bound on the smoothed classifier's accuracy under any perturbation of "
            "norm ε. Under attack: PREDICT answers the label, and still does for what the attack "
            "found within ε. Abstained: it answers nothing, which counts as wrong, and does so the "
            "more the fewer its votes. The rest is answered wrongly; 100% minus that is an upper "
            "bound, which a stronger attack may lower. Each bound may err with probability α an "
            "image. ε = 0: no attack.",
            empirical.describe(experiment),
            *_unattacked(results),
            base.spread_note(results),
        ]
    else:
        notes = ["No run was attacked."]
    return Table(
        notes,
        [
            _block(results, sigma, [cell for cell in cells if cell.sigma == sigma])
            for sigma in experiment.sigmas
            if any(cell.sigma == sigma for cell in cells)
        ],
        empirical.numbers(experiment, cells) if cells else pd.DataFrame(columns=["label"]),
    )


def _unattacked(results: Results) -> list[str]:
    runs = [run for run in results.experiment.runs if not run.log]
    open_ = sum(not run.attacked for run in runs)
    return [f"{open_} of {len(runs)} runs are not attacked yet, and left out here."] * bool(open_)


def _block(results: Results, sigma: float, cells: list[Cell]) -> Block:
    return Block(
        f"σ = {sigma:.2f}",
        [
            Column("Method", words=True),
            Column("Images", words=True),
            *(Column(f"ε = {epsilon:g}") for epsilon in cells[0].epsilons),
            Column("Seeds"),
        ],
        [
            [
                base.method(results, cell.row),
                Shown(words),
                *(
                    base.number(base.percent, mean, spread)
                    for mean, spread in zip(estimate.mean, estimate.spread, strict=True)
                ),
                base.seeds([estimate.seeds]),
            ]
            for cell in cells
            for kind, words in empirical.KINDS.items()
            for estimate in [getattr(cell, kind)]
        ],
    )
