"""Votes of a classifier under Gaussian noise."""

from __future__ import annotations

import torch
from torch import Tensor

from smoothcert.models.classifier import Classifier
from smoothcert.seeds import derive_seed

BATCH = 250
"""Noisy copies in one forward pass: the best of 64 to 2,000 for LeNet on two CPU cores."""


class Sampler:
    """Counts the votes of a classifier smoothed with N(0, sigma^2 I) noise.

    The noise of an image depends on (seed, index of the image, stage) alone, and every forward
    pass has one shape; the counts of an image are therefore the same whatever else is certified,
    in whatever order, on the same device and precision.
    """

    def __init__(self, classifier: Classifier, sigma: float, seed: int, device: torch.device):
        self.batch = BATCH
        self._classifier = classifier.to(device, memory_format=torch.channels_last).eval()
        self._classes = classifier.specification.classes
        self._sigma = sigma
        self._seed = seed
        self._generator = torch.Generator(device)

    @torch.inference_mode()
    def count(self, image: Tensor, index: int, stage: str, n: int) -> Tensor:
        """Return how often each class was voted for, int64 (classes,), in ``n`` noisy copies.

        ``image`` (C, H, W) float32 in [0, 1] lies on the device. Votes of different stages are
        independent draws.
        """
        self._generator.manual_seed(derive_seed(self._seed, "certify", index, stage))
        counts = torch.zeros(self._classes, dtype=torch.int64, device=image.device)
        shape = (self.batch, *image.shape)
        for first in range(0, n, self.batch):
            noise = torch.randn(shape, generator=self._generator, device=image.device)
            noisy = noise.mul_(self._sigma).add_(image)
            votes = self._classifier(noisy.contiguous(memory_format=torch.channels_last)).argmax(1)
            counts += torch.bincount(votes[: n - first], minlength=self._classes)
        return counts
