"""Consistency regularization (Jeong & Shin, NeurIPS 2020, section 3, equation 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from smoothcert.errors import UserError
from smoothcert.methods.base import Method, Smoothing, Terms, logits_of

if TYPE_CHECKING:
    from torch import Tensor, nn


class Objective(Method):
    """Cross entropy of m noisy copies, plus a term that makes their predictions agree."""

    title = "Consistency"

    m: int = Field(2, ge=2)
    """Noises an image; a batch is cut into m minibatches of batch_size // m images, each with a
    step of its own: an epoch has m times as many steps as Gaussian training."""

    eta: float = Field(0.5, ge=0)
    """Weight of the entropy of the mean prediction (released form only). Lambda does not scale it:
    lambda 0 is not Gaussian training."""

    form: Literal["released", "first", "xent", "kl", "mse"] = "released"
    """The released loss, the first one (of the NeurIPS rebuttal) or one of three alternatives."""

    @model_validator(mode="after")
    def _eta_counts(self) -> Objective:
        if self.form != "released" and self.eta != Objective.model_fields["eta"].default:
            raise UserError(f"eta: means nothing in form {self.form}; leave it out")
        return self

    @property
    def minibatches(self) -> int:
        """Return m: every minibatch of B // m images makes about B noisy inputs."""
        return self.m

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, smoothing: Smoothing, weight: float
    ) -> Terms:
        """Return the cross entropy over all m noisy copies and the consistency term."""
        return self.terms(model, images + smoothing.noises(images, self.m), labels, weight)

    def terms(self, model: nn.Module, noisy: Tensor, labels: Tensor, weight: float) -> Terms:
        """Return the terms of noisy copies (m, B, C, H, W)."""
        logits = logits_of(model, noisy)
        return Terms.of(logits, labels, self.regularizer(logits, weight))

    def regularizer(self, logits: Tensor, weight: float) -> Tensor:
        """Return the regularizer, a scalar, of logits (m, B, classes).

        With F_i the softmax under noise i, F their mean and H the entropy, averaged over the
        images, in nats; gradients also flow through F, and eta counts in the released form alone:

        released: weight * 1/m sum_i KL(F || F_i) + eta * H(F);
        first: weight * (1/m sum_i KL(F || F_i) + H(softmax(F))), whose entropy passes the
        probabilities through a second softmax and is hence almost constant (between 2.23 and
        2.303 for 10 classes); the authors replaced it in January 2021;
        xent: weight * 1/m sum_i -F . log F_i, the cross entropy between the mean prediction and
        each, which is the released form at eta = weight;
        kl: weight * 1/m sum_i KL(F || F_i), the released form at eta = 0;
        mse: weight times the mean over the pairs i < j of |F_i - F_j|^2, summed over the classes;
        at m = 2 the authors' |F_1 - F_2|^2, who take the first two noises whatever m is.
        """
        log_probabilities = logits.log_softmax(-1)
        probabilities = log_probabilities.exp()
        mean = probabilities.mean(0)
        if self.form == "mse":
            # The mean over pairs is 2 / (m - 1) times the sum of squares about the mean.
            squares = (probabilities - mean).square().sum((0, -1))
            return weight * 2 / (len(logits) - 1) * squares.mean()
        # KL(F || F_i) averaged over i is the cross entropy of F with the mean log-softmax, less
        # H(F). The mean of m softmaxes can underflow to 0 where 0 log 0 = 0 is meant.
        log_mean = mean.clamp_min(1e-20).log()
        divergence = (mean * (log_mean - log_probabilities.mean(0))).sum(-1).mean()
        entropy = -(mean * log_mean).sum(-1).mean()
        if self.form == "first":
            squashed = mean.log_softmax(-1)
            entropy = -(squashed.exp() * squashed).sum(-1).mean()
        eta = {"released": self.eta, "kl": 0.0}.get(self.form, weight)
        return weight * divergence + eta * entropy
