"""The DenseNet-40 for 32x32 images as Jeong & Shin (NeurIPS 2020) released it.

Huang et al. (CVPR 2017), section 3, with bottleneck layers, growth 12 and compression 1: 211,978
weights for colour images of 10 classes. Without compression their transitions only pool, so 38 of
the 40 layers have weights. Layers are named as in the authors' files.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

SIZE = 32
GROWTH, BLOCKS, LAYERS = 12, 3, 6


class Network(nn.Module):
    """Three dense blocks of six layers, at 32x32, 16x16 and 8x8 pixels.

    Convolutions start from He's normal distribution over the fan-out, the last layer from bias 0.
    """

    def __init__(self, channels: int, classes: int):
        super().__init__()
        width = 2 * GROWTH
        features = OrderedDict(conv0=nn.Conv2d(channels, width, 3, padding=1, bias=False))
        for number in range(1, BLOCKS + 1):
            if number > 1:
                features[f"trans{number - 1}"] = nn.AvgPool2d(2)
            layers = (_Layer(width + index * GROWTH) for index in range(LAYERS))
            names = (f"layer{index}" for index in range(1, LAYERS + 1))
            features[f"block{number}"] = nn.Sequential(OrderedDict(zip(names, layers, strict=True)))
            width += LAYERS * GROWTH
        features["norm_last"] = nn.BatchNorm2d(width)
        self.features = nn.Sequential(features)
        self.classifier = nn.Linear(width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, classes) of images (B, C, 32, 32)."""
        return self.classifier(functional.relu(self.features(images)).mean((2, 3)))


class _Layer(nn.Module):
    """A 1x1 and a 3x3 convolution, whose 12 channels join those of the input."""

    def __init__(self, inputs: int):
        super().__init__()
        self.brc_1 = _brc(inputs, 4 * GROWTH, 1)
        self.brc_2 = _brc(4 * GROWTH, GROWTH, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat([inputs, self.brc_2(self.brc_1(inputs))], 1)


def _brc(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Return batch normalisation, ReLU and a convolution that keeps the size."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(inputs),
            relu=nn.ReLU(),
            conv=nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        )
    )
