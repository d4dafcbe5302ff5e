"""Where computation runs: the device, its threads, and a GPU of its own for each process."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO

import torch

from smoothcert.errors import UserError

_held: list[IO[str]] = []
"""Open lock files: a GPU stays ours until the process ends, however it ends."""


def choose(kind: str, threads: int) -> torch.device:
    """Return the device ``auto``, ``cpu`` or ``cuda``, and let torch use ``threads`` CPU threads.

    ``auto`` is a GPU where there is one. Of several GPUs, each process takes one that no other
    process of this user's workflows holds. Raises UserError for ``cuda`` where there is none.
    """
    if threads < 1:
        raise UserError(f"threads must be at least 1, not {threads}")
    torch.set_num_threads(threads)
    if kind == "cpu" or (kind == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError("device cuda was asked for, but torch sees no GPU; use --device cpu")
    # Reproducible sums: cuBLAS needs its workspace set before the first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    return torch.device("cuda", _free_gpu())


def _free_gpu() -> int:
    """Return the index of a GPU whose lock was free, or of the first if all are taken."""
    count = torch.cuda.device_count()
    if count == 1:
        return 0
    for index in range(count):
        uuid = torch.cuda.get_device_properties(index).uuid
        lock = Path(tempfile.gettempdir(), f"smoothcert-{os.getuid()}-{uuid}.lock")
        handle = lock.open("a")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.close()
            continue
        _held.append(handle)
        return index
    return 0


def name(device: torch.device) -> str:
    """Return the device's model, as ``Intel(R) Xeon(R) Processor`` or ``NVIDIA H200``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()


def describe(device: torch.device) -> str:
    """Return kind and model, as ``cpu (Intel Xeon, 1 thread)`` or ``cuda (NVIDIA H200)``."""
    if device.type == "cuda":
        return f"cuda ({name(device)})"
    threads = torch.get_num_threads()
    return f"cpu ({name(device)}, {threads} thread{'s' if threads > 1 else ''})"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, os.uname().machine)
