"""ImageNet's folders, on a tree of a few generated images: order, pixels, streaming, errors."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.datasets import ImageFolder

from smoothcert import checkpoint, cli, datasets, methods, train
from smoothcert.datasets import imagenet
from smoothcert.errors import UserError
from smoothcert.point import Point
from smoothcert.records import read as read_certificates
from smoothcert.settings import Training
from smoothcert.smoothing.certify import certify
from smoothcert.smoothing.protocol import Protocol

CLASSES = ("n01440764", "n02119789", "n04254680")
SHAPES = [(400, 300), (260, 500), (600, 257), (40, 31), (224, 224)]
MODES = ["RGB", "L", "CMYK"]
TRAIN, VAL = 5, 4
TINY = dataclasses.replace(
    imagenet.DESCRIPTION, classes=3, train_images=3 * TRAIN, test_images=3 * VAL
)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """Return a tree of images of five sizes and three modes; one of them is a PNG by content."""
    folder = tmp_path_factory.mktemp("original") / "imagenet"
    rng = np.random.default_rng(0)
    for split, count in (("train", TRAIN), ("val", VAL)):
        for number, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                coarse = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
                image = Image.fromarray(coarse).resize(SHAPES[(number + i) % 5])
                image = image.convert(MODES[(number + i) % 3])
                kind = "PNG" if image.mode == "RGB" and i == 2 else "JPEG"
                # Not in the order of the names.
                image.save(folder / split / name / f"{name}_{(7 * i) % 10}.JPEG", kind)
    return folder


@pytest.fixture
def tree(original, tmp_path) -> Path:
    """Return a copy of the tree that a test may change."""
    return shutil.copytree(original, tmp_path / "imagenet")


@pytest.fixture(autouse=True)
def threads():
    """Return what sets the number of processes that read a training epoch: torch's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """Return a list that grows by the name of each image file that this process opens."""
    found, original = [], Image.open

    def counted(path, *arguments, **settings):
        found.append(Path(path).name)
        return original(path, *arguments, **settings)

    monkeypatch.setattr(Image, "open", counted)
    return found


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def epoch(data, augment="none", seed=0, size=4):
    """Return the images and labels of an epoch, and the sizes of its batches."""
    images, labels = zip(*data.batches(size, augment, seeded(seed)), strict=True)
    return torch.cat(images), torch.cat(labels), [len(batch) for batch in images]


def reference(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a split as the papers' code reads it."""
    steps = [transforms.Resize(256), transforms.CenterCrop(224), transforms.PILToTensor()]
    images, labels = zip(*ImageFolder(folder, transforms.Compose(steps)), strict=True)
    return torch.stack(images), torch.tensor(labels)


class TestImages:
    def test_test_images_are_those_of_the_papers(self, original):
        data = imagenet.ImageFolders(original, TINY)
        images, labels = reference(original / "val")
        assert torch.equal(data.test_labels, labels)
        assert torch.equal(data.read_test(range(12)), images)
        assert torch.equal(data.read_test([7, 2]), images[[7, 2]])

    def test_the_order_does_not_come_from_the_file_system(self, original, monkeypatch):
        scandir = os.scandir

        @contextlib.contextmanager
        def turned(folder):
            with scandir(folder) as entries:
                yield iter(sorted(entries, key=lambda entry: entry.name, reverse=True))

        monkeypatch.setattr(os, "scandir", turned)
        data = imagenet.ImageFolders(original, TINY)
        monkeypatch.undo()
        images, labels = reference(original / "val")
        assert torch.equal(data.read_test(range(12)), images)
        assert torch.equal(data.test_labels, labels)

    def test_training_images_without_augmentation(self, original):
        data = imagenet.ImageFolders(original, TINY)
        images, labels = reference(original / "train")
        order = torch.randperm(15, generator=seeded())
        found, found_labels, sizes = epoch(data)
        assert torch.equal(found, images[order])
        assert torch.equal(found_labels, labels[order])
        assert torch.equal(data.train_labels, labels)
        assert sizes == [4, 4, 4, 3]
        assert found.dtype == torch.uint8

    def test_augmentation(self, tmp_path):
        """A red ramp from left to right and a green one downwards tell the crop of each copy."""
        red, green = np.meshgrid(np.linspace(20, 235, 330), np.linspace(20, 235, 250))
        ramps = np.stack([red, green, np.full_like(red, 99)], 2).round().astype(np.uint8)
        for split, count in (("train", 120), ("val", 1)):
            (tmp_path / split / "n1").mkdir(parents=True)
            for i in range(count):
                path = tmp_path / split / "n1" / f"{i}.JPEG"
                Image.fromarray(ramps).save(path, "PNG", compress_level=1)
        one = dataclasses.replace(TINY, classes=1, train_images=120, test_images=1)
        data = imagenet.ImageFolders(tmp_path, one)
        images = epoch(data, "resized-crop-flip", size=50)[0].float()
        assert images.shape == (120, 3, 224, 224)
        width = (images[:, 0, :, -5:].mean((1, 2)) - images[:, 0, :, :5].mean((1, 2))) / 215
        height = (images[:, 1, -5:].mean((1, 2)) - images[:, 1, :5].mean((1, 2))) / 215
        assert 0.3 < (width < 0).float().mean() < 0.7, "half of the copies are mirrored"
        assert (height > 0).all(), "none is upside down"
        area = width.abs() * height
        assert area.min() > 0.07
        assert area.min() < 0.2
        assert 0.8 < area.max() <= 1
        ratio = (width.abs() * 330) / (height * 250)
        assert 0.7 < ratio.min() < 0.85
        assert 1.2 < ratio.max() < 1.4
        assert len(area.unique()) > 110, "each image has a crop of its own"
        again = epoch(data, "resized-crop-flip", seed=1, size=50)[0]
        assert not torch.equal(images, again.float())

    def test_labels_stay_with_augmented_images(self, tree):
        for number, name in enumerate(CLASSES):
            for path in (tree / "train" / name).iterdir():
                Image.new("L", (50, 60), 40 + 80 * number).save(path)
        images, labels, _ = epoch(imagenet.ImageFolders(tree, TINY), "resized-crop-flip")
        assert torch.equal(images.float().mean((1, 2, 3)).round(), 40.0 + 80 * labels)
        assert labels.bincount().tolist() == [TRAIN] * 3


class TestStreaming:
    @pytest.mark.parametrize("augment", TINY.augmentations)
    def test_workers_change_nothing(self, original, threads, augment):
        data = imagenet.ImageFolders(original, TINY)
        images, labels, _ = epoch(data, augment)
        for number in (2, 3):  # one and two processes beside this one
            threads(number)
            torch.manual_seed(number)
            again, same_labels, _ = epoch(data, augment)
            assert torch.equal(again, images)
            assert torch.equal(same_labels, labels)
        assert not torch.equal(epoch(data, augment, seed=1)[0], images)

    def test_the_global_generator_is_left_alone(self, original):
        batches = imagenet.ImageFolders(original, TINY).batches(4, "resized-crop-flip", seeded())
        next(batches)
        state = torch.get_rng_state()
        next(batches)
        assert torch.equal(torch.get_rng_state(), state)

    def test_a_file_is_opened_when_its_batch_comes(self, original, opened):
        data = imagenet.ImageFolders(original, TINY)
        assert data.checksum
        assert opened == []
        batches = data.batches(4, "resized-crop-flip", seeded())
        for number in (4, 8, 12, 15):
            next(batches)
            assert len(set(opened)) == len(opened) == number

    def test_reading_some_opens_no_other(self, original, opened):
        imagenet.ImageFolders(original, TINY).read_test([6, 1])
        assert opened == [f"{CLASSES[1]}_4.JPEG", f"{CLASSES[0]}_1.JPEG"]

    def test_processes_decode_beside_this_one(self, original, opened, threads):
        threads(2)
        assert len(epoch(imagenet.ImageFolders(original, TINY))[0]) == 15
        assert opened == []

    @pytest.mark.gpu
    def test_on_a_gpu(self, original, threads):
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
        data = imagenet.ImageFolders(original, TINY)
        epochs = []
        for number in (1, 3):
            threads(number)
            generator = torch.Generator("cuda").manual_seed(0)
            batches = list(data.batches(4, "resized-crop-flip", generator))
            assert {part.device.type for batch in batches for part in batch} == {"cuda"}
            epochs.append(torch.cat([images for images, _ in batches]).cpu())
        assert torch.equal(*epochs)


class TestChecksum:
    def test_it_does_not_depend_on_the_place(self, original, tree):
        for path in tree.rglob("*.JPEG"):
            path.touch()
        checksums = {imagenet.ImageFolders(folder, TINY).checksum for folder in (original, tree)}
        assert len(checksums) == 1

    @pytest.mark.parametrize("change", ["name", "length", "label", "class", "split"])
    def test_it_changes_with_the_files(self, original, tree, change):
        path = min((tree / "val" / CLASSES[1]).iterdir())
        if change == "name":
            path.rename(path.with_name("n02119789_new.JPEG"))
        elif change == "length":
            path.write_bytes(path.read_bytes() + b" ")
        elif change == "label":  # now the last of the first class: the order is the same
            path.rename(tree / "val" / CLASSES[0] / path.name)
        elif change == "class":
            for split in ("train", "val"):
                (tree / split / CLASSES[1]).rename(tree / split / "n02119790")
        else:
            (tree / "val").rename(tree / "aside")
            (tree / "train").rename(tree / "val")
            (tree / "aside").rename(tree / "train")
        counts = {"train_images": 12, "test_images": 15} if change == "split" else {}
        changed = imagenet.ImageFolders(tree, dataclasses.replace(TINY, **counts))
        assert changed.checksum != imagenet.ImageFolders(original, TINY).checksum


def refusal(folder: Path, description=TINY) -> str:
    with pytest.raises(UserError) as caught:
        imagenet.ImageFolders(folder, description)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestRefusedTrees:
    def test_missing(self, tmp_path):
        with pytest.raises(UserError, match=r"image-net\.org") as caught:
            datasets.load("imagenet", tmp_path)
        assert str(caught.value).startswith(f"{tmp_path}/imagenet/train is missing, and ImageNet")
        assert "<wnid>/*.JPEG" in str(caught.value)

    def test_one_split_missing(self, tree):
        shutil.rmtree(tree / "val")
        assert refusal(tree).startswith(f"{tree}/val is missing")

    def test_test_images_not_sorted_into_classes(self, tree):
        for path in (tree / "val").glob("*/*.JPEG"):
            path.rename(tree / "val" / f"ILSVRC2012_val_{path.parent.name}{path.name}")
        for name in CLASSES:
            (tree / "val" / name).rmdir()
        assert refusal(tree).startswith(
            f"{tree}/val holds 12 images that are not sorted into classes; move each to {tree}/val/"
        )

    @pytest.mark.parametrize(("lacking", "there"), [("val", "train"), ("train", "val")])
    def test_different_classes(self, tree, lacking, there):
        shutil.rmtree(tree / lacking / CLASSES[1])
        assert refusal(tree).startswith(
            f"class {CLASSES[1]} is in {tree}/{there}, but not in {tree}/{lacking} (classes in one "
            "of them alone: 1)"
        )

    def test_number_of_classes(self, original, tmp_path):
        assert refusal(original, imagenet.DESCRIPTION).startswith(
            f"{original}/train holds 3 class folders, not the 1000 of ILSVRC 2012"
        )
        for split in ("train", "val"):
            (tmp_path / split).mkdir()
        assert "holds 0 class folders" in refusal(tmp_path)

    def test_empty_class(self, tree):
        folder = tree / "train" / CLASSES[2]
        for path in folder.iterdir():
            path.rename(path.with_suffix(".txt"))
        assert refusal(tree) == f"{folder} holds no .JPEG file; unpack this class again"

    @pytest.mark.parametrize(("split", "before"), [("train", 15), ("val", 12)])
    def test_number_of_images(self, tree, split, before):
        next(iter((tree / split / CLASSES[0]).iterdir())).unlink()
        assert refusal(tree).startswith(
            f"{tree}/{split} holds {before - 1} images, not the {before} of ILSVRC 2012"
        )

    def test_a_link_to_nothing(self, tree):
        link = tree / "val" / CLASSES[0] / "n01440764_1.JPEG"
        link.unlink()
        link.symlink_to(tree / "nowhere")
        assert refusal(tree) == f"cannot list {link}: No such file or directory"

    def test_other_files_do_not_count(self, tree):
        (tree / "train" / CLASSES[0] / "README.txt").write_text("classes")
        (tree / "val" / "list.txt").write_text("labels")
        assert len(imagenet.ImageFolders(tree, TINY).train_labels) == 15


class TestUnreadableFiles:
    @pytest.mark.parametrize("damage", ["truncated", "empty", "text", "deleted"])
    def test_they_are_named(self, tree, damage):
        path = tree / "val" / CLASSES[1] / f"{CLASSES[1]}_0.JPEG"
        data = imagenet.ImageFolders(tree, TINY)
        content = path.read_bytes()
        path.unlink()
        if damage != "deleted":
            kept = {"truncated": content[: len(content) // 2], "empty": b"", "text": b"<html>"}
            path.write_bytes(kept[damage])
        data.read_test([0, 1, 2, 3, 5])
        with pytest.raises(UserError, match=f"^{path} cannot be read as an image .*archive") as e:
            data.read_test([3, 4])
        assert "\n" not in str(e.value)

    @pytest.mark.parametrize("number", [1, 3])
    def test_in_training(self, tree, threads, number):
        path = tree / "train" / CLASSES[2] / f"{CLASSES[2]}_8.JPEG"
        path.write_bytes(path.read_bytes()[:-200])
        threads(number)
        with pytest.raises(UserError, match=f"^{path} cannot be read as an image") as caught:
            epoch(imagenet.ImageFolders(tree, TINY))
        assert "\n" not in str(caught.value)

    def test_a_process_that_is_killed(self, original, threads, monkeypatch):
        threads(2)
        monkeypatch.setattr(
            imagenet._Split, "image", lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        )
        with pytest.raises(UserError, match=r"^a process that decodes images ended \(.*\); give"):
            epoch(imagenet.ImageFolders(original, TINY))


class TestUse:
    """The tree in place of ImageNet, with images of 8x8 pixels, which a small network takes."""

    @pytest.fixture(autouse=True)
    def description(self, monkeypatch):
        small = dataclasses.replace(TINY, size=8)
        monkeypatch.setattr(imagenet, "DESCRIPTION", small)
        return small

    @staticmethod
    def point(**training):
        settings = {"epochs": 3, "batch_size": 4, "lr": 0.01, "augment": "resized-crop-flip"}
        objective = methods.load("gaussian")()
        return Point(
            "imagenet", "convnet8", "gaussian", 0.25, 0, 0,
            Training(**{**settings, **training}), objective,
        )  # fmt: skip

    def test_data_command(self, original, tmp_path):
        output = tmp_path / "dataset.json"
        cli.main(["data", "imagenet", "--data-dir", str(original.parent), "--output", str(output)])
        assert json.loads(output.read_text()) == {
            "dataset": "imagenet",
            "train_images": 15,
            "test_images": 12,
            "checksum": datasets.load("imagenet", original.parent).checksum,
        }

    def test_training_resumes_to_the_same_weights(self, original, tmp_path, monkeypatch, threads):
        threads(2)
        data = datasets.load("imagenet", original.parent)
        train.train(self.point(), data, tmp_path / "whole", CPU)
        save = train._State.save

        class KilledError(BaseException):
            pass

        def killed(*arguments):
            save(*arguments)
            raise KilledError

        with monkeypatch.context() as patch, pytest.raises(KilledError):
            patch.setattr(train._State, "save", killed)
            train.train(self.point(), data, tmp_path / "killed", CPU)
        train.train(self.point(), data, tmp_path / "killed", CPU)
        models = [(tmp_path / name / "model.pt").read_bytes() for name in ("whole", "killed")]
        assert models[0] == models[1]
        assert checkpoint.load(tmp_path / "whole/model.pt").provenance["data"] == data.checksum

    def test_training_stops_at_a_damaged_file(self, tree, tmp_path):
        path = tree / "train" / CLASSES[0] / f"{CLASSES[0]}_0.JPEG"
        path.write_bytes(b"")
        data = datasets.load("imagenet", tree.parent)
        with pytest.raises(UserError, match=f"^{path} cannot be read"):
            train.train(self.point(), data, tmp_path / "run", CPU)

    def test_certification(self, original, tmp_path, opened):
        data = datasets.load("imagenet", original.parent)
        train.train(self.point(epochs=1, augment="none"), data, tmp_path, CPU)
        trained = checkpoint.load(tmp_path / "model.pt")
        opened.clear()
        protocol = Protocol(subset="every-5", n=100, backend="torch")
        certify(trained, data, protocol, tmp_path / "c", CPU)
        rows, _ = read_certificates(tmp_path / "c")
        assert rows[["idx", "label"]].to_numpy().tolist() == [[0, 0], [5, 1], [10, 2]]
        assert len(opened) == 3

    def test_other_augmentation(self):
        with pytest.raises(UserError, match="imagenet does not take augment crop-flip, only none"):
            self.point(augment="crop-flip")


def test_the_network_of_the_papers_trains_on_them(tree, tmp_path, monkeypatch):
    for path in tree.glob("train/*/*_[!0]*.JPEG"):
        path.unlink()
    three = dataclasses.replace(TINY, train_images=3)
    monkeypatch.setattr(imagenet, "DESCRIPTION", three)
    training = Training(epochs=1, batch_size=3, augment="resized-crop-flip", normalize="center")
    point = Point(
        "imagenet", "resnet50", "gaussian", 0.25, 0, 0, training, methods.load("gaussian")()
    )
    train.train(point, datasets.load("imagenet", tree.parent), tmp_path / "run", CPU)
    trained = checkpoint.load(tmp_path / "run" / "model.pt").classifier
    assert trained.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert trained.network.fc.out_features == 3
    assert trained.network.bn1.running_mean.abs().sum() > 0, "it has seen a batch"


def test_the_description_needs_no_torch():
    program = (
        "import sys; from smoothcert import datasets; "
        "sys.exit(datasets.describe('imagenet').test_images != 50_000 or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
