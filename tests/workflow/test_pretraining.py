"""Training that starts from another run: the workflow holds the dependency."""

import copy

from workspace import TINY, Workspace


def test_pretraining_comes_first_and_is_found(tmp_path):
    workspace = Workspace(tmp_path)
    content = copy.deepcopy(TINY)
    (experiment,) = content["experiments"]
    experiment["methods"][1]["training"] = {"init_from": "tiny/Gaussian", "lr": 0.001}
    config = workspace.configure(content)
    consistency = "results/digits/convnet8/consistency-"
    planned = workspace.planned("--configfile", config)["train"]
    (target,) = [f"results/{run}/model.pt" for run in planned if "consistency" in run]
    assert target.startswith(consistency)
    result = workspace.snakemake(target, "--configfile", config)
    assert result.returncode == 0, result.stdout + result.stderr
    logs = {path: path.read_text() for path in tmp_path.glob("results/digits/*/*/*/*/*/train.tsv")}
    assert len(logs) == 2  # the target alone was asked for, and its source was trained too
    losses = {
        "consistency" in str(path): [float(row.split("\t")[2]) for row in text.splitlines()[1:]]
        for path, text in logs.items()
    }
    assert losses[True][0] < losses[False][0]
