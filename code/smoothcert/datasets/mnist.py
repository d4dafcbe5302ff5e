"""MNIST through torchvision (LeCun et al. 1998): 28x28 digits."""

from __future__ import annotations

import hashlib
from pathlib import Path

from smoothcert import files
from smoothcert.datasets.base import Description, InMemory
from smoothcert.errors import UserError, reason

DESCRIPTION = Description(
    title="MNIST",
    channels=1,
    size=28,
    classes=10,
    train_images=60_000,
    test_images=10_000,
    # The papers feed MNIST to LeNet without normalisation.
    mean=(0.0,),
    std=(1.0,),
)

MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
"""Of the uncompressed files: torchvision checks only the archives it downloads."""


def load(data_dir: Path) -> InMemory:
    """Return MNIST from ``data_dir``/MNIST/raw, downloaded if it is not there.

    Raises UserError if the download fails or a file is not the original one.
    """
    from torchvision.datasets import MNIST

    folder = data_dir / "MNIST" / "raw"
    _refuse_altered(folder)
    try:
        train, test = (MNIST(str(data_dir), train=split, download=True) for split in (True, False))
    except Exception as error:  # torchvision raises many kinds, down to a bare RuntimeError
        raise UserError(
            f"MNIST is not in {folder} and could not be downloaded there ({reason(error)}); "
            "set data_dir to the folder that holds MNIST/raw"
        ) from error
    _refuse_altered(folder)
    return InMemory(
        train.data.unsqueeze(1), train.targets.long(), test.data.unsqueeze(1), test.targets.long()
    )


def _refuse_altered(folder: Path) -> None:
    for name, expected in MD5.items():
        path = folder / name
        if not path.exists():
            continue
        found = hashlib.md5(files.read_bytes(path), usedforsecurity=False).hexdigest()
        if found != expected:
            raise UserError(
                f"{path} is not the original file (its MD5 is {found}, not {expected}); "
                "delete it to have it downloaded anew"
            )
