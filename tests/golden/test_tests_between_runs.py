"""What tests between methods say of seeds of one method, which do not differ: published logs."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np

from smoothcert import records
from smoothcert.analysis import metrics, significance
from smoothcert.analysis.measurement import Value


def acr(path: Path) -> Value:
    """Return the ACR of a log."""
    values = metrics.credited_radius(records.read_table(path, 10_000))
    error = values.std(ddof=1) / np.sqrt(len(values))
    return Value(values.mean(), np.nan, error, 1, values)


def test_over_images_seeds_of_one_method_differ_too_often(reference_logs):
    """Why nothing is bold between single seeds: a test at 5% that rejects 51 of 120 pairs."""
    cells = defaultdict(list)
    for path in sorted((reference_logs / "mnist").rglob("*.tsv")):
        cells[path.parent, float(path.name.split("_")[1])].append(acr(path))
    pairs = [pair for cell in cells.values() for pair in combinations(cell, 2)]
    rejected = [significance.compare(*pair).p_value() < significance.SIGNIFICANCE for pair in pairs]
    assert (sum(rejected), len(pairs)) == (51, 120)
