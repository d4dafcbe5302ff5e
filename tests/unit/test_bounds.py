"""Bounds against scipy and against theory."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from smoothcert.smoothing.bounds import certified_radius, largest_radius, lower_bound, smallest_n


@pytest.mark.parametrize("n", [1, 7, 100, 1000, 100_000])
@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.2])
def test_lower_bound_is_scipys_interval(n, alpha):
    counts = sorted({0, 1, n // 3, n // 2, n - 1, n})
    for count in counts:
        interval = binomtest(count, n, alternative="greater").proportion_ci(1 - alpha, "exact")
        assert lower_bound(count, n, alpha) == pytest.approx(interval.low, rel=1e-9, abs=1e-11)


def test_unanimous_votes_give_the_nth_root_of_alpha():
    for n in (1, 10, 1000, 100_000):
        assert lower_bound(n, n, 0.001) == pytest.approx(0.001 ** (1 / n), rel=1e-12)


def test_bound_takes_arrays():
    bounds = lower_bound([0, 50, 100], 100, 0.001)
    assert bounds.shape == (3,)
    assert (np.diff(bounds) > 0).all()


def test_radius_is_the_normal_quantile_and_never_negative():
    assert certified_radius(0.99, 0.5) == pytest.approx(0.5 * norm.ppf(0.99))
    assert (certified_radius([0.0, 0.3, 0.5], 0.5) == 0).all()


def test_published_cap():
    """The logs print 0.953, 1.91 and 3.81 for images on which all votes agree."""
    caps = [largest_radius(100_000, 0.001, sigma) for sigma in (0.25, 0.5, 1.0)]
    assert caps == pytest.approx([0.95286, 1.90573, 3.81146], abs=5e-6)


@pytest.mark.parametrize("alpha", [0.5, 0.2, 0.05, 0.001, 1e-9, 1e-309])
def test_smallest_n_is_the_first_that_can_certify(alpha):
    n = smallest_n(alpha)
    assert lower_bound(n, n, alpha) > 0.5
    assert n == 1 or lower_bound(n - 1, n - 1, alpha) <= 0.5
