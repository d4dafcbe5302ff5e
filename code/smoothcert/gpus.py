"""How many GPUs this machine offers, told without loading torch."""

from __future__ import annotations

import os
from ctypes.util import find_library
from itertools import takewhile
from pathlib import Path

LISTED = Path("/proc/driver/nvidia/gpus")
"""Where the driver lists its GPUs."""

WSL2 = Path("/dev/dxg")
"""All GPUs of Windows, of any make, as WSL2 passes them on; the driver lists none there."""


def count() -> int:
    """Return the number of NVIDIA GPUs that CUDA_VISIBLE_DEVICES, if set, lets through.

    Under WSL2, which does not tell how many there are, it is at most one.
    """
    present = _present()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return present

    def known(device: str) -> bool:
        name = device.strip()
        return name.startswith(("GPU-", "MIG-")) or (name.isdecimal() and int(name) < present)

    # CUDA takes the devices before the first that it does not know, as -1 or NoDevFiles.
    return min(present, len(list(takewhile(known, visible.split(",")))))


def _present() -> int:
    if LISTED.is_dir():
        return len(list(LISTED.iterdir()))
    return int(WSL2.exists() and find_library("cuda") is not None)
