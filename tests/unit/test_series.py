"""What the page's charts and explorer are made of, against the certificates themselves."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np
import pytest
from synthetic import PUBLISHED, STAGED, write_experiment

from smoothcert import files
from smoothcert.analysis import experiment, metrics
from smoothcert.analysis.experiment import Experiment
from smoothcert.records import ABSTAIN, PUBLISHED_COLUMNS, PUBLISHED_LOG
from smoothcert.report import charts, series
from smoothcert.smoothing.bounds import largest_radius

FIRST = 1, 0.5
"""Row and sigma of the cell that most tests look at."""


def load(folder, **changes) -> Experiment:
    return experiment.load(folder / write_experiment(folder, **changes))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def content(folder) -> Experiment:
    return load(folder)


def tables(content: Experiment):
    row, sigma = FIRST
    return [run.read_certificates() for run in content.cells[content.rows[row], sigma]]


def cell(content: Experiment, kind: str) -> dict:
    """Return curve or outcomes of the cell."""
    row, sigma = FIRST
    panels = series.reduce(content)["panels"]
    (panel,) = (panel for panel in panels if panel["sigma"] == f"{sigma:.2f}")
    (found,) = (found for found in panel[kind] if found["row"] == row)
    return {**panel, **found}


def test_curve_is_certified_accuracy(content):
    found = cell(content, "curves")
    cap = largest_radius(10_000, 0.001, 0.5)
    assert found["cap"] == cap
    assert found["step"] == 0.01
    grid = [*np.arange(0, cap, 0.01).round(10), cap]
    shares = np.array([metrics.certified(table, grid).mean(0) for table in tables(content)])
    for name, expected in (
        ("mean", shares.mean(0)),
        ("spread", shares.std(0, ddof=1)),
        ("low", shares.min(0)),
        ("high", shares.max(0)),
    ):
        assert found[name] == pytest.approx(expected, abs=1e-5), name
    assert found["mean"][-1] > 0
    assert found["seeds"] == 3


def test_one_seed_has_the_standard_error_over_images(folder):
    found = cell(load(folder, seeds=[4]), "curves")
    (table,) = tables(load(folder, seeds=[4]))
    values = metrics.certified(table, [0.5])
    expected = metrics.over_seeds([values]).standard_error[0]
    assert found["spread"][50] == pytest.approx(expected, abs=1e-5)
    assert found["seeds"] == 1


@pytest.mark.parametrize("cap", [0.05, 0.953, 1.906, 3.811, 250])
def test_curves_have_enough_points_and_not_too_many(cap):
    step = series._step(cap)
    assert series.POINTS / 2.5 <= cap / step <= series.POINTS
    assert f"{step:.0e}"[0] in "125"


def test_outcomes_share_out_all_images(content):
    found = cell(content, "outcomes")
    names = series.outcome_names(content)
    assert names == [
        "At the cap", "Bound 0.999 to the cap", "Bound 0.99 to 0.999", "Bound 0.9 to 0.99",
        "Bound 0.5 to 0.9", "Abstained", "Wrong class",
    ]  # fmt: skip
    assert sum(found["mean"]) == pytest.approx(1, abs=1e-4)
    shares = dict(zip(names, found["mean"], strict=True))
    of = {name: [] for name in names}
    for table in tables(content):
        right = table["correct"] == 1
        of["At the cap"].append((right & (table["count"] == table["n"])).mean())
        low = right & (table["p_lower"] >= 0.9) & (table["p_lower"] < 0.99)
        of["Bound 0.9 to 0.99"].append(low.mean())
        of["Abstained"].append((table["predict"] == ABSTAIN).mean())
        of["Wrong class"].append((~right & (table["predict"] != ABSTAIN)).mean())
    for name, expected in of.items():
        if expected:
            assert shares[name] == pytest.approx(np.mean(expected), abs=1e-5), name
            assert np.mean(expected) > 0, name


def test_outcomes_of_published_logs_follow_from_the_rounded_radii(content):
    expected = cell(content, "outcomes")["mean"]
    for run in content.runs:
        table = run.read_certificates()[list(PUBLISHED_COLUMNS)]
        table["radius"] = [float(f"{radius:.3g}") for radius in table["radius"]]
        path = run.certificates / "certificates.tsv"
        files.write_text(path, table.to_csv(sep="\t", index=False))
        about = {**run.description, "provenance": {"device": PUBLISHED_LOG}}
        files.write_json(run.certificates / "certificates.json", about)
    logs = tuple(replace(run, log={"pattern": "*.tsv", "seeds": [0]}) for run in content.runs)
    rounded = replace(content, runs=logs)
    assert cell(rounded, "outcomes")["mean"] == pytest.approx(expected, abs=0.01)
    assert expected[0] > 0.02


def test_mode_staged_has_its_own_cap(folder):
    content = load(folder, certification=STAGED)
    found = cell(content, "outcomes")
    assert found["cap"] == pytest.approx(3.8036 / 2, abs=1e-4)
    reached = [(metrics.credited_radius(t) == found["cap"]).mean() for t in tables(content)]
    assert found["mean"][0] == pytest.approx(np.mean(reached), abs=1e-5)
    assert found["mean"][0] > 0
    assert sum(found["mean"]) == pytest.approx(1, abs=1e-4)


def test_one_image_has_no_spread(folder):
    found = cell(load(folder, seeds=[0], certification={"subset": "0-0"}), "curves")
    assert set(found["spread"]) == {0}


def test_mode_evaluate_knows_no_abstentions(folder):
    content = load(folder, certification={"subset": "every-4", "n": 1000, "mode": "evaluate"})
    names = series.outcome_names(content)
    assert names == [
        "At the cap", "Bound 0.99 to the cap", "Bound 0.9 to 0.99", "Bound 0.5 to 0.9",
        "Abstained or wrong",
    ]  # fmt: skip
    wrong = np.mean([(table["correct"] == 0).mean() for table in tables(content)])
    assert cell(content, "outcomes")["mean"][-1] == pytest.approx(wrong, abs=1e-5)
    assert [one["name"] for one in charts.coloured(names)] == names


def test_images_have_their_mean_radius_and_its_deviation(content):
    images = series.reduce(content)["images"]
    assert (images["first"], images["step"]) == (0, 4)
    row, sigma = FIRST
    (packed,) = (
        one for one in images["cells"] if (one["row"], one["sigma"]) == (row, f"{sigma:.2f}")
    )
    radii = np.array([metrics.credited_radius(table) for table in tables(content)])
    cap = largest_radius(10_000, 0.001, sigma)
    mean = np.frombuffer(base64.b64decode(packed["mean"]), "<u2") * cap / 65535
    spread = np.frombuffer(base64.b64decode(packed["spread"]), "u1") * cap / 255
    assert mean == pytest.approx(radii.mean(0), abs=cap / 65535)
    assert spread == pytest.approx(radii.std(0, ddof=1), abs=cap / 255)
    assert images["levels"] == [65535, 255]
    labels = tables(content)[0]["label"]
    assert np.frombuffer(base64.b64decode(images["labels"]), "<u2").tolist() == labels.tolist()
    assert images["commonest"] == pytest.approx(labels.value_counts().max() / 90)


def test_beside_published_logs_all_radii_are_rounded(content):
    row, sigma = FIRST
    logs = tuple(
        replace(run, log={"pattern": "*.tsv", "seeds": [0]} if run.row == content.rows[0] else None)
        for run in content.runs
    )
    images = series.reduce(replace(content, runs=logs))["images"]
    (packed,) = (
        one for one in images["cells"] if (one["row"], one["sigma"]) == (row, f"{sigma:.2f}")
    )
    largest = images["largest"]["0.50"]
    radii = [
        [float(f"{r:.3g}") * c for r, c in zip(table["radius"], table["correct"], strict=True)]
        for table in tables(content)
    ]
    mean = np.frombuffer(base64.b64decode(packed["mean"]), "<u2") * largest / 65535
    assert mean == pytest.approx(np.mean(radii, 0), abs=largest / 65535)
    assert np.max(radii) > largest_radius(10_000, 0.001, sigma)
    assert np.max(radii) <= largest


def test_a_cell_that_was_not_run_is_left_out(folder):
    methods = [{"method": "gaussian"}, {"method": "consistency", "lambda": 5, "sigmas": [0.5]}]
    reduced = series.reduce(load(folder, methods=methods))
    assert [[curve["row"] for curve in panel["curves"]] for panel in reduced["panels"]] == [
        [0],
        [0, 1],
    ]


def test_published_points_know_their_row(folder):
    methods = [
        {"method": "consistency", "lambda": 5, "published": "none"},
        {"method": "gaussian"},
        {"method": "gaussian", "label": "Another", "seeds": [], "sigmas": [0.5]},
    ]
    panels = series.reduce(load(folder, **PUBLISHED, methods=methods))["panels"]
    low, high = (panel["published"] for panel in panels)
    assert {point["row"] for point in low} == {1}
    rows = {point["title"]: point["row"] for point in high}
    assert rows == {"Gaussian": 1, "Another": None}
    (found,) = (p for p in high if (p["title"], p["radius"]) == ("Gaussian", 0.25))
    assert found["mean"] == 0.5491
    assert (found["std"], found["seeds"]) == (None, 1)
    assert found["source"] == "salman2019"
    assert max(point["radius"] for point in high) <= largest_radius(100_000, 0.001, 0.5)
