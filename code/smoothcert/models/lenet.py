"""The LeNet of the papers' MNIST experiments: 431,080 weights, named as in the authors' files."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

SIZE = 28


class Network(nn.Module):
    """Two 5x5 convolutions with max pooling and two linear layers, without normalisation."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(50 * 4 * 4, 500)
        self.fc2 = nn.Linear(500, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, classes) of images (B, C, 28, 28)."""
        # Pooling before the ReLU gives the same values as after it, at a quarter of the work.
        hidden = functional.relu(functional.max_pool2d(self.conv1(images), 2))
        hidden = functional.relu(functional.max_pool2d(self.conv2(hidden), 2))
        return self.fc2(functional.relu(self.fc1(hidden.flatten(1))))
