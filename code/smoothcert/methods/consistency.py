"""Consistency regularization (Jeong & Shin, NeurIPS 2020, section 3, equation 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from smoothcert.methods.base import Method, Smoothing, Terms

if TYPE_CHECKING:
    from torch import Tensor, nn


class Objective(Method):
    """Cross entropy of m noisy copies, plus a term that makes their predictions agree."""

    title = "Consistency"

    m: int = Field(2, ge=2)
    """Noises an image; a batch is cut into m minibatches of batch_size // m images."""

    eta: float = Field(0.5, ge=0)
    """Weight of the entropy of the mean prediction (released form only)."""

    form: Literal["released", "first"] = "released"
    """The released loss, or the first form, which stands behind the NeurIPS rebuttal."""

    @property
    def minibatches(self) -> int:
        """Return m: every minibatch of B // m images makes about B noisy inputs."""
        return self.m

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, smoothing: Smoothing, weight: float
    ) -> Terms:
        """Return the cross entropy over all m noisy copies and the consistency term."""
        from torch.nn import functional

        copies = images.repeat(self.m, 1, 1, 1)
        logits = model(copies + smoothing.noise(copies))
        labels = labels.repeat(self.m)
        return Terms(
            classification=functional.cross_entropy(logits, labels),
            regularizer=self.regularizer(logits.view(self.m, -1, logits.shape[1]), weight),
            hits=(logits.argmax(1) == labels).float().mean(),
        )

    def regularizer(self, logits: Tensor, weight: float) -> Tensor:
        """Return the regularizer, a scalar, of logits (m, B, classes).

        With F_i the softmax under noise i and F their mean, averaged over the images, in nats:
        released: weight * 1/m sum_i KL(F || F_i) + eta * H(F);
        first: weight * (1/m sum_i KL(F || F_i) + H(softmax(F))), whose entropy passes the
        probabilities through a second softmax and is hence almost constant (between 2.23 and
        2.303 for 10 classes); the authors replaced it in January 2021. Gradients also flow
        through the mean.
        """
        log_probabilities = logits.log_softmax(-1)
        mean = log_probabilities.exp().mean(0)
        # KL(F || F_i) averaged over i is the cross entropy of F with the mean log-softmax, less
        # H(F). The mean of m softmaxes can underflow to 0 where 0 log 0 = 0 is meant.
        log_mean = mean.clamp_min(1e-20).log()
        divergence = (mean * (log_mean - log_probabilities.mean(0))).sum(-1).mean()
        if self.form == "first":
            squashed = mean.log_softmax(-1)
            return weight * (divergence - (squashed.exp() * squashed).sum(-1).mean())
        return weight * divergence - self.eta * (mean * log_mean).sum(-1).mean()
