"""MACER: maximising the certified radius (Zhai et al., ICLR 2020, algorithm 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from smoothcert.methods.base import Method, Smoothing, Terms, hit_rate, logits_of

if TYPE_CHECKING:
    from torch import Tensor, nn


class Objective(Method):
    """Cross entropy of the smoothed prediction, plus a hinge on the certified radius."""

    title = "MACER"

    k: int = Field(16, ge=2)
    """Noises an image, all in one forward pass: a step sees batch_size * k inputs."""

    gamma: float = Field(8.0, gt=0)
    """Hinge: only radii below sigma * gamma / 2 are raised."""

    beta: float = Field(16.0, gt=0)
    """Inverse temperature of the softmax in the radius term; a large one makes it nearly a vote."""

    deferral: int = Field(0, ge=0)
    """First epochs without the radius term; the deferred runs of Jeong & Shin have lr_step + 1."""

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, smoothing: Smoothing, weight: float
    ) -> Terms:
        """Return the smoothed cross entropy and lambda times the radius term.

        The first is -log(1/k sum_i F_i[y] + 1e-10), F_i being the softmax under noise i, averaged
        over the images; without the radius term MACER is hence not Gaussian training.
        """
        from torch.nn import functional

        logits = logits_of(model, images + smoothing.noises(images, self.k))
        log_mean = (logits.softmax(-1).mean(0) + 1e-10).log()
        if smoothing.epoch < self.deferral:
            weight = 0.0
        return Terms(
            classification=functional.nll_loss(log_mean, labels),
            regularizer=weight * self.radius_term(logits, labels, smoothing.sigma),
            hits=hit_rate(logits, labels),
        )

    def radius_term(self, logits: Tensor, labels: Tensor, sigma: float) -> Tensor:
        """Return the hinge on the radius, a scalar, of logits (k, B, classes), labels (B,).

        With p_1 and p_2 the two largest of 1/k sum_i softmax(beta * logits_i) and xi =
        Phi^-1(p_1) - Phi^-1(p_2): the sum of sigma/2 * (gamma - xi) over the images whose
        prediction is the label and whose xi is finite and at most gamma, divided by all B.
        """
        import torch

        top = (self.beta * logits).softmax(-1).mean(0).topk(2)
        quantiles = torch.special.ndtri(top.values.detach())
        xi = quantiles[:, 0] - quantiles[:, 1]
        # False also where a probability is 0 or 1 in floating point and xi infinite or nan.
        felt = (top.indices[:, 0] == labels) & (xi <= self.gamma)
        # What the hinge leaves out is replaced before Phi^-1: its gradient would be nan, even
        # times 0. Not by torch.where, which would bring the number to a GPU.
        quantiles = torch.special.ndtri(top.values.masked_fill(~felt.unsqueeze(1), 0.5))
        xi = quantiles[:, 0] - quantiles[:, 1]
        return sigma / 2 * (felt * (self.gamma - xi)).mean()
