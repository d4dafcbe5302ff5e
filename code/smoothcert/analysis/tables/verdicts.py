"""Every published number that the experiment names, ours beside it, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from smoothcert.analysis import judgement, metrics
from smoothcert.analysis.cells import Block, Cell, Column, Table
from smoothcert.analysis.judgement import Judged
from smoothcert.analysis.measurement import Results
from smoothcert.analysis.t_tests import Sample
from smoothcert.analysis.tables import base
from smoothcert.analysis.verdicts import Kind, Verdict, printed

COLUMNS = (
    "label", "lambda", "sigma", "metric", "radius", "published", "published_std",
    "published_seeds", "basis", "as_published", "as_published_std", "ours", "ours_std",
    "ours_seeds", "difference", "low", "high", "level", "margin", "verdict", "reason", "assumed",
    "best_of", "seeds_needed", "images_needed", "source", "table", "note",
)  # fmt: skip

AS_PUBLISHED, BY_LOGS = "as published", "logs"
"""What stands for the published number: itself, or its logs' value on the same images as ours."""

TITLES = {
    metrics.ACR: "Average certified radius",
    metrics.CERTIFIED: "Certified accuracy, %",
    metrics.ABSTENTION: "Abstention, %",
}
"""The blocks' headings, in their order."""


def table(results: Results) -> Table:
    """Return the table, one block a metric."""
    judged = judgement.judge(results.experiment)
    data = pd.DataFrame([_row(one) for one in judged], columns=COLUMNS)
    blocks = [_block(results, title, of_metric) for title, of_metric in _blocks(judged)]
    notes = _notes(results, judged) if judged else ["This experiment names no published number."]
    return Table(
        notes,
        blocks,
        data.astype(dict.fromkeys(("seeds_needed", "images_needed"), "Int64")).assign(
            **results.protocol
        ),
    )


def _blocks(judged: list[Judged]) -> Iterator[tuple[str, list[Judged]]]:
    """Yield the heading of each block and what stands in it."""
    for metric, title in TITLES.items():
        of_metric = [one for one in judged if one.number.metric == metric]
        if of_metric:
            yield title, of_metric


def _block(results: Results, title: str, judged: list[Judged]) -> Block:
    radius = [Column("r")] if judged[0].number.metric == metrics.CERTIFIED else []
    basis = any(one.by_logs for one in judged)
    columns = [
        Column("Method", words=True),
        Column("σ"),
        *radius,
        Column("Published"),
        Column("Seeds"),
        *([Column("Basis", words=True)] if basis else []),
        Column("These runs"),
        Column("Seeds"),
        Column("Difference"),
        Column("Interval"),
        Column("Verdict", words=True),
        Column("Grounds", words=True),
    ]
    return Block(title, columns, [_line(results, one, basis) for one in judged])


def _line(results: Results, one: Judged, basis: bool) -> list[Cell]:
    number, verdict, target = one.number, one.verdict, one.target
    show = base.radius if number.metric == metrics.ACR else base.percent
    theirs = verdict.theirs if verdict else printed(number)
    known = verdict is not None and verdict.difference is not None
    return [
        base.method(results, results.experiment.row_of(target.label, target.weight)),
        Cell(f"{target.sigma:.2f}"),
        *([] if number.radius is None else [Cell(f"{number.radius:.2f}")]),
        *_sample(theirs, show),
        *([Cell(_basis(one))] if basis else []),
        *_sample(verdict.ours if verdict else None, show),
        Cell(_signed(show(verdict.difference))) if known else base.ABSENT,
        _interval(verdict, show),
        Cell(str(one.kind)),
        Cell(_grounds(verdict)),
    ]


def _basis(one: Judged) -> str:
    return BY_LOGS if one.by_logs else AS_PUBLISHED


def _sample(sample: Sample | None, show: Callable[[float], str]) -> list[Cell]:
    """Return a mean with its spread, and the number of seeds."""
    if sample is None:
        return [base.ABSENT, base.ABSENT]
    spread = "" if sample.std is None else show(sample.std)
    return [Cell(show(sample.mean), spread), Cell(str(sample.seeds))]


def _interval(verdict: Verdict | None, show: Callable[[float], str]) -> Cell:
    if verdict is None or verdict.low is None:
        return base.ABSENT
    return Cell(f"{_signed(show(verdict.low))} to {_signed(show(verdict.high))}")


def _grounds(verdict: Verdict | None) -> str:
    if verdict is None:
        return "no run of ours"
    words = [verdict.reason]
    if verdict.assumed:
        words.append(f"the deviation of {verdict.assumed} is assumed to be the other's")
    if verdict.best_of:
        runs = "an unstated number of" if verdict.best_of == "unstated" else verdict.best_of
        words.append(f"the published one is the best of {runs} runs on the test set")
    return "; ".join(words)


def _signed(text: str) -> str:
    """Return a difference with its sign, or without one if it is shown as 0."""
    return f"+{text}" if float(text) > 0 else base.minus(text)


def _row(one: Judged) -> dict[str, Any]:
    number, verdict = one.number, one.verdict
    row = {
        "label": one.target.label,
        "lambda": one.target.weight,
        "sigma": one.target.sigma,
        "metric": number.metric,
        "radius": number.radius,
        "published": number.value,
        "published_std": number.std,
        "published_seeds": number.seeds,
        "basis": _basis(one),
        "as_published": number.value,
        "as_published_std": number.std,
        "verdict": str(one.kind),
        "reason": _grounds(verdict),
        "source": number.source,
        "table": number.table,
        "note": number.note,
    }
    if verdict:
        keys = (
            *("difference", "low", "high", "level", "margin", "assumed", "best_of"),
            *("seeds_needed", "images_needed"),
        )
        row |= {key: getattr(verdict, key) for key in keys}
        theirs = verdict.theirs
        row |= {"published": theirs.mean, "published_std": theirs.std}
        row |= {"published_seeds": theirs.seeds}
        if verdict.ours:
            ours = verdict.ours
            row |= {"ours": ours.mean, "ours_std": ours.std, "ours_seeds": ours.seeds}
    return row


def _notes(results: Results, judged: list[Judged]) -> list[str]:
    margin = results.experiment.configuration["margin"]
    kinds = {one.kind for one in judged}
    sources = ", ".join(sorted({one.number.source for one in judged}))
    notes = [
        f"Published: {sources}; config/published/README.md says what that is. Difference: these "
        "runs minus the published number. ± is the sample standard deviation over seeds."
    ]
    if kinds - {Kind.IDENTICAL, Kind.DIFFERS, Kind.NO_LOG, Kind.NOT_RUN}:
        notes.append(
            "Reproduced: the 90% interval of the difference over seeds lies within ± "
            f"{100 * margin['acr']:g}% of the published ACR, or ± {100 * margin['share']:g} "
            "percentage points of an accuracy or abstention, at most half of what the published "
            "one is away from 0 or 100%: the margin. Not reproduced: otherwise, if the 95% "
            "interval, adjusted by Holm's method for this table, excludes 0: the difference is no "
            "chance, and not shown to be small. Inconclusive: otherwise. Interval: the 90% one, or "
            "that which excludes 0 if not reproduced. Both sides are taken to deviate alike "
            "between seeds: Student's t. Radii are first rounded as the published ones were."
        )
    if any(one.by_logs for one in judged):
        notes.append(
            f"Basis: {BY_LOGS}, where this report holds the logs of the published runs. Their "
            "value on the same images then stands for the published one, which verdicts.csv "
            "has under as_published."
        )
    if kinds & {Kind.IDENTICAL, Kind.DIFFERS, Kind.NO_LOG}:
        notes.append(
            "Recomputed: from the published certification log of the very run, which shows that "
            "table and log agree, not that the run can be repeated."
        )
    return notes
