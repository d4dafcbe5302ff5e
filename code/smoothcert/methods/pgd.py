"""Adversarial training that does not attack the smoothed classifier: what SmoothAdv is held to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from smoothcert.attacks.settings import Perturbation
from smoothcert.errors import UserError
from smoothcert.methods.base import Method, Smoothing, Terms, logits_of

if TYPE_CHECKING:
    from torch import Tensor, nn


class Objective(Perturbation, Method):
    """Cross entropy of images that fool the base classifier, without noise or on average over it.

    SmoothAdv attacks the cross entropy of the mean prediction; this is the mean cross entropy of
    the predictions (Salman et al. 2019, objective 4), or the attack without noise (Madry et al.,
    ICLR 2018).
    """

    title = "PGD"
    regularized = False

    m: int = Field(4, ge=1)
    """Noises an image; a batch is cut into m minibatches of batch_size // m images, each with a
    step of its own: an epoch has m times as many steps as Gaussian training."""

    noise: Literal["shared", "after", "none"] = "shared"
    """Noise in attack and training (shared), in training alone (after) or nowhere (m must be 1)."""

    @model_validator(mode="after")
    def _one_copy_without_noise(self) -> Objective:
        if self.noise == "none" and self.m != 1:
            raise UserError(
                f"noise: none makes all copies of an image equal: set m to 1, not {self.m}"
            )
        return self

    @property
    def minibatches(self) -> int:
        """Return m: every minibatch of B // m images makes about B inputs."""
        return self.m

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, smoothing: Smoothing, weight: float
    ) -> Terms:
        """Return the cross entropy of the attacked copies."""
        from smoothcert.attacks.pgd import pgd
        from smoothcert.attacks.victim import Victim

        if self.noise == "none":
            noises = images.new_zeros((1, *images.shape))
        else:
            noises = smoothing.noises(images, self.m)
        objective = "expectation" if self.noise == "shared" else "base"
        adversarial = pgd(
            Victim(model, labels, noises, objective),
            images,
            self.epsilon_at(smoothing.epoch),
            self.steps,
            smoothing.generator,
        )
        return Terms.of(logits_of(model, adversarial + noises), labels)
