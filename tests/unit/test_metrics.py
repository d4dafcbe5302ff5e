"""Metrics of certificates, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from smoothcert.analysis import metrics
from smoothcert.analysis.metrics import ABSTENTION, ACR, AT_CAP, CERTIFIED, Quantity


@pytest.fixture
def certificates() -> pd.DataFrame:
    """Two correct images, one wrong with a large radius, one abstention."""
    return pd.DataFrame(
        {
            "predict": [3, 3, 5, -1],
            "label": 3,
            "radius": [0.5, 0.25, 0.75, 0.0],
            "correct": [1, 1, 0, 0],
            "count": [1000, 900, 999, 480],
            "n": 1000,
            "p_lower": [0.9, 0.8, 0.95, 0.4],
        }
    )


class TestImageValues:
    def test_means_are_the_metrics(self, certificates):
        radii = np.array([0.0, 0.25, 0.5, 0.75])
        values = metrics.image_values(certificates, radii, 1000).mean(0)
        assert dict(zip(metrics.quantities(radii), values, strict=True)) == {
            Quantity(ACR): (0.5 + 0.25) / 4,
            Quantity(CERTIFIED, 0.0): 2 / 4,
            Quantity(CERTIFIED, 0.25): 2 / 4,
            Quantity(CERTIFIED, 0.5): 1 / 4,
            Quantity(CERTIFIED, 0.75): 0,
            Quantity(ABSTENTION): 1 / 4,
            Quantity(AT_CAP): 1 / 4,
        }

    def test_unanimous_votes_short_of_n_are_not_at_the_cap(self, certificates):
        certificates.loc[1, ["count", "n"]] = 100
        assert metrics.at_cap(certificates, 1000).tolist() == [True, False, False, False]

    def test_equal_radius_is_certified_and_a_larger_one_is_not(self, certificates):
        above = np.nextafter(0.5, 1)
        assert metrics.certified(certificates, [0.5, above]).sum(0).tolist() == [1, 0]

    def test_acr_is_the_area_under_the_curve(self, certificates):
        step = 1e-4
        curve = metrics.certified(certificates, np.arange(0, 1, step) + step / 2).mean(0)
        acr = metrics.credited_radius(certificates).mean()
        assert curve.sum() * step == pytest.approx(acr, abs=1e-9)


class TestRadii:
    @pytest.mark.parametrize(
        ("step", "cap", "expected"),
        [
            (0.25, 0.9529, [0, 0.25, 0.5, 0.75]),
            (0.1, 0.3, [0, 0.1, 0.2, 0.3]),
            (0.25, 0.1, [0]),
        ],
    )
    def test_reach_the_cap_without_rounding_errors(self, step, cap, expected):
        assert_array_equal(metrics.radii(step, cap), expected)


class TestOverSeeds:
    def test_sample_standard_deviation_of_the_seeds_means(self):
        estimate = metrics.over_seeds([[[1.0], [2.0]], [[2.0], [3.0]], [[4.0], [6.0]]])
        assert estimate.seeds == 3
        assert_allclose(estimate.mean, [3])
        # Means 1.5, 2.5 and 5 about 3.
        assert_allclose(estimate.std, [np.sqrt((2.25 + 0.25 + 4) / 2)])

    def test_standard_error_pairs_the_seeds_images(self):
        opposite = metrics.over_seeds([[0.0, 1.0], [1.0, 0.0]])
        equal = metrics.over_seeds([[0.0, 1.0], [0.0, 1.0]])
        assert opposite.standard_error == 0
        assert equal.standard_error == pytest.approx(0.5)

    def test_of_a_share_is_the_binomial_one(self):
        values = np.repeat([1.0, 0.0], [30, 70])
        error = metrics.over_seeds([values]).standard_error
        assert error == pytest.approx(np.sqrt(0.3 * 0.7 / 99))

    def test_one_seed_has_no_standard_deviation(self):
        estimate = metrics.over_seeds([[1.0, 2.0]])
        assert np.isnan(estimate.std)
        assert estimate.mean == 1.5

    def test_lowest_and_highest_are_those_of_the_seeds(self):
        estimate = metrics.over_seeds([[[1.0], [2.0]], [[2.0], [3.0]], [[4.0], [6.0]]])
        assert (estimate.lowest, estimate.highest) == ([1.5], [5])

    def test_spread_is_that_over_seeds_or_for_one_seed_over_images(self):
        several = metrics.over_seeds([[1.0, 2.0], [3.0, 5.0]])
        assert several.spread == several.std > 0
        single = metrics.over_seeds([[1.0, 2.0]])
        assert single.spread == single.standard_error > 0


class TestShares:
    FIELDS = ("mean", "std", "standard_error", "lowest", "highest")

    @pytest.mark.parametrize("seeds", [1, 2, 5])
    def test_are_the_means_of_comparisons(self, seeds):
        values = np.random.default_rng(0).integers(0, 5, (seeds, 40)) / 4
        thresholds = np.array([0, 0.25, 0.3, 1, 1.1])
        reaching = metrics.shares_reaching(values, thresholds)
        expected = metrics.over_seeds(values[..., None] >= thresholds)
        for field in self.FIELDS:
            assert_allclose(getattr(reaching, field), getattr(expected, field), atol=1e-12)
        below = metrics.shares_below(values, thresholds)
        expected = metrics.over_seeds(values[..., None] < thresholds)
        for field in self.FIELDS:
            assert_allclose(getattr(below, field), getattr(expected, field), atol=1e-12)
        assert below.seeds == reaching.seeds == seeds

    def test_one_image_has_no_standard_error(self):
        found = metrics.shares_reaching([[0.5]], [0.5, 0.6]).standard_error
        assert_array_equal(found, [np.nan, np.nan], strict=True)


def test_quantiles_cover_all_images(certificates):
    assert metrics.p_lower_quantiles(certificates)[0.5] == pytest.approx(0.85)
