"""Dry runs of both profiles: what becomes a job of Slurm, and what it asks for."""

from __future__ import annotations

import re

import pytest
from workspace import TINY, Workspace

SLURM = ("--workflow-profile", "workflow/profiles/slurm")
PROFILE = "workflow/profiles/slurm/config.yaml"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Return a workspace whose rules have no messages: Snakemake then shows what jobs ask for."""
    workspace = Workspace(tmp_path_factory.mktemp("project"))
    for path in (workspace.folder / "workflow/rules").glob("*.smk"):
        path.write_text(re.sub(r" +message:\n +.*\n", "", path.read_text()))
    workspace.configure(TINY)
    return workspace


def jobs(workspace: Workspace, *arguments: str) -> list[tuple[str, dict[str, str]]]:
    """Return the rule of each planned job, sorted, and the resources it asks for."""
    result = workspace.snakemake("--dry-run", "--configfile", "config/tiny.yaml", *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    blocks = re.findall(r"^rule (\w+):\n((?: {4}.*\n)+)", result.stdout, re.M)
    lines = ((rule, re.search(r"^    resources: (.*)$", block, re.M)[1]) for rule, block in blocks)
    found = [(rule, dict(one.split("=") for one in line.split(", "))) for rule, line in lines]
    return sorted(found, key=lambda job: job[0])


def test_training_certification_and_attack_ask_slurm_for_one_gpu_each(workspace):
    for rule, asked in jobs(workspace, *SLURM):
        if rule in ("train", "certify", "attack"):
            assert asked["gpu"] == "1"
        else:
            assert "gpu" not in asked


def test_the_rest_is_local(workspace):
    """A dry run does not tell, so the rules are read."""
    local = {"all"}
    for path in (workspace.folder / "workflow/rules").glob("*.smk"):
        for rule in re.split(r"^ *rule\b", path.read_text(), flags=re.M)[1:]:
            if re.search(r"^ +localrule: True$", rule, re.M):
                named = re.search(r'name:\s+f"(\w+)_{experiment}"', rule)
                local.add(f"{named[1]}_tiny" if named else rule.split(":")[0].strip())
    submitted = [rule for rule, _ in jobs(workspace, *SLURM) if rule not in local]
    assert submitted == ["attack"] * 2 + ["certify"] * 2 + ["train"] * 2


def test_account_and_partition_are_a_comment_away(workspace):
    example = "# default-resources:\n#   slurm_account: NAME\n#   slurm_partition: NAME\n"
    entry = re.sub(r"^# ", "", example, flags=re.M)
    workspace.edit(PROFILE, example, entry)
    try:
        planned = jobs(workspace, *SLURM)
    finally:
        workspace.edit(PROFILE, entry, example)
    trained = [asked for rule, asked in planned if rule == "train"]
    assert len(trained) == 2
    for asked in trained:
        assert (asked["slurm_account"], asked["slurm_partition"]) == ("NAME", "NAME")
        assert asked["gpu"] == "1"


def test_both_profiles_plan_the_same_jobs(workspace):
    here, on_slurm = jobs(workspace), jobs(workspace, *SLURM)
    assert [rule for rule, _ in here] == [rule for rule, _ in on_slurm]
    assert {"train", "certify", "experiment_report"} <= {rule for rule, _ in here}
