"""Data sets that are not there yet."""

from __future__ import annotations

from pathlib import Path

from smoothcert.doctor.findings import Finding, Findings

# Where torchvision keeps what it downloads, below data_dir.
DOWNLOADS = {"mnist": "MNIST/raw", "cifar10": "cifar-10-batches-py"}

# Data sets of image files, which a user has to unpack and each training decodes.
IMAGE_FOLDERS = {"imagenet": ("imagenet/train", "imagenet/val")}


def missing(name: str, data_dir: Path, key: str) -> Findings:
    """Find out whether data set ``name`` is in ``data_dir``, which the setting ``key`` names."""
    if name in DOWNLOADS and not (data_dir / DOWNLOADS[name]).is_dir():
        yield Finding(
            "note",
            f"data set {name} is not in {data_dir} and will be downloaded; without a network, set "
            f"{key} to a folder that holds {DOWNLOADS[name]}",
        )
    absent = [one for one in IMAGE_FOLDERS.get(name, ()) if not (data_dir / one).is_dir()]
    if absent:
        yield Finding(
            "error",
            f"data set {name} cannot be downloaded, and {data_dir / absent[0]} is missing; unpack "
            f"it as config/README.md shows, or set {key} to a folder that holds {absent[0]}",
        )
