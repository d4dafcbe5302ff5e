"""Mistakes a user can make at the command line: one line, an exit code, nothing lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import commands
import pytest
from workspace import TINY, Workspace

TRAIN = ["train", "--dataset", "digits", "--arch", "convnet8", "--method", "gaussian",
         "--sigma", "0.25", "--epochs", "1", "--output", "run"]  # fmt: skip


@pytest.fixture
def smoothcert(tmp_path):
    """Return a function that runs a command and returns the one line it fails with."""

    def run(*arguments: str) -> str:
        result = commands.run("smoothcert", *arguments, folder=tmp_path)
        assert result.returncode != 0
        assert "Traceback" not in result.stderr
        return result.stderr.rstrip("\n").splitlines()[-1]

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "invalid choice: 'trian'"),
        ([*TRAIN, "--method", "gausian"], "unknown method 'gausian'; did you mean 'gaussian'?"),
        ([*TRAIN, "--sigma", "-1"], "sigma -1 is not a positive number"),
        ([*TRAIN, "--sigma", "0.505"], "sigma 0.505 is not a positive number with at most two"),
        ([*TRAIN, "--lambda", "2"], "method gaussian has no regularizer"),
        ([*TRAIN, "--method", "stability"], "method stability needs --lambda, the weight of its"),
        ([*TRAIN, "--epochs", "0"], "epochs: Input should be greater than or equal to 1, not 0"),
        ([*TRAIN, "--lambda", "nan"], "argument --lambda: 'nan' is not a finite number (see"),
        (
            [*TRAIN, "--m", "2"],
            "unknown options: --m 2 (see smoothcert train --method gaussian --h",
        ),
        (["cost", "c.yaml", "--seed", "1"], "unknown options: --seed 1 (see smoothcert cost --hel"),
        ([*TRAIN, "--arch", "lenet"], "arch lenet takes images of 28x28 pixels, not 8x8"),
        ([*TRAIN, "--output", "/proc/nowhere"], "cannot create the folder /proc/nowhere"),
        ([*TRAIN, "--threads", "0"], "threads"),
        (["certify", "model.pt", "--output", "c"], "checkpoint model.pt does not exist"),
        (["certify", "model.pt", "--n", "0", "--output", "c"], "n: Input should be greater than"),
        (["certify", "model.pt", "--n", "9", "--output", "c"], "the smallest n that can is 10"),
        (["certify", "model.pt", "--alpha", "1", "--output", "c"], "alpha: Input should be less"),
        (["summarize", "nowhere"], "does not exist"),
        (["tables", "nowhere.json", "--output", "t"], "nowhere.json does not exist"),
    ],
)
def test_one_line(smoothcert, arguments, message):
    assert message in smoothcert(*arguments)


def test_a_checkpoint_that_is_none(smoothcert, tmp_path):
    (tmp_path / "model.pt").write_bytes(b"not a checkpoint")
    assert "model.pt is damaged, or no file of torch.save" in smoothcert(
        "certify", "model.pt", "--output", "c"
    )


def test_a_corrupt_data_file(smoothcert, tmp_path, mnist_dir):
    shutil.copytree(mnist_dir / "MNIST", tmp_path / "data" / "MNIST")
    path = tmp_path / "data" / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    line = smoothcert("data", "mnist", "--output", "mnist.json")
    assert "t10k-labels-idx1-ubyte is not the original file" in line


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("project"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigmaz": [1]}, "config: experiments[0].sigmaz: unknown key; did you mean 'sigmas'?"),
        ({"methods": [{"method": "gausian"}]}, "unknown method 'gausian'"),
        (
            {"training": {"init_from": "none.pt"}},
            "config: init_from of digits gaussian sigma 0.25 seed 0: none.pt does not exist",
        ),
    ],
)
def test_the_workflow_says_what_is_wrong_with_its_configuration(workspace, change, message):
    content = {**TINY, "experiments": [{**TINY["experiments"][0], **change}]}
    config = workspace.configure(content, "config/wrong.yaml")
    result = workspace.snakemake("--configfile", config)
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_the_workflow_says_what_is_wrong_with_the_claims_before_it_trains(workspace):
    path = workspace.folder / "config" / "claims.yaml"
    before = path.read_bytes()
    workspace.edit("config/claims.yaml", "comparisons:", "comparison:")
    try:
        result = workspace.snakemake("--dry-run")
    finally:
        path.write_bytes(before)
    assert result.returncode != 0
    assert "claim acr-is-robust-to-the-seed: comparison: unknown key; did you" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_key_that_stands_twice_is_refused(workspace):
    config = workspace.configure(TINY, "config/twice.yaml")
    path = workspace.folder / config
    path.write_text(f"{path.read_text()}\ndevice: cpu\ndevice: cuda\n")
    result = workspace.snakemake("--configfile", config)
    assert result.returncode != 0
    assert "config/twice.yaml cannot be read as YAML: device stands twice" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_failed_job_shows_its_cause_and_loses_nothing(workspace):
    """A learning rate at which the loss overflows fails one method; the other finishes."""
    methods = [
        {"method": "gaussian", "training": {"lr": 1e6}},
        {"method": "consistency", "lambda": 2},
    ]
    experiment = {**TINY["experiments"][0], "methods": methods}
    del experiment["attack"]
    config = workspace.configure({**TINY, "experiments": [experiment]}, "config/diverging.yaml")
    result = workspace.snakemake("--configfile", config)
    assert result.returncode != 0
    assert "lower training.lr" in result.stdout + result.stderr
    done = list(
        (workspace.folder / "results").glob("digits/convnet8/consistency-*/**/summary.json")
    )
    assert len(done) == 1


def test_a_dry_run_is_quick_to_start_and_loads_no_torch(workspace):
    """torch is made unimportable: a dry run that needed it would fail."""
    blocker = workspace.folder / "blocker" / "torch"
    blocker.mkdir(parents=True, exist_ok=True)
    (blocker / "__init__.py").write_text("raise ImportError('torch was imported')\n")
    result = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", "--dry-run"],
        cwd=workspace.folder,
        env={**os.environ, "PYTHONPATH": str(blocker.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "train" in result.stdout + result.stderr
