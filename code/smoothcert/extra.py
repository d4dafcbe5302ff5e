"""Pseudo-labelled images for self-training (Carmon et al. 2019; Salman et al. 2019)."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from smoothcert import files
from smoothcert.datasets.base import Description, shuffled
from smoothcert.errors import UnreadableError, UserError


@dataclass(frozen=True)
class Extra:
    """Images, uint8 (N, C, H, W), with labels, int64 (N,), that another classifier gave them."""

    images: Tensor
    labels: Tensor
    checksum: str
    """SHA-256 of the file, in hexadecimal."""

    def batches(
        self, size: int, augment: str, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches without end; every image comes once before any comes again."""
        while True:
            yield from shuffled(self.images, self.labels, size, augment, generator)


def read(path: Path, data: Description) -> Extra:
    """Return the extra images in an .npz file.

    ``images`` is uint8 (N, H, W, C), or (N, H, W) for one channel; ``labels`` are integers (N,).
    Raises UserError if the file is missing or damaged or does not suit the data set.
    """
    try:
        raw = files.read_bytes(path)
    except FileNotFoundError as error:
        raise UserError(f"extra_images: {path} does not exist") from error
    except UnreadableError as error:
        raise UserError(f"extra_images: {error}") from error
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as content:
            images, labels = content["images"], content["labels"]
    except KeyError as error:
        raise UserError(f"extra_images: {path} needs arrays called images and labels") from error
    except Exception as error:  # NumPy raises many kinds, down to those of its decompressors
        raise UserError(f"extra_images: {path} cannot be read as .npz of plain arrays") from error
    shape = (data.size, data.size, data.channels)
    if data.channels == 1 and images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.shape[1:] != shape or not len(images):
        raise UserError(
            f"extra_images: the images in {path} are {images.dtype} {images.shape}, not uint8 "
            f"(N, {', '.join(map(str, shape))})"
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise UserError(
            f"extra_images: the labels in {path} are {labels.dtype} {labels.shape}, not one "
            f"integer for each of the {len(images)} images"
        )
    if labels.min() < 0 or labels.max() >= data.classes:
        raise UserError(
            f"extra_images: the labels in {path} go from {labels.min()} to {labels.max()}, but "
            f"{data.title} has classes 0 to {data.classes - 1}"
        )
    return Extra(
        torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(labels.astype(np.int64)),
        hashlib.sha256(raw).hexdigest(),
    )


def mixed(
    labelled: Iterator[tuple[Tensor, Tensor]],
    extra: Iterator[tuple[Tensor, Tensor]],
    count: int,
    weight: float,
    generator: torch.Generator,
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """Yield ``count`` batches of either kind, each with its weight, in an order drawn at random.

    So do Salman et al.: the kinds are shuffled over the epoch, and several batches of one may
    follow each other.
    """
    order = torch.randperm(2 * count, generator=generator, device=generator.device)
    for place in order.tolist():
        yield (*next(labelled), 1.0) if place < count else (*next(extra), weight)
