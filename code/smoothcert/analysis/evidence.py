"""What our runs say of the papers' claims.

A claim is *supported* if the 95% interval of each of its differences lies on the claimed side (of
an equality, the 90% interval within the threshold; of a steady metric, that of its deviation, see
``_relative_deviation``); *contradicted* if that of any lies on the other side, at a level raised
by their number, since one of many does so by chance (Bonferroni); *undecided* between the two, and
where a side has a single run. Differences are Welch's over seeds. Where the runs have but a part of
the images that the source certified, the error of drawing them is added: a claim is not about that
part alone (of a steady metric, its deviation is). Runs that were trained or certified in another
way than any of the published ones are left out beside others and, where there are no others, *not
comparable*: a short training can turn a difference around.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import chdtri, nctdtrinc

from smoothcert import datasets, files, published
from smoothcert.analysis import claims, metrics
from smoothcert.analysis.claims import Cell, Claim, Comparison
from smoothcert.analysis.experiment import Run
from smoothcert.analysis.measurement import Results
from smoothcert.analysis.t_tests import Difference, Sample, common_deviation, difference, paired
from smoothcert.analysis.verdicts import (
    DIFFERENCE,
    EQUIVALENCE,
    STAGED,
    TRAINING_UNTOLD,
    UNTOLD,
    Outcome,
)
from smoothcert.point import Point
from smoothcert.published import Query
from smoothcert.published.number import Number
from smoothcert.published.told import SELECTION, differing, same

Row = dict[str, Any]
"""A run and one of its metrics."""

FAR = 1e3
"""Beyond it only the error of the deviation counts, and scipy's inverse soon finds no end."""


@dataclass(frozen=True)
class Finding:
    """One difference that a claim is about."""

    comparison: Comparison
    left: Cell
    right: Cell
    sigma: float
    outcome: Outcome
    reason: str
    """One line."""
    difference: Difference | None = None
    """Left minus right, or None if there is none or its error is not known."""
    interval: tuple[float, float] | None = None
    """The interval of the difference that decided, or that failed to."""
    level: float | None = None
    """Its confidence level."""


@dataclass(frozen=True)
class Result:
    """A claim and what our runs say of it."""

    claim: Claim
    outcome: Outcome
    findings: tuple[Finding, ...]


def judge(results: Results) -> list[Result]:
    """Return what the experiment's runs say of the claims about its data set and network."""
    about = (results.experiment.dataset, results.experiment.arch)
    found = [claim for claim in claims.read() if (claim.dataset, claim.arch) == about]
    if not found:
        return []
    radii = {c.radius for claim in found for c in claim.comparisons if c.radius is not None}
    runs = _measured(results, sorted(radii))
    return [evaluate(claim, runs) for claim in found]


def counted(runs: Sequence[Run]) -> list[Run]:
    """Return the runs that count: of a method that was run here, not its published logs."""
    own = {run.point.method for run in runs if run.log is None}
    return [run for run in runs if run.log is None or run.point.method not in own]


def evaluate(claim: Claim, runs: pd.DataFrame) -> Result:
    """Return what the runs of the claim's data set and network say of it.

    ``runs`` has a row a run and metric with the columns method, lambda, sigma, seed, metric, radius
    and value, those of the protocol, and the settings of training and method, by which cells may be
    named. If it has the column configuration, only runs that share one are averaged; if it has
    of_images, with each image's value, these tell the error of a part of the images.
    """
    pairs = [
        (comparison, right, sigma)
        for comparison in claim.comparisons
        for right, sigma in product(comparison.right, comparison.sigmas)
    ]
    findings = tuple(_finding(claim, *pair, len(pairs), runs) for pair in pairs)
    outcomes = {finding.outcome for finding in findings}
    return Result(claim, next(o for o in Outcome if o in outcomes), findings)


def _measured(results: Results, radii: list[float]) -> pd.DataFrame:
    """Return a row a run and metric, as ``evaluate`` takes them.

    Beside a published log, the radii of our runs are rounded as the log's are.
    """
    rows, runs = [], counted(results.experiment.runs)
    mixed = len({run.log is None for run in runs}) > 1
    for run in runs:
        outcomes = run.outcomes
        if mixed:
            radius = metrics.round_radii(outcomes["radius"], metrics.LOG_ROUNDING)
            outcomes = outcomes.assign(radius=radius)
        values = metrics.image_values(outcomes, np.array(radii), run.protocol.n).T
        settings = run.point.settings
        for quantity, of_images in zip(metrics.quantities(np.array(radii)), values, strict=True):
            rows.append(
                {
                    **results.protocol,
                    **settings["training"],
                    **settings["parameters"],
                    "method": run.point.method,
                    "lambda": run.point.weight,
                    "sigma": run.point.sigma,
                    "seed": run.point.seed,
                    "configuration": _configuration(run.point),
                    "metric": quantity.metric,
                    "radius": quantity.radius,
                    "value": of_images.mean(),
                    "of_images": of_images,
                }
            )
    return pd.DataFrame(rows)


def _configuration(point: Point) -> str:
    """Return a digest of what runs that are averaged share: all but the seed.

    Of init_from only whether there is one: it may be another file for each seed.
    """
    content = point.content
    started = content["training"]["init_from"] is not None
    training = content["training"] | {"init_from": started}
    return files.digest(content | {"seed": None, "training": training})


def _finding(
    claim: Claim, comparison: Comparison, right: Cell, sigma: float, count: int, runs: pd.DataFrame
) -> Finding:
    def found(outcome: Outcome, reason: str, **more: Any) -> Finding:
        return Finding(comparison, comparison.left, right, sigma, outcome, reason, **more)

    sides = [_side(claim, cell, comparison, sigma, runs) for cell in (comparison.left, right)]
    if fault := _unusable(sides, sigma):
        return found(*fault)
    ours, theirs = (Sample.of([row["value"] for row in side.rows]) for side in sides)
    over = difference(ours, theirs)
    if over is None:
        return found(Outcome.UNDECIDED, "a single run on a side tells no deviation between seeds")
    if not over.has_error:
        return found(Outcome.UNDECIDED, "all runs give one number, which tells no deviation")
    basis = f"{ours.seeds} and {theirs.seeds} seeds"
    if comparison.relation != "steady":
        drawn = _drawn(claim, sides)
        if drawn and not drawn.df:
            return found(Outcome.UNDECIDED, "a single image tells nothing of the others")
        if drawn:
            over = over.with_error_of(drawn)
            images = datasets.describe(claim.dataset).test_images
            basis += f", {drawn.df + 1:,} of {images:,} images"
    level = EQUIVALENCE if comparison.relation == "equal" else DIFFERENCE
    outcome = Outcome.SUPPORTED
    if _surplus(comparison, over, ours, theirs, level)[0] <= 0:
        level = 1 - (1 - DIFFERENCE) / count
        refuted = _surplus(comparison, over, ours, theirs, level)[1] < 0
        outcome = Outcome.CONTRADICTED if refuted else Outcome.UNDECIDED
    if comparison.relation == "steady":
        low, high = _relative_deviation(over, ours, theirs, level)
        basis += f"; the deviation is {low:.2g} to {high:.2g} times the difference"
    return found(outcome, basis, difference=over, interval=over.interval(level), level=level)


@dataclass(frozen=True)
class _Side:
    """The runs of one cell."""

    cell: Cell
    rows: list[Row]
    """One a run."""
    differs: tuple[str, ...]
    """In what the first run differs from the published one that is most like it."""
    subsets: set[str]
    """Of the published numbers: the images that the source certified."""


def _side(
    claim: Claim, cell: Cell, comparison: Comparison, sigma: float, runs: pd.DataFrame
) -> _Side:
    """Return the runs of a cell: those that are like a published one, if there are any."""
    rows = list(_rows(cell, comparison, sigma, runs))
    numbers = _published(claim, cell, sigma)
    differs = [_differing(claim, cell, numbers, row) for row in rows]
    if not all(differs):
        rows = [row for row, told in zip(rows, differs, strict=True) if not told]
        differs = [()]
    return _Side(cell, rows, next(iter(differs), ()), {number.subset for number in numbers})


def _unusable(sides: Sequence[_Side], sigma: float) -> tuple[Outcome, str] | None:
    """Return why the runs of two cells cannot be compared with the claim, if so."""
    for side in sides:
        if not side.rows:
            return Outcome.NOT_RUN, f"{side.cell} was not run at sigma {sigma:.2f}"
    for side in sides:
        if side.differs:
            return Outcome.NOT_COMPARABLE, f"{side.cell} differs in {', '.join(side.differs)}"
        if np.isnan(side.rows[0]["value"]):
            return Outcome.NOT_COMPARABLE, f"{side.cell}: {UNTOLD}"
    for side in sides:
        seeds, configurations = (
            {row.get(key) for row in side.rows} for key in ("seed", "configuration")
        )
        if len(seeds) < len(side.rows) or len(configurations) > 1:
            return Outcome.UNDECIDED, (
                f"{side.cell} was run with several settings at sigma {sigma:.2f}; the claim must "
                "name lambda or settings"
            )
    return None


def _differing(claim: Claim, cell: Cell, numbers: Sequence[Number], row: Row) -> tuple[str, ...]:
    """Return in what a run differs from the published one of its cell that is most like it."""
    source = cell.published or claim.published
    certified = published.protocol(source, claim.dataset, claim.arch, cell.method)
    trained = [
        {key: value for key, value in number.settings.items() if key not in SELECTION}
        for number in numbers
    ]
    found = [differing(row, certified | settings) for settings in trained if "epochs" in settings]
    closest = min(found, key=len, default=(TRAINING_UNTOLD,))
    return closest + ((STAGED,) if row.get("mode") == "staged" else ())


def _published(claim: Claim, cell: Cell, sigma: float) -> list[Number]:
    """Return the published numbers of a cell.

    A run that was chosen among others counts where there is none of its own: its row is of
    several, and seldom tells their settings.
    """
    found = published.find(
        Query(
            source=cell.published or claim.published,
            dataset=claim.dataset,
            arch=claim.arch,
            method=cell.method,
            sigma=sigma,
            settings=cell.settings,
        )
    )
    return [number for number in found if number.best_of is None] or found


def _drawn(claim: Claim, sides: Sequence[_Side]) -> Difference | None:
    """Return left minus right with the error that comes from having a part of the images.

    That of a part of a finite population (Cochran 1977, section 2.6). None if there are all images,
    or those that the source certified.
    """
    of_images = [[row.get("of_images") for row in side.rows] for side in sides]
    if any(values is None for rows in of_images for values in rows):
        return None
    left, right = (np.mean(rows, axis=0) for rows in of_images)
    part = len(left) / datasets.describe(claim.dataset).test_images
    if part == 1 or sides[0].rows[0]["subset"] in sides[0].subsets | sides[1].subsets:
        return None
    over = paired(left - right)
    return replace(over, error=over.error * math.sqrt(1 - part))


def _rows(cell: Cell, comparison: Comparison, sigma: float, runs: pd.DataFrame) -> Iterator[Row]:
    """Yield the runs of a cell: a row of the metric each, with abstentions where they are added.

    In mode evaluate these are not known, and the value is NaN.
    """
    mine = runs[(runs["method"] == cell.method) & np.isclose(runs["sigma"], sigma)]
    if cell.lambda_ is not None:
        mine = mine[np.isclose(mine["lambda"], cell.lambda_)]
    for key, value in cell.settings.items():
        column = mine[key] if key in mine else [None] * len(mine)
        mine = mine[np.array([same(found, value) for found in column], bool)]
    wanted = mine["metric"] == comparison.metric
    if comparison.radius is not None:
        wanted &= np.isclose(mine["radius"].astype(float), comparison.radius)
    rows = mine[wanted].to_dict("records")
    if not comparison.add_abstention:
        yield from rows
        return
    abstained = mine[mine["metric"] == metrics.ABSTENTION].to_dict("records")
    by_run = {_run(row): row for row in abstained}
    for row in rows:
        if added := by_run.get(_run(row)):
            parts = ("value", "of_images")
            yield row | {part: row[part] + added[part] for part in parts if part in row}


def _run(row: Row) -> tuple[Any, ...]:
    """Return what tells the run of a row from the others of its cell."""
    return row.get("configuration"), row["seed"]


def _surplus(
    comparison: Comparison, over: Difference, left: Sample, right: Sample, level: float
) -> tuple[float, float]:
    """Return the interval of by how much the claim is exceeded; below 0 it fails."""
    low, high = over.interval(level)
    threshold = comparison.threshold
    match comparison.relation:
        case "above":
            return low - threshold, high - threshold
        case "below":
            return -high - threshold, -low - threshold
        case "equal":
            return threshold - max(-low, high), threshold - max(low, -high, 0)
    low, high = _relative_deviation(over, left, right, level)
    return threshold - high, threshold - low


def _relative_deviation(
    over: Difference, left: Sample, right: Sample, level: float
) -> tuple[float, float]:
    """Return the interval of the deviation between seeds, as a multiple of the difference.

    The deviation is the root mean square of the sides', weighted by their degrees of freedom; of
    unequal ones its square has fewer (Satterthwaite 1946). The difference over its error then
    follows the noncentral t distribution, whose parameter is what the ratio is told by; where both
    the deviations and the numbers of seeds are unequal, roughly.
    """
    std, _ = common_deviation(left, right)
    parts = [(side.seeds - 1, side.std**2) for side in (left, right)]
    df = sum(f * v for f, v in parts) ** 2 / sum(f * v**2 for f, v in parts)
    scale = (1 / left.seeds + 1 / right.seeds) ** 0.5
    t, tail = abs(over.value) / (std * scale), (1 - level) / 2
    largest, smallest = (_parameter(df, p, t) * scale for p in (tail, 1 - tail))
    return tuple(1 / end if end > 0 else math.inf for end in (largest, smallest))


def _parameter(df: float, p: float, t: float) -> float:
    """Return the parameter of the noncentral t distribution whose quantile at ``p`` is ``t``."""
    if t > FAR:
        return t * math.sqrt(chdtri(df, p) / df)
    return float(nctdtrinc(df, p, t))
