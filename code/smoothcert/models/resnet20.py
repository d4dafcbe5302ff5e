"""The ResNet-20 for 32x32 images: 3 basic blocks a stage."""

from __future__ import annotations

from smoothcert.models import cifar_resnet

SIZE = 32


class Network(cifar_resnet.CifarResNet):
    """A CIFAR ResNet of 20 layers."""

    def __init__(self, channels: int, classes: int):
        super().__init__(3, channels, classes)
