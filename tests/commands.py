"""Commands in processes whose imports of torch, Snakemake and the like lie behind them.

These take most of a short command's time. Each command has a process of its own, forked from one
that has done them, and finds all else as ``python -m`` would, our own modules among it.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["openvino", "pandas", "scipy.stats", "snakemake.cli", "torch"])


def start(
    module: str, *arguments: object, output: Path, log: Path, folder: Path | None = None
) -> ForkServerProcess:
    """Start ``python -m module arguments`` in ``folder``; ``log`` takes the standard error."""
    words = [module, *map(str, arguments)]
    places = output.absolute(), log.absolute(), folder or Path.cwd()
    process = _FORKS.Process(target=_run, args=(words, *places, dict(os.environ)))
    process.start()
    return process


def run(module: str, *arguments: object, folder: Path) -> subprocess.CompletedProcess:
    """Run ``python -m module arguments`` in ``folder`` to its end."""
    with tempfile.TemporaryDirectory() as scratch:
        output, log = Path(scratch) / "output", Path(scratch) / "log"
        process = start(module, *arguments, output=output, log=log, folder=folder)
        process.join()
        words = [module, *map(str, arguments)]
        return subprocess.CompletedProcess(
            words, process.exitcode, output.read_text(), log.read_text()
        )


def _run(
    words: list[str], output: Path, log: Path, folder: Path, environment: dict[str, str]
) -> None:
    for descriptor, path in enumerate((output, log), start=1):
        with path.open("w") as file:
            os.dup2(file.fileno(), descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment, OMP_NUM_THREADS="1")  # jobs run side by side
    sys.argv = words
    sys.path.insert(0, str(folder))
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
