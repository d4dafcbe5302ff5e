"""Was a published number reproduced? The verdict on our runs against one of the literature's.

*Reproduced* is shown, not presumed: the 90% interval of the difference lies within a margin, which
is the test of equivalence at 5% (two one-sided tests; Schuirmann 1987), whether or not it excludes
0. Failing that, *not reproduced* if the 95% interval excludes 0, Holm-adjusted over the table
(Holm 1979), so that a table of many cells does not fail by chance. Else *inconclusive*.

The number of seeds that would settle a verdict is one to choose beforehand: whoever adds seeds
until there is a verdict errs in 4 to 19% of cases, not 5%, in simulations (by margin and most
seeds).

Where a run is repeated, both sides deviate alike between seeds: their variances are pooled. With
Welch's method two seeds of ours, whose deviation has one degree of freedom, would tell less than
one.

Ours are treated as theirs were. Radii are first rounded as in their logs (``metrics.round_radii``),
which can move the ACR by more than its deviation over seeds. The means are not rounded again: a
printed mean may be off by half a unit of its last digit either way, so the interval is widened by
that much on both sides, and rounding alone decides nothing. A log of the published run itself is a
recomputation: it must agree in the digits given, and shows nothing about reproduction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import numpy as np
from scipy.special import stdtrit

from smoothcert import published
from smoothcert.analysis import metrics
from smoothcert.analysis.t_tests import Difference, Sample, pooled
from smoothcert.published.number import Number
from smoothcert.published.told import SELECTION, differing

EQUIVALENCE, DIFFERENCE = 0.90, 0.95
"""Levels of the two intervals."""

UNTOLD = "mode evaluate does not tell abstentions from mistakes"
"""Why runs of that mode decide nothing about abstentions."""

STAGED = "mode (ours staged, theirs fixed)"
"""In what runs of that mode differ: it lowers radii."""

TRAINING_UNTOLD = "training (theirs is not told)"
"""Why runs decide nothing about a number of whose training nothing is known."""

NO_MARGIN = "a published share of 0 or 1 leaves no margin, so that no run can be shown to repeat it"
"""Why a number beside it is never reproduced."""

MOST_SEEDS = 1000
"""Beyond which no number of seeds is named."""


class Kind(StrEnum):
    """The verdicts."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    INCONCLUSIVE = "inconclusive"
    NOT_COMPARABLE = "not comparable"
    IDENTICAL = "recomputed: identical"
    DIFFERS = "recomputed: differs"
    NO_LOG = "no log"
    NOT_RUN = "not run"


class Outcome(StrEnum):
    """What runs say of a claim; of several comparisons, the first in this order stands for all.

    Here and not beside the evidence, because the page needs the words and not the claims.
    """

    CONTRADICTED = "contradicted"
    NOT_COMPARABLE = "not comparable"
    NOT_RUN = "not run"
    UNDECIDED = "undecided"
    SUPPORTED = "supported"


@dataclass(frozen=True)
class Pair:
    """Our runs beside the published ones."""

    ours: Sample
    theirs: Sample
    margin: float
    """Largest difference that still counts as reproduced; see ``margin``."""
    differs: tuple[str, ...] = ()
    """What makes the two incomparable; see ``incomparable_in``."""
    best_of: str | None = None
    """Of how many runs the published one is the best, if it was chosen on the test set."""
    images: int | None = None
    """How many images both sides certify, where logs of theirs would let both have more."""
    most_images: int | None = None
    """How many they could be."""


@dataclass(frozen=True)
class Verdict:
    """The verdict with its grounds; numbers in the unit of the metric, shares in [0, 1]."""

    kind: Kind
    reason: str
    """One line."""
    ours: Sample | None
    theirs: Sample
    difference: float | None = None
    """Ours minus theirs."""
    low: float | None = None
    high: float | None = None
    """The interval of the difference: of equivalence, or that excludes 0 if not reproduced."""
    level: float | None = None
    """Its confidence level: 95%, or more where Holm's adjustment raised it, else 90%."""
    margin: float | None = None
    assumed: Literal["ours", "theirs"] | None = None
    """Whose deviation between seeds is not known and taken to be the other's."""
    best_of: str | None = None
    """Of how many runs the published one is the best, if it was chosen on the test set."""
    seeds_needed: int | None = None
    """Seeds of ours that would settle it if means and deviations stayed."""
    images_needed: int | None = None
    """Images that would settle it at best: if all of the deviation fell as 1 / sqrt(images)."""


def margin(metric: str, value: float, acr: float, share: float) -> float:
    """Return the margin of reproduction for a published value.

    ``acr`` is relative to the published ACR; ``share`` is absolute, 0.01 being a percentage point,
    and holds for accuracies and rates. Of rare cases, and of all but rare ones, it would forgive
    everything: it is half of what the published share is away from 0 or 1 at most.
    """
    if metric == metrics.ACR:
        return acr * abs(value)
    return min(share, value / 2, (1 - value) / 2)


def printed(number: Number) -> Sample:
    """Return the sample that a published number is."""
    return Sample(number.value, number.std, number.seeds, number.rounding)


def incomparable_in(
    number: Number, subset: str, n0: int, n: int, alpha: float, settings: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return, in words, what makes our runs incomparable to a published number; empty if nothing.

    ``settings`` are ours by the names of the parameters, lambda and training settings among them.
    A setting that the number does not tell is not compared. Where theirs was computed from logs
    on our very subset, pass ``number.subset``.
    """
    ours = {**settings, "subset": subset, "n0": n0, "n": n, "alpha": alpha}
    theirs = {
        "subset": number.subset,
        "n0": published.N0,
        "n": number.n,
        "alpha": number.alpha,
        **{k: value for k, value in number.settings.items() if k not in SELECTION},
    }
    return differing(ours, theirs)


def judge(table: Sequence[Pair]) -> list[Verdict]:
    """Return the verdicts on the cells of one table, in their order."""
    found = [None if c.differs else _difference(c) for c in table]
    tested = [i for i, d in enumerate(found) if d is not None]
    levels = dict(zip(tested, adjusted_levels([found[i].p_value() for i in tested]), strict=True))
    return [
        _untested(pair) if d is None else _tested(pair, d, levels[i])
        for i, (pair, d) in enumerate(zip(table, found, strict=True))
    ]


def recompute(log: Sample | None, number: Number) -> Verdict:
    """Return the verdict on a log of the published run itself; ``log`` is None if there is none.

    Mean and, where printed, standard deviation must agree in the digits printed of the mean.
    """
    theirs = printed(number)
    if log is None:
        return Verdict(Kind.NO_LOG, "no log of it is at hand", None, theirs, best_of=number.best_of)
    if log.seeds != number.seeds:
        reason = f"differs in seeds (logs of {log.seeds}, theirs {number.seeds})"
        return Verdict(Kind.NOT_COMPARABLE, reason, log, theirs, best_of=number.best_of)
    off = log.mean - number.value
    wrong = [f"mean by {_signed(off)}"] if _beyond(off, number.rounding) else []
    if number.std is not None and log.std is not None:
        spread = log.std - number.std
        if _beyond(spread, number.rounding):
            wrong.append(f"standard deviation by {_signed(spread)}")
    if wrong:
        kind, reason = Kind.DIFFERS, f"the log differs: {' and '.join(wrong)}"
    else:
        kind, reason = Kind.IDENTICAL, "the log agrees to the digits given"
    return Verdict(kind, reason, log, theirs, difference=off, best_of=number.best_of)


def unknown(number: Number) -> Verdict:
    """Return the verdict on runs whose mode of certification does not tell the metric."""
    return Verdict(Kind.NOT_COMPARABLE, UNTOLD, None, printed(number), best_of=number.best_of)


def adjusted_levels(p_values: Sequence[float]) -> list[float]:
    """Return the confidence level for each p value: its interval excludes 0 where Holm rejects.

    The smallest of k p values is tested at 5% / k, the next at 5% / (k - 1) and so on, up to the
    first that is not rejected; all that follow stay at the level of that one.
    """
    levels = [DIFFERENCE] * len(p_values)
    alpha, left, rejecting = 0.0, len(p_values), True
    for i in np.argsort(p_values, kind="stable"):
        if rejecting:
            alpha = (1 - DIFFERENCE) / left
            rejecting = p_values[i] < alpha
        levels[i] = 1 - alpha
        left -= 1
    return levels


def _difference(pair: Pair) -> Difference | None:
    """Return ours minus theirs, or None if no deviation between seeds is known or seen."""
    found = pooled(pair.ours, pair.theirs)
    return found if found and found.has_error else None


def _untested(pair: Pair) -> Verdict:
    sides = {"ours": pair.ours, "theirs": pair.theirs, "best_of": pair.best_of}
    if pair.differs:
        return Verdict(Kind.NOT_COMPARABLE, f"differs in {', '.join(pair.differs)}", **sides)
    unknown = pair.ours.std is None and pair.theirs.std is None
    if not pair.margin:
        reason = NO_MARGIN
    elif unknown:
        reason = (
            "no deviation between seeds is known on either side; it needs at least 2 seeds of ours"
        )
    else:
        reason = (
            "all seeds give one number, which tells no deviation between them; it needs more "
            "images or seeds"
        )
    return Verdict(
        Kind.INCONCLUSIVE,
        reason,
        **sides,
        difference=pair.ours.mean - pair.theirs.mean,
        margin=pair.margin,
        seeds_needed=2 if unknown and pair.margin else None,
    )


def _tested(pair: Pair, d: Difference, level: float) -> Verdict:
    seeds = images = None
    shown, (low, high) = EQUIVALENCE, d.interval(EQUIVALENCE)
    lowest, highest = d.interval(level)
    if -pair.margin <= low and high <= pair.margin:
        kind, reason = Kind.REPRODUCED, "the 90% interval lies within the margin"
    elif lowest > 0 or highest < 0:
        kind, shown, low, high = Kind.NOT_REPRODUCED, level, lowest, highest
        reason = (
            f"the {100 * level:.4g}% interval excludes 0, and the 90% one reaches beyond the margin"
        )
    else:
        kind = Kind.INCONCLUSIVE
        seeds = _seeds_needed(pair, d, level)
        images = _images_needed(pair, d, level)
        reason = (
            f"the 90% interval reaches beyond the margin, and the {100 * level:.4g}% one holds 0; "
            f"{_remedy(seeds, images) if pair.margin else NO_MARGIN}"
        )
    return Verdict(
        kind,
        reason,
        pair.ours,
        pair.theirs,
        difference=d.value,
        low=low,
        high=high,
        level=shown,
        margin=pair.margin,
        assumed={"left": "ours", "right": "theirs"}.get(d.assumed),
        best_of=pair.best_of,
        seeds_needed=seeds,
        images_needed=images,
    )


def _seeds_needed(pair: Pair, d: Difference, level: float) -> int | None:
    """Return the fewest seeds of ours that settle it, or None if theirs are too few for any."""
    seeds = np.arange(pair.ours.seeds + 1, MOST_SEEDS + 1)
    std = d.error / math.sqrt(1 / pair.ours.seeds + 1 / pair.theirs.seeds)
    error = std * np.sqrt(1 / seeds + 1 / pair.theirs.seeds)
    df = seeds - 1 + (0 if pair.theirs.std is None else pair.theirs.seeds - 1)
    within = abs(d.value) + d.rounding + stdtrit(df, (1 + EQUIVALENCE) / 2) * error <= pair.margin
    apart = abs(d.value) - d.rounding > stdtrit(df, (1 + level) / 2) * error
    settled = within | apart
    return int(seeds[settled.argmax()]) if settled.any() else None


def _images_needed(pair: Pair, d: Difference, level: float) -> int | None:
    """Return the images that settle it at best, or None if so many are not to be had."""
    if pair.images is None or pair.most_images is None:
        return None
    within = pair.margin - abs(d.value) - d.rounding
    apart = abs(d.value) - d.rounding
    shrink = max(
        within / (stdtrit(d.df, (1 + EQUIVALENCE) / 2) * d.error),
        apart / (stdtrit(d.df, (1 + level) / 2) * d.error),
    )
    images = math.ceil(pair.images / shrink**2) if shrink > 0 else math.inf
    return images if images <= pair.most_images else None


def _remedy(seeds: int | None, images: int | None) -> str:
    ways = [f"about {seeds} seeds of ours"] if seeds else []
    ways += [f"at least {images:,} images"] if images else []
    if not ways:
        return "no number of seeds of ours would settle it: theirs are too few or too coarse"
    return f"{' or '.join(ways)} would settle it"


def _beyond(off: float, rounding: float) -> bool:
    """Return whether a printed number is off, a tie counting as rounded either way."""
    return abs(off) > rounding * (1 + 1e-9)


def _signed(value: float) -> str:
    return f"{value:+.2g}"
