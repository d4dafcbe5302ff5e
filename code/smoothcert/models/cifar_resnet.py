"""The ResNets for 32x32 images (He et al., CVPR 2016, section 4.2): 6 k + 2 layers."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (16, 32, 64)


class CifarResNet(nn.Module):
    """Three stages of basic blocks at 32x32, 16x16 and 8x8 pixels, widths 16, 32 and 64.

    A shortcut is the identity, or a 1x1 convolution with batch normalisation where the shape
    changes. Convolutions start from He's normal distribution over the fan-out, batch
    normalisation from weight 1 and bias 0.
    """

    def __init__(self, blocks: int, channels: int, classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1 = _stage(blocks, WIDTHS[0], WIDTHS[0], stride=1)
        self.layer2 = _stage(blocks, WIDTHS[0], WIDTHS[1], stride=2)
        self.layer3 = _stage(blocks, WIDTHS[1], WIDTHS[2], stride=2)
        self.fc = nn.Linear(WIDTHS[2], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, classes) of images (B, C, 32, 32)."""
        hidden = functional.relu(self.bn1(self.conv1(images)))
        hidden = self.layer3(self.layer2(self.layer1(hidden)))
        return self.fc(hidden.mean((2, 3)))


class _Block(nn.Module):
    """Two 3x3 convolutions with batch normalisation, added to the shortcut before the ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = functional.relu(self.bn1(self.conv1(inputs)))
        return functional.relu(self.bn2(self.conv2(hidden)) + self.downsample(inputs))


def _stage(blocks: int, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    first = _Block(inputs, outputs, stride)
    return nn.Sequential(first, *(_Block(outputs, outputs, 1) for _ in range(blocks - 1)))
