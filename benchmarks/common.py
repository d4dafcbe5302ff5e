"""What the benchmarks share."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.backends import cudnn


def run_command(*arguments: object) -> None:
    """Run a command of the package."""
    subprocess.run([sys.executable, "-m", "smoothcert", *map(str, arguments)], check=True)


def summary(values: list[float], form: str) -> str:
    """Return the median and the range."""
    return f"{statistics.median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


@contextmanager
def torch_defaults() -> Iterator[None]:
    """Undo for a while what ``choose`` asks of torch on a GPU."""
    deterministic, tf32 = torch.are_deterministic_algorithms_enabled(), cudnn.allow_tf32
    torch.use_deterministic_algorithms(False)
    cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        cudnn.allow_tf32 = tf32
