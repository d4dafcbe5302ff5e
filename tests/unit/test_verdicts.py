"""Verdicts on published numbers: worked by hand, against SciPy, and calibrated by simulation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from smoothcert.analysis import verdicts
from smoothcert.analysis.t_tests import Sample, difference, paired, pooled
from smoothcert.analysis.verdicts import Kind, Pair, judge
from smoothcert.published.number import Number

ENTRY = Number(
    source="jeong2020rebuttal",
    dataset="mnist",
    arch="lenet",
    method="consistency",
    settings={"m": "2", "lambda": "20", "form": "first"},
    sigma=0.5,
    metric="acr",
    radius=None,
    subset="all",
    images=10_000,
    n=100_000,
    alpha=0.001,
    radii="3 digits",
    printed="1.6653",
    std=0.0007,
    seeds=5,
    table="ACR (MNIST)",
    note="",
)


def verdict(ours: Sample, theirs: Sample, margin: float, **more) -> verdicts.Verdict:
    """Return the verdict on a table of one cell."""
    return judge([Pair(ours, theirs, margin, **more)])[0]


class TestIntervals:
    def test_is_scipys(self):
        left, right = [0.91, 0.95, 0.92], [0.90, 0.88, 0.93, 0.90]
        welch = stats.ttest_ind(left, right, equal_var=False)
        ours = difference(Sample.of(left), Sample.of(right))
        assert ours.df == pytest.approx(welch.df)
        assert ours.p_value() == pytest.approx(welch.pvalue)
        for level in (0.9, 0.95, 0.999):
            assert ours.interval(level) == pytest.approx(welch.confidence_interval(level))

    def test_pooled_is_scipys(self):
        left, right = [0.91, 0.95], [0.90, 0.88, 0.93, 0.90]
        student = stats.ttest_ind(left, right)
        ours = pooled(Sample.of(left), Sample.of(right))
        assert ours.p_value() == pytest.approx(student.pvalue)
        expected = student.confidence_interval(0.95)
        assert ours.interval(0.95) == pytest.approx(tuple(expected))
        assert (ours.df, ours.assumed) == (4, None)

    def test_one_run_against_several_has_the_error_of_a_prediction(self):
        found = pooled(Sample(1.0, None, 1), Sample(0.9, 0.02, 4))
        assert (found.df, found.assumed) == (3, "left")
        # t(0.975; 3) = 3.1824, 0.02 * sqrt(1 + 1/4) = 0.022361
        assert found.interval(0.95) == pytest.approx((0.1 - 0.071162, 0.1 + 0.071162), abs=1e-6)

    def test_several_runs_against_one_lend_it_their_deviation(self):
        found = pooled(Sample(1.0, 0.02, 4), Sample(0.9, None, 1))
        assert (found.df, found.assumed) == (3, "right")
        assert found.error == pytest.approx(0.02 * np.sqrt(1 / 4 + 1))

    def test_one_run_against_one_has_no_error(self):
        assert pooled(Sample(1.0, None, 1), Sample(0.9, None, 1)) is None

    def test_one_method_lends_another_no_deviation(self):
        sides = Sample(1.0, None, 1), Sample(0.9, 0.02, 4)
        assert difference(*sides) is None
        assert difference(*reversed(sides)) is None

    @pytest.mark.parametrize("test", [difference, pooled])
    def test_rounding_widens_the_interval_and_alone_proves_nothing(self, test):
        """Both mean and deviation may be off by half a unit of what is printed."""
        largest = test(Sample(1.0, 0.02, 4), Sample(0.9, 0.025, 4))
        rounded = test(Sample(1.0, 0.02, 4), Sample(0.9, 0.02, 4, rounding=0.005))
        low, high = largest.interval(0.95)
        assert rounded.interval(0.95) == pytest.approx((low - 0.005, high + 0.005))
        assert test(Sample(1.0, 0.0, 4), Sample(0.9, 0.0, 4, 0.11)).p_value() == 1
        assert test(Sample(1.0, 0.0, 4), Sample(0.9, 0.0, 4, 0.001)).p_value() < 0.01

    def test_paired_is_scipys(self):
        differences = [0.1, 0.3, -0.1, 0.2, 0.4]
        test = stats.ttest_1samp(differences, 0)
        assert paired(differences).p_value() == pytest.approx(test.pvalue)
        expected = test.confidence_interval(0.9)
        assert paired(differences).interval(0.9) == pytest.approx(tuple(expected))

    def test_refuses_what_is_unknown(self):
        with pytest.raises(ValueError, match="unknown"):
            Sample.of([0.5, float("nan")])


class TestJudge:
    # With 5 against 5 seeds of deviation 0.01: error 0.01 * sqrt(2/5) = 0.0063246, df 8,
    # t(0.95) = 1.8595, t(0.975) = 2.3060: reach 0.011761 at 90%, 0.014585 at 95%.
    def test_reproduced_though_the_interval_excludes_0(self):
        found = verdict(Sample(1.02, 0.01, 5), Sample(1.0, 0.01, 5), margin=0.04)
        assert found.kind == Kind.REPRODUCED
        assert (found.low, found.high) == pytest.approx((0.008239, 0.031761), abs=1e-6)
        assert (found.level, found.difference) == (0.9, pytest.approx(0.02))
        assert found.reason == "the 90% interval lies within the margin"

    def test_not_reproduced(self):
        found = verdict(Sample(1.02, 0.01, 5), Sample(1.0, 0.01, 5), margin=0.03)
        assert found.kind == Kind.NOT_REPRODUCED
        assert (found.low, found.high) == pytest.approx((0.005415, 0.034585), abs=1e-6)
        assert found.level == pytest.approx(0.95)
        below = verdict(Sample(0.98, 0.01, 5), Sample(1.0, 0.01, 5), margin=0.03)
        assert (below.kind, below.high) == (Kind.NOT_REPRODUCED, pytest.approx(-found.low))

    def test_inconclusive_tells_how_many_seeds_would_settle_it(self):
        ours, theirs = Sample(1.009, 0.01, 5), Sample(1.0, 0.01, 50)
        found = verdict(ours, theirs, margin=0.012)
        assert found.kind == Kind.INCONCLUSIVE
        assert found.seeds_needed > 5
        assert f"about {found.seeds_needed} seeds of ours" in found.reason
        enough = dataclasses.replace(ours, seeds=found.seeds_needed)
        assert verdict(enough, theirs, margin=0.012).kind != Kind.INCONCLUSIVE
        fewer = dataclasses.replace(ours, seeds=found.seeds_needed - 1)
        assert verdict(fewer, theirs, margin=0.012).kind == Kind.INCONCLUSIVE

    @pytest.mark.parametrize(
        ("seeds", "theirs", "margin", "needed"),
        [(3, Sample(1.0, None, 1), 0.0215, 7), (2, Sample(1.0, 0.01, 3), 0.015, 5)],
    )
    def test_of_few_seeds_each_adds_a_degree_of_freedom(self, seeds, theirs, margin, needed):
        assert verdict(Sample(1.0, 0.01, seeds), theirs, margin).seeds_needed == needed
        assert verdict(Sample(1.0, 0.01, needed), theirs, margin).kind == Kind.REPRODUCED
        assert verdict(Sample(1.0, 0.01, needed - 1), theirs, margin).kind == Kind.INCONCLUSIVE

    def test_no_number_of_seeds_helps_if_theirs_are_too_few(self):
        found = verdict(Sample(1.005, 0.01, 5), Sample(1.0, 0.01, 2), margin=0.006)
        assert (found.kind, found.seeds_needed) == (Kind.INCONCLUSIVE, None)
        assert "theirs are too few" in found.reason

    def test_one_more_seed_may_settle_it(self):
        ours, theirs = Sample(1.0, 0.01, 5), Sample(1.0, 0.01, 500)
        assert verdict(ours, theirs, margin=0.0070).seeds_needed == 6

    def test_images_help_where_both_sides_have_more(self):
        ours, theirs = Sample(1.0, 0.01, 5), Sample(1.0, 0.01, 5)
        found = verdict(ours, theirs, margin=0.01, images=200, most_images=277)
        # The reach of 0.011761 must shrink to 0.01: (1.1761)^2 * 200 = 276.7.
        assert (found.kind, found.images_needed) == (Kind.INCONCLUSIVE, 277)
        assert "at least 277 images" in found.reason
        fewer = verdict(ours, theirs, margin=0.01, images=200, most_images=276)
        assert fewer.images_needed is verdict(ours, theirs, margin=0.01).images_needed is None

    def test_more_images_may_also_show_a_difference(self):
        ours, theirs = Sample(1.012, 0.01, 5), Sample(1.0, 0.01, 5)
        # The reach of 0.014585 at 95% must shrink to 0.012: (1.21541)^2 * 200 = 295.4.
        found = verdict(ours, theirs, margin=0.005, images=200, most_images=296)
        assert (found.kind, found.images_needed) == (Kind.INCONCLUSIVE, 296)

    def test_not_comparable(self):
        theirs = Sample(1.0, 0.01, 5)
        found = verdict(theirs, theirs, 0.04, differs=("subset (ours every-50, theirs all)",))
        assert found.kind == Kind.NOT_COMPARABLE
        assert found.difference is None
        assert found.reason == "differs in subset (ours every-50, theirs all)"

    def test_one_run_against_several(self):
        # Reach at 90%: t(0.95; 4) = 2.1318, 0.01 * sqrt(1 + 1/5) = 0.010954: 0.023353.
        found = verdict(Sample(1.0, None, 1), Sample(1.0, 0.01, 5), margin=0.0234)
        assert (found.kind, found.assumed) == (Kind.REPRODUCED, "ours")
        narrower = verdict(Sample(1.0, None, 1), Sample(1.0, 0.01, 5), margin=0.0233)
        assert narrower.kind == Kind.INCONCLUSIVE
        assert narrower.seeds_needed == 2

    def test_a_second_seed_of_the_same_deviation_tells_more(self):
        """By Welch's method two seeds could have 1.0 degrees of freedom, and fail."""
        theirs = Sample(1.0, 0.01, 5)
        found = verdict(Sample(1.0, 0.013, 2), theirs, margin=0.02)
        # s^2 = (4 * 0.01^2 + 0.013^2) / 5, t(0.95; 5) = 2.0150, s * sqrt(1/2 + 1/5) = 0.0089253.
        assert (found.kind, found.high) == (Kind.REPRODUCED, pytest.approx(0.017985, abs=1e-6))
        assert verdict(Sample(1.0, None, 1), theirs, margin=0.02).kind == Kind.INCONCLUSIVE

    def test_several_runs_against_one_are_marked_assumed(self):
        found = verdict(Sample(1.0, 0.01, 5), Sample(1.0, None, 1), margin=0.0234)
        assert (found.kind, found.assumed) == (Kind.REPRODUCED, "theirs")

    def test_one_run_against_one_is_inconclusive_and_says_so(self):
        found = verdict(Sample(1.0, None, 1), Sample(1.0, None, 1), margin=1.0)
        assert (found.kind, found.seeds_needed) == (Kind.INCONCLUSIVE, 2)
        assert "no deviation between seeds is known" in found.reason

    @pytest.mark.parametrize("ours", [Sample.of([0.974, 0.974]), Sample(0.974, None, 1)])
    def test_seeds_without_deviation_are_no_certainty(self, ours):
        """Of 500 images, five seeds may well have the same number right by chance."""
        for theirs in (0.972, 0.962, 0.974):
            # The mean of five such numbers may be off by a rounding error.
            found = verdict(ours, Sample.of([theirs] * 5), margin=0.01)
            assert (found.kind, found.low) == (Kind.INCONCLUSIVE, None)
            assert "all seeds give one number" in found.reason

    def test_a_maximum_is_marked(self):
        theirs = Sample(0.58, None, 1)
        found = verdict(Sample(0.58, 0.001, 3), theirs, margin=0.01, best_of="14")
        assert (found.kind, found.best_of) == (Kind.REPRODUCED, "14")

    def test_coarse_print_forbids_reproduction(self):
        ours = Sample(0.58, 0.001, 3)
        assert verdict(ours, Sample(0.58, 0.001, 3, 0.002), 0.01).kind == Kind.REPRODUCED
        assert verdict(ours, Sample(0.58, 0.001, 3, 0.05), 0.01).kind == Kind.INCONCLUSIVE

    def test_a_larger_table_is_stricter(self):
        cell = Pair(Sample(1.02, 0.01, 5), Sample(1.0, 0.01, 5), 0.03)  # p = 0.0133
        others = [Pair(Sample(1.0, 0.01, 5), Sample(1.0, 0.01, 5), 0.001)] * 9
        assert judge([cell])[0].kind == Kind.NOT_REPRODUCED
        found = judge([cell, *others])[0]
        assert found.kind == Kind.INCONCLUSIVE
        assert "the 99.5% one holds 0" in found.reason

    def test_what_is_inconclusive_shows_the_interval_that_reached_beyond_the_margin(self):
        ours, theirs = Sample(1.005, 0.01, 5), Sample(1.0, 0.01, 5)
        found = verdict(ours, theirs, 0.01)
        assert (found.kind, found.level) == (Kind.INCONCLUSIVE, 0.9)
        assert (found.low, found.high) == pooled(ours, theirs).interval(0.9)
        assert found.high > 0.01
        assert found.reason.startswith("the 90% interval reaches beyond the margin, and the 95%")

    def test_cells_without_a_test_do_not_count_for_holm(self):
        cell = Pair(Sample(1.02, 0.01, 5), Sample(1.0, 0.01, 5), 0.03)
        others = [
            Pair(cell.ours, cell.theirs, 0.03, differs=("n",)),
            Pair(Sample(1.0, None, 1), Sample(1.0, None, 1), 0.03),
        ]
        kinds = [found.kind for found in judge([*others, cell])]
        assert kinds == [Kind.NOT_COMPARABLE, Kind.INCONCLUSIVE, Kind.NOT_REPRODUCED]


def test_holm():
    # Sorted, against 0.05 / 4, / 3, / 2, / 1: 0.001 and 0.014 are rejected, 0.03 is not, and 0.04,
    # which comes after it, stays at its level.
    levels = verdicts.adjusted_levels([0.03, 0.001, 0.04, 0.014])
    assert levels == pytest.approx([1 - 0.05 / 2, 1 - 0.05 / 4, 1 - 0.05 / 2, 1 - 0.05 / 3])
    assert verdicts.adjusted_levels([]) == []


class TestRecompute:
    def test_identical_in_the_printed_digits(self):
        found = verdicts.recompute(Sample(1.66534, 0.00071, 5), ENTRY)
        assert (found.kind, found.low) == (Kind.IDENTICAL, None)

    def test_a_tie_may_be_rounded_either_way(self):
        assert verdicts.recompute(Sample(1.66525, 0.0007, 5), ENTRY).kind == Kind.IDENTICAL
        assert verdicts.recompute(Sample(1.66535, 0.0007, 5), ENTRY).kind == Kind.IDENTICAL
        assert verdicts.recompute(Sample(1.66536, 0.0007, 5), ENTRY).kind == Kind.DIFFERS

    def test_differs_by(self):
        found = verdicts.recompute(Sample(1.6662, 0.0007, 5), ENTRY)
        assert found.kind == Kind.DIFFERS
        assert found.reason == "the log differs: mean by +0.0009"
        assert found.difference == pytest.approx(0.0009)

    def test_the_deviation_must_agree_too(self):
        found = verdicts.recompute(Sample(1.6653, 0.0009, 5), ENTRY)
        assert found.kind == Kind.DIFFERS
        assert "standard deviation by +0.0002" in found.reason

    def test_fewer_logs_are_another_thing(self):
        found = verdicts.recompute(Sample(1.6653, 0.0007, 4), ENTRY)
        assert (found.kind, found.reason) == (
            Kind.NOT_COMPARABLE,
            "differs in seeds (logs of 4, theirs 5)",
        )

    def test_no_log(self):
        assert verdicts.recompute(None, ENTRY).kind == Kind.NO_LOG


OURS = {"m": 2, "lambda": 20.0, "form": "first", "eta": 0.5, "epochs": 90}


class TestDifferences:
    def test_none(self):
        assert verdicts.incomparable_in(ENTRY, "all", 100, 100_000, 0.001, OURS) == ()

    def test_each_is_named(self):
        ours = {**OURS, "m": 4, "lambda": 5.0}
        assert verdicts.incomparable_in(ENTRY, "every-50", 10, 10_000, 0.01, ours) == (
            "subset (ours every-50, theirs all)",
            "n0 (ours 10, theirs 100)",
            "n (ours 10000, theirs 100000)",
            "alpha (ours 0.01, theirs 0.001)",
            "m (ours 4, theirs 2)",
            "lambda (ours 5, theirs 20)",
        )

    def test_a_setting_that_we_do_not_have_differs(self):
        theirs = dataclasses.replace(ENTRY, settings={"pretrain": "imagenet32"})
        found = verdicts.incomparable_in(theirs, "all", 100, 100_000, 0.001, OURS)
        assert found == ("pretrain (ours none, theirs imagenet32)",)

    def test_how_the_run_was_chosen_is_no_setting(self):
        theirs = dataclasses.replace(ENTRY, settings={"best_of": "14", "best_at": "0.5"})
        assert verdicts.incomparable_in(theirs, "all", 100, 100_000, 0.001, {}) == ()


def test_margin():
    assert verdicts.margin("acr", 1.6, 0.005, 0.01) == pytest.approx(0.008)
    assert verdicts.margin("certified_accuracy", 0.58, 0.005, 0.01) == 0.01
    assert verdicts.margin("abstention", 0.1, 0.005, 0.02) == 0.02


@pytest.mark.parametrize("value", [0.0024, 0.9976])
def test_the_margin_of_what_is_rare_does_not_forgive_everything(value):
    assert verdicts.margin("abstention", value, 0.005, 0.01) == pytest.approx(0.0012)
    ours, theirs = Sample(abs(value - 0.0066), 0.0006, 3), Sample(value, 0.0017, 5)
    pair = verdicts.Pair(ours, theirs, verdicts.margin("abstention", value, 0.005, 0.01))
    (verdict,) = verdicts.judge([pair])
    assert verdict.kind is not Kind.REPRODUCED


def test_printed_carries_its_rounding():
    assert verdicts.printed(ENTRY) == Sample(1.6653, 0.0007, 5, pytest.approx(0.00005))


class TestCalibration:
    """2,000 cells in tables of 50, 5 seeds against 5; the unit is the deviation between seeds."""

    CELLS, TABLE, MARGIN = 2000, 50, 3.0

    def share(self, kind: Kind, true_difference: float) -> float:
        rng = np.random.default_rng(0)
        ours = rng.normal(true_difference, 1, (self.CELLS, 5))
        theirs = rng.normal(0, 1, (self.CELLS, 5))
        cells = [
            Pair(Sample.of(x), Sample.of(y), self.MARGIN) for x, y in zip(ours, theirs, strict=True)
        ]
        found = [
            verdict.kind
            for start in range(0, self.CELLS, self.TABLE)
            for verdict in judge(cells[start : start + self.TABLE])
        ]
        return found.count(kind) / self.CELLS

    def test_no_difference_is_reproduced(self):
        assert self.share(Kind.REPRODUCED, 0) >= 0.95

    def test_a_difference_of_the_margin_is_rarely_reproduced(self):
        # 5% and the error of 2,000 draws.
        assert 0.03 <= self.share(Kind.REPRODUCED, self.MARGIN) <= 0.066

    def test_a_difference_of_three_margins_is_not_reproduced(self):
        assert self.share(Kind.NOT_REPRODUCED, 3 * self.MARGIN) >= 0.95

    def test_no_difference_is_hardly_ever_denied(self):
        assert self.share(Kind.NOT_REPRODUCED, 0) <= 0.002
