"""The LeNet of the papers' MNIST experiments: 431,080 weights, named as in the authors' files."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SIZE = 28


class Network(nn.Module):
    """Two 5x5 convolutions with max pooling and two linear layers, without normalisation."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.conv1 = _FirstConvolution(channels, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(50 * 4 * 4, 500)
        self.fc2 = nn.Linear(500, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, classes) of images (B, C, 28, 28)."""
        # Pooling before the ReLU gives the same values as after it, at a quarter of the work.
        hidden = functional.relu(functional.max_pool2d(self.conv1(images), 2))
        hidden = functional.relu(functional.max_pool2d(self.conv2(hidden), 2))
        return self.fc2(functional.relu(self.fc1(hidden.flatten(1))))


class _FirstConvolution(nn.Conv2d):
    """A convolution whose gradient for the images, which attacks climb, is fast.

    cuDNN and oneDNN compute it as if images had many channels; for the one of MNIST that was a
    third of an attack's time on an H100.
    """

    def forward(self, images: Tensor) -> Tensor:
        if images.requires_grad and not self.weight.requires_grad:  # an attack
            return _Attacked.apply(images, self.weight, self.bias)
        return super().forward(images)


class _Attacked(torch.autograd.Function):
    """A convolution with fixed weights, without padding, and its gradient for the images."""

    @staticmethod
    def forward(context, images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        context.save_for_backward(weight)
        context.images = images.shape, images.dtype
        return functional.conv2d(images, weight, bias)

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,), (shape, dtype) = context.saved_tensors, context.images
        # What each output adds to the pixels below it, (B, C * 5 * 5, outputs); then their sums.
        patches = weight.flatten(1).T.to(gradient.dtype) @ gradient.flatten(2)
        return functional.fold(patches.to(dtype), shape[2:], weight.shape[2:]), None, None
