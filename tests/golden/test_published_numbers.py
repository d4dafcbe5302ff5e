"""The author response's table on MNIST, found in config/published and recomputed from the logs."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from smoothcert import published, records
from smoothcert.analysis import metrics, verdicts
from smoothcert.analysis.t_tests import Sample
from smoothcert.analysis.verdicts import Kind
from smoothcert.published import Query

SIGMAS = (0.25, 0.5, 1.0)

REBUTTAL = {
    "gaussian": ("0.9108", "1.5581", "1.6184"),
    "stability": ("0.9152", "1.5719", "1.6341"),
    "macer": ("0.9201", "1.5899", "1.5950"),
    "consistency": ("0.9300", "1.6653", "1.7486"),
    "smoothadv": ("0.9315", "1.6830", "1.7706"),
    "smoothadv_consistency": ("0.9323", "1.6905", "1.8087"),
}
"""ACR of Jeong & Shin 2020, author response, mean over five seeds."""


def cell(source: str, method: str, sigma: float, **settings: str) -> published.Number:
    """Return the one published ACR of five seeds."""
    (number,) = published.find(
        Query(
            source=source,
            dataset="mnist",
            arch="lenet",
            method=method,
            sigma=sigma,
            metric=metrics.ACR,
            seeds=5,
            settings=settings,
        )
    )
    return number


def from_logs(folder: Path, sigma: float) -> Sample:
    """Return the ACR over the seeds of the published logs in ``folder``."""
    paths = [path for path in folder.glob("*.tsv") if float(path.name.split("_")[1]) == sigma]
    tables = [records.read_table(path, 10_000) for path in sorted(paths)]
    return Sample.of([metrics.credited_radius(table).mean() for table in tables])


@pytest.mark.parametrize(("method", "column"), list(product(REBUTTAL, range(3))))
def test_each_cell_of_the_rebuttal_is_found_once(method, column):
    entry = cell("jeong2020rebuttal", method, SIGMAS[column])
    assert entry.printed == REBUTTAL[method][column]
    assert (entry.subset, entry.images, entry.n, entry.alpha) == ("all", 10_000, 100_000, 0.001)


@pytest.mark.parametrize("sigma", SIGMAS)
class TestLogs:
    @pytest.mark.parametrize("source", ["jeong2020rebuttal", "jeong2020"])
    @pytest.mark.parametrize("method", ["gaussian", "stability"])
    def test_give_the_printed_digits(self, reference_logs, source, method, sigma):
        log = from_logs(reference_logs / "mnist" / method, sigma)
        assert verdicts.recompute(log, cell(source, method, sigma)).kind == Kind.IDENTICAL

    def test_of_the_released_loss_are_not_the_rebuttals(self, reference_logs, sigma):
        log = from_logs(reference_logs / "mnist" / "consistency", sigma)
        released = cell("jeong2020", "consistency", sigma, form="released")
        assert verdicts.recompute(log, released).kind == Kind.IDENTICAL
        rebuttal = cell("jeong2020rebuttal", "consistency", sigma)
        assert verdicts.recompute(log, rebuttal).kind == Kind.DIFFERS

    def test_of_the_first_loss_are_but_at_one_sigma(self, reference_logs, sigma):
        log = from_logs(reference_logs / "mnist" / "consistency_first_form", sigma)
        found = verdicts.recompute(log, cell("jeong2020rebuttal", "consistency", sigma))
        if sigma == 0.25:
            assert found.reason == "the log differs: mean by -0.00034"
        else:
            assert found.kind == Kind.IDENTICAL
