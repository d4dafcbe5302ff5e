"""How many GPUs this machine offers, told without loading torch."""

from __future__ import annotations

import os
from pathlib import Path


def count() -> int:
    """Return the number of NVIDIA GPUs that CUDA_VISIBLE_DEVICES, if set, lets through."""
    present = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return present
    return min(present, len([device for device in visible.split(",") if device.strip()]))
