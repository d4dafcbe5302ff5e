"""Best certified accuracy at each radius over a sweep, and the model that reaches it.

The layout of Salman et al. 2019: their tables 1 and 2 list the best of many models at each radius;
their lists of best models name them. Clean accuracy stands beside it, because the best model at a
large radius is rarely good at a small one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from smoothcert.analysis import metrics
from smoothcert.analysis.cells import Block, Cell, Column, Table
from smoothcert.analysis.measurement import CLEAN, Measured, Results, numbers
from smoothcert.analysis.metrics import Quantity
from smoothcert.analysis.tables import base

EVERY = "All families"


def table(results: Results) -> Table:
    """Return the table: families beside each other, then each family's best models."""
    every = results.cells.values()
    # Rounded radii would win or lose by their rounding.
    ours = [cell for cell in every if not cell.runs[0].log]
    cells = ours or list(every)
    families = {name: [] for name in dict.fromkeys(cell.family for cell in cells)}
    for cell in cells:
        families[cell.family].append(cell)
    groups = {EVERY: cells, **families} if len(families) > 1 else families
    found = {name: _best(members) for name, members in groups.items()}
    blocks = [_models(results, name, len(groups[name]), best) for name, best in found.items()]
    if len(families) > 1:
        blocks.insert(0, _beside(families, found))
    return Table(
        [
            "The highest certified accuracy in percent at radius r over all models of a family, "
            "noise levels included; a model is one row at one σ, its mean over seeds. The choice "
            "is made on these same test images, so it is optimistic, and more so for more models. "
            "Of models that tie, the first in the order of the tables is named. Radii that no "
            "model reaches are left out.",
            base.spread_note(results),
            *["Published logs, whose radii are rounded, are left out."]
            * (0 < len(ours) < len(results.cells)),
        ],
        blocks,
        pd.DataFrame(
            {
                "family": name,
                "models": len(groups[name]),
                "radius": quantity.radius,
                **results.key(cell),
                **numbers(cell[quantity]),
                **{f"clean_{key}": of for key, of in _spreads(cell).items()},
                **results.protocol,
            }
            for name, best in found.items()
            for quantity, cell in best.items()
        ),
    )


def _best(cells: Sequence[Measured]) -> dict[Quantity, Measured]:
    """Return the cell that is best at each radius that any of them reaches."""
    best = {}
    for quantity in _radii(cells):
        reaching = [cell for cell in cells if quantity in cell]
        first = max(reaching, key=lambda cell: cell[quantity].mean)
        if first[quantity].mean > 0:
            best[quantity] = first
    return best


def _radii(cells: Sequence[Measured]) -> list[Quantity]:
    """Return certified accuracy at the radii of the cell with the most."""
    widest = max(cells, key=lambda cell: cell.cap)
    return [quantity for quantity in widest.quantities if quantity.metric == metrics.CERTIFIED]


def _beside(
    families: dict[str, list[Measured]], found: dict[str, dict[Quantity, Measured]]
) -> Block:
    """Return a line for each family, a column for each radius."""
    radii = list(found[EVERY])
    columns = [
        [found[name][q][q] if q in found[name] else None for name in families] for q in radii
    ]
    # Without any certified image there is no radius, and hence no column, to show.
    # Nothing is bold: no test here allows for the choice among many models.
    shown = base.shown(base.percent, columns, ranked=False)
    lines = zip(*shown, strict=True) if shown else [()] * len(families)
    return Block(
        "",
        [
            Column("Family", words=True),
            *(Column(f"r = {q.radius:g}" if q.radius == 0 else f"{q.radius:.2f}") for q in radii),
            Column("Models"),
        ],
        [
            [Cell(name), *line, Cell(str(len(members)))]
            for (name, members), line in zip(families.items(), lines, strict=True)
        ],
    )


def _models(results: Results, family: str, models: int, best: dict[Quantity, Measured]) -> Block:
    """Return a line for each radius, with the model that is best there."""
    return Block(
        f"{family}: best of {models}",
        [
            Column("r"),
            Column("Certified %"),
            Column("Model", words=True),
            Column("σ"),
            Column("Clean %"),
            Column("Seeds"),
        ],
        [
            [
                Cell(f"{quantity.radius:.2f}"),
                base.value(base.percent, cell[quantity]),
                base.method(results, cell.row),
                Cell(f"{cell.sigma:.2f}"),
                base.value(base.percent, cell[CLEAN]),
                base.seeds([cell.seeds]),
            ]
            for quantity, cell in best.items()
        ],
    )


def _spreads(cell: Measured) -> dict[str, Any]:
    return {key: of for key, of in numbers(cell[CLEAN]).items() if key != "seeds"}
