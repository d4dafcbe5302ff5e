"""Whether two methods of an experiment differ: tests, and the adjustment for many of them.

All runs of an experiment certify the same images. Welch's t test compares the means of their
seeds, and holds for those images. A single seed tells no deviation: beside one, a paired t test
over the images takes its place, and tells models apart. It does not tell methods apart: among the
published logs of MNIST it finds 51 of 120 pairs of seeds of one method to differ at the 5% level.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smoothcert.analysis import t_tests
from smoothcert.analysis.measurement import Value
from smoothcert.analysis.t_tests import Difference

SIGNIFICANCE = 0.05
"""Level of the tests; intervals have the confidence level 1 - SIGNIFICANCE."""


def over_seeds(a: Value, b: Value) -> bool:
    """Return whether two values are compared over seeds, and not over images."""
    return min(a.seeds, b.seeds) > 1


def compare(a: Value, b: Value) -> Difference | None:
    """Return a - b, or None where no error can be told.

    That is so for a single image, and where no seed or no image differs from another. Nor is one
    told where the radii of one side alone are rounded, which can move its ACR by more than its
    deviation over seeds.
    """
    if a.rounded != b.rounded:
        return None
    if over_seeds(a, b):
        found = t_tests.difference(a.sample, b.sample)
    elif len(a.by_image) > 1:
        found = t_tests.paired(a.by_image - b.by_image)
    else:
        found = None
    return found if found and found.has_error else None


def p_value(difference: Difference | None) -> float:
    """Return the two-sided p-value of no difference; NaN where it cannot be told."""
    return difference.p_value() if difference else float("nan")


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return the p-values adjusted by the method of Holm (1979); NaN stays and does not count.

    Rejecting what is below a level keeps the probability of any wrong rejection below it.
    """
    p = np.asarray(p_values, float)
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p)[: np.isfinite(p).sum()]  # NaN sorts last
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def leaders(columns: Sequence[Sequence[Value | None]]) -> list[int | None]:
    """Return for each column the row whose mean is significantly above the next highest, or None.

    None where the highest or the next is of a single seed: see above.

    The p-values are adjusted for the number of columns. For the number of rows they need not be:
    the test of the highest against the next at a two-sided level keeps that level, however many
    there are, if they scatter alike (Hung and Fithian 2019).
    """
    best: list[int | None] = []
    p_values = []
    for column in columns:
        present = [i for i, value in enumerate(column) if value is not None]
        first, *others = sorted(present, key=lambda i: -column[i].mean)
        best.append(first)
        pair = [column[i] for i in (first, *others[:1])]
        testable = len(pair) == 2 and over_seeds(*pair)
        p_values.append(p_value(compare(*pair)) if testable else float("nan"))
    significant = holm(p_values) < SIGNIFICANCE
    return [i if sure else None for i, sure in zip(best, significant, strict=True)]
