"""The interface between a training objective and the training loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from smoothcert.settings import Section

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class Smoothing:
    """The noise of one training step and what else a method may need of the loop."""

    sigma: float
    """Standard deviation of the Gaussian noise, in units of the [0, 1] pixel scale."""
    epoch: int
    """0-based epoch, for warm-ups and deferred terms."""
    generator: torch.Generator
    """Source of all randomness of the step, on the device of the images."""

    def noise(self, images: Tensor) -> Tensor:
        """Return fresh N(0, sigma^2) noise of the shape (B, C, H, W) of ``images``."""
        import torch

        return self.sigma * torch.randn(
            images.shape, generator=self.generator, device=images.device, dtype=images.dtype
        )


@dataclass(frozen=True)
class Terms:
    """What a method computed for one optimizer step."""

    classification: Tensor
    """Scalar: the classification loss, averaged over the inputs."""
    regularizer: Tensor
    """Scalar: the regularizer with its weight; the step minimises the sum of both."""
    hits: Tensor
    """Scalar: share of noisy inputs classified as their label."""


class Method(Section):
    """A training objective. Its fields are its parameters; each module calls it ``Objective``."""

    title: ClassVar[str]
    """The method's name in tables and figures."""
    regularized: ClassVar[bool] = True
    """Whether lambda, the weight of the regularizer, means anything; if not, it is 0."""

    @property
    def minibatches(self) -> int:
        """Return into how many minibatches, each with its own step, a batch of images is cut."""
        return 1

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, smoothing: Smoothing, weight: float
    ) -> Terms:
        """Return the terms of one step.

        ``images`` (B, C, H, W) lie in [0, 1], ``labels`` (B,) are class indices, ``weight`` is
        lambda. The model maps images to logits (B, classes); it arrives in train mode with
        gradients on and must leave so.
        """
        raise NotImplementedError
