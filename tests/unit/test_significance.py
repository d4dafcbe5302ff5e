"""Tests between methods, against SciPy's and against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from smoothcert.analysis import metrics, significance
from smoothcert.analysis.measurement import Value


def value(by_seed_and_image) -> Value:
    """Return the value of a quantity from an array (seeds, images)."""
    estimate = metrics.over_seeds(by_seed_and_image)
    return Value(
        mean=float(estimate.mean),
        std=float(estimate.std),
        standard_error=float(estimate.standard_error),
        seeds=estimate.seeds,
        by_image=np.mean(by_seed_and_image, axis=0),
    )


def constant(*means: float) -> Value:
    """Return a value whose seeds have ``means``, the same on every image."""
    return value(np.repeat(np.array(means)[:, None], 4, axis=1))


@pytest.fixture
def runs() -> np.ndarray:
    """Return correlated values (methods, seeds, images) of 2 methods, 4 seeds and 50 images."""
    rng = np.random.default_rng(0)
    return rng.normal(size=50) + rng.normal([[[0.0]], [[0.2]]], 0.5, (2, 4, 50))


class TestCompare:
    def test_over_seeds_is_welchs_test(self, runs):
        found = significance.compare(value(runs[1]), value(runs[0, :3]))
        expected = stats.ttest_ind(runs[1].mean(1), runs[0, :3].mean(1), equal_var=False)
        assert found.p_value() == pytest.approx(expected.pvalue, rel=1e-9)
        assert_allclose(found.interval(0.95), expected.confidence_interval(0.95), rtol=1e-9)

    @pytest.mark.parametrize("seeds", [1, 4])
    def test_beside_a_single_seed_stands_the_paired_test_over_images(self, runs, seeds):
        found = significance.compare(value(runs[1, :seeds]), value(runs[0, :1]))
        expected = stats.ttest_rel(runs[1, :seeds].mean(0), runs[0, 0])
        assert found.p_value() == pytest.approx(expected.pvalue, rel=1e-9)
        assert_allclose(found.interval(0.95), expected.confidence_interval(0.95), rtol=1e-9)

    def test_rounded_radii_are_compared_with_rounded_ones_alone(self, runs):
        ours, log = value(runs[0]), replace(value(runs[1]), rounded=True)
        assert significance.compare(ours, log) is None
        assert significance.compare(log, replace(ours, rounded=True)) is not None

    def test_equal_seeds_tell_no_error_however_their_mean_is_rounded(self):
        for count, other in ((400, 401), (3, 5), (1, 5)):
            a, b = (value(np.repeat([np.arange(500) < n], 3, axis=0)) for n in (count, other))
            assert significance.compare(a, b) is None

    def test_without_an_error_there_is_no_test(self):
        equal_seeds = [[0.0, 1.0], [0.0, 1.0]]
        for a, b in (
            ([[1.0]], [[2.0]]),
            ([[1.0, 2.0]], [[2.0, 3.0]]),
            (equal_seeds, np.add(equal_seeds, 1)),
        ):
            assert significance.compare(value(a), value(b)) is None


class TestHolm:
    def test_worked_example(self):
        adjusted = significance.holm([0.01, 0.04, 0.03, 0.005])
        assert_allclose(adjusted, [0.03, 0.06, 0.06, 0.02])

    def test_never_above_one(self):
        assert_allclose(significance.holm([0.9, 0.6]), [1, 1])

    def test_unknown_does_not_count(self):
        assert_allclose(significance.holm([np.nan, 0.02, 0.03]), [np.nan, 0.04, 0.04])


class TestLeaders:
    low, high, close = constant(1.0, 1.1, 0.9), constant(3.0, 3.1, 2.9), constant(2.98, 3.02, 2.9)

    def test_is_significantly_above_the_next(self):
        assert significance.leaders([[self.low, self.high], [self.high, self.low]]) == [1, 0]

    def test_the_next_decides_not_the_lowest(self):
        assert significance.leaders([[self.low, self.high, self.close]]) == [None]

    @pytest.mark.parametrize(("seeds", "others"), [(1, 1), (1, 4), (4, 1)])
    def test_beside_a_single_seed_nothing_leads(self, runs, seeds, others):
        pair = [value(runs[1, :seeds] + 9), value(runs[0, :others])]
        assert significance.p_value(significance.compare(*pair)) < 1e-9
        assert significance.leaders([pair]) == [None]

    def test_a_single_seed_further_down_does_not_matter(self):
        assert significance.leaders([[self.low, self.high, constant(0.5)]]) == [1]

    def test_alone_it_leads_nothing(self):
        assert significance.leaders([[self.high], [None, self.high, None]]) == [None, None]

    def test_many_columns_ask_for_more(self):
        pair = [constant(1.0, 1.1, 0.9), constant(1.2, 1.3, 1.4)]
        p = significance.p_value(significance.compare(*pair))
        assert 0.01 < p < 0.05
        assert significance.leaders([pair]) == [1]
        assert significance.leaders([pair] * 5) == [None] * 5
