"""What a data set is: test images by index, and epochs of training batches."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

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


def to_unit(images: Tensor) -> Tensor:
    """Return uint8 images as float32 in [0, 1]."""
    return images.float().div_(255)
