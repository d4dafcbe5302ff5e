"""Certified accuracy at a grid of radii with ACR, by sigma (Jeong & Shin 2020, table 1)."""

from __future__ import annotations

from collections.abc import Callable

from smoothcert.analysis import metrics
from smoothcert.analysis.cells import Block, Column, Table
from smoothcert.analysis.measurement import Results
from smoothcert.analysis.metrics import Quantity
from smoothcert.analysis.significance import leaders
from smoothcert.analysis.tables import base


def table(results: Results) -> Table:
    """Return the table."""
    blocks = []
    found = {sigma: results.at(sigma) for sigma in results.experiment.sigmas}
    ranked = [
        (sigma, quantity)
        for sigma, cells in found.items()
        for quantity in cells[0].quantities
        if quantity.metric in (metrics.ACR, metrics.CERTIFIED)
    ]
    best = dict(
        zip(ranked, leaders([[cell[q] for cell in found[s]] for s, q in ranked]), strict=True)
    )
    for sigma, cells in found.items():
        quantities = cells[0].quantities
        rows = [
            [
                base.method(results, cell.row),
                *(
                    base.value(_show(q), cell[q], best=best.get((sigma, q)) == i)
                    for q in quantities
                ),
                base.seeds([cell.seeds]),
            ]
            for i, cell in enumerate(cells)
        ]
        columns = [
            Column("Method", words=True),
            *(Column(_heading(q)) for q in quantities),
            Column("Seeds"),
        ]
        cap = cells[0].cap
        blocks.append(Block(f"σ = {sigma:.2f} (no radius beyond {cap:.3f})", columns, rows))
    return Table(
        [
            "Percentage of all test images of the subset, abstentions included, that are correct "
            "with a certified radius ≥ r; r = 0 is the papers' clean accuracy. At cap: all n votes "
            "agree, so the radius is the largest that n allows.",
            base.spread_note(results),
            *base.best_note(results, "of ACR and of certified accuracy in a column"),
            *base.rounding_note(results),
        ],
        blocks,
        results.numbers,
    )


def _show(quantity: Quantity) -> Callable[[float], str]:
    return base.radius if quantity.metric == metrics.ACR else base.percent


def _heading(quantity: Quantity) -> str:
    words = {metrics.ACR: "ACR", metrics.ABSTENTION: "Abstained", metrics.AT_CAP: "At cap"}
    if quantity.metric in words:
        return words[quantity.metric]
    return f"r = {quantity.radius:g}" if quantity.radius == 0 else f"{quantity.radius:.2f}"
