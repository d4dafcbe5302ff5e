"""What is attacked: a classifier under fixed noises, and the objective that an attack raises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

FLOOR = 1e-20
"""Least mean probability that the smoothed objective tells from 0, as in the authors' code."""


@dataclass(frozen=True)
class Victim:
    """A classifier as an attack sees it."""

    model: nn.Module
    """Maps images (B, C, H, W) in [0, 1], noise included, to logits (B, classes)."""
    labels: Tensor
    """Class indices (B,)."""
    noise: Tensor | None = None
    """Noises (m, B, C, H, W), the same in every step; None for the objective base."""
    objective: Literal["smoothed", "expectation", "base"] = "smoothed"
    """What the attack raises, F_i being the softmax under noise i and y the label.

    smoothed: -log (1/m sum_i F_i[y]), the cross entropy of the smoothed classifier (Salman et al.
    2019, objective S), with a mean of at least 1e-20 unless m = 1. expectation: 1/m sum_i -log
    F_i[y], the other order of logarithm and mean (their objective 4). base: the cross entropy
    without noise.
    """

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Attack in eval mode and without gradients of the weights; restore both afterwards.

        BatchNorm then uses its running statistics and leaves them as they are.
        """
        training = self.model.training
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.model.eval()
        for weight in weights:
            weight.requires_grad_(False)
        try:
            yield
        finally:
            self.model.train(training)
            for weight in weights:
                weight.requires_grad_(True)

    def logits(self, images: Tensor) -> Tensor:
        """Return logits (m, B, classes) of ``images`` under each noise; m = 1 for base."""
        noisy = images.unsqueeze(0) if self.objective == "base" else images + self.noise
        return self.model(noisy.flatten(0, 1)).unflatten(0, noisy.shape[:2])

    def loss(self, logits: Tensor) -> Tensor:
        """Return the objective, averaged over the images, from logits (m, B, classes)."""
        if self.objective == "smoothed" and len(logits) > 1:
            log_probabilities = logits.softmax(-1).mean(0).clamp_min(FLOOR).log()
        else:
            log_probabilities = logits.log_softmax(-1).mean(0)
        return functional.nll_loss(log_probabilities, self.labels)

    def gradient(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient (B, C, H, W) of the objective at ``images``, and the logits there.

        For the smoothed objective this is the plug-in estimator: the exact gradient for the m
        noises, which stands for that of the expectation.
        """
        images = images.detach().requires_grad_()
        logits = self.logits(images)
        (gradient,) = torch.autograd.grad(self.loss(logits), images)
        return gradient, logits.detach()

    @torch.no_grad()
    def gradient_free(self, images: Tensor) -> Tensor:
        """Return -1/m sum_i F_i[y] noise_i (B, C, H, W), which needs no backward pass.

        By Stein's lemma its expectation is sigma^2 E[F[y]], a positive number, times the gradient
        of the smoothed objective (the gradient-free estimate of Salman et al. 2019).
        """
        labels = self.labels.expand(self.noise.shape[:2]).unsqueeze(-1)
        likelihoods = self.logits(images).softmax(-1).gather(-1, labels)
        return -(likelihoods[..., None, None] * self.noise).mean(0)

    def fooled(self, logits: Tensor) -> Tensor:
        """Return whether the majority of the m votes is not the label, bool (B,).

        Among equal counts the lowest class wins, as in CERTIFY.
        """
        votes = functional.one_hot(logits.argmax(-1), logits.shape[-1]).sum(0)
        return votes.argmax(-1) != self.labels


def check_range(images: Tensor) -> None:
    """Raise ValueError if a pixel is outside [0, 1], as after a normalisation.

    While a CUDA graph is recorded nothing can be asked; the same step was taken before.
    """
    if images.is_cuda and torch.cuda.is_current_stream_capturing():
        return
    low, high = torch.stack(torch.aminmax(images)).tolist()  # one wait for a GPU, not two
    if low < 0 or high > 1:
        raise ValueError("attacked images must lie in [0, 1], before any normalisation")


def norms(images: Tensor) -> Tensor:
    """Return the L2 norm of each image, (B, 1, 1, 1)."""
    return torch.linalg.vector_norm(images, dim=(1, 2, 3), keepdim=True)


def direction(gradient: Tensor, generator: torch.Generator) -> Tensor:
    """Return each image's gradient at norm 1, and where it is 0 Gaussian noise of any norm.

    The noise is drawn whether needed or not: asking would make a GPU wait.
    """
    noise = torch.randn(
        gradient.shape, generator=generator, device=gradient.device, dtype=gradient.dtype
    )
    length = norms(gradient)
    return torch.where(length > 0, gradient / length, noise)
