"""Runs that are not finished: left out of a partial manifest, each with how far it came."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic import write_experiment

from smoothcert import files, finished
from smoothcert.analysis import experiment
from smoothcert.analysis.write_tables import write_tables
from smoothcert.errors import UserError


@pytest.fixture
def manifest(tmp_path, monkeypatch) -> dict:
    """Return the manifest of four finished runs in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = write_experiment(tmp_path, sigmas=[0.5], seeds=[0, 1])
    content = files.read_json(path)
    for run in content["runs"]:
        model = Path(run["folder"], "model.pt")
        model.touch()
        about = certificates(run).with_suffix(".json")
        description = files.read_json(about)
        description["model"]["sha256"] = files.sha256(model)
        files.write_json(about, description)
    return content


def reason(manifest: dict) -> str:
    """Return why the manifest's first run is missing."""
    (missing,) = finished.manifests([manifest])["synthetic"]["missing"]
    return missing["reason"]


def certificates(run: dict) -> Path:
    return Path(run["certificates"], "certificates.tsv")


def test_all_are_finished(manifest):
    found = finished.manifests([manifest])
    assert found == {"synthetic": {**manifest, "missing": [], "unattacked": []}}


def test_reason_tells_how_far_a_run_came(manifest):
    first = manifest["runs"][0]
    certificates(first).unlink()
    assert reason(manifest) == "trained, certification not begun"
    certificates(first).with_name("certificates.tsv.partial").write_text("idx\n0\n1\n2\n")
    assert reason(manifest) == "certification not finished: 3 images so far"
    log = Path(first["certificates"], "certify.log")
    log.write_text("image 3/90\nsmoothcert certify: cannot write x: no space left\n")
    assert reason(manifest) == "smoothcert certify: cannot write x: no space left"
    Path(first["folder"], "model.pt").unlink()
    assert reason(manifest) == "training not begun"
    Path(first["folder"], "resume.pt").touch()
    assert reason(manifest) == "training not finished"
    log = Path(first["folder"], "train.log")
    log.write_text("Traceback (most recent call last):\nRuntimeError: out of memory\n")
    assert reason(manifest) == "RuntimeError: out of memory"
    log.write_text("epoch 3/90  loss 1.2\n")
    assert reason(manifest) == "training not finished"


def test_certificates_of_other_weights_do_not_count(manifest):
    model = Path(manifest["runs"][0]["folder"], "model.pt")
    model.write_bytes(b"trained again")
    assert reason(manifest) == "certificates of other weights than the present ones"
    model.unlink()
    assert finished.manifests([manifest])["synthetic"]["missing"] == []


def test_a_run_whose_training_log_is_gone_does_not_count(manifest):
    Path(manifest["runs"][0]["folder"], "train.tsv").unlink()
    assert reason(manifest) == "train.tsv is gone"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model": null}', '{"model": {}}'])
def test_a_damaged_description_leaves_its_run_alone_out(manifest, content):
    about = Path(manifest["runs"][0]["certificates"], "certificates.json")
    about.write_text(content, encoding="utf-8")
    assert str(about) in reason(manifest)
    about.unlink()
    assert str(about) in reason(manifest)


def test_reason_tells_how_far_shards_came(manifest):
    first = manifest["runs"][0]
    certificates(first).unlink()
    folder = certificates(first).parent
    header, torn = "idx\tlabel\n", "12"
    files.write_text(folder / "shard-1-of-2/certificates.tsv", f"{header}0\t1\n2\t1\n")
    files.write_text(folder / "shard-2-of-2/certificates.tsv.partial", f"{header}1\t1\n{torn}")
    assert reason(manifest) == "certification not finished: 3 images so far"
    files.write_text(folder / "certificates.tsv.partial", f"{header}0\t1\n3\t1\n")
    assert reason(manifest) == "certification not finished: 4 images so far"
    files.write_text(folder / "shard-1-of-2.log", "image 3/90\n")
    files.write_text(folder / "shard-2-of-2.log", "smoothcert certify: no space left\n")
    assert reason(manifest) == "smoothcert certify: no space left"


def test_tables_count_the_seeds_that_are_there(manifest):
    certificates(manifest["runs"][0]).unlink()
    path = Path("reports/synthetic/experiment.json")
    files.write_json(path, finished.manifests([manifest])["synthetic"])
    content = experiment.load(path)
    assert len(content.runs) == 3
    (missing,) = content.missing
    assert (missing.label, missing.point.seed, missing.point.sigma) == ("Gaussian", 0, 0.5)
    write_tables(path, Path("tables"))
    assert {line.split()[-2] for line in Path("tables/acr.md").read_text().splitlines()[-2:]} == {
        "1",
        "2",
    }


def test_published_logs_count_as_finished(manifest):
    certificates(manifest["runs"][0]).unlink()
    manifest["runs"][0]["log"] = {"pattern": "*.tsv", "seeds": [0, 1]}
    assert finished.manifests([manifest])["synthetic"]["missing"] == []


def test_nothing_finished_is_refused(manifest):
    for run in manifest["runs"]:
        certificates(run).unlink()
    with pytest.raises(UserError, match="no finished run"):
        finished.manifests([manifest])
