"""The rebuttal's table from the published logs: recomputed, and from the logs alone."""

import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from smoothcert import config_files, files, runs
from smoothcert.analysis import experiment, import_logs, judgement

PRESET = Path(__file__).parents[2] / "config" / "presets" / "mnist-from-logs.yaml"


@pytest.fixture
def verdicts(tmp_path, monkeypatch):
    """Return a function that gives the verdicts on ACR, by label and sigma, from a log folder."""
    monkeypatch.chdir(tmp_path)
    settings = config_files.read(config_files.load(PRESET))
    manifest = tmp_path / "experiment.json"
    files.write_json(manifest, runs.manifest(settings, settings.experiments[0]))

    def judge(logs):
        import_logs.import_logs(manifest, logs, tmp_path / "logs.json")
        judged = judgement.judge(experiment.load(manifest))
        return {
            (one.target.label, one.target.sigma): one
            for one in judged
            if one.number.metric == "acr"
        }

    return judge


def test_eight_of_nine_cells_with_logs_are_identical(verdicts, reference_logs):
    found = verdicts(reference_logs)
    rebuttal = {k: one for k, one in found.items() if one.number.source == "jeong2020rebuttal"}
    assert Counter(str(one.verdict.kind) for one in rebuttal.values()) == {
        "recomputed: identical": 8,
        "recomputed: differs": 1,
        "no log": 9,
    }
    off = rebuttal["Consistency, first form, published log", 0.25].verdict
    assert str(off.kind) == "recomputed: differs"
    assert round(off.difference, 4) == -0.0003
    released = [one for one in found.values() if one.number.source == "jeong2020"]
    assert [str(one.verdict.kind) for one in released] == ["recomputed: identical"] * 3


def test_scaled_logs_differ_and_no_other_cell_does(verdicts, reference_logs, tmp_path):
    logs = tmp_path / "edited"
    shutil.copytree(reference_logs, logs)
    for path in logs.glob("mnist/gaussian/noise_0.50_*.tsv"):
        table = pd.read_csv(path, sep="\t")
        table["radius"] *= 0.99
        path.chmod(0o644)
        table.to_csv(path, sep="\t", index=False)
    before, after = verdicts(reference_logs), verdicts(logs)
    changed = [key for key in before if before[key].verdict != after[key].verdict]
    assert changed == [("Gaussian, published log", 0.5)]
    verdict = after[changed[0]].verdict
    assert str(verdict.kind) == "recomputed: differs"
    assert verdict.difference == pytest.approx(-0.01 * 1.5581, rel=0.1)
