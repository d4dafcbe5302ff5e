"""Data sets are what they describe themselves to be."""

from dataclasses import replace

import pytest

from smoothcert import datasets
from smoothcert.datasets import digits
from smoothcert.datasets.base import InMemory, to_unit
from smoothcert.errors import UserError


@pytest.fixture
def stray(monkeypatch, tmp_path):
    """Return a function that loads the digits as a data set of its own, with changes."""

    def load(description, parts):
        data = digits.load(tmp_path)
        names = "train_images", "train_labels", "test_images", "test_labels"
        changed = InMemory(*(parts.get(name, lambda x: x)(getattr(data, name)) for name in names))
        monkeypatch.setattr(digits, "DESCRIPTION", replace(digits.DESCRIPTION, **description))
        monkeypatch.setattr(digits, "load", lambda data_dir: changed)
        return datasets.load("digits", tmp_path)

    return load


def test_digits_are_as_described(stray):
    assert len(stray({}, {}).test_labels) == 360


@pytest.mark.parametrize(
    ("description", "parts", "message"),
    [
        ({}, {"train_images": lambda x: x / 255}, r"train_images must be torch.uint8 \(1437, 1, 8"),
        ({}, {"train_images": lambda x: x[:, 0]}, r"not torch.uint8 \(1437, 8, 8\)"),
        ({}, {"test_images": lambda x: x.mT[:, :, 1:]}, r"not torch.uint8 \(360, 1, 7, 8\)"),
        ({}, {"test_images": lambda x: x.numpy()}, "test_images must be a tensor, not ndarray"),
        ({}, {"train_labels": lambda x: x[:9]}, r"train_labels must be torch.int64 \(1437,\)"),
        ({}, {"train_labels": lambda x: x.int()}, r"not torch.int32 \(1437,\)"),
        ({}, {"test_labels": lambda x: x + 1}, "test_labels must lie within 0 to 9, not 1 to 10"),
        ({"classes": 9}, {}, "train_labels must lie within 0 to 8, not 0 to 9"),
        ({"test_images": 300}, {}, r"test_labels must be torch.int64 \(300,\)"),
        ({"mean": 0.7}, {}, "mean must be a tuple of 1 numbers, one for each channel"),
        ({"std": (1.0, 1.0)}, {}, "std must be a tuple of 1 numbers"),
        ({"std": ("1",)}, {}, "std must be a tuple of 1 numbers"),
        ({"std": (0.0,)}, {}, "std must be above 0"),
    ],
)
def test_what_is_not_as_described_is_refused(stray, description, parts, message):
    with pytest.raises(UserError, match=message) as error:
        stray(description, parts)
    assert str(error.value).startswith(f"{digits.__file__}: ")


def test_what_load_returns_must_be_a_dataset(monkeypatch, tmp_path):
    monkeypatch.setattr(digits, "load", lambda data_dir: ([], []))
    with pytest.raises(UserError, match=r"digits\.py: load must return a Dataset, not tuple"):
        datasets.load("digits", tmp_path)


@pytest.mark.parametrize("change", [lambda x: x / 255, lambda x: x[:, 0], lambda x: x.int()])
def test_images_of_another_type_or_shape_are_refused(tmp_path, change):
    images = digits.load(tmp_path).read_test([0, 1])
    assert to_unit(images).max() == 1
    with pytest.raises(UserError, match=r"must give images as torch\.uint8 \(B, C, H, W\), not"):
        to_unit(change(images))
