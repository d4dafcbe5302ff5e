"""The machine that a run would use."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

from smoothcert import gpus
from smoothcert.smoothing import cpu


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
        )
