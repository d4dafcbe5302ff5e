"""The networks of the papers: their sizes, their layers' names, what they refuse."""

import importlib

import pytest
import torch
from torchvision.models import resnet50

from smoothcert import datasets, models
from smoothcert.errors import UserError


def build(arch, dataset):
    return models.build(models.Specification.of(arch, datasets.describe(dataset)))


def sized(arch, channels=3, classes=10, more=0):
    """Build a network for images of its own size, or larger ones."""
    size = importlib.import_module(f"smoothcert.models.{arch}").SIZE + more
    shape = (0.0,) * channels, (1.0,) * channels
    return models.build(models.Specification(arch, channels, size, classes, *shape))


def count(network):
    return sum(weight.numel() for weight in network.parameters())


def shapes(network):
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def test_lenet_is_the_papers():
    """431,080 weights in conv1, conv2, fc1 and fc2, as in the authors' checkpoints."""
    network = build("lenet", "mnist").network
    assert count(network) == 431_080
    layers = {name.split(".")[0] for name in network.state_dict()}
    assert layers == {"conv1", "conv2", "fc1", "fc2"}


def test_pooling_before_the_relu_changes_nothing():
    network, images = build("lenet", "mnist").network, torch.rand(3, 1, 28, 28)
    pool, relu = torch.nn.functional.max_pool2d, torch.relu
    hidden = pool(relu(network.conv1(images)), 2)
    hidden = pool(relu(network.conv2(hidden)), 2).flatten(1)
    expected = network.fc2(relu(network.fc1(hidden)))
    torch.testing.assert_close(network(images), expected)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_an_attack_on_lenet_gets_the_gradient_of_its_convolution(
    device, channels, dtype, tolerance
):
    network = sized("lenet", channels).network.to(device, memory_format=torch.channels_last)
    images = torch.rand(4, channels, 28, 28, device=device, requires_grad=True)
    weights = torch.randn(4, 20, 24, 24, device=device)

    def gradient(fixed):
        network.requires_grad_(not fixed)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            hidden = network.conv1(images)
        assert hidden.dtype == dtype
        assert ("_Attacked" in hidden.grad_fn.name()) == fixed
        return torch.autograd.grad((weights * hidden).sum(), images)[0]

    plain, fast = gradient(fixed=False), gradient(fixed=True)
    assert fast.dtype == plain.dtype == torch.float32
    assert (fast - plain).abs().max() < tolerance * plain.abs().max()


def test_densenet40_is_the_papers():
    """211,978 weights, named as in the authors' release, without convolutions between blocks."""
    network = build("densenet40", "cifar10").network
    assert count(network) == 211_978
    width, expected = 24, {"features.conv0": (24, 3, 3, 3)}
    for block in (1, 2, 3):
        for layer in range(1, 7):
            name = f"features.block{block}.layer{layer}"
            expected[f"{name}.brc_1.norm"] = (width,)
            expected[f"{name}.brc_1.conv"] = (48, width, 1, 1)
            expected[f"{name}.brc_2.norm"] = (48,)
            expected[f"{name}.brc_2.conv"] = (12, 48, 3, 3)
            width += 12
    expected |= {"features.norm_last": (240,), "classifier": (10, 240)}
    found = shapes(network)
    assert {k.removesuffix(".weight"): found[k] for k in found if k.endswith("weight")} == expected


def test_densenet40_starts_from_the_fan_out():
    torch.manual_seed(0)
    layer = build("densenet40", "cifar10").network.features.block3.layer6
    assert layer.brc_1.conv.weight.std().item() == pytest.approx((2 / 48) ** 0.5, rel=0.05)
    assert layer.brc_2.conv.weight.std().item() == pytest.approx((2 / 9 / 12) ** 0.5, rel=0.05)


def test_densenet40_layer_by_layer():
    torch.manual_seed(0)
    network, images = build("densenet40", "cifar10").network, torch.rand(2, 3, 32, 32)
    network(torch.rand(64, 3, 32, 32))  # in train mode: moves the running statistics
    state, compute = network.eval().state_dict(), torch.nn.functional

    def normalised(name, hidden):
        parts = ("running_mean", "running_var", "weight", "bias")
        return compute.relu(compute.batch_norm(hidden, *(state[f"{name}.{p}"] for p in parts)))

    hidden = compute.conv2d(images, state["features.conv0.weight"], padding=1)
    for block in (1, 2, 3):
        if block > 1:
            hidden = compute.avg_pool2d(hidden, 2)
        for layer in range(1, 7):
            new = hidden
            for part in ("brc_1", "brc_2"):
                name = f"features.block{block}.layer{layer}.{part}"
                kernel = state[f"{name}.conv.weight"]
                padding = kernel.shape[-1] // 2
                new = compute.conv2d(normalised(f"{name}.norm", new), kernel, padding=padding)
            hidden = torch.cat([hidden, new], 1)
    hidden = compute.avg_pool2d(normalised("features.norm_last", hidden), 8).flatten(1)
    expected = compute.linear(hidden, state["classifier.weight"], state["classifier.bias"])
    torch.testing.assert_close(network(images), expected)


def test_resnet50_is_torchvisions():
    """25,557,032 weights for 1,000 classes."""
    network = sized("resnet50", classes=1000).network
    assert count(network) == 25_557_032
    assert shapes(network) == shapes(resnet50(weights=None))
    with pytest.raises(UserError, match="arch resnet50 takes images of 3 channels, not 1"):
        sized("resnet50", channels=1)


def test_normalisation_is_a_part_of_the_classifier():
    classifier = build("resnet20", "cifar10").eval()
    images = torch.rand(2, 3, 32, 32)
    mean = torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1)
    std = torch.tensor([0.2023, 0.1994, 0.2010]).view(1, 3, 1, 1)
    torch.testing.assert_close(classifier(images), classifier.network((images - mean) / std))
    assert {"mean", "std"} <= set(classifier.state_dict())


@pytest.mark.parametrize("arch", models.names())
def test_images_of_another_size_are_refused(arch):
    sized(arch)
    with pytest.raises(UserError, match="choose another arch"):
        sized(arch, more=1)


def test_a_network_states_its_size(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("SIZE = 4 * 8\n")
    monkeypatch.setattr(models, "__path__", [str(tmp_path)])
    with pytest.raises(UserError, match=r"mine.py does not state the height .* as SIZE = 32"):
        models.refuse_other_size("mine", 32)
    (tmp_path / "mine.py").write_text('"""Mine."""\n\nSIZE = 32\n')
    models.refuse_other_size("mine", 32)
    with pytest.raises(UserError, match="arch mine takes images of 32x32 pixels, not 28x28"):
        models.refuse_other_size("mine", 28)


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        (lambda images, classes: images.new_zeros(len(images), classes + 2), r"\(1, 12\)"),
        (lambda images, classes: images, r"\(1, 1, 8, 8\)"),
        (lambda images, classes: (images, images), "tuple"),
    ],
)
def test_a_network_must_answer_with_a_logit_for_each_class(monkeypatch, returned, found):
    class Network(torch.nn.Module):
        def __init__(self, channels, classes):
            super().__init__()
            self.classes = classes

        def forward(self, images):
            return returned(images, self.classes)

    module = "smoothcert.models.convnet8"
    monkeypatch.setattr(f"{module}.Network", Network)
    with pytest.raises(UserError, match=rf"convnet8.py: .*, a tensor \(1, 10\) .*not {found}$"):
        build("convnet8", "digits")
    for fails, why in (
        (
            lambda channels, classes: torch.nn.Linear(100, classes),
            r"fails on an image \(1, 1, 8, 8",
        ),
        (lambda channels, classes: None, r"Network must be a torch\.nn\.Module"),
    ):
        monkeypatch.setattr(f"{module}.Network", fails)
        with pytest.raises(UserError, match=rf"convnet8\.py: .*{why}"):
            build("convnet8", "digits")
    monkeypatch.delattr(f"{module}.Network")
    with pytest.raises(UserError, match=r"convnet8\.py: no class Network"):
        build("convnet8", "digits")


class _Gated(torch.nn.Module):
    """Its layers stand in another order than they are used in; ``after`` comes last."""

    def __init__(self, after):
        super().__init__()
        self.fc = torch.nn.Linear(64, 10)
        self.gate = torch.nn.Linear(64, 64)
        self.after = after

    def forward(self, images):
        hidden = images.flatten(1)
        return self.after(self.fc(hidden * self.gate(hidden).sigmoid()))


def test_the_head_is_the_layer_that_gives_the_logits(monkeypatch):
    """Not the one that stands last."""
    module = "smoothcert.models.convnet8"
    monkeypatch.setattr(f"{module}.Network", lambda *given: _Gated(torch.nn.Identity()))
    assert build("convnet8", "digits").head == "fc"
    monkeypatch.setattr(f"{module}.Network", lambda *given: _Gated(torch.nn.BatchNorm1d(10)))
    with pytest.raises(UserError, match=r"convnet8\.py: Network must return what a torch\.nn\.Lin"):
        build("convnet8", "digits")
