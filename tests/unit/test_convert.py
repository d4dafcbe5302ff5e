"""Conversion of weights that were trained elsewhere: the authors' layouts, and what is refused."""

import argparse
import hashlib
import io
import json

import numpy as np
import pytest
import torch
from torch import nn

from smoothcert import checkpoint, cli, datasets, methods, models, records
from smoothcert.point import Point
from smoothcert.settings import Training

CIFAR10 = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


class Normalize(nn.Module):
    """The authors' layer in front: its constants are plain tensors, not in the state_dict."""

    def __init__(self, mean, std):
        super().__init__()
        self.mean, self.std = (torch.tensor(part).view(1, -1, 1, 1) for part in (mean, std))

    def forward(self, images):
        return (images - self.mean) / self.std


def network(arch, channels=3, size=32, classes=10):
    """Return a network alone, with statistics and scales as training leaves them."""
    shape = (0.0,) * channels, (1.0,) * channels
    torch.manual_seed(0)
    found = models.build(models.Specification(arch, channels, size, classes, *shape)).network
    for module in found.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return found.eval()


def released(wrapped, arch):
    """Return the content of the files of Cohen, Salman and Jeong."""
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1, momentum=0.9)
    return {
        "epoch": 90,
        "arch": arch,
        "state_dict": wrapped.state_dict(),
        "optimizer": optimizer.state_dict(),
    }


def run(folder, content, *options, **saving):
    """Save a foreign file, convert it and return its classifier."""
    file, output = folder / "theirs.pth.tar", folder / "ours" / "model.pt"
    folder.mkdir(exist_ok=True)
    torch.save(content, file, **saving)
    cli.main(["convert", str(file), f"--output={output}", *options])
    return checkpoint.load(output)


def saved(content):
    """Return the bytes of a file of torch.save."""
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def options(dataset="cifar10", normalize="standard", sigma=0.5, **more):
    given = {"dataset": dataset, "normalize": normalize, "sigma": sigma, **more}
    return [f"--{key}={value}" for key, value in given.items()]


def assert_same(converted, wrapped):
    specification = converted.classifier.specification
    shape = (2, specification.channels, specification.size, specification.size)
    images = torch.rand(shape) + 0.5 * torch.randn(shape)
    with torch.no_grad():
        expected = wrapped(images)
        torch.testing.assert_close(converted.classifier(images), expected)
    assert expected.std() > 0.01


@pytest.mark.parametrize(
    ("normalize", "mean", "std"),
    [
        ("standard", *CIFAR10),
        ("center", CIFAR10[0], (1.0, 1.0, 1.0)),
        ("none", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    ],
)
@pytest.mark.parametrize("arch", ["densenet40", "resnet20", "resnet110"])
def test_released_files_of_cifar10(tmp_path, arch, normalize, mean, std):
    wrapped = nn.Sequential(Normalize(mean, std), network(arch))
    content = released(wrapped, f"cifar_{arch}")
    converted = run(tmp_path, content, *options(normalize=normalize))
    assert_same(converted, wrapped)
    assert (converted.point.arch, converted.point.normalize) == (arch, normalize)


@pytest.mark.parametrize("normalize", ["standard", "center", "none"])
def test_released_files_of_mnist(tmp_path, normalize):
    wrapped = nn.Sequential(nn.Identity(), network("lenet", 1, 28))
    converted = run(tmp_path, released(wrapped, "lenet"), *options("mnist", normalize))
    assert_same(converted, wrapped)


def test_released_files_of_imagenet(tmp_path):
    """With DataParallel inside, and the mean alone taken off, as Salman et al. did."""
    layer = Normalize((0.485, 0.456, 0.406), (1.0, 1.0, 1.0))
    wrapped = nn.Sequential(layer, nn.DataParallel(network("resnet50", 3, 224, 1000)))
    content = released(wrapped, "resnet50")
    assert "1.module.conv1.weight" in content["state_dict"]
    converted = run(tmp_path, content, *options("imagenet", "center"))
    assert_same(converted, wrapped)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda net: {"net": net.state_dict(), "epoch": 440},  # Zhai et al.
        lambda net: {"model": net.state_dict(), "stats": {"accuracy": torch.tensor(0.9)}},
        lambda net: net.state_dict(),
        lambda net: nn.DataParallel(nn.Sequential(nn.Identity(), net)).state_dict(),
        lambda net: nn.Sequential(nn.Identity(), torch.compile(net)).state_dict(),
    ],
    ids=["net", "another key", "bare", "parallel outside", "compiled"],
)
def test_other_layouts(tmp_path, wrap):
    net = network("resnet20")
    converted = run(tmp_path, wrap(net), *options(normalize="none", arch="resnet20"))
    assert_same(converted, net)


def test_files_of_old_versions_of_torch(tmp_path):
    """Before 1.6 they were no archives, and up to 0.4.0 batches were not counted."""
    net = network("resnet20")
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    given = options(normalize="none", arch="resnet20")
    converted = run(tmp_path, {"net": state}, *given, _use_new_zipfile_serialization=False)
    assert_same(converted, net)


@pytest.mark.parametrize(("dataset", "arch"), [("digits", "convnet8"), ("mnist", "lenet")])
def test_a_converted_model_is_certified_like_any_other(tmp_path, request, dataset, arch):
    description = datasets.describe(dataset)
    net = network(arch, description.channels, description.size)
    with torch.no_grad():
        net.fc2.weight.mul_(20)  # quite certain, without training
    data_dir = request.getfixturevalue("mnist_dir") if dataset == "mnist" else tmp_path
    given = options(dataset, sigma=0.125, seed=7, arch=arch)
    trained = run(tmp_path, {"net": net.state_dict()}, *given)
    digest = hashlib.sha256((tmp_path / "theirs.pth.tar").read_bytes()).hexdigest()
    point = {
        "dataset": dataset, "arch": arch, "normalize": "standard", "sigma": 0.125, "seed": 7,
        "converted_from": "theirs.pth.tar", "sha256": digest,
    }  # fmt: skip
    assert trained.point.content == point
    model, folder = str(trained.path), tmp_path / "certificates"
    few = ["--subset=0-2", "--n=200", f"--data-dir={data_dir}"]
    cli.main(["certify", model, f"--output={folder}", *few])
    table, about = records.read(folder)
    assert table["idx"].tolist() == [0, 1, 2]
    assert table["predict"].max() >= 0
    assert table["radius"].max() <= 0.125 * 1.83  # 200 unanimous votes: 1.8205 sigma
    assert about["point"] == point
    cli.main(["summarize", str(folder)])
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["point"] == point
    assert summary["training"] is None
    assert summary["acr"] == pytest.approx((table["radius"] * table["correct"]).mean())
    cli.main(["predict", model, f"--output={tmp_path / 'predictions'}", *few])
    assert json.loads((tmp_path / "predictions/predictions.json").read_text())["point"] == point


def test_the_seed_decides_the_noise(tmp_path):
    tables = []
    for seed in (0, 0, 1):
        state = network("convnet8", 1, 8).state_dict()
        given = options("digits", seed=seed, arch="convnet8")
        model = run(tmp_path / f"{len(tables)}", state, *given).path
        folder = model.parent / "c"
        cli.main(["certify", str(model), "--subset=0-9", "--n=500", f"--output={folder}"])
        tables.append(records.read(folder)[0]["count"].tolist())
    assert tables[0] == tables[1] != tables[2]


LENET = network("lenet", 1, 28).state_dict()


def renamed(old, new):
    return {key.replace(old, new): value for key, value in LENET.items()}


@pytest.mark.parametrize(
    ("content", "changes", "message"),
    [
        ({"state_dict": LENET, "args": argparse.Namespace(lr=0.1)}, {}, "holds argparse.Namespace"),
        ({"state_dict": LENET, "best": np.float64(0.5)}, {}, "holds numpy._core.multiarray.scalar"),
        (nn.Identity(), {}, "holds torch.nn.modules.linear.Identity, which could run any code"),
        ([1, 2], {}, "holds no weights: neither a bare state_dict nor one under a key"),
        ({"state_dict": {}}, {}, "holds no weights"),
        ({"net": {"fc.bias": 1}}, {}, "holds no weights"),
        ({"net": {0: torch.zeros(1)}}, {}, "holds no weights"),
        ({"net": torch.zeros(1)}, {}, "for mnist: net is none of its layers"),
        ({"model": LENET, "ema": LENET}, {}, "several state_dicts, under 'model', 'ema'; save the"),
        (
            {"format": checkpoint.FORMAT, "state_dict": LENET},
            {},
            "is a smoothcert checkpoint alrea",
        ),
        (LENET, {"arch": None}, "states no known arch; give --arch: convnet8, "),
        ({"arch": "wide_net", "net": LENET}, {"arch": None}, "states no known arch; give --arch: "),
        (
            {"arch": "cifar_resnet20", "net": LENET},
            {},
            "that its arch is resnet20, not lenet; leave",
        ),
        (LENET, {"arch": "resnet20"}, "arch resnet20 takes images of 32x32 pixels, not 28x28"),
        (renamed("fc1", "fc3"), {}, "for mnist: fc3.weight is none of its layers; choose another"),
        (
            {f"1.{k}": LENET[k] for k in [*LENET][1:]},
            {},
            "for mnist: 1.conv1.weight is missing; ch",
        ),
        ({"0.mean": torch.zeros(1), **LENET}, {}, "for mnist: 0.mean is none of its layers"),
        (network("lenet", 1, 28, 7).state_dict(), {}, "they tell 7 classes apart, not 10; choose"),
        (
            network("lenet", 3, 28).state_dict(),
            {},
            "for mnist: conv1.weight has the shape (20, 3, 5, 5), not (20, 1, 5, 5); choose",
        ),
        (LENET, {"sigma": 0}, "sigma 0 is not a positive number"),
        (LENET, {"sigma": "nan"}, "sigma nan is not a positive number"),
        (LENET, {"seed": -1}, "seed -1 is negative"),
        (LENET, {"output": "theirs.pth.tar"}, "would replace the file to convert; name another"),
        (LENET, {"output": "/proc/nowhere/model.pt"}, "cannot create the folder /proc/nowhere"),
        (None, {}, "checkpoint theirs.pth.tar does not exist"),
        (b"nonsense", {}, "theirs.pth.tar is damaged, or no file of torch.save"),
        (saved(LENET)[:5000], {}, "theirs.pth.tar is damaged, or no file of torch.save"),
        (
            {**LENET, "fc2.bias": torch.full((10,), torch.nan)},
            {},
            "holds values that are not finite, the first in fc2.bias",
        ),
        (LENET, {"normalize": None}, None),
        (LENET, {"normalize": "divide"}, None),
        (LENET, {"sigma": None}, None),
    ],
)
def test_what_is_refused(tmp_path, monkeypatch, capsys, content, changes, message):
    monkeypatch.chdir(tmp_path)
    if isinstance(content, bytes):
        (tmp_path / "theirs.pth.tar").write_bytes(content)
    elif content is not None:
        torch.save(content, "theirs.pth.tar")
    given = {"dataset": "mnist", "arch": "lenet", "normalize": "none", "sigma": 0.5}
    given |= {"output": "model.pt"} | changes
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(SystemExit) as refusal:
        cli.main(
            [
                "convert",
                "theirs.pth.tar",
                *(f"--{k}={v}" for k, v in given.items() if v is not None),
            ]
        )
    if message is None:  # of argparse
        assert refusal.value.code == 2
        (missing,) = changes
        assert f"--{missing}" in capsys.readouterr().err
    else:
        assert message in refusal.value.code
        assert "\n" not in refusal.value.code
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_same_weights_are_converted_to_the_same_file(tmp_path):
    files = [
        (run(tmp_path / name, LENET, *options("mnist"), "--arch=lenet").path.read_bytes())
        for name in "ab"
    ]
    assert files[0] == files[1]


@pytest.mark.parametrize("change", ["--sigma=1", "--normalize=none", "--seed=3"])
def test_what_was_converted_otherwise_is_not_replaced(tmp_path, change):
    """Its certificates would seem to be of the new one."""
    before = run(tmp_path, LENET, *options("mnist"), "--arch=lenet").path.read_bytes()
    with pytest.raises(SystemExit, match="is of other weights or settings; name another"):
        run(tmp_path, LENET, *options("mnist"), "--arch=lenet", change)
    assert next(tmp_path.rglob("model.pt")).read_bytes() == before


def test_a_trained_model_is_not_replaced(tmp_path):
    path = tmp_path / "ours" / "model.pt"
    trained = Point("mnist", "lenet", "gaussian", 0.5, 0, 0, Training(), methods.load("gaussian")())
    checkpoint.save(
        path, models.build(models.Specification("lenet", 1, 28, 10, (0,), (1,))), trained, {}
    )
    before = path.read_bytes()
    with pytest.raises(SystemExit, match="is of other weights or settings; name another"):
        run(tmp_path, LENET, *options("mnist"), "--arch=lenet")
    assert path.read_bytes() == before
