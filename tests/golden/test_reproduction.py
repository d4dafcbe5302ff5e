"""The committed reproduction: its tables follow from the certificates beside them."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path, PurePath

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta, norm

FOLDER = Path(__file__).parents[2] / "docs" / "reproduction"
ARCHIVE = FOLDER / "results.tar.xz"
REPORTS = {
    "mnist-every-10": "",
    "mnist-rebuttal": ", all images",
    "mnist-first-form": ", beside its logs, all images",
}
"""The reports whose runs are ours, and what the texts add to the labels in them."""
with tarfile.open(ARCHIVE) as _archive:
    _members = sorted(map(PurePath, _archive.getnames()))
CERTIFICATES = [path for path in _members if path.name == "certificates.tsv"]
LARGEST = 5e6
"""Bytes that the folder may hold."""


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    """Return the runs of ours in the committed tables, by folder."""
    table = pd.concat(pd.read_csv(FOLDER / name / "runs.csv") for name in REPORTS)
    ours = table[table["train_seconds"].notna()].set_index("folder")
    for folder, acr in ours["acr"].groupby(level=0):
        assert acr.nunique() == 1, folder
    return ours[~ours.index.duplicated()]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> Path:
    """Return a folder with the content of the archive."""
    folder = tmp_path_factory.mktemp("archive")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_the_tables_have_all_certificates_and_no_other_runs(runs):
    assert sorted(runs.index) == [str(path.parent) for path in CERTIFICATES]


@pytest.mark.parametrize("path", CERTIFICATES, ids=lambda path: "/".join(path.parts[-5:-1]))
def test_votes_give_the_acr_of_the_table(path, runs, unpacked):
    votes = pd.read_csv(unpacked / path, sep="\t")
    description = json.loads((unpacked / path).with_suffix(".json").read_text(encoding="utf-8"))
    n, alpha = (description["protocol"][key] for key in ("n", "alpha"))
    p_lower = beta.ppf(alpha, votes["count"], n - votes["count"] + 1)
    certified = (votes["top"] == votes["label"]) & (p_lower >= 0.5)
    radii = np.where(certified, description["point"]["sigma"] * norm.ppf(p_lower), 0.0)
    row = runs.loc[str(path.parent)]
    assert len(votes) == row["images"]
    assert radii.mean() == pytest.approx(row["acr"], abs=1e-9)


@pytest.fixture(scope="module")
def cells() -> pd.DataFrame:
    """Return the cells of the committed tables that have runs of ours."""
    tables = {name: pd.read_csv(FOLDER / name / "verdicts.csv") for name in REPORTS}
    table = pd.concat(
        one.assign(label=one["label"] + REPORTS[name]) for name, one in tables.items()
    )
    acr = table[(table["metric"] == "acr") & ~table["verdict"].str.startswith("recomputed")]
    return acr[acr["ours"].notna()]


def shown(cell: pd.Series) -> list[str]:
    """Return what a text that names the cell must show."""
    known = pd.notna(cell["difference"])
    difference = f"{cell['difference']:+.4f}".replace("-", "−") if known else "| – |"
    return [f"{cell['ours']:.4f}", difference, cell["verdict"]]


def test_the_readme_beside_gives_the_verdicts(cells):
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    lines = text[text.index("## By training") :].splitlines()
    for _, cell in cells.iterrows():
        sigma = "" if cell["sigma"] == 0.5 else f", σ = {cell['sigma']:.2f}"
        (line,) = [one for one in lines if one.startswith(f"| {cell['label']}{sigma} |")]
        assert [one for one in shown(cell) if one not in line] == []


def test_the_projects_readme_gives_the_verdicts(cells):
    lines = (FOLDER.parents[1] / "README.md").read_text(encoding="utf-8").splitlines()
    for _, cell in cells[cells["difference"].notna()].iterrows():
        start = f"| {cell['label']} | {cell['sigma']:.2f} |"
        (line,) = [one for one in lines if one.startswith(start)]
        seeds = f"({cell['ours_seeds']:.0f})"
        assert [one for one in (*shown(cell), seeds) if one not in line] == []


def test_the_folder_is_small():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < LARGEST
