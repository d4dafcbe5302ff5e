"""What the papers say in words, and what the experiment's runs say of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from smoothcert.analysis import evidence, metrics
from smoothcert.analysis.cells import Block, Cell, Column, Table
from smoothcert.analysis.evidence import Finding, Outcome, Result
from smoothcert.analysis.measurement import Results
from smoothcert.analysis.tables import base

COLUMNS = (
    "id", "claim", "source", "outcome", "left", "relation", "right", "sigma", "metric", "radius",
    "threshold", "finding", "difference", "low", "high", "level", "reason",
)  # fmt: skip


def table(results: Results) -> Table:
    """Return the table: a block of all claims, and one of their comparisons."""
    judged = evidence.judge(results)
    data = pd.DataFrame([row for one in judged for row in _rows(one)], columns=COLUMNS)
    notes = (
        [
            "Supported: the 95% interval of every difference lies on the claimed side. "
            "Contradicted: one lies on the other side, adjusted for their number. Undecided: "
            "neither, or a single seed on a side. Not comparable: trained or certified in another "
            "way than all published runs that the claim is about. Where ours have but a part of "
            "their images, intervals hold the error of drawing images too; a deviation over seeds "
            "is on these images alone. The words are ours.",
            *_about_logs(results),
        ]
        if judged
        else ["No claim of the papers is about this data set and network."]
    )
    return Table(
        notes,
        [_summary(judged), _findings(judged)] if judged else [],
        data.assign(**results.protocol),
    )


def _about_logs(results: Results) -> list[str]:
    """Return what published logs can show, where a method has no other runs."""
    kinds = {run.log is None for run in evidence.counted(results.experiment.runs)}
    if kinds == {True}:
        return []
    rounded = " All radii are first rounded to three digits, as the logs' are."
    return [
        "Methods that were not run here count with their published logs: between those, a claim is "
        f"compared with the very runs that it is made of, not repeated.{rounded * (len(kinds) > 1)}"
    ]


def _summary(judged: list[Result]) -> Block:
    columns = [Column(name, words=True) for name in ("Claim", "Source", "These runs")]
    lines = [
        [Cell(one.claim.text), Cell(one.claim.source), Cell(str(one.outcome))] for one in judged
    ]
    return Block("", columns, lines)


def _findings(judged: list[Result]) -> Block:
    columns = [
        Column("Claim", words=True),
        Column("Comparison", words=True),
        Column("σ"),
        Column("Difference"),
        Column("Interval"),
        Column("Outcome", words=True),
        Column("Grounds", words=True),
    ]
    lines = [
        _line(one, finding)
        for one in judged
        for finding in one.findings
        if finding.outcome is not Outcome.NOT_RUN
    ]
    return Block("The comparisons behind them, of what was run", columns, lines)


def _line(one: Result, finding: Finding) -> list[Cell]:
    comparison, over = finding.comparison, finding.difference
    show = base.radius if comparison.metric == metrics.ACR else base.percent
    return [
        Cell(one.claim.id),
        Cell(_words(finding, show)),
        Cell(f"{finding.sigma:.2f}"),
        Cell(base.minus(show(over.value))) if over else base.ABSENT,
        Cell(" to ".join(base.minus(show(end)) for end in finding.interval))
        if finding.interval
        else base.ABSENT,
        Cell(str(finding.outcome)),
        Cell(finding.reason),
    ]


def _words(finding: Finding, show: Callable[[float], str]) -> str:
    """Return a comparison in words, with its threshold."""
    comparison = finding.comparison
    left, right, threshold = finding.left, finding.right, comparison.threshold
    metric = "ACR" if comparison.metric == metrics.ACR else comparison.metric.replace("_", " ")
    if comparison.radius is not None:
        metric += f" at r = {comparison.radius:g}"
    if comparison.add_abstention:
        metric += " with abstentions added"
    by = f" by more than {show(threshold)}" if threshold else ""
    relation = {
        "above": f"{left} above {right}{by}",
        "below": f"{left} below {right}{by}",
        "equal": f"{left} within {show(threshold)} of {right}",
        "steady": f"deviation over seeds below {threshold:g} × ({left} − {right})",
    }
    return f"{metric}: {relation[comparison.relation]}"


def _rows(one: Result) -> list[dict[str, Any]]:
    return [
        {
            "id": one.claim.id,
            "claim": one.claim.text,
            "source": one.claim.source,
            "outcome": str(one.outcome),
            "left": str(finding.left),
            "relation": finding.comparison.relation,
            "right": str(finding.right),
            "sigma": finding.sigma,
            "metric": finding.comparison.metric,
            "radius": finding.comparison.radius,
            "threshold": finding.comparison.threshold,
            "finding": str(finding.outcome),
            "difference": finding.difference.value if finding.difference else None,
            "low": finding.interval[0] if finding.interval else None,
            "high": finding.interval[1] if finding.interval else None,
            "level": finding.level,
            "reason": finding.reason,
        }
        for finding in one.findings
    ]
