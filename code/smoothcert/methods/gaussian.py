"""Training with Gaussian augmentation (Cohen et al., ICML 2019, section 3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smoothcert.methods.base import Method, Smoothing, Terms

if TYPE_CHECKING:
    from torch import Tensor, nn


class Objective(Method):
    """Cross entropy of the noisy images, one noise an image."""

    title = "Gaussian"
    regularized = False

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, smoothing: Smoothing, weight: float
    ) -> Terms:
        """Return the cross entropy of images + noise; there is no regularizer."""
        logits = model(images + smoothing.noise(images))
        return Terms.of(logits.unsqueeze(0), labels)
