"""The machine that a run would use."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from smoothcert import gpus, runs
from smoothcert.smoothing import cpu


def _folders() -> list[str]:
    """Return the folders that every run writes into; of one that is not there, that above it."""
    wanted = (runs.RESULTS, "reports", ".snakemake")
    return list(dict.fromkeys(name if Path(name).exists() else "." for name in wanted))


@dataclass(frozen=True)
class Machine:
    """What the checks ask of the machine."""

    cores: int
    memory: int
    """Bytes of main memory."""
    gpus: int
    compiler: bool
    """Whether there is a C compiler, without which torch cannot compile for a GPU."""
    bf16: bool
    """Whether the CPU computes in bf16."""
    free: int
    """Free bytes on the disk of the working folder."""
    unwritable: tuple[str, ...] = ()
    """Folders of results, reports or Snakemake, or above them, that cannot be written."""

    @classmethod
    def here(cls) -> Machine:
        """Return this machine."""
        return cls(
            cores=len(os.sched_getaffinity(0)),
            memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            gpus=gpus.count(),
            compiler=any(map(shutil.which, [os.environ.get("CC", "gcc"), "clang"])),
            bf16=cpu.has_bf16(),
            free=shutil.disk_usage(".").free,
            unwritable=tuple(name for name in _folders() if not os.access(name, os.W_OK)),
        )
