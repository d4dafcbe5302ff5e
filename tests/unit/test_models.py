"""The networks of the papers: their sizes, their layers' names, what they refuse."""

import pytest
import torch

from smoothcert import datasets, models
from smoothcert.errors import UserError


def build(arch, dataset):
    return models.build(models.Specification.of(arch, datasets.describe(dataset)))


def test_lenet_is_the_papers():
    """431,080 weights in conv1, conv2, fc1 and fc2, as in the authors' checkpoints."""
    network = build("lenet", "mnist").network
    assert sum(weight.numel() for weight in network.parameters()) == 431_080
    layers = {name.split(".")[0] for name in network.state_dict()}
    assert layers == {"conv1", "conv2", "fc1", "fc2"}


def test_pooling_before_the_relu_changes_nothing():
    network, images = build("lenet", "mnist").network, torch.rand(3, 1, 28, 28)
    pool, relu = torch.nn.functional.max_pool2d, torch.relu
    hidden = pool(relu(network.conv1(images)), 2)
    hidden = pool(relu(network.conv2(hidden)), 2).flatten(1)
    expected = network.fc2(relu(network.fc1(hidden)))
    torch.testing.assert_close(network(images), expected)


def test_normalisation_is_a_part_of_the_classifier():
    classifier = build("resnet20", "cifar10").eval()
    images = torch.rand(2, 3, 32, 32)
    mean = torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1)
    std = torch.tensor([0.2023, 0.1994, 0.2010]).view(1, 3, 1, 1)
    torch.testing.assert_close(classifier(images), classifier.network((images - mean) / std))
    assert {"mean", "std"} <= set(classifier.state_dict())


@pytest.mark.parametrize("arch", models.names())
def test_images_of_another_size_are_refused(arch):
    right = {"convnet8": "digits", "lenet": "mnist"}.get(arch, "cifar10")
    build(arch, right)
    wrong = "cifar10" if right != "cifar10" else "mnist"
    with pytest.raises(UserError, match="choose another arch"):
        build(arch, wrong)
