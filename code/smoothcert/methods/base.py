"""The interface between a training objective and the training loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from smoothcert.errors import UserError
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
        """Return fresh N(0, sigma^2) noise of the shape of ``images``."""
        import torch

        return self.sigma * torch.randn(
            images.shape, generator=self.generator, device=images.device, dtype=images.dtype
        )

    def noises(self, images: Tensor, m: int) -> Tensor:
        """Return m fresh noises (m, B, C, H, W) for each of the ``images`` (B, C, H, W)."""
        return self.noise(images.expand(m, *images.shape))


@dataclass(frozen=True)
class Terms:
    """What a method computed for one optimizer step."""

    classification: Tensor
    """Scalar: the classification loss, averaged over the inputs."""
    regularizer: Tensor
    """Scalar: the regularizer with its weight; the step minimises the sum of both."""
    hits: Tensor
    """Scalar: share of noisy inputs classified as their label."""

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor, regularizer: Tensor | None = None) -> Terms:
        """Return the mean cross entropy and hits of logits (m, B, classes), labels (B,).

        Raises UserError if the logits have another shape.
        """
        from torch.nn import functional

        if logits.ndim != 3 or logits.shape[1] != len(labels):
            raise UserError(
                f"Terms.of takes logits of the shape (noises, {len(labels)} images, classes), not "
                f"{tuple(logits.shape)}; for one noise, give it logits.unsqueeze(0)"
            )
        flat, repeated = logits.flatten(0, 1), labels.repeat(len(logits))
        return cls(
            classification=functional.cross_entropy(flat, repeated),
            regularizer=logits.new_zeros(()) if regularizer is None else regularizer,
            hits=hit_rate(logits, labels),
        )


def logits_of(model: nn.Module, noisy: Tensor) -> Tensor:
    """Return logits (m, B, classes) of noisy copies (m, B, C, H, W), in one forward pass."""
    return model(noisy.flatten(0, 1)).unflatten(0, noisy.shape[:2])


def hit_rate(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the share of logits (..., B, classes) that are largest at the labels (B,)."""
    return (logits.argmax(-1) == labels).float().mean()


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

        On a GPU a step is recorded in each epoch and replayed (``cuda_graph``): what Python
        computes may depend on the epoch but not on the step, no value of a tensor may be asked
        for, and no tensor made of numbers, as by torch.where with one.
        """
        raise NotImplementedError
