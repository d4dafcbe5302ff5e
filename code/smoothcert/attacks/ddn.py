"""Decoupled direction and norm (Rony et al., CVPR 2019), bounded and on noisy copies."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smoothcert.attacks.victim import Victim, check_range, direction, norms

GAMMA = 0.05
"""Share by which the norm of the perturbation changes in a step."""

LEVELS = 255
"""Steps between 0 and 1 of an 8-bit image."""


def ddn(
    victim: Victim,
    images: Tensor,
    epsilon: float,
    steps: int,
    generator: torch.Generator,
    *,
    quantize: bool = True,
) -> Tensor:
    """Return the nearest adversarial images found, (B, C, H, W) in [0, 1].

    Each of ``steps`` steps tests the current images (are they misclassified by the majority of
    the noises?), moves them along the gradient by a length that falls along a cosine from 1 to
    0.01 (in two steps 0.505 and 0.01), and sets the perturbation's norm, at first ``epsilon``, to
    (1 - GAMMA) times its last value if they were, (1 + GAMMA) times if not. ``quantize`` rounds
    every iterate to 8 bits. The smallest perturbation that fooled the majority is returned,
    shortened to ``epsilon`` and then rounded again, so that its norm is at most epsilon, and with
    ``quantize`` at most epsilon + sqrt(C * H * W) / 510. Without success, and where ``images``
    (B, C, H, W) in [0, 1] are misclassified already, the images return as they are. The last
    step's result is never tested, as in the code of Salman et al. (2019).

    Raises ValueError if a pixel is outside [0, 1].
    """
    check_range(images)
    longest = norms(torch.maximum(images, 1 - images))  # from the image to the box's far corner
    norm = torch.full_like(longest, epsilon)
    delta = best = torch.zeros_like(images)
    best_norm = longest
    with victim.frozen():
        for step in range(1, steps + 1):
            gradient, logits = victim.gradient(images + delta)
            fooled = victim.fooled(logits).view(-1, 1, 1, 1)
            better = fooled & (norms(delta) < best_norm)
            best = torch.where(better, delta, best)
            best_norm = torch.where(better, norms(delta), best_norm)
            length = 0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2
            delta = delta + length * direction(gradient, generator)
            norm = torch.where(fooled, norm * (1 - GAMMA), norm * (1 + GAMMA)).minimum(longest)
            moved = images + delta * (norm / norms(delta).clamp_min(1e-12))
            delta = (_rounded(moved) if quantize else moved).clamp(0, 1) - images
    best = best.renorm(2, 0, epsilon)
    if quantize:
        best = _rounded(best)
    return (images + best).clamp(0, 1)


def _rounded(values: Tensor) -> Tensor:
    return (values * LEVELS).round() / LEVELS
