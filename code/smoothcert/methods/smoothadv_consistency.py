"""SmoothAdv with consistency regularization (Jeong & Shin, NeurIPS 2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from smoothcert.attacks.settings import Perturbation
from smoothcert.methods import consistency
from smoothcert.methods.base import Smoothing, Terms

if TYPE_CHECKING:
    from torch import Tensor, nn


class Objective(Perturbation, consistency.Objective):
    """Consistency regularization on images that fool the smoothed classifier."""

    title = "SmoothAdv + Consistency"

    m: int = Field(4, ge=2)
    """Noises an image, the same in attack and training; a batch is cut into m minibatches, each
    with a step of its own: an epoch has m times as many steps as Gaussian training."""

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, smoothing: Smoothing, weight: float
    ) -> Terms:
        """Return the cross entropy of the attacked noisy copies and their consistency term.

        The attack is PGD in Jeong & Shin's convention, which differs from that of SmoothAdv.
        """
        from smoothcert.attacks.pgd import pgd
        from smoothcert.attacks.victim import Victim

        noises = smoothing.noises(images, self.m)
        adversarial = pgd(
            Victim(model, labels, noises),
            images,
            self.epsilon_at(smoothing.epoch),
            self.steps,
            smoothing.generator,
            convention="jeong",
        )
        return self.terms(model, adversarial + noises, labels, weight)
