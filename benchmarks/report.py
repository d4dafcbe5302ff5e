"""Seconds and memory of tables, figures and page against the number of runs.

    python benchmarks/report.py
    python benchmarks/report.py --runs 120 510

Certificates of 10,000 images a run, drawn at random, stand in for trained classifiers: methods at
three noise levels with five seeds each. Every stage is a process of its own, as in the workflow.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import altair
import matplotlib
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from synthetic import write_experiment  # noqa: E402

SIGMAS, SEEDS = [0.25, 0.5, 1.0], [0, 1, 2, 3, 4]
PAGE = Path("reports/synthetic/index.html")


def main() -> None:
    """Measure and print, the results last."""
    parser = argparse.ArgumentParser(description="Measure the building of reports.")
    parser.add_argument("--runs", type=int, nargs="+", default=[120, 255, 510])
    options = parser.parse_args()
    lines = []
    for runs in options.runs:
        with tempfile.TemporaryDirectory() as folder:
            lines.append(measured(runs // (len(SIGMAS) * len(SEEDS)), Path(folder)))
        print(lines[-1], flush=True)
    print(f"\n{os.cpu_count()} CPUs; {platform.platform()}")
    print(f"python {platform.python_version()}, pandas {pd.__version__}, "
          f"matplotlib {matplotlib.__version__}, altair {altair.__version__}")  # fmt: skip
    print("\n".join(lines))


def measured(rows: int, folder: Path) -> str:
    """Return the line of an experiment of ``rows`` rows."""
    weights = list(range(1, rows))
    methods = [{"method": "gaussian"}]
    methods += [{"method": "consistency", "lambda": weights[::2]}]
    methods += [{"method": "stability", "lambda": weights[1::2]}] if rows > 2 else []
    manifest = write_experiment(
        folder,
        dataset="mnist",
        arch="lenet",
        sigmas=SIGMAS,
        seeds=SEEDS,
        training={"epochs": 90},
        certification={"subset": "all", "n": 100_000},
        published={"source": "jeong2020rebuttal"},
        methods=methods,
    )
    stages = {
        "tables": [manifest, "--output", PAGE.parent / "tables"],
        "figures": [manifest, "--output", PAGE.parent / "figures"],
        "report": [
            *(manifest, "--tables", PAGE.parent / "tables"),
            *("--figures", PAGE.parent / "figures", "--output", PAGE),
        ],
    }
    costs = {stage: cost(folder, stage, *arguments) for stage, arguments in stages.items()}
    runs = rows * len(SIGMAS) * len(SEEDS)
    parts = [f"{stage} {s:.1f} s, {mib:,.0f} MiB" for stage, (s, mib) in costs.items()]
    size = (folder / PAGE).stat().st_size / 1e6
    total = sum(s for s, _ in costs.values())
    return f"{runs} runs: {'; '.join(parts)}; all {total:.1f} s; page {size:.1f} MB"


def cost(folder: Path, *arguments: object) -> tuple[float, float]:
    """Return seconds and peak memory, in MiB, of a command of the package."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "smoothcert", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=folder)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"smoothcert {arguments[0]} failed")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
