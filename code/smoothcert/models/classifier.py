"""A network with its normalisation in front: what is trained, saved, attacked and certified."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smoothcert.models import Specification


class Classifier(nn.Module):
    """Maps images (B, C, H, W) on the [0, 1] scale, noise included, to float32 logits.

    The normalisation is a buffer, so it travels with the weights: a checkpoint cannot be
    evaluated with another one by mistake.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, specification: Specification, head: str):
        super().__init__()
        self.specification = specification
        self.network = network
        self.head = head
        """Name of the network's linear layer that gives the logits."""
        self.register_buffer("mean", torch.tensor(specification.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(specification.std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, classes), in float32 whatever the precision of the network."""
        return self.network((images - self.mean) / self.std).float()


@torch.no_grad()
def logits_are_finite(classifier: Classifier, device: torch.device) -> bool:
    """Return whether the logits of a grey image are finite; an argmax of NaN is a class too.

    The classifier should be on the ``device`` and in eval mode: in train mode, the image would
    count in running statistics.
    """
    one = classifier.specification
    grey = torch.full((1, one.channels, one.size, one.size), 0.5, device=device)
    return bool(classifier(grey).isfinite().all())
