"""ImageNet (ILSVRC 2012; Russakovsky et al. 2015): JPEG files in a folder for each class.

The images are never in memory together: each is decoded when its batch comes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from smoothcert.datasets.base import Dataset, Description
from smoothcert.errors import UserError, reason

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DESCRIPTION = Description(
    title="ImageNet",
    channels=3,
    size=224,
    classes=1000,
    train_images=1_281_167,
    test_images=50_000,
    # Constants of Cohen et al. 2019, which all later papers took over.
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    augmentations=("none", "resized-crop-flip"),
)

SHORTER_SIDE = 256
"""Pixels of a resized image's shorter side, before the crop of its centre."""
LISTING_THREADS = 16
"""Folders listed at once: on a file system across a network, each answer takes its time."""


def load(data_dir: Path) -> ImageFolders:
    """Return ImageNet from ``data_dir``/imagenet, which holds train/<wnid>/*.JPEG and val alike.

    Raises UserError if a folder, a class or a number of images is not that of ILSVRC 2012.
    """
    return ImageFolders(data_dir / "imagenet", DESCRIPTION)


class ImageFolders(Dataset):
    """JPEG files of any size and mode in train/<class>/ and val/<class>/.

    Class indices are positions in the sorted names of the class folders. Test images are the
    files of val, sorted by class folder and then by name, resized to a shorter side of 256 pixels
    and cropped to the centre: the order and the pixels of Cohen et al. 2019 and Jeong & Shin 2020
    (every 100th image has label 0, 2, 4, ...). Salman et al. 2019 read an unsorted list, so that
    their every 100th image is another one.
    """

    def __init__(self, folder: Path, description: Description):
        self._size = description.size
        self._train, self._test = _Split.read(folder / "train"), _Split.read(folder / "val")
        _refuse_other_classes(self._train, self._test, description)
        _refuse_other_number(self._train, description.train_images)
        _refuse_other_number(self._test, description.test_images)
        self.train_labels, self.test_labels = self._train.labels, self._test.labels

    @cached_property
    def checksum(self) -> str:
        """Return the SHA-256 in hexadecimal of the files' names and lengths.

        Reading the 150 GB themselves would take hours before every job; a file that was altered
        and kept its length is not noticed.
        """
        content = hashlib.sha256()
        for split in (self._train, self._test):
            for part in (np.array(split.classes), split.names, split.lengths, split.labels.numpy()):
                content.update(repr((part.dtype.str, part.shape)).encode())
                content.update(part.tobytes())
        return content.hexdigest()

    def read_test(self, indices: Sequence[int]) -> Tensor:
        """Return the test images of the indices, and decode no other.

        Raises UserError if a file cannot be read.
        """
        import torch

        transform = _transform("none", self._size)
        return torch.stack([self._test.image(index, transform) for index in indices])

    def batches(
        self, size: int, augment: str, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one epoch of training images.

        With ``augment`` none they are cropped like test images; resized-crop-flip is the
        augmentation of Cohen et al. 2019: a random part of 8 to 100 % of the image at 224x224
        pixels, mirrored left to right with probability 1/2.

        ``generator`` draws the order and a seed for each image before the first batch, and
        nothing later. Processes decode ahead; together with the calling one they are as many as
        torch's CPU threads, which is what a job has been given. Their number changes no pixel.

        Raises UserError if a file cannot be read, or if a process ends.
        """
        import torch
        from torch.utils.data import DataLoader

        device, images = generator.device, len(self.train_labels)
        order = torch.randperm(images, generator=generator, device=device).cpu()
        seeds = torch.randint(2**63 - 1, (images,), generator=generator, device=device).cpu()
        work = _Batches(self._train, order, seeds, size, _transform(augment, self._size))
        loader = DataLoader(
            work,
            batch_size=None,
            num_workers=torch.get_num_threads() - 1,
            pin_memory=device.type == "cuda",
        )
        labels = self.train_labels[order].to(device)
        for number, pixels in enumerate(_decoded(loader)):
            yield pixels.to(device, non_blocking=True), labels[work.rows(number)]


@dataclass(frozen=True)
class _Split:
    """The files of train or val. As arrays, they stay shared between processes."""

    folder: Path
    classes: list[str]
    labels: Tensor
    """Class indices, int64 (N,)."""
    names: NDArray[np.bytes_]
    lengths: NDArray[np.int64]
    """Bytes of each file."""

    @classmethod
    def read(cls, folder: Path) -> _Split:
        """List the class folders and their files, both sorted by name.

        Raises UserError if the folder is missing, or not sorted into classes, or a class is empty.
        """
        import torch

        if not folder.is_dir():
            raise UserError(
                f"{folder} is missing, and ImageNet cannot be downloaded without an account: get "
                f"ILSVRC 2012 from image-net.org and unpack it into {folder}/<wnid>/*.JPEG, as "
                "torchvision.datasets.ImageNet does (see config/README.md)"
            )
        try:
            with os.scandir(folder) as entries:
                is_folder = {entry.name: entry.is_dir() for entry in entries}
            loose = sum(_is_image(name) for name in is_folder)
            if loose:
                raise UserError(
                    f"{folder} holds {loose:,} images that are not sorted into classes; move each "
                    f"to {folder}/<wnid>/ after its class, as torchvision.datasets.ImageNet does "
                    "(see config/README.md)"
                )
            classes = sorted(name for name in is_folder if is_folder[name])
            with ThreadPoolExecutor(LISTING_THREADS) as pool:
                found = list(pool.map(_images, (folder / name for name in classes)))
        except OSError as error:
            raise UserError(f"cannot list {error.filename}: {error.strerror}") from error
        counts = torch.tensor([len(files) for files in found], dtype=torch.int64)
        return cls(
            folder,
            classes,
            torch.arange(len(classes)).repeat_interleave(counts),
            np.array([os.fsencode(name) for files in found for name, _ in files]),
            np.array([length for files in found for _, length in files]),
        )

    def image(self, index: int, transform: Callable[..., Tensor]) -> Tensor:
        """Return a transformed image, or raise a UserError that names its file."""
        from PIL import Image

        name = os.fsdecode(self.names[index])
        path = self.folder / self.classes[self.labels[index]] / name
        try:
            with Image.open(path) as image:
                colours = image.convert("RGB")
        except Exception as error:  # Pillow raises many kinds
            raise UserError(
                f"{path} cannot be read as an image ({reason(error)}); take it from the "
                "archive again"
            ) from error
        return transform(colours)


@dataclass(frozen=True)
class _Batches:
    """The batches of an epoch by their numbers, for worker processes."""

    split: _Split
    order: Tensor
    seeds: Tensor
    """A seed for each place in the order."""
    size: int
    transform: Callable[..., Tensor]

    def __len__(self) -> int:
        return -(-len(self.order) // self.size)

    def __getitem__(self, number: int) -> Tensor | UserError:
        """Return the images of a batch, or the error that a file caused.

        Errors that a worker raises arrive with a traceback in their text.
        """
        import torch

        rows = self.rows(number)
        images = []
        with torch.random.fork_rng(devices=[]):
            for index, seed in zip(self.order[rows], self.seeds[rows], strict=True):
                # torchvision draws from torch's generator.
                torch.default_generator.manual_seed(int(seed))
                try:
                    images.append(self.split.image(int(index), self.transform))
                except UserError as error:
                    return error
        return torch.stack(images)

    def rows(self, number: int) -> slice:
        """Return the places in the order of a batch."""
        return slice(self.size * number, self.size * (number + 1))


def _decoded(batches: Iterable[Tensor | UserError]) -> Iterator[Tensor]:
    """Yield the batches; raise what went wrong in a worker as one line."""
    try:
        for images in batches:
            if isinstance(images, UserError):
                raise images
            yield images
    except RuntimeError as error:  # a worker died
        raise UserError(
            f"a process that decodes images ended ({reason(error)}); give the job more memory, "
            "shared memory (/dev/shm) included, or fewer threads"
        ) from error


def _transform(augment: str, size: int) -> Callable[..., Tensor]:
    """Return the function from Pillow's image to uint8 (3, size, size)."""
    from torchvision.transforms import v2

    crop = {
        "none": [v2.Resize(SHORTER_SIDE), v2.CenterCrop(size)],
        "resized-crop-flip": [v2.RandomResizedCrop(size), v2.RandomHorizontalFlip()],
    }
    return v2.Compose([*crop[augment], v2.PILToTensor()])


def _images(folder: Path) -> list[tuple[str, int]]:
    """Return names and lengths of the images in a class folder, sorted by name."""
    with os.scandir(folder) as entries:
        found = sorted(
            (entry.name, entry.stat().st_size) for entry in entries if _is_image(entry.name)
        )
    if not found:
        raise UserError(f"{folder} holds no .JPEG file; unpack this class again")
    return found


def _is_image(name: str) -> bool:
    return name.lower().endswith((".jpeg", ".jpg"))


def _refuse_other_classes(train: _Split, test: _Split, description: Description) -> None:
    different = set(train.classes) ^ set(test.classes)
    if different:
        name = min(different)
        there, absent = (train, test) if name in train.classes else (test, train)
        raise UserError(
            f"class {name} is in {there.folder}, but not in {absent.folder} (classes in one of "
            f"them alone: {len(different)}); complete both"
        )
    if len(train.classes) != description.classes:
        raise UserError(
            f"{train.folder} holds {len(train.classes)} class folders, not the "
            f"{description.classes} of ILSVRC 2012; unpack it again"
        )


def _refuse_other_number(split: _Split, images: int) -> None:
    if len(split.labels) != images:
        raise UserError(
            f"{split.folder} holds {len(split.labels):,} images, not the {images:,} of ILSVRC "
            "2012; unpack it again"
        )
