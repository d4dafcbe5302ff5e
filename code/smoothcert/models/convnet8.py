"""A small convolutional network for 8x8 images: the default experiment, minutes on a CPU."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

SIZE = 8


class Network(nn.Module):
    """Two 3x3 convolutions with max pooling and two linear layers."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.fc1 = nn.Linear(64 * 2 * 2, 128)
        self.fc2 = nn.Linear(128, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, classes) of images (B, C, 8, 8)."""
        hidden = functional.relu(functional.max_pool2d(self.conv1(images), 2))
        hidden = functional.relu(functional.max_pool2d(self.conv2(hidden), 2))
        return self.fc2(functional.relu(self.fc1(hidden.flatten(1))))
