"""The workflow submitted to a real Slurm: what becomes a job, and what survives lost jobs."""

from __future__ import annotations

import copy
import re
import sys
from collections import Counter
from dataclasses import dataclass

import pytest
import slurm
from workspace import TINY, Workspace

EPOCHS = 60
QUICK = ["--latency-wait", "5", "--seconds-between-status-checks", "2",
         "--slurm-init-seconds-before-status-checks", "2"]  # fmt: skip
TRAINING_LOG = "results/digits/*/*/*/*/*/train.log"
PATIENCE = 900  # seconds after which something hangs, on the slowest machine
# The state in which each fault leaves a job.
FAULTS = {"CANCELLED": slurm.Slurm.cancel, "FAILED": slurm.Slurm.kill}


@dataclass
class Outcome:
    """A finished workflow, the jobs that Slurm saw, and how far the lost ones came."""

    workspace: Workspace
    jobs: list[slurm.Job]
    reached: list[int]  # the last epoch seen of each lost job

    def states(self, rule: str) -> Counter[str]:
        """Count the final states of a rule's jobs."""
        return Counter(job.state for job in self.jobs if job.comment.startswith(f"rule_{rule}_"))


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Run the tiny experiment on Slurm; its training run loses a job to each fault."""
    if problem := slurm.problem():
        pytest.skip(problem)
    workspace = Workspace(tmp_path_factory.mktemp("project"))
    content = copy.deepcopy(TINY)
    content["experiments"][0] |= {"methods": [{"method": "gaussian"}]}
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
        reached: list[int] = []

        def next_job() -> slurm.Job | None:
            """Return the training job that has finished more epochs than the one lost before."""
            assert process.poll() is None, log.read_text()
            for path in workspace.folder.glob(TRAINING_LOG):
                done = epochs(path.read_text())
                if done and done[0] > (reached[-1] if reached else 0):
                    (job,) = [job for job in cluster.jobs() if job.state == "RUNNING"]
                    reached.append(done[-1])
                    return job
            return None

        for fault in FAULTS.values():
            fault(cluster, slurm.wait_until(next_job, PATIENCE, "a training job"))
        assert process.wait(PATIENCE) == 0, log.read_text()
        return Outcome(workspace, cluster.jobs(), reached)


def epochs(log: str) -> list[int]:
    """Return the epochs that a training log tells of."""
    return [int(epoch) for epoch in re.findall(r"^epoch (\d+)/", log, re.M)]


def test_the_report_is_there_and_nothing_is_left_to_do(outcome):
    assert (outcome.workspace.folder / "reports/tiny/index.html").stat().st_size > 10_000
    assert outcome.workspace.planned("--configfile", "config/tiny.yaml") == {}


def test_training_certification_and_attack_alone_are_jobs_and_have_a_gpu(outcome):
    assert {job.comment.split("_")[1] for job in outcome.jobs} == {"attack", "certify", "train"}
    assert {job.gpus for job in outcome.jobs} == {"gres:gpu:1"}


def test_each_lost_training_job_is_retried_and_resumes(outcome):
    assert outcome.states("train") == {"COMPLETED": 1, **dict.fromkeys(FAULTS, 1)}
    assert outcome.states("certify") == {"COMPLETED": 1}
    (run,) = outcome.workspace.manifest("tiny")["runs"]
    log = (outcome.workspace.folder / run["folder"] / "train.log").read_text()
    resumed = re.search(r"resuming after epoch (\d+)", log)
    assert resumed, log
    assert int(resumed[1]) >= max(outcome.reached)
    assert epochs(log) == list(range(int(resumed[1]) + 1, EPOCHS + 1))
