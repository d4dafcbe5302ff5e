"""A data set in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


@dataclass(frozen=True)
class Dataset:
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


def to_unit(images: Tensor) -> Tensor:
    """Return uint8 images as float32 in [0, 1]."""
    return images.float().div_(255)
