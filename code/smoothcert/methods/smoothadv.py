"""SmoothAdv: adversarial training of the smoothed classifier (Salman et al., NeurIPS 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from smoothcert.attacks.settings import Perturbation
from smoothcert.errors import UserError
from smoothcert.methods.base import Method, Smoothing, Terms, logits_of

if TYPE_CHECKING:
    from torch import Tensor, nn


class Objective(Perturbation, Method):
    """Cross entropy of noisy copies of images that fool the smoothed classifier."""

    title = "SmoothAdv"
    regularized = False

    m: int = Field(4, ge=1)
    """Noises an image, the same in the attack and in the training step."""

    attack: Literal["pgd", "ddn"] = "pgd"
    """Projected gradient ascent, or decoupled direction and norm."""

    gradient: Literal["plug-in", "gradient-free"] = "plug-in"
    """Estimate of the smoothed loss's gradient: through the network, or from its predictions."""

    train_on: Literal["all", "one"] = "all"
    """Copies to train on: all, in m minibatches of batch_size // m images, each with a step of its
    own, or one of each image."""

    @model_validator(mode="after")
    def _able_to_do_without_gradients(self) -> Objective:
        if self.gradient == "gradient-free" and (self.attack != "pgd" or self.m == 1):
            raise UserError("gradient: gradient-free needs attack pgd and m of at least 2")
        return self

    @property
    def minibatches(self) -> int:
        """Return m, or 1 if a single copy of each image is trained on."""
        return self.m if self.train_on == "all" else 1

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, smoothing: Smoothing, weight: float
    ) -> Terms:
        """Return the cross entropy of the attacked noisy copies (Pseudocode 1)."""
        import torch

        # A whole batch is attacked in m parts: m noises then take no more memory than one.
        parts = self.m if self.train_on == "one" else 1
        noisy = [
            self.attacked(model, part, part_labels, smoothing)
            for part, part_labels in zip(images.chunk(parts), labels.chunk(parts), strict=True)
        ]
        return Terms.of(logits_of(model, torch.cat(noisy, dim=1)), labels)

    def attacked(
        self, model: nn.Module, images: Tensor, labels: Tensor, smoothing: Smoothing
    ) -> Tensor:
        """Return the noisy copies to train on, (m, B, C, H, W) or (1, B, C, H, W)."""
        from smoothcert.attacks.ddn import ddn
        from smoothcert.attacks.pgd import pgd
        from smoothcert.attacks.victim import Victim

        noises = smoothing.noises(images, self.m)
        victim = Victim(model, labels, noises)
        epsilon, generator = self.epsilon_at(smoothing.epoch), smoothing.generator
        if self.attack == "ddn":
            adversarial = ddn(victim, images, epsilon, self.steps, generator)
        else:
            adversarial = pgd(
                victim, images, epsilon, self.steps, generator, estimator=self.gradient
            )
        return adversarial + (noises if self.train_on == "all" else noises[:1])
