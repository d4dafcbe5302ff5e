"""The committed reproduction: its tables follow from the certificates beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta, norm

FOLDER = Path(__file__).parents[2] / "docs" / "reproduction"
CERTIFICATES = sorted((FOLDER / "results").rglob("certificates.tsv"))
LARGEST = 5e6
"""Bytes that the folder may hold."""


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    """Return the runs of ours in the committed table, by folder."""
    table = pd.read_csv(FOLDER / "mnist-every-10" / "runs.csv")
    return table[table["train_seconds"].notna()].set_index("folder")


def test_the_table_has_all_certificates_and_no_other_runs(runs):
    folders = [str(path.parent.relative_to(FOLDER)) for path in CERTIFICATES]
    assert sorted(runs.index) == folders


@pytest.mark.parametrize("path", CERTIFICATES, ids=lambda path: "/".join(path.parts[-5:-1]))
def test_votes_give_the_acr_of_the_table(path, runs):
    votes = pd.read_csv(path, sep="\t")
    description = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    n, alpha = (description["protocol"][key] for key in ("n", "alpha"))
    p_lower = beta.ppf(alpha, votes["count"], n - votes["count"] + 1)
    certified = (votes["top"] == votes["label"]) & (p_lower >= 0.5)
    radii = np.where(certified, description["point"]["sigma"] * norm.ppf(p_lower), 0.0)
    row = runs.loc[str(path.parent.relative_to(FOLDER))]
    assert len(votes) == row["images"]
    assert radii.mean() == pytest.approx(row["acr"], abs=1e-9)


def test_readme_gives_the_verdicts_of_the_table():
    table = pd.read_csv(FOLDER / "mnist-every-10" / "verdicts.csv")
    ours = table[(table["metric"] == "acr") & ~table["verdict"].str.startswith("recomputed")]
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    lines = text[text.index("## By training") :].splitlines()
    for _, cell in ours[ours["ours"].notna()].iterrows():
        sigma = "" if cell["sigma"] == 0.5 else f", σ = {cell['sigma']:.2f}"
        (line,) = [one for one in lines if one.startswith(f"| {cell['label']}{sigma} |")]
        known = pd.notna(cell["difference"])
        difference = f"{cell['difference']:+.4f}" if known else "| – |"
        for shown in (f"{cell['ours']:.4f}", difference, cell["verdict"]):
            assert shown.replace("-", "−", 1) in line, (shown, line)


def test_the_folder_is_small():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < LARGEST
