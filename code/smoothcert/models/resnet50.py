"""torchvision's ResNet-50 for 224x224 colour images (He et al., CVPR 2016): 25,557,032 weights.

That is the count for ImageNet's 1,000 classes. Layers are named as in torchvision's files.
"""

from __future__ import annotations

from torchvision.models.resnet import Bottleneck, ResNet

from smoothcert.errors import UserError

SIZE = 224


class Network(ResNet):
    """A ResNet of 50 layers with fresh weights."""

    def __init__(self, channels: int, classes: int):
        if channels != 3:
            raise UserError(f"arch resnet50 takes images of 3 channels, not {channels}")
        super().__init__(Bottleneck, [3, 4, 6, 3], num_classes=classes)
