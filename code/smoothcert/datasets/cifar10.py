"""CIFAR-10 through torchvision (Krizhevsky 2009): 32x32 colour images of ten classes."""

from __future__ import annotations

from pathlib import Path

from smoothcert.datasets.base import Description, InMemory
from smoothcert.errors import UserError, reason

DESCRIPTION = Description(
    title="CIFAR-10",
    channels=3,
    size=32,
    classes=10,
    train_images=50_000,
    test_images=10_000,
    # Constants of Cohen et al. 2019, which all later papers took over.
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
)


def load(data_dir: Path) -> InMemory:
    """Return CIFAR-10 from ``data_dir``/cifar-10-batches-py, downloaded if it is not there.

    Raises UserError if the download fails or a file is not the original one, which torchvision
    tells by its MD5.
    """
    import torch
    from torchvision.datasets import CIFAR10

    try:
        train, test = (
            CIFAR10(str(data_dir), train=split, download=True) for split in (True, False)
        )
    except Exception as error:  # torchvision raises many kinds, down to a bare RuntimeError
        raise UserError(
            f"CIFAR-10 is not complete in {data_dir / 'cifar-10-batches-py'} and could not be "
            f"downloaded there ({reason(error)}); set data_dir to the folder that holds it"
        ) from error

    def images(split: CIFAR10) -> torch.Tensor:
        return torch.from_numpy(split.data).permute(0, 3, 1, 2).contiguous()

    return InMemory(
        images(train), torch.tensor(train.targets), images(test), torch.tensor(test.targets)
    )
