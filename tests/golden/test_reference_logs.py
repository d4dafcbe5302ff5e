"""Published certification logs, aggregated to the figures that were published for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from smoothcert import records
from smoothcert.analysis import metrics

IMAGES = 10_000
SPELLINGS = {0.25: ("0.25",), 0.5: ("0.5", "0.50"), 1.0: ("1.0", "1.00")}
"""Sigma in the names of the logs."""

# ACR, mean and sample standard deviation over five seeds, of the MNIST logs of Jeong & Shin 2020.
GOLDEN = {
    ("gaussian", 0.25): ("0.9108", "0.0003"),
    ("gaussian", 0.5): ("1.5581", "0.0016"),
    ("gaussian", 1.0): ("1.6184", "0.0021"),
    ("stability", 0.25): ("0.9152", "0.0007"),
    ("stability", 0.5): ("1.5719", "0.0028"),
    ("stability", 1.0): ("1.6341", "0.0018"),
    ("consistency", 0.25): ("0.9282", "0.0002"),
    ("consistency", 0.5): ("1.6549", "0.0012"),
    ("consistency", 1.0): ("1.7376", "0.0019"),
    ("consistency_first_form", 0.25): ("0.9297", "0.0004"),
    ("consistency_first_form", 0.5): ("1.6653", "0.0007"),
    ("consistency_first_form", 1.0): ("1.7486", "0.0025"),
}


def read_cell(logs: Path, method: str, sigma: float) -> list[pd.DataFrame]:
    """Return the certificates of the five seeds of a cell."""
    folder = logs / "mnist" / method
    paths = [p for s in SPELLINGS[sigma] for p in sorted(folder.glob(f"noise_{s}_*.tsv"))]
    assert len(paths) == 5, f"{folder} has {len(paths)} logs at sigma {sigma}"
    return [records.read_table(path, IMAGES) for path in paths]


def acr(tables: list[pd.DataFrame]) -> metrics.Estimate:
    return metrics.over_seeds([metrics.credited_radius(table) for table in tables])


@pytest.mark.parametrize(("method", "sigma"), GOLDEN)
def test_acr(reference_logs, method, sigma):
    estimate = acr(read_cell(reference_logs, method, sigma))
    assert (f"{estimate.mean:.4f}", f"{estimate.std:.4f}") == GOLDEN[method, sigma]


def test_a_changed_radius_changes_the_result(reference_logs):
    tables = read_cell(reference_logs, "gaussian", 0.25)
    right = np.flatnonzero(tables[0]["correct"])[0]
    tables[0].loc[right, "radius"] += 2.0
    assert (
        f"{acr(tables).mean:.5f}" != f"{acr(read_cell(reference_logs, 'gaussian', 0.25)).mean:.5f}"
    )
    assert acr(tables).mean == pytest.approx(
        acr(read_cell(reference_logs, "gaussian", 0.25)).mean + 2.0 / IMAGES / 5
    )


def test_certified_accuracy_counts_abstentions(reference_logs):
    table = read_cell(reference_logs, "gaussian", 1.0)[0]
    clean, far = metrics.certified(table, [0.0, 2.0]).mean(0)
    assert clean == ((table["predict"] == table["label"]).sum()) / IMAGES
    assert (table["predict"] == records.ABSTAIN).sum() > 0
    assert 0 < far < clean < 1
