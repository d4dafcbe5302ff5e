"""The summary of one run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from synthetic import STAGED, write_experiment

from smoothcert import files
from smoothcert.analysis.summary import summarize
from smoothcert.errors import UserError


@pytest.fixture
def certificates(tmp_path) -> Path:
    """Return a certificates folder."""
    manifest = write_experiment(tmp_path, seeds=[0], sigmas=[0.5])
    return tmp_path / files.read_json(tmp_path / manifest)["runs"][0]["certificates"]


def test_holds_metrics_costs_and_origin(certificates):
    summarize(certificates)
    summary = files.read_json(certificates / "summary.json")
    table = pd.read_csv(certificates / "certificates.tsv", sep="\t")
    credit = table["radius"] * table["correct"]
    assert summary["images"] == 90
    assert summary["acr"] == pytest.approx(credit.mean())
    assert summary["acr_standard_error"] == pytest.approx(credit.sem())
    assert summary["clean_accuracy"] == pytest.approx(table["correct"].mean())
    assert summary["abstention"] == pytest.approx((table["predict"] == -1).mean())
    assert summary["share_at_cap"] == pytest.approx((table["count"] == 10_000).mean())
    assert summary["radius_cap"] == pytest.approx(table["radius"].max())
    at_half = next(entry for entry in summary["certified_accuracy"] if entry["radius"] == 0.5)
    assert at_half["share"] == pytest.approx((credit >= 0.5).mean())
    assert summary["p_lower_quantiles"]["0.5"] == pytest.approx(table["p_lower"].median())
    assert summary["certification"]["seconds"] == pytest.approx(table["time"].sum())
    assert summary["training"]["epochs"] == 5
    assert summary["training"]["provenance"]["torch"] == "2.15.0+cpu"
    assert summary["point"]["sigma"] == 0.5


def test_the_head_is_told_in_a_line(certificates):
    line = summarize(certificates)
    found = files.read_json(certificates / "summary.json")
    for name in ("acr", "clean_accuracy", "abstention"):
        assert f"{found[name]:.4f} ± {found[f'{name}_standard_error']:.4f}" in line


def test_certificates_outside_their_run_have_no_training(certificates, tmp_path):
    elsewhere = tmp_path / "elsewhere" / "certificates"
    shutil.copytree(certificates, elsewhere)
    assert summarize(elsewhere) == summarize(certificates)
    inside, outside = (files.read_json(f / "summary.json") for f in (certificates, elsewhere))
    assert outside == {**inside, "training": None}


def test_the_log_of_a_later_training_is_not_that_of_the_certificates(certificates):
    about = files.read_json(certificates / "certificates.json")
    model = certificates.parent / "model.pt"
    model.write_bytes(b"weights")
    files.write_json(
        certificates / "certificates.json",
        about | {"model": about["model"] | {"sha256": files.sha256(model)}},
    )
    summarize(certificates)
    assert files.read_json(certificates / "summary.json")["training"]["epochs"] == 5
    model.write_bytes(b"others")
    summarize(certificates)
    assert files.read_json(certificates / "summary.json")["training"] is None


def test_radii_that_the_votes_rule_out_are_refused(certificates):
    table = pd.read_csv(certificates / "certificates.tsv", sep="\t")
    table.loc[table["radius"].idxmax(), "radius"] *= 1.01
    table.to_csv(certificates / "certificates.tsv", sep="\t", index=False)
    with pytest.raises(UserError, match=r"has a radius of .*, and n 10000 allows "):
        summarize(certificates)


def test_a_protocol_of_another_version_is_refused(certificates):
    about = files.read_json(certificates / "certificates.json")
    about["protocol"]["noise"] = "laplace"
    files.write_json(certificates / "certificates.json", about)
    with pytest.raises(UserError, match=r"does not know \(noise: unknown key\); certify again"):
        summarize(certificates)


def test_mode_staged_has_its_own_cap(tmp_path):
    manifest = write_experiment(tmp_path, seeds=[0], sigmas=[1.0], certification=STAGED)
    folder = tmp_path / files.read_json(tmp_path / manifest)["runs"][0]["certificates"]
    summarize(folder)
    summary = files.read_json(folder / "summary.json")
    assert summary["radius_cap"] == pytest.approx(3.8036, abs=1e-4)
    radii = pd.read_csv(folder / "certificates.tsv", sep="\t")["radius"]
    assert summary["share_at_cap"] == (radii == radii.max()).mean() > 0


def test_a_converted_classifier_has_no_training_of_its_own(certificates):
    about = files.read_json(certificates / "certificates.json")
    about["point"]["converted_from"] = "their.pth"
    files.write_json(certificates / "certificates.json", about)
    summarize(certificates)
    assert files.read_json(certificates / "summary.json")["training"] is None


def test_mode_evaluate_leaves_abstentions_unknown(tmp_path):
    protocol = {"subset": "every-4", "n": 10_000, "mode": "evaluate"}
    manifest = write_experiment(tmp_path, seeds=[0], sigmas=[0.5], certification=protocol)
    folder = tmp_path / files.read_json(tmp_path / manifest)["runs"][0]["certificates"]
    assert summarize(folder).endswith("abstained unknown")
    summary = files.read_json(folder / "summary.json")
    assert summary["abstention"] is summary["abstention_standard_error"] is None


def test_refuses_mode_radius_which_knows_no_acr(certificates):
    about = files.read_json(certificates / "certificates.json")
    about["protocol"] |= {"mode": "radius", "radius": 0.25}
    files.write_json(certificates / "certificates.json", about)
    with pytest.raises(UserError, match="is of mode radius, which knows no ACR"):
        summarize(certificates)


def test_refuses_an_image_outside_the_subset(certificates):
    path = certificates / "certificates.tsv"
    table = pd.read_csv(path, sep="\t")
    table.loc[3, "idx"] += 1
    table.to_csv(path, sep="\t", index=False)
    with pytest.raises(UserError, match="has other images than subset"):
        summarize(certificates)


def test_a_table_does_not_stand_for_its_folder(certificates):
    with pytest.raises(UserError, match="is a file; name the folder of the certificates"):
        summarize(certificates / "certificates.tsv")


def test_refuses_duplicate_rows(certificates):
    path = certificates / "certificates.tsv"
    *lines, _ = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[1]]))
    with pytest.raises(UserError, match="1 duplicate rows"):
        summarize(certificates)
