"""ACR by method and sigma: the layout of the rebuttal of Jeong & Shin (NeurIPS 2020)."""

from __future__ import annotations

from smoothcert.analysis import metrics
from smoothcert.analysis.cells import Table
from smoothcert.analysis.measurement import Results
from smoothcert.analysis.metrics import Quantity
from smoothcert.analysis.tables import base


def table(results: Results) -> Table:
    """Return the table."""
    return Table(
        [
            "Mean over all test images of the subset, abstentions included, of the certified "
            "radius where the prediction is correct and 0 elsewhere; L2, on the [0, 1] pixel "
            "scale.",
            base.spread_note(results),
            *base.best_note(results, "of a column"),
            *base.rounding_note(results),
        ],
        [base.by_sigma(results, Quantity(metrics.ACR), base.radius, ranked=True)],
        results.of(metrics.ACR),
    )
