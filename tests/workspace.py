"""A scratch copy of the project, in which tests run the workflow and edit files as a user would."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import commands
import yaml

ROOT = Path(__file__).parents[1]
PARTS = ("code", "config", "workflow", "environment.yml")

TINY = {
    "data_dir": "my data/$(x)",
    "experiments": [
        {
            "name": "tiny",
            "dataset": "digits",
            "arch": "convnet8",
            "sigmas": [0.25],
            "training": {"epochs": 2, "batch_size": 64, "lr": 0.05},
            "certification": {"subset": "every-60", "n": 100},
            "attack": {"epsilons": [0.25, 0.5], "steps": 2, "m": 4, "n": 120},
            "methods": [{"method": "gaussian"}, {"method": "consistency", "lambda": 2}],
        }
    ],
}


class Workspace:
    """A copy of the project's parts in ``folder``."""

    def __init__(self, folder: Path):
        self.folder = folder
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
                shutil.copytree(source, folder / part, ignore=ignore)
            else:
                shutil.copy(source, folder / part)

    def configure(self, content: dict, name: str = "config/tiny.yaml") -> str:
        """Write a configuration; return its path."""
        (self.folder / name).write_text(yaml.safe_dump(content), encoding="utf-8")
        return name

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace the first ``old`` in a file by ``new``."""
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run Snakemake on the copy."""
        return commands.run("snakemake", "--cores", "2", *arguments, folder=self.folder)

    def planned(self, *arguments: str) -> dict[str, set[str]]:
        """Return the jobs that a dry run lists: the runs' folders, or nothing, for each rule."""
        result = self.snakemake("--dry-run", "--quiet", "host", *arguments)
        assert result.returncode == 0, result.stderr
        words = {"Train": "train", "Certify": "certify", "Summarise": "summarize",
                 "Data": "data", "Tables": "tables", "Figures": "figures", "Report": "report",
                 "Index": "index", "List": "experiment", "Merge": "merge",
                 "Import": "import", "Attack": "attack"}  # fmt: skip
        jobs: dict[str, set[str]] = {}
        for word, rest in re.findall(r"^Job \d+: (\w+) (.*)$", result.stdout + result.stderr, re.M):
            jobs.setdefault(words[word], set()).add(rest.split(",")[0])
        return jobs

    def files(self, below: str) -> dict[Path, tuple[float, bytes]]:
        """Return time and content of every file below a folder."""
        found = (path for path in (self.folder / below).rglob("*") if path.is_file())
        return {path: (path.stat().st_mtime, path.read_bytes()) for path in found}

    def manifest(self, experiment: str) -> dict:
        """Return what an experiment consists of."""
        return json.loads((self.folder / "reports" / experiment / "experiment.json").read_text())
