"""What produced an artefact: code, versions, device and data."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smoothcert import __version__
from smoothcert.device import describe


def provenance(device: torch.device, code: str, data: str) -> dict[str, Any]:
    """Return the record of a computation on ``device``.

    ``code`` is the stage's fingerprint, ``data`` the data set's checksum. The record holds no
    time, so that equal computations leave equal files.
    """
    # torch's version stands for the other libraries, but cuDNN may be another one under it.
    cudnn = {"cudnn": torch.backends.cudnn.version()} if device.type == "cuda" else {}
    return {
        "smoothcert": __version__,
        "commit": commit(),
        "code": code,
        "data": data,
        "device": describe(device),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": str(torch.__version__),
        **cudnn,
        # Both decide the pixels of images that are decoded and resized.
        "torchvision": version("torchvision"),
        "pillow": version("pillow"),
    }


@cache
def commit() -> str:
    """Return the source's git commit, or ``unknown``.

    It ends in ``+changes`` if files differ from it or are not in it, as a new method's.
    """
    folder = Path(__file__).parent
    git = ["git", "-C", str(folder)]
    try:
        head = subprocess.run(  # noqa: S603
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changes = subprocess.run(  # noqa: S603
            [*git, "status", "--porcelain", str(folder)],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+changes" if changes else "")
