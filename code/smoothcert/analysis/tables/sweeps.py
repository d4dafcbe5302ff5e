"""ACR and clean accuracy against the settings in which the entries of one method differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from smoothcert.analysis import metrics
from smoothcert.analysis.cells import Block, Cell, Column, Table
from smoothcert.analysis.measurement import CLEAN, Measured, Results, Value
from smoothcert.analysis.metrics import Quantity
from smoothcert.analysis.significance import leaders
from smoothcert.analysis.tables import base

SHOWN = {
    Quantity(metrics.ACR): ("acr", "ACR", base.radius),
    CLEAN: ("clean_accuracy", "Clean %", base.percent),
}
SYMBOLS = {"lambda": "λ", "eta": "η", "epsilon": "ε", "gamma": "γ", "beta": "β"}


def table(results: Results) -> Table:
    """Return the table: a block for each method that has several settings at one sigma."""
    methods: dict[str, list[Measured]] = {}
    for cell in results.cells.values():
        methods.setdefault(cell.runs[0].point.method, []).append(cell)
    sweeps = [sweep for sweep in map(Sweep, methods.values()) if sweep.sigmas]
    if sweeps:
        notes = [
            "The settings in which the entries of one method differ. λ is the weight of its "
            "regularizer; config/README.md explains the others.",
            base.spread_note(results),
            *base.best_note(results, "of a column"),
        ]
    else:
        notes = ["No method runs with several settings at one noise level."]
    columns = [column for sweep in sweeps for column in sweep.columns]
    best = iter(leaders(columns))
    return Table(
        [*notes, *base.rounding_note(results)],
        [_block(results, sweep, [next(best) for _ in sweep.columns]) for sweep in sweeps],
        _data(results, sweeps),
    )


@dataclass(frozen=True)
class Sweep:
    """The cells of one method."""

    cells: Sequence[Measured]

    @cached_property
    def names(self) -> list[str]:
        """Return the names of the settings that differ."""
        first, *others = map(settings, self.cells)
        return [name for name in first if any(other[name] != first[name] for other in others)]

    @cached_property
    def sigmas(self) -> list[float]:
        """Return the noise levels with several settings, ascending."""
        values = {}
        for cell in self.cells:
            values.setdefault(cell.sigma, set()).add(self.values(cell))
        return sorted(sigma for sigma, found in values.items() if len(found) > 1)

    @cached_property
    def lines(self) -> dict[tuple, dict[float, Measured]]:
        """Return the cells by label and values, and by sigma; numbers ascend."""
        orders = [
            _ordered(values)
            for values in zip(*(self.values(cell) for cell in self.cells), strict=True)
        ]
        lines: dict[tuple, dict[float, Measured]] = {}
        for cell in sorted(
            (cell for cell in self.cells if cell.sigma in self.sigmas),
            key=lambda cell: [
                order.index(value) for order, value in zip(orders, self.values(cell), strict=True)
            ],
        ):
            lines.setdefault((cell.row.label, self.values(cell)), {})[cell.sigma] = cell
        return lines

    @cached_property
    def columns(self) -> list[list[Value | None]]:
        """Return the columns of numbers: for each quantity, one a sigma."""
        return [
            [cells[sigma][quantity] if sigma in cells else None for cells in self.lines.values()]
            for quantity in SHOWN
            for sigma in self.sigmas
        ]

    def values(self, cell: Measured) -> tuple[Any, ...]:
        """Return a cell's values of the settings that differ."""
        of = settings(cell)
        return tuple(of[name] for name in self.names)


def settings(cell: Measured) -> dict[str, Any]:
    """Return lambda, the method's parameters and the training settings of a cell.

    Not init_from, which is another file for each sigma and seed.
    """
    point = cell.runs[0].point
    found = {"lambda": point.weight, **point.settings["parameters"], **point.settings["training"]}
    del found["init_from"]
    return found


def _block(results: Results, sweep: Sweep, best: Sequence[int | None]) -> Block:
    shows = [(heading, show) for _, heading, show in SHOWN.values() for _ in sweep.sigmas]
    columns = [
        [base.value(show, value, best=i == leader) for i, value in enumerate(column)]
        for (_, show), column, leader in zip(shows, sweep.columns, best, strict=True)
    ]
    swept = [values for _, values in sweep.lines]
    return Block(
        sweep.cells[0].runs[0].point.parameters.title,
        [
            Column("Method", words=True),
            *(
                Column(SYMBOLS.get(name, name), words=any(isinstance(v, str) for v in values))
                for name, values in zip(sweep.names, zip(*swept, strict=True), strict=True)
            ),
            *(
                Column(f"{heading}, σ = {sigma:.2f}")
                for _, heading, _ in SHOWN.values()
                for sigma in sweep.sigmas
            ),
            Column("Seeds"),
        ],
        [
            [
                base.method(results, next(iter(cells.values())).row, name=label),
                *(Cell(_text(value)) for value in values),
                *numbers,
                base.seeds(cell.seeds for cell in cells.values()),
            ]
            for ((label, values), cells), *numbers in zip(
                sweep.lines.items(), *columns, strict=True
            )
        ],
    )


def _data(results: Results, sweeps: Sequence[Sweep]) -> pd.DataFrame:
    names = dict.fromkeys(name for sweep in sweeps for name in sweep.names)
    rows = []
    for sweep in sweeps:
        for cells in sweep.lines.values():
            for sigma, cell in cells.items():
                row = {
                    "method": cell.runs[0].point.method,
                    "label": cell.row.label,
                    "sigma": sigma,
                    **dict(zip(sweep.names, sweep.values(cell), strict=True)),
                    "seeds": cell.seeds,
                    **results.protocol,
                }
                for quantity, (name, _, _) in SHOWN.items():
                    value = cell[quantity]
                    row |= {
                        name: value.mean,
                        f"{name}_std": value.std,
                        f"{name}_standard_error": value.standard_error,
                    }
                rows.append(row)
    spreads = [
        f"{name}{end}" for name, _, _ in SHOWN.values() for end in ("", "_std", "_standard_error")
    ]
    return pd.DataFrame(
        rows, columns=["method", "label", "sigma", *names, *spreads, "seeds", *results.protocol]
    )


def _ordered(values: Sequence[Any]) -> list[Any]:
    """Return the distinct values, ascending where they can be compared."""
    distinct = list(dict.fromkeys(values))
    try:
        return sorted(distinct)
    except TypeError:
        return distinct


def _text(value: Any) -> str:
    if value is None:
        return base.ABSENT.text
    return f"{value:g}" if isinstance(value, float) else str(value)
