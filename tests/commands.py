"""Our commands and Snakemake in tests: as a user starts them, but for the time of imports."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

WARM = Path(__file__).with_name("warm.py")
# Jobs of the workflow find it as `python`; what is neither ours nor Snakemake runs as always.
PYTHON = """#!/bin/sh
export WARM_PYTHON="$0"
case "$1 $2" in
  "-m smoothcert" | "-m snakemake") shift; exec "{python}" -IS "{warm}" "{address}" "$@" ;;
  *) exec "{python}" "$@" ;;
esac
"""


def run(module: str, *arguments: object, folder: Path) -> subprocess.CompletedProcess:
    """Run ``python -m module arguments`` in ``folder`` to its end."""
    return subprocess.run(
        _words(module, *arguments),
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def start(module: str, *arguments: object, log: Path) -> subprocess.Popen:
    """Start ``python -m module arguments``; ``log`` takes the standard error.

    The end of the standard output, which is a pipe, tells that a killed process is gone.
    """
    with log.open("w") as errors:
        return subprocess.Popen(
            _words(module, *arguments),
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        )


def _words(module: str, *arguments: object) -> list[str]:
    return [str(_python()), "-m", module, *map(str, arguments)]


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}  # jobs run side by side


@cache
def _python() -> Path:
    """Return a stand-in for the interpreter, whose imports are kept until this process ends."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    address = Path(folder.name, "socket")
    # It ends with its standard input, which ends with this process.
    warm = subprocess.Popen(
        [sys.executable, str(WARM), str(address), "serve"],
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert warm.stdout.readline(), "the imports failed"
    atexit.register(warm.communicate)
    python = Path(folder.name, "python")
    python.write_text(PYTHON.format(python=sys.executable, warm=WARM, address=address))
    python.chmod(0o755)
    return python
