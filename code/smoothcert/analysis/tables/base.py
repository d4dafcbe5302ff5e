"""What the tables have in common: how numbers are shown, what is bold, what the notes say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from smoothcert.analysis import significance
from smoothcert.analysis.cells import Block, Cell, Column
from smoothcert.analysis.experiment import Row
from smoothcert.analysis.measurement import Results, Value
from smoothcert.analysis.metrics import Quantity

ABSENT = Cell("–")
GUESS = "†"
OVER_SEEDS = "Welch's t test over seeds, on these images"
"""By which test cells of several seeds are compared."""


def radius(value: float) -> str:
    """Return an ACR or a radius with four decimals."""
    return f"{value:.4f}"


def percent(value: float) -> str:
    """Return a share of [0, 1] in percent."""
    return f"{100 * value:.2f}"


def minus(text: str) -> str:
    """Return a number with a true minus sign, and with none before a zero."""
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def number(
    show: Callable[[float], str], mean: float, spread: float = math.nan, best: bool = False
) -> Cell:
    """Return a number with its spread, or a dash where it is unknown."""
    if math.isnan(mean):
        return ABSENT
    return Cell(show(mean), "" if math.isnan(spread) else show(spread), best)


def value(show: Callable[[float], str], of: Value | None, best: bool = False) -> Cell:
    """Return mean ± std over seeds or, for one seed, ± the standard error; a dash for None."""
    return number(show, of.mean, of.spread, best) if of else ABSENT


def method(results: Results, row: Row, name: str | None = None) -> Cell:
    """Return the title of a row or another name for it, marked if some of its settings are guesses.

    ``closing_notes`` explains the mark.
    """
    mark = f" {GUESS}" if row in results.experiment.unpublished else ""
    return Cell(f"{name or row.title}{mark}")


def seeds(counts: Iterable[int]) -> Cell:
    """Return the numbers of seeds behind a line."""
    return Cell(" / ".join(dict.fromkeys(map(str, counts))))


def shown(
    show: Callable[[float], str], columns: Sequence[Sequence[Value | None]], ranked: bool = True
) -> list[list[Cell]]:
    """Return the cells of columns of one table; bold if ranked and significantly the highest."""
    best = significance.leaders(columns) if ranked else [None] * len(columns)
    return [
        [value(show, of, best=i == leader) for i, of in enumerate(column)]
        for column, leader in zip(columns, best, strict=True)
    ]


def by_sigma(
    results: Results, quantity: Quantity, show: Callable[[float], str], ranked: bool
) -> Block:
    """Return a line for each row of the experiment, a column for each sigma."""
    rows, sigmas, cells = results.experiment.rows, results.experiment.sigmas, results.cells
    columns = [
        [cells[row, sigma][quantity] if (row, sigma) in cells else None for row in rows]
        for sigma in sigmas
    ]
    counts = [[cells[row, s].seeds for s in sigmas if (row, s) in cells] for row in rows]
    lines = zip(*shown(show, columns, ranked), strict=True)
    return Block(
        "",
        [
            Column("Method", words=True),
            *(Column(f"σ = {sigma:.2f}") for sigma in sigmas),
            Column("Seeds"),
        ],
        [
            [method(results, row), *line, seeds(count)]
            for row, line, count in zip(rows, lines, counts, strict=True)
        ],
    )


# Notes


def closing_notes(results: Results) -> list[str]:
    """Return which settings are guesses, if any, and what the numbers are comparable with."""
    experiment, protocol = results.experiment, results.experiment.protocol
    rows: dict[tuple[str, ...], list[str]] = {}
    for row, names in experiment.unpublished.items():
        rows.setdefault(names, []).append(row.title)
    guesses = "; ".join(f"{', '.join(names)} of {', '.join(of)}" for names, of in rows.items())
    mode = "" if protocol.mode == "fixed" else f", mode {protocol.mode}"
    # Each rounds in its own way, by less than seeds deviate (docs/reproduction).
    arithmetic = results.runs[["backend", "precision"]].dropna().value_counts().sort_index()
    several = len(arithmetic) > 1
    ways = ", ".join(
        f"{' in '.join(way)} ({count} run{'s' if count > 1 else ''})"
        for way, count in arithmetic.items()
    )
    return [
        *([f"{GUESS} Settings that the reproduced source does not state: {guesses}."] * bool(rows)),
        f"Protocol: subset {protocol.subset} ({experiment.images:,} images), "
        f"n₀ = {protocol.n0:,}, n = {protocol.n:,}, α = {protocol.alpha:g}{mode}.",
        *([f"Certified in several ways: {ways}; runs.csv tells which."] * several),
    ]


def spread_note(results: Results) -> str:
    """Return what ± means."""
    several = "the sample standard deviation over seeds"
    single = f"the standard error over the {results.experiment.images:,} images"
    fewest, most = _seeds(results)
    if fewest > 1:
        return f"± is {several}."
    if most == 1:
        return f"One seed: ± is {single}."
    return f"± is {several}, and for one seed {single}."


def rounding_note(results: Results) -> list[str]:
    """Return that radii are rounded in some rows and not in others, where that is so."""
    if len({run.log is None for run in results.experiment.runs}) == 1:
        return []
    return [
        "Radii are as they were written: the published logs' to three digits, which can move the "
        "ACR and the certified accuracy at a radius by more than their deviation over seeds; the "
        "other runs' in full. No test compares the two; verdicts and claims do, after rounding."
    ]


def best_note(results: Results, scope: str) -> list[str]:
    """Return what bold means, where there is anything to compare."""
    if len(results.experiment.rows) == 1:
        return []
    if _seeds(results)[1] == 1:
        return ["Nothing is bold: single seeds tell models apart, but not methods."]
    single = "" if _seeds(results)[0] > 1 else " Nothing is where either is of a single seed."
    return [
        f"Bold: the highest mean {scope}, where its difference to the next is significant at the "
        f"{significance.SIGNIFICANCE:.0%} level ({OVER_SEEDS}; adjusted by Holm's method for the "
        f"number of columns).{single}"
    ]


def _seeds(results: Results) -> tuple[int, int]:
    counts = [cell.seeds for cell in results.cells.values()]
    return min(counts), max(counts)
