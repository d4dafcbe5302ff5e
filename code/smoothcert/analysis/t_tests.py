"""Differences of two means over seeds, with t intervals (Student 1908; Welch 1947).

All runs of both sides certify the same images: the error from drawing images is common to both
and cancels. What is left is the deviation between seeds, on those images; more images do not
remove it. Two methods may have different ones, and each must be known (``difference``). A method
and its repetition have one, which a single run can borrow (``pooled``).

Our runs of one seed begin with the same weights, see the images in the same order and are certified
on the same noise, up to its scale, whatever method and sigma. What a seed brings, it brings to all:
two means over the same seeds differ by less than two independent ones, so that ``difference`` errs
on the safe side there, and results of several cells are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.special import stdtr, stdtrit


@dataclass(frozen=True)
class Sample:
    """The mean of a metric over seeds."""

    mean: float
    std: float | None
    """Sample standard deviation over seeds (ddof = 1); None if it is not known."""
    seeds: int
    rounding: float = 0.0
    """How far off mean and deviation may be because they were rounded for print."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.mean):
            raise ValueError("a metric that is unknown cannot be compared")

    @property
    def largest_std(self) -> float | None:
        """Return the largest deviation that is printed so: what errors are made of."""
        return None if self.std is None else self.std + self.rounding

    @classmethod
    def of(cls, values: Sequence[float]) -> Sample:
        """Return the sample of the metric's values, one a seed."""
        values = np.asarray(values, float)
        std = float(deviation(values)) if len(values) > 1 else None
        return cls(float(values.mean()), std, len(values))


@dataclass(frozen=True)
class Difference:
    """A difference of means, left minus right."""

    value: float
    error: float
    """Its standard error."""
    df: float
    """Degrees of freedom of the error."""
    rounding: float = 0.0
    """How far off it may be because means were rounded for print."""
    assumed: Literal["left", "right"] | None = None
    """The side whose deviation is not known and taken to be the other's."""

    @property
    def has_error(self) -> bool:
        """Whether any value differs from another.

        If none does, that says how coarse the values are, and not how sure the difference is.
        """
        return self.error > 0

    def interval(self, level: float) -> tuple[float, float]:
        """Return the bounds of the confidence interval, widened by the rounding on both sides."""
        reach = float(stdtrit(self.df, (1 + level) / 2)) * self.error + self.rounding
        return self.value - reach, self.value + reach

    def with_error_of(self, other: Difference) -> Difference:
        """Return this difference with an independent error of the same one added to its own.

        Degrees of freedom by Satterthwaite (1946), as Welch's. One must have an error.
        """
        own, added = self.error**2, other.error**2
        spread = own**2 / self.df + added**2 / other.df
        error, df = math.sqrt(own + added), (own + added) ** 2 / spread
        return replace(self, error=error, df=df)

    def p_value(self) -> float:
        """Return the two-sided p value of no difference, allowing for the rounding.

        The difference must have an error.
        """
        beyond = max(abs(self.value) - self.rounding, 0.0)
        return 2 * float(stdtr(self.df, -beyond / self.error))


def difference(left: Sample, right: Sample) -> Difference | None:
    """Return left minus right by Welch's method, each side with a deviation of its own.

    None if a side knows none. It cannot borrow the other method's: where one run of a method that
    deviates thrice as much as the other stands beside five, a test at 5% would reject 37% of all
    equal means.
    """
    if left.std is None or right.std is None:
        return None
    a, b = left.largest_std**2 / left.seeds, right.largest_std**2 / right.seeds
    spread = a**2 / (left.seeds - 1) + b**2 / (right.seeds - 1)
    df = (a + b) ** 2 / spread if spread else math.inf
    rounding = left.rounding + right.rounding
    return Difference(left.mean - right.mean, math.sqrt(a + b), df, rounding)


def pooled(left: Sample, right: Sample) -> Difference | None:
    """Return left minus right, both sides with one deviation s, or None if neither knows any.

    s^2 is the mean of the sides' variances, weighted by their degrees of freedom; the error is
    s * sqrt(1/k + 1/m) for k and m seeds. For one run against m it is s * sqrt(1 + 1/m).
    """
    found = common_deviation(left, right)
    if found is None:
        return None
    std, df = found
    error = std * math.sqrt(1 / left.seeds + 1 / right.seeds)
    assumed = "left" if left.std is None else "right" if right.std is None else None
    rounding = left.rounding + right.rounding
    return Difference(left.mean - right.mean, error, df, rounding, assumed)


def common_deviation(left: Sample, right: Sample) -> tuple[float, int] | None:
    """Return the pooled deviation and its degrees of freedom, or None if neither side knows any."""
    known = [(side.seeds - 1, side.largest_std) for side in (left, right) if side.std is not None]
    if not known:
        return None
    df = sum(free for free, _ in known)
    return math.sqrt(sum(free * std**2 for free, std in known) / df), df


def paired(differences: Sequence[float]) -> Difference:
    """Return the mean of per-image differences between one run and another.

    Its error is that of drawing images; the seeds' own is not in it.
    """
    values = np.asarray(differences, float)
    error = float(deviation(values)) / math.sqrt(len(values))
    return Difference(float(values.mean()), error, len(values) - 1)


def deviation(values: np.ndarray) -> np.ndarray:
    """Return the sample standard deviation along the first axis.

    It is 0 for one value, and for equal ones, whatever rounding their mean leaves.
    """
    if len(values) == 1:
        return np.zeros(values.shape[1:])
    return np.where(np.ptp(values, axis=0) == 0, 0.0, values.std(axis=0, ddof=1))
