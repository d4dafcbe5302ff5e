"""What a data set is: test images by index, and epochs of training batches."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from smoothcert.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Description:
    """What models and settings need to know of a data set before it is loaded."""

    title: str
    channels: int
    size: int
    """Height and width in pixels."""
    classes: int
    train_images: int
    test_images: int
    mean: tuple[float, ...]
    """Per channel, on the [0, 1] scale: what the models subtract first."""
    std: tuple[float, ...]
    """Per channel, on the [0, 1] scale: what the models then divide by."""
    augmentations: tuple[str, ...] = ("none", "crop-flip")
    """The values of training.augment that its images take."""

    @property
    def fault(self) -> str | None:
        """Return what is wrong with mean or std, or None."""
        for name in ("mean", "std"):
            numbers = getattr(self, name)
            sound = isinstance(numbers, tuple) and len(numbers) == self.channels
            if not sound or not all(isinstance(one, int | float) for one in numbers):
                return f"{name} must be a tuple of {self.channels} numbers, one for each channel"
        return None if min(self.std) > 0 else "std must be above 0"


class Dataset(ABC):
    """A data set that is ready for use."""

    train_labels: Tensor
    """Class indices of all training images, int64 (N,)."""
    test_labels: Tensor
    """Class indices of all test images, int64 (N,)."""

    @property
    @abstractmethod
    def checksum(self) -> str:
        """Return hexadecimal digits that differ between versions of the data."""

    @abstractmethod
    def read_test(self, indices: Sequence[int]) -> Tensor:
        """Return the test images of the indices, uint8 (B, C, H, W)."""

    @abstractmethod
    def batches(
        self, size: int, augment: str, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one epoch of training images, uint8 (B, C, H, W), and labels, int64 (B,).

        Every image comes once, in an order that ``generator`` draws, ``size`` at a time; the last
        batch may be smaller. The tensors lie on the generator's device.
        """


@dataclass(frozen=True)
class InMemory(Dataset):
    """Whole splits as tensors: images uint8 (N, C, H, W), labels int64 (N,)."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    @cached_property
    def checksum(self) -> str:
        """Return the SHA-256 in hexadecimal of all pixels and labels, shapes included."""
        content = hashlib.sha256()
        for part in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            content.update(repr((str(part.dtype), tuple(part.shape))).encode())
            content.update(part.contiguous().numpy().tobytes())
        return content.hexdigest()

    def read_test(self, indices: Sequence[int]) -> Tensor:
        """Return the test images of the indices."""
        return self.test_images[list(indices)]

    def batches(
        self, size: int, augment: str, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one epoch, gathered and augmented on the generator's device."""
        return shuffled(self.train_images, self.train_labels, size, augment, generator)


def shuffled(
    images: Tensor, labels: Tensor, size: int, augment: str, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images uint8 (N, C, H, W) and labels (N,) in batches, in an order drawn anew."""
    import torch

    from smoothcert.augment import crop_flip

    device = generator.device
    images, labels = images.to(device), labels.to(device)
    for batch in torch.randperm(len(images), generator=generator, device=device).split(size):
        pixels = images[batch]
        yield crop_flip(pixels, generator) if augment == "crop-flip" else pixels, labels[batch]


def misfit(data: Dataset, description: Description) -> str | None:
    """Return in what a data set is not as described or has other types than its class says."""
    import torch

    if not isinstance(data, Dataset):
        return f"load must return a Dataset, not {type(data).__name__}"
    size = description.size
    for split in ("train", "test"):
        count = getattr(description, f"{split}_images")
        expected = {"labels": (torch.int64, (count,))}
        if isinstance(data, InMemory):
            expected["images"] = torch.uint8, (count, description.channels, size, size)
        for part, (dtype, shape) in expected.items():
            name = f"{split}_{part}"
            found = getattr(data, name)
            if not isinstance(found, torch.Tensor):
                return f"{name} must be a tensor, not {type(found).__name__}"
            if (found.dtype, tuple(found.shape)) != (dtype, shape):
                return (
                    f"{name} must be {dtype} {shape} by its DESCRIPTION, not {found.dtype} "
                    f"{tuple(found.shape)}"
                )
        labels, classes = getattr(data, f"{split}_labels"), description.classes
        if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
            return (
                f"{split}_labels must lie within 0 to {classes - 1}, not {labels.min()} to "
                f"{labels.max()}"
            )
    return None


def to_unit(images: Tensor) -> Tensor:
    """Return uint8 images (B, C, H, W) as float32 in [0, 1].

    Raises UserError if they are others: of [0, 1] already, they would become black.
    """
    import torch

    if images.dtype != torch.uint8 or images.ndim != 4:
        raise UserError(
            "read_test and batches of a data set must give images as torch.uint8 (B, C, H, W), not "
            f"{images.dtype} {tuple(images.shape)}"
        )
    return images.float().div_(255)
