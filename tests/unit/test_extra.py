"""Pseudo-labelled images: what is refused, how their batches join the others, their weight."""

import dataclasses
import io
import pickle
from collections import Counter
from itertools import islice, permutations

import numpy as np
import pytest
import torch

from smoothcert import checkpoint, datasets, extra, files, methods, train
from smoothcert.datasets.base import InMemory
from smoothcert.errors import UserError
from smoothcert.point import Point
from smoothcert.settings import Training

CPU = torch.device("cpu")
DIGITS, CIFAR10 = datasets.describe("digits"), datasets.describe("cifar10")


def point(path, **training):
    settings = {"epochs": 1, "batch_size": 16, "lr": 0.05, "extra_images": str(path), **training}
    objective = methods.load("gaussian")()
    return Point("digits", "convnet8", "gaussian", 0.25, 0, 0, Training(**settings), objective)


def arrays(count=20, shape=(8, 8), classes=10, seed=0):
    """Return images and labels as the file holds them."""
    rng = np.random.default_rng(seed)
    return {
        "images": rng.integers(0, 256, (count, *shape), dtype=np.uint8),
        "labels": rng.integers(0, classes, count),
    }


def write(path, **changes):
    np.savez(path, **{**arrays(), **changes})
    return path


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "extra.npz")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return 40 of the digits: three batches of 16."""
    digits = datasets.load("digits", tmp_path_factory.mktemp("data"))
    return InMemory(
        digits.train_images[:40],
        digits.train_labels[:40],
        digits.test_images[:8],
        digits.test_labels[:8],
    )


class TestRead:
    def test_colour(self, tmp_path):
        content = arrays(shape=(32, 32, 3))
        np.savez_compressed(tmp_path / "e.npz", **content)
        found = extra.read(tmp_path / "e.npz", CIFAR10)
        assert found.images.dtype == torch.uint8
        assert found.images.shape == (20, 3, 32, 32)
        assert found.images[5, 2, 30, 7] == content["images"][5, 30, 7, 2]
        assert found.labels.dtype == torch.int64
        assert found.labels.tolist() == content["labels"].tolist()
        assert found.checksum == files.sha256(tmp_path / "e.npz")

    @pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
    def test_one_channel_with_and_without_an_axis(self, tmp_path, dtype):
        content = arrays()
        write(tmp_path / "a.npz", labels=content["labels"].astype(dtype))
        write(tmp_path / "b.npz", images=content["images"][..., None])
        a, b = (extra.read(tmp_path / name, DIGITS) for name in ("a.npz", "b.npz"))
        assert a.images.shape == (20, 1, 8, 8)
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)
        assert a.checksum != b.checksum

    def test_labels_of_the_first_and_last_class(self, tmp_path):
        labels = np.array([0, 9] * 10)
        found = extra.read(write(tmp_path / "e.npz", labels=labels), DIGITS)
        assert found.labels.tolist() == labels.tolist()


def damaged(content: bytes, way: str) -> bytes:
    """Return the bytes of a file that cannot be read."""
    numbers = np.arange(4)
    buffer = io.BytesIO()
    if way == "cut":
        return content[: len(content) // 2]
    if way == "pickle":
        return pickle.dumps({"images": [1]})
    if way == "npy":
        np.save(buffer, numbers)
        return buffer.getvalue()
    if way == "objects":
        np.savez(buffer, images=np.array([{}, {}], dtype=object), labels=numbers)
        return buffer.getvalue()
    if way == "checksum":  # a byte within the first array
        return content[:400] + bytes([content[400] ^ 1]) + content[401:]
    if way == "compression":  # the first bytes after the header of 30 bytes and the name
        np.savez_compressed(buffer, **arrays())
        start = 30 + len("images.npy") + 20
        return buffer.getvalue()[:start] + b"\xff" * 9 + buffer.getvalue()[start + 9 :]
    return {"empty": b"", "text": b"images, labels\n"}[way]


REFUSED = {
    "float images": {"images": np.zeros((20, 8, 8), np.float32)},
    "another size": {"images": np.zeros((20, 28, 28), np.uint8)},
    "colour": {"images": np.zeros((20, 8, 8, 3), np.uint8)},
    "channels first": {"images": np.zeros((20, 1, 8, 8), np.uint8)},
    "no axis": {"images": np.uint8(3)},
    "no image": {"images": np.zeros((0, 8, 8), np.uint8), "labels": np.zeros(0, int)},
    "fewer labels": {"labels": np.zeros(19, int)},
    "one-hot labels": {"labels": np.zeros((20, 10), int)},
    "float labels": {"labels": np.zeros(20)},
    "boolean labels": {"labels": np.zeros(20, bool)},
    "negative label": {"labels": np.array([0] * 19 + [-1])},
    "label too large": {"labels": np.array([0] * 19 + [10])},
}
MESSAGES = {
    "float images": r"images in \S+ are float32 \(20, 8, 8, 1\), not uint8 \(N, 8, 8, 1\)",
    "another size": r"images in \S+ are uint8 \(20, 28, 28, 1\), not uint8 \(N, 8, 8, 1\)",
    "colour": r"images in \S+ are uint8 \(20, 8, 8, 3\), not uint8 \(N, 8, 8, 1\)",
    "channels first": r"images in \S+ are uint8 \(20, 1, 8, 8\), not uint8 \(N, 8, 8, 1\)",
    "no axis": r"images in \S+ are uint8 \(\), not uint8 \(N, 8, 8, 1\)",
    "no image": r"images in \S+ are uint8 \(0, 8, 8, 1\), not uint8 \(N, 8, 8, 1\)",
    "fewer labels": r"labels in \S+ are int64 \(19,\), not one integer for each of the 20",
    "one-hot labels": r"labels in \S+ are int64 \(20, 10\), not one integer for each",
    "float labels": r"labels in \S+ are float64 \(20,\), not one integer for each",
    "boolean labels": r"labels in \S+ are bool \(20,\), not one integer for each",
    "negative label": r"labels in \S+ go from -1 to 0, but Digits .* has classes 0 to 9",
    "label too large": r"labels in \S+ go from 0 to 10, but Digits .* has classes 0 to 9",
}


class TestRefused:
    """Each by the command that trains, before it trains."""

    def refuse(self, path, data, tmp_path, message):
        with pytest.raises(UserError, match=f"^extra_images: .*{message}") as caught:
            train.train(point(path), data, tmp_path / "run", CPU)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("what", REFUSED)
    def test_arrays_that_do_not_suit(self, data, tmp_path, what):
        path = write(tmp_path / "extra.npz", **REFUSED[what])
        self.refuse(path, data, tmp_path, MESSAGES[what])

    @pytest.mark.parametrize("lacking", ["images", "labels"])
    def test_a_missing_array(self, data, tmp_path, lacking):
        content = arrays()
        content["other"] = content.pop(lacking)
        np.savez(tmp_path / "extra.npz", **content)
        self.refuse(tmp_path / "extra.npz", data, tmp_path, "needs arrays called images and labels")

    @pytest.mark.parametrize(
        "way",
        [
            *("cut", "checksum", "empty", "text", "pickle", "objects", "npy", "compression"),
        ],
    )
    def test_a_damaged_file(self, data, tmp_path, file, way):
        file.write_bytes(damaged(file.read_bytes(), way))
        self.refuse(file, data, tmp_path, "cannot be read as .npz of plain arrays")

    def test_no_file(self, data, tmp_path):
        self.refuse(tmp_path / "absent.npz", data, tmp_path, "does not exist")
        self.refuse(tmp_path, data, tmp_path, "cannot read .*: Is a directory")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class TestBatches:
    def test_every_image_comes_once_before_any_comes_again(self):
        images = torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1)
        found = extra.Extra(images, torch.arange(20), "")
        passes = list(islice(found.batches(8, "none", generator()), 6))
        orders = [torch.cat([labels for _, labels in passes[i : i + 3]]) for i in (0, 3)]
        assert [len(labels) for _, labels in passes] == [8, 8, 4] * 2
        assert all(sorted(order.tolist()) == list(range(20)) for order in orders)
        assert not torch.equal(*orders)
        assert all(torch.equal(images.flatten(), labels) for images, labels in passes)

    def test_they_are_augmented(self, file):
        found = extra.read(file, DIGITS)
        known = {image.numpy().tobytes() for image in found.images}
        for augment, altered in (("none", False), ("crop-flip", True)):
            images, _ = next(found.batches(20, augment, generator()))
            assert ({image.numpy().tobytes() for image in images} != known) == altered

    def test_as_many_batches_are_extra_ones(self, data, file):
        def epoch(seed):
            source = generator(seed)
            found = extra.read(file, DIGITS).batches(16, "none", source)
            return list(extra.mixed(data.batches(16, "none", source), found, 3, 0.5, source))

        batches = epoch(0)
        assert Counter(weight for *_, weight in batches) == {1.0: 3, 0.5: 3}
        own = torch.cat([images for images, _, weight in batches if weight == 1])
        assert torch.equal(
            own.flatten(1).sort(0).values, data.train_images.flatten(1).sort(0).values
        )
        for a, b in zip(batches, epoch(0), strict=True):
            assert torch.equal(a[0], b[0])
            assert torch.equal(a[1], b[1])
            assert a[2] == b[2]
        orders = {tuple(weight for *_, weight in epoch(seed)) for seed in range(100)}
        assert orders == set(permutations([1.0] * 3 + [0.5] * 3)), "every order may come"


def gradients(path, data, folder, monkeypatch, **training):
    """Return the gradient of every step of an epoch in which no step moves the weights."""
    steps = []

    def kept(optimizer, *arguments):
        parameters = optimizer.param_groups[0]["params"]
        steps.append(torch.cat([parameter.grad.flatten() for parameter in parameters]))

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", kept)
        train.train(point(path, **training), data, folder, CPU)
    return torch.stack(steps)


def test_the_weight_scales_the_gradient(data, file, tmp_path, monkeypatch):
    one, four = (
        gradients(file, data, tmp_path / str(w), monkeypatch, extra_weight=w) for w in (1.0, 4.0)
    )
    assert len(one) == 6
    same = [torch.equal(a, b) for a, b in zip(one, four, strict=True)]
    scaled = [torch.equal(4 * a, b) for a, b in zip(one, four, strict=True)]
    assert sum(same) == sum(scaled) == 3
    assert all(a != b for a, b in zip(same, scaled, strict=True))


class KilledError(BaseException):
    """Ends a run as a kill would: no cleaning up."""


@pytest.fixture
def killed(data, file, tmp_path, monkeypatch):
    """Return the folder of a run of three epochs that was killed after the first."""
    save = train._State.save

    def stop(*arguments):
        save(*arguments)
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(train._State, "save", stop)
        train.train(point(file, epochs=3), data, tmp_path / "killed", CPU)
    return tmp_path / "killed"


def weights(folder):
    return (folder / "model.pt").read_bytes()


def test_runs_repeat_and_resume(data, file, tmp_path, killed, capsys):
    for name in ("whole", "again", "killed"):
        train.train(point(file, epochs=3), data, tmp_path / name, CPU)
    assert capsys.readouterr().err.count("resuming after epoch 1") == 1
    assert weights(tmp_path / "whole") == weights(tmp_path / "again") == weights(killed)


def test_other_extra_images_set_the_resume_file_aside(data, file, tmp_path, killed, capsys):
    write(file, **arrays(seed=1))
    train.train(point(file, epochs=3), data, tmp_path / "fresh", CPU)
    train.train(point(file, epochs=3), data, killed, CPU)
    assert "is of another run: set aside" in capsys.readouterr().err
    assert (killed / "resume.pt.aside").exists()
    assert weights(killed) == weights(tmp_path / "fresh")


def test_the_checkpoint_names_them(data, file, tmp_path):
    train.train(point(file), data, tmp_path / "with", CPU)
    without = point(file)
    without = dataclasses.replace(
        without, training=without.training.model_copy(update={"extra_images": None})
    )
    train.train(without, data, tmp_path / "without", CPU)
    found = [checkpoint.load(tmp_path / name / "model.pt") for name in ("with", "without")]
    assert [one.provenance["extra_images"] for one in found] == [files.sha256(file), None]
    states = [one.classifier.state_dict()["network.fc2.weight"] for one in found]
    assert not torch.equal(*states)
