"""Where the numbers of a report come from: provenance, files, and commands that repeat them."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothcert import commands
from smoothcert.analysis.experiment import Experiment, Run
from smoothcert.published import logs
from smoothcert.report.exhibits import Exhibit
from smoothcert.run_files import (
    ATTACKED,
    ATTACKED_DESCRIPTION,
    CERTIFICATES,
    CERTIFICATES_DESCRIPTION,
    MODEL,
    SUMMARY,
    TRAINING_LOG,
)

ORIGIN = {
    "smoothcert": "smoothcert",
    "commit": "Git commit",
    "code": "Code fingerprint",
    "data": "Data checksum (SHA-256)",
    "device": "Device",
    "backend": "Back end",
    "precision": "Precision",
    "python": "Python",
    "torch": "PyTorch",
    "cudnn": "cuDNN",
}
"""How the page calls the entries of a provenance record; others stand under their own name."""


@dataclass(frozen=True)
class Output:
    """Files of the report, by title, and the command that writes them again."""

    title: str
    command: str
    files: list[tuple[str, list[Path]]]


def provenance(experiment: Experiment) -> tuple[list[str], list[tuple[str, list[list[str]]]]]:
    """Return the provenance of our runs: the stages, and each entry's name and values in them."""
    ours = [run for run in experiment.runs if not run.log]
    records = {
        "Training": [_training(run) for run in ours],
        "Certification": [_evaluation(run.description) for run in ours],
        "Attack": [_evaluation(run.attack_description) for run in ours if run.attacked],
    }
    stages = {stage: found for stage, found in records.items() if found}
    recorded = dict.fromkeys(k for found in stages.values() for record in found for k in record)
    keys = [*(key for key in ORIGIN if key in recorded), *(k for k in recorded if k not in ORIGIN)]
    return list(stages), [
        (ORIGIN.get(key, key), [_distinct(found, key) for found in stages.values()]) for key in keys
    ]


def outputs(
    manifest: Path,
    tables: Path,
    figures: Path,
    output: Path,
    written: Iterable[Exhibit],
    drawn: Iterable[Exhibit],
) -> list[Output]:
    """Return what the report consists of: the tables ``written``, the figures ``drawn``, itself."""
    folders = ("--tables", tables, "--figures", figures)
    return [
        Output(
            "Tables",
            command("tables", manifest, "--output", tables),
            [(table.title, table.files) for table in written],
        ),
        Output(
            "Figures",
            command("figures", manifest, "--output", figures),
            [(figure.title, figure.files) for figure in drawn],
        ),
        Output(
            "This page",
            command("report", manifest, *folders, "--output", output),
            [("The experiment and its runs", [manifest])],
        ),
    ]


def run_commands(run: Run) -> list[str]:
    """Return the commands that make the artefacts of a run of ours again, one after another."""
    model, options = run.folder / MODEL, commands.evaluate(run.protocol)
    found = [
        command("train", *commands.train(run.point), "--output", run.folder),
        command("certify", model, *options, "--output", run.certificates),
        command("summarize", run.certificates),
    ]
    if run.attacked:
        attack = commands.evaluate(run.attack)
        found.append(command("attack", model, *attack, "--output", run.attacked))
    return found


def import_command(experiment: Experiment, manifest: Path) -> str:
    """Return the command that takes over the published logs among the runs."""
    record = Path("results", logs.NAME, f"{experiment.name}.json")
    return command("import-logs", manifest, "--output", record)


def command(name: str, *options: object) -> str:
    """Return a line for the shell that calls a command of `smoothcert`."""
    return shlex.join(["smoothcert", name, *map(str, options)])


def run_files(run: Run) -> list[Path]:
    """Return the files behind a run's numbers; a published log has neither summary nor training."""
    found = [run.certificates / name for name in (CERTIFICATES, CERTIFICATES_DESCRIPTION)]
    if not run.log:
        found += [run.certificates / SUMMARY, run.folder / TRAINING_LOG]
    if run.attacked:
        found += [run.attacked / name for name in (ATTACKED, ATTACKED_DESCRIPTION)]
    return found


def _training(run: Run) -> dict[str, Any]:
    """Return the provenance of a run's weights, with the arithmetic of training."""
    record = run.description["model"]["provenance"]
    backend = f"torch {record['torch']}"
    return record | {"backend": backend, "precision": run.point.training.precision}


def _evaluation(description: dict[str, Any]) -> dict[str, Any]:
    """Return the provenance of certificates or answers, with the arithmetic behind them."""
    told = description["evaluation"]
    backend = f"{told['backend']} {told['version']}"
    return description["provenance"] | {"backend": backend, "precision": told["precision"]}


def _distinct(provenances: list[dict[str, Any]], key: str) -> list[str]:
    """Return the values of a key, with the number of runs where there are several."""
    found = Counter(str(record.get(key, "not recorded")) for record in provenances)
    if len(found) == 1:
        return list(found)
    return [f"{value} ({count} runs)" for value, count in found.most_common()]
