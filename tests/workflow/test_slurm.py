"""The workflow submitted to a real Slurm: what becomes a job, and what survives lost jobs."""

from __future__ import annotations

import copy
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import slurm
from workspace import TINY, Workspace

EPOCHS = 60
PATIENCE = 1800  # seconds after which something hangs, on the slowest machine
QUICK = ["--latency-wait", "5", "--seconds-between-status-checks", "2",
         "--slurm-init-seconds-before-status-checks", "2"]  # fmt: skip
# The state in which each fault leaves a job.
FAULTS = {"CANCELLED": slurm.Slurm.cancel, "FAILED": slurm.Slurm.kill}


@dataclass
class Outcome:
    """A finished workflow, and the jobs that Slurm saw."""

    workspace: Workspace
    jobs: list[slurm.Job]

    def states(self, rule: str) -> Counter[str]:
        """Count the final states of a rule's jobs."""
        return Counter(job.state for job in self.jobs if job.comment.startswith(f"rule_{rule}_"))


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Run the tiny experiment on Slurm; each training run loses its first job to a fault."""
    if problem := slurm.problem():
        pytest.skip(problem)
    workspace = Workspace(tmp_path_factory.mktemp("project"))
    content = copy.deepcopy(TINY)
    content["experiments"][0]["training"]["epochs"] = EPOCHS
    config = workspace.configure(content)
    log = workspace.folder / "snakemake.log"
    with slurm.running(tmp_path_factory.mktemp("slurm")) as cluster:
        process = cluster.start(
            *(sys.executable, "-m", "snakemake", "--configfile", config, *QUICK),
            *("--workflow-profile", "workflow/profiles/slurm"),
            folder=workspace.folder,
            log=log,
        )
        hit: list[slurm.Job] = []

        def not_hit_yet() -> list[slurm.Job]:
            assert process.poll() is None, log.read_text()
            runs = {job.comment for job in hit}
            training = resumable(cluster, workspace.folder / "results")
            return [job for job in training if job.comment not in runs]

        for fault in FAULTS.values():
            job = slurm.wait_until(not_hit_yet, PATIENCE, "a training job")[0]
            fault(cluster, job)
            hit.append(job)
        assert process.wait(PATIENCE) == 0, log.read_text()
        return Outcome(workspace, cluster.jobs())


def resumable(cluster: slurm.Slurm, results: Path) -> list[slurm.Job]:
    """Return the running training jobs that have finished an epoch."""
    runs = [path.parent.relative_to(results).parts for path in results.rglob("resume.pt")]
    comments = {f"rule_train_wildcards_{'_'.join(run)}" for run in runs}
    return [job for job in cluster.jobs() if job.state == "RUNNING" and job.comment in comments]


def test_the_report_is_there_and_nothing_is_left_to_do(outcome):
    assert (outcome.workspace.folder / "reports/tiny/index.html").stat().st_size > 10_000
    assert outcome.workspace.planned("--configfile", "config/tiny.yaml") == {}


def test_training_certification_and_attack_alone_are_jobs_and_have_a_gpu(outcome):
    assert {job.comment.split("_")[1] for job in outcome.jobs} == {"attack", "certify", "train"}
    assert {job.gpus for job in outcome.jobs} == {"gres:gpu:1"}


def test_each_lost_training_job_is_retried_and_resumes(outcome):
    assert outcome.states("train") == {"COMPLETED": 2, **dict.fromkeys(FAULTS, 1)}
    assert outcome.states("certify") == {"COMPLETED": 2}
    for run in outcome.workspace.manifest("tiny")["runs"]:
        log = (outcome.workspace.folder / run["folder"] / "train.log").read_text()
        resumed = re.search(r"resuming after epoch (\d+)", log)
        assert resumed, log
        epochs = [int(epoch) for epoch in re.findall(r"^epoch (\d+)/", log, re.M)]
        assert epochs == list(range(int(resumed[1]) + 1, EPOCHS + 1))
