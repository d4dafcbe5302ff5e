"""Every preset in a dry run, without data: its own data sets and nothing else."""

import re
from functools import cache
from pathlib import Path

import pytest
import yaml
from workspace import ROOT, Workspace

from smoothcert import config_files, runs

README = ROOT / "config" / "README.md"
PRESETS = sorted(path.stem for path in (ROOT / "config" / "presets").glob("*.yaml"))
PAPERS = [
    Path(name).stem
    for name in yaml.safe_load((ROOT / "config/presets/papers.yaml").read_text())["experiments"]
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def plan(workspace):
    """Return a function that plans a preset, each of them once."""
    return cache(lambda preset: workspace.planned("--configfile", f"config/presets/{preset}.yaml"))


@pytest.fixture
def read(monkeypatch):
    """Return a function that reads a preset."""
    monkeypatch.chdir(ROOT)
    return lambda preset: config_files.read(
        config_files.load(Path(f"config/presets/{preset}.yaml"))
    )


@pytest.fixture
def models(read):
    """Return a function that gives the folders of a preset's runs."""
    return lambda preset: {point.folder for point in runs.points(read(preset))}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_holds_its_own_jobs_only(plan, read, preset):
    experiments = read(preset).experiments
    listed = [run for experiment in experiments for run in runs.written(experiment)]
    trained = {run.point.dataset for run in listed if not run.log}
    logs = {"published-logs"} if any(run.log for run in listed) else set()
    planned = plan(preset)
    assert {name.removeprefix("set ") for name in planned["data"]} == trained | logs
    for rule in ("train", "certify", "summarize"):
        assert {run.split("/")[0] for run in planned.get(rule, set())} == trained
    assert planned["report"] == {f"of {experiment.name}" for experiment in experiments}


def test_papers_train_shared_runs_once(plan):
    parts = [plan(preset)["train"] for preset in PAPERS]
    assert plan("papers")["train"] == set().union(*parts)
    assert len(plan("papers")["train"]) < sum(map(len, parts))


def test_papers_hold_every_preset_of_a_table():
    assert set(PAPERS) == set(PRESETS) - {
        "papers", "ci", "mnist-every-10", "mnist-first-form", "mnist-from-logs", "mnist-methods",
        "mnist-smoke", "imagenet-smoothadv-consistency",
    }  # fmt: skip


def test_every_10th_image_is_of_runs_of_the_tables(models):
    tables = "mnist-rebuttal", "mnist-cameraready", "mnist-first-form"
    assert models("mnist-every-10") < set().union(*map(models, tables))


def test_every_preset_is_documented_with_its_number_of_models(models):
    row = r"^\| \[`([\w-]+)`\]\(presets/\1\.yaml\) \| [^|]* \| (\d+) \|"
    documented = dict(re.findall(row, README.read_text(encoding="utf-8"), re.MULTILINE))
    assert documented == {preset: str(len(models(preset))) for preset in PRESETS}


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
                    "seeds": [0, 1],
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
    assert [event[:5] for event in events] == ["Train", "Finis"] * 2
