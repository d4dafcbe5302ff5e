"""Random crops and flips of whole batches, on the device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

PADDING = 4


def crop_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return images (B, C, H, W) shifted by up to 4 pixels, with zeros behind, and mirrored.

    Each image has a shift of its own, uniform over the 81 of both axes, and is mirrored left to
    right with probability 1/2: the random crop with padding 4 and the flip of Cohen et al. 2019.
    """
    count, _, height, width = images.shape
    device = images.device

    def shifts(size: int) -> Tensor:
        first = torch.randint(2 * PADDING + 1, (count, 1), generator=generator, device=device)
        return first + torch.arange(size, device=device)

    rows, columns = shifts(height), shifts(width)
    flipped = torch.rand((count, 1), generator=generator, device=device) < 0.5
    columns = torch.where(flipped, columns.flip(1), columns)
    padded = functional.pad(images, [PADDING] * 4).permute(0, 2, 3, 1)
    image = torch.arange(count, device=device)[:, None, None]
    return padded[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
