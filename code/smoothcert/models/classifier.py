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

    def __init__(self, network: nn.Module, specification: Specification):
        super().__init__()
        self.specification = specification
        self.network = network
        self.register_buffer("mean", torch.tensor(specification.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(specification.std).view(1, -1, 1, 1))

    @property
    def head(self) -> str:
        """Return the name of the network's last linear layer, which gives the logits."""
        parts = self.network.named_modules()
        return [name for name, part in parts if isinstance(part, nn.Linear)][-1]

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, classes), in float32 whatever the precision of the network."""
        return self.network((images - self.mean) / self.std).float()


@torch.no_grad()
def has_logits(classifier: Classifier, device: torch.device) -> bool:
    """Return whether the logits of a grey image are finite; an argmax of NaN is a class too.

    The classifier moves to the ``device`` and to eval mode.
    """
    one = classifier.specification
    grey = torch.full((1, one.channels, one.size, one.size), 0.5, device=device)
    return bool(classifier.to(device).eval()(grey).isfinite().all())
