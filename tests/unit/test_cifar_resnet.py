from __future__ import annotations

import pytest
import torch
from torch import nn

from smoothcert import models


@pytest.mark.parametrize(("layers", "weights"), [(20, 272_474), (110, 1_730_714)])
def test_depth_and_size_are_those_of_the_paper(layers, weights):
    specification = models.Specification(
        f"resnet{layers}", 3, 32, 10, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    )
    network = models.build(specification).network
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert sum(m.kernel_size == (3, 3) for m in convolutions) + 1 == layers
    assert sum(m.kernel_size == (1, 1) for m in convolutions) == 2
    assert sum(p.numel() for p in network.parameters()) == weights
    assert network.eval()(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    changes = {key for key in network.state_dict() if "downsample" in key and "weight" in key}
    stages = ("layer2.0", "layer3.0")  # named as in the authors' files
    assert changes == {f"{stage}.downsample.{part}.weight" for stage in stages for part in (0, 1)}


def test_convolutions_start_from_the_fan_out():
    specification = models.Specification("resnet110", 3, 32, 10, (0.5,) * 3, (0.25,) * 3)
    torch.manual_seed(0)
    for module in models.build(specification).network.layer3[1:]:
        expected = (2 / (64 * 9)) ** 0.5
        assert module.conv1.weight.std().item() == pytest.approx(expected, rel=0.03)
        assert (module.bn1.weight == 1).all()
