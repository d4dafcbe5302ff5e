"""Share of images without a certificate by method and sigma."""

from __future__ import annotations

from smoothcert.analysis import metrics
from smoothcert.analysis.cells import Table
from smoothcert.analysis.measurement import Results
from smoothcert.analysis.metrics import Quantity
from smoothcert.analysis.tables import base


def table(results: Results) -> Table:
    """Return the table, without rows where the mode does not tell abstentions from mistakes."""
    data = results.of(metrics.ABSTENTION).dropna(subset="mean")
    if data.empty:
        notes = ["Mode evaluate does not tell abstentions from mistakes."]
        blocks = []
    else:
        notes = [
            "Percentage of the test images of the subset without a certificate, because the lower "
            "bound on the probability of their top class is below 1/2; they count as wrong in "
            "every other table.",
            base.spread_note(results),
        ]
        blocks = [base.by_sigma(results, Quantity(metrics.ABSTENTION), base.percent, ranked=False)]
    return Table(
        notes,
        blocks,
        data,
    )
