"""Differences of ACR and of clean accuracy between each two rows at each sigma, with tests."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import pandas as pd

from smoothcert.analysis import metrics, significance
from smoothcert.analysis.cells import Block, Cell, Column, Table
from smoothcert.analysis.measurement import CLEAN, Measured, Results
from smoothcert.analysis.metrics import Quantity
from smoothcert.analysis.significance import SIGNIFICANCE
from smoothcert.analysis.tables import base

SHOWN = {Quantity(metrics.ACR): ("ACR", base.radius), CLEAN: ("clean %", base.percent)}
COLUMNS = (
    "label", "lambda", "other_label", "other_lambda", "sigma", "metric", "difference", "low",
    "high", "p", "p_holm", "standard_error", "degrees_of_freedom", "error_over", "seeds",
    "other_seeds",
)  # fmt: skip


def table(results: Results) -> Table:
    """Return the table: the later row minus the earlier one, for each two at each sigma."""
    pairs = [
        (later, earlier)
        for sigma in results.experiment.sigmas
        for earlier, later in combinations(results.at(sigma), 2)
    ]
    data = pd.DataFrame(
        [_compare(*pair, quantity) for pair in pairs for quantity in SHOWN], columns=COLUMNS
    )
    data["p_holm"] = significance.holm(data["p"])
    lines = [
        data.iloc[i : i + len(SHOWN)].to_dict("records") for i in range(0, len(data), len(SHOWN))
    ]
    blocks = [
        Block(
            f"σ = {sigma:.2f}",
            [Column("Method", words=True), Column("minus", words=True), *_columns()],
            [
                _line(results, *pair, line)
                for pair, line in zip(pairs, lines, strict=True)
                if pair[0].sigma == sigma
            ],
        )
        for sigma in dict.fromkeys(later.sigma for later, _ in pairs)
    ]
    return Table(
        [*_notes(results, data), *base.rounding_note(results)],
        blocks,
        data.assign(**results.protocol),
    )


def _compare(later: Measured, earlier: Measured, quantity: Quantity) -> dict[str, Any]:
    a, b = later[quantity], earlier[quantity]
    found = significance.compare(a, b)
    low, high = found.interval(1 - SIGNIFICANCE) if found else (math.nan, math.nan)
    return {
        "label": later.row.label,
        "lambda": later.weight,
        "other_label": earlier.row.label,
        "other_lambda": earlier.weight,
        "sigma": later.sigma,
        "metric": "clean_accuracy" if quantity == CLEAN else quantity.metric,
        "difference": a.mean - b.mean,
        "low": low,
        "high": high,
        "p": significance.p_value(found),
        "standard_error": found.error if found else math.nan,
        "degrees_of_freedom": found.df if found else math.nan,
        "error_over": "seeds" if significance.over_seeds(a, b) else "images",
        "seeds": a.seeds,
        "other_seeds": b.seeds,
    }


def _columns() -> list[Column]:
    columns = []
    for name, _ in SHOWN.values():
        headings = (f"Δ {name}", f"{1 - SIGNIFICANCE:.0%} interval", "p", "Holm p")
        columns += map(Column, headings)
    return [*columns, Column("Seeds"), Column("Error over", words=True)]


def _line(
    results: Results, later: Measured, earlier: Measured, found: list[dict[str, Any]]
) -> list[Cell]:
    cells = []
    for number, (_, show) in zip(found, SHOWN.values(), strict=True):
        known = not math.isnan(number["p"])
        cells += [
            Cell(
                base.minus(show(number["difference"])),
                best=number["p_holm"] < SIGNIFICANCE and number["error_over"] == "seeds",
            ),
            Cell(" to ".join(base.minus(show(number[end])) for end in ("low", "high")))
            if known
            else base.ABSENT,
            *(base.number(_probability, number[name]) for name in ("p", "p_holm")),
        ]
    return [
        base.method(results, later.row),
        base.method(results, earlier.row),
        *cells,
        base.seeds([later.seeds, earlier.seeds]),
        Cell(found[0]["error_over"]),
    ]


def _notes(results: Results, data: pd.DataFrame) -> list[str]:
    if data.empty:
        return ["There are no two methods at one noise level to compare."]
    tested, over = data["p"].notna(), set(data["error_over"])
    tests = [base.OVER_SEEDS] if "seeds" in over else []
    tests += ["a paired t test over images where a side is a single seed"] * ("images" in over)
    # None is tested where no value varies.
    count = f", as it is and adjusted by Holm's method for all {tested.sum():,} tests of this table"
    adjusted = count if tested.any() else ""
    notes = [
        "The first method's mean minus the second's, accuracies in percentage points, with the "
        f"{1 - SIGNIFICANCE:.0%} interval of the difference and the two-sided p-value of no "
        f"difference ({'; '.join(tests)}){adjusted}."
    ]
    if "seeds" in over:
        notes.append(
            f"Bold: significant over seeds at the {SIGNIFICANCE:.0%} level after the adjustment. "
            "What is bold in other tables is adjusted for their columns alone."
        )
    if "images" in over:
        notes.append(
            "The test over images leaves out the deviation between seeds: it tells models apart, "
            "but not methods, and is never bold."
        )
    if not tested.all():
        notes.append(
            "A dash: the values do not vary, so there is no error, or the radii of one side alone "
            "are rounded."
            if base.rounding_note(results)
            else "A dash: the values do not vary, so there is no error."
        )
    return notes


def _probability(p: float) -> str:
    return f"{p:.2g}"
