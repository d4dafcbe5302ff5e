"""Projected gradient ascent in an L2 ball."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from smoothcert.attacks.victim import Victim, check_range, direction, norms


def pgd(
    victim: Victim,
    images: Tensor,
    epsilon: float,
    steps: int,
    generator: torch.Generator,
    *,
    estimator: Literal["plug-in", "gradient-free"] = "plug-in",
    convention: Literal["salman", "jeong"] = "salman",
) -> Tensor:
    """Return adversarial images (B, C, H, W) in [0, 1], within ``epsilon`` of ``images`` in L2.

    ``steps`` steps of length 2 * epsilon / steps start from ``images``, (B, C, H, W) in [0, 1].
    The conventions are those of two implementations. salman (Salman et al. 2019): the gradient
    at norm 1, noise in its place if it is 0; clamp to [0, 1], then project on the ball. jeong
    (Jeong & Shin 2020): the gradient of the batch's mean divided by its norm + 1e-8, so that
    images of vanishing loss move less; project on the ball, then clamp. ``estimator`` is
    Victim.gradient or Victim.gradient_free.

    Raises ValueError if a pixel is outside [0, 1].
    """
    check_range(images)
    length = 2 * epsilon / steps
    adversarial = images
    with victim.frozen():
        for _ in range(steps):
            if estimator == "plug-in":
                gradient, _ = victim.gradient(adversarial)
            else:
                gradient = victim.gradient_free(adversarial)
            if convention == "salman":
                moved = adversarial + length * direction(gradient, generator)
                delta = moved.clamp(0, 1) - images
                adversarial = images + delta.renorm(2, 0, epsilon)
            else:
                moved = adversarial + length * gradient / (norms(gradient) + 1e-8)
                delta = (moved - images).renorm(2, 0, epsilon)
                adversarial = (images + delta).clamp(0, 1)
    return adversarial
