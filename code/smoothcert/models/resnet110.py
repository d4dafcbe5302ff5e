"""The ResNet-110 for 32x32 images: 18 basic blocks a stage."""

from __future__ import annotations

from smoothcert.models import cifar_resnet

SIZE = 32


class Network(cifar_resnet.CifarResNet):
    """A CIFAR ResNet of 110 layers."""

    def __init__(self, channels: int, classes: int):
        super().__init__(18, channels, classes)
