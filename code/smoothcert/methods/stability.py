"""Stability training (Zheng et al., CVPR 2016; with Gaussian noise Li et al., NeurIPS 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smoothcert.methods.base import Method, Smoothing, Terms, hit_rate

if TYPE_CHECKING:
    from torch import Tensor, nn


class Objective(Method):
    """Cross entropy of the clean images, plus a term that binds noisy predictions to clean ones."""

    title = "Stability"

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, smoothing: Smoothing, weight: float
    ) -> Terms:
        """Return the clean cross entropy and lambda times that between clean and noisy softmax.

        The clean softmax is the target and not detached: gradients flow through both. As Jeong &
        Shin (2020) trained it, the two are separate forward passes, so that BatchNorm normalises
        clean and noisy images by statistics of their own.
        """
        from torch.nn import functional

        clean = model(images)
        noisy = model(images + smoothing.noise(images))
        return Terms(
            classification=functional.cross_entropy(clean, labels),
            regularizer=weight * functional.cross_entropy(noisy, clean.softmax(1)),
            hits=hit_rate(noisy, labels),
        )
