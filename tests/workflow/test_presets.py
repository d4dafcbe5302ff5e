"""Every preset in a dry run, without data: its own data sets and nothing else."""

import re

import pytest
import yaml
from workspace import ROOT, Workspace

PRESETS = sorted((ROOT / "config" / "presets").glob("*.yaml"))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("project"))


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.stem)
def test_a_preset_holds_its_own_jobs_only(workspace, preset):
    plan = workspace.planned("--configfile", f"config/presets/{preset.name}")
    experiments = yaml.safe_load(preset.read_text())["experiments"]
    expected = {experiment["dataset"] for experiment in experiments}
    assert {name.removeprefix("set ") for name in plan["data"]} == expected
    for rule in ("train", "certify", "summarize"):
        assert {run.split("/")[0] for run in plan[rule]} == expected
    assert len(plan["report"]) == len(experiments)


def test_smoke_and_full_runs_never_share_a_folder(workspace):
    smoke = workspace.planned("--configfile", "config/presets/mnist-smoke.yaml")["train"]
    content = yaml.safe_load((ROOT / "config/presets/mnist-smoke.yaml").read_text())
    content["experiments"][0]["training"]["epochs"] = 90
    full = workspace.planned("--configfile", workspace.configure(content))["train"]
    assert not smoke & full


def test_data_lies_in_any_folder(workspace, mnist_dir):
    data_dir = workspace.folder / "my data" / "$(x)"
    data_dir.parent.mkdir()
    data_dir.symlink_to(mnist_dir)
    content = yaml.safe_load((ROOT / "config/presets/mnist-smoke.yaml").read_text())
    config = workspace.configure({**content, "data_dir": "my data/$(x)"})
    result = workspace.snakemake("results/mnist/dataset.json", "--configfile", config)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "60000" in (workspace.folder / "results/mnist/dataset.json").read_text()


def test_no_more_gpu_jobs_at_once_than_gpus(workspace):
    """On a machine made to believe in one GPU, two cores train one classifier at a time."""
    workspace.edit("code/smoothcert/gpus.py", "    present = ", "    return 1\n    present = ")
    config = workspace.configure(
        {
            "experiments": [
                {
                    "name": "gpu",
                    "dataset": "digits",
                    "arch": "convnet8",
                    "sigmas": [0.25],
                    "seeds": [0, 1, 2],
                    "training": {"epochs": 1},
                    "methods": [{"method": "gaussian"}],
                }
            ]
        },
        "config/gpu.yaml",
    )
    result = workspace.snakemake("--configfile", config, "--until", "train")
    assert result.returncode == 0, result.stdout + result.stderr
    events = re.findall(
        r"(Train|Finished jobid: \d+ \(Rule: train\))", result.stdout + result.stderr
    )
    assert [event[:5] for event in events] == ["Train", "Finis"] * 3
