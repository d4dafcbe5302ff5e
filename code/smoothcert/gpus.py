"""How many GPUs this machine offers, told without loading torch."""

from __future__ import annotations

import os
from itertools import takewhile
from pathlib import Path


def count() -> int:
    """Return the number of NVIDIA GPUs that CUDA_VISIBLE_DEVICES, if set, lets through."""
    present = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return present
    # CUDA takes the devices before the first that it does not know, as -1.
    known = takewhile(lambda device: device and device != "-1", map(str.strip, visible.split(",")))
    return min(present, len(list(known)))
