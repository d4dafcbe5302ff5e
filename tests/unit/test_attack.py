"""PREDICT under attack, of a classifier whose distance to every image is known."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from smoothcert import checkpoint, cli, datasets, methods, models
from smoothcert.attacks import pgd
from smoothcert.checkpoint import Checkpoint
from smoothcert.datasets.base import InMemory, to_unit
from smoothcert.errors import UserError
from smoothcert.point import Point
from smoothcert.settings import Training
from smoothcert.smoothing.attack import Attack, attack
from smoothcert.smoothing.sampling import Sampler

CPU = torch.device("cpu")
EPSILON = 0.5
DISTANCES = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9])
"""Of the images' smoothed decision boundary, and so their true radii."""
WRONG = [1, 6]
"""Images that lie on the other side."""


class HalfSpace(nn.Module):
    """Class 1 where the left half is brighter than the right one; noise moves no boundary."""

    def __init__(self):
        super().__init__()
        self.specification = models.Specification("half", 1, 8, 2, (0.0,), (1.0,))
        normal = torch.ones(8, 8)
        normal[:, 4:] = -1
        self.register_buffer("normal", normal.flatten() / 8)  # of length 1

    def forward(self, images):
        score = images.flatten(1) @ self.normal
        return torch.stack([-score, score], 1)


def described():
    return Point(
        "digits", "convnet8", "gaussian", 0.25, 0, 0, Training(), methods.load("gaussian")()
    )


@pytest.fixture
def data():
    """Return images at DISTANCES from the boundary, on alternate sides; WRONG ones mislabelled."""
    sides = torch.tensor([1, 0] * 4)
    shift = torch.from_numpy(DISTANCES).float() * (2 * sides - 1)
    images = 0.5 + shift.view(-1, 1, 1) * HalfSpace().normal.view(8, 8)
    labels = sides.clone()
    labels[WRONG] = 1 - labels[WRONG]
    pixels = (255 * images).round().byte()[:, None]
    return InMemory(pixels, labels, pixels, labels)


@pytest.fixture
def model(data, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"weights")
    return Checkpoint(path, HalfSpace(), described(), {"data": data.checksum})


def run(model, data, folder, **settings):
    chosen = {"epsilon": EPSILON, "n": 1000, "m": 8, "precision": "fp32", **settings}
    attack(model, data, Attack(**chosen), folder, CPU)
    return (
        pd.read_csv(folder / "attacked.tsv", sep="\t"),
        json.loads((folder / "attacked.json").read_text()),
    )


def test_right_is_left_what_is_further_away_than_epsilon(model, data, tmp_path):
    table, about = run(model, data, tmp_path / "a")
    wrong = np.isin(np.arange(8), WRONG)
    assert table["idx"].tolist() == list(range(8))
    assert ((table["clean"] == table["label"]) == ~wrong).all()
    assert (table["correct"] == ~wrong & (DISTANCES > EPSILON)).all()
    assert (table["correct"] == (table["predict"] == table["label"])).all()
    assert about["accuracy"] == 6 / 8
    assert about["accuracy_under_attack"] == 3 / 8


def test_nothing_leaves_the_ball_and_wrong_images_stay_as_they_are(model, data, tmp_path):
    table, _ = run(model, data, tmp_path / "a")
    wrong = np.isin(np.arange(8), WRONG)
    assert table["distance"][~wrong].to_numpy() == pytest.approx(EPSILON, abs=1e-5)
    assert (table["distance"][wrong] == 0).all()
    assert (table["predict"][wrong] == table["clean"][wrong]).all()


def test_shares_and_their_standard_errors(model, data, tmp_path):
    table, about = run(model, data, tmp_path / "a")
    for name, values in {
        "accuracy": (table["clean"] == table["label"]).astype(int),
        "accuracy_under_attack": table["correct"],
    }.items():
        assert about[name] == pytest.approx(values.mean())
        assert about[f"{name}_standard_error"] == pytest.approx(values.std() / 8**0.5)
    assert about["settings"]["epsilon"] == EPSILON
    assert about["images"] == 8
    assert {"commit", "code", "data", "device", "torch"} <= set(about["provenance"])


def test_an_image_has_the_same_row_whatever_is_counted_with_it(model, data, tmp_path, monkeypatch):
    one, _ = run(model, data, tmp_path / "one")
    some, _ = run(model, data, tmp_path / "some", subset="3-5")
    monkeypatch.setattr(Sampler, "images", 3)
    three, _ = run(model, data, tmp_path / "three")
    pd.testing.assert_frame_equal(one.drop(columns="time"), three.drop(columns="time"))
    again = one[3:6].reset_index(drop=True)
    pd.testing.assert_frame_equal(again.drop(columns="time"), some.drop(columns="time"))


def test_attack_and_answers_see_noises_of_their_own(model, data, tmp_path, monkeypatch):
    """The votes that an image is attacked for are not those it is judged by afterwards."""
    stages = []
    counts = Sampler.counts

    def recorded(self, images, indices, stage, n):
        stages.append((stage, to_unit(data.read_test(indices)).equal(images)))
        return counts(self, images, indices, stage, n)

    monkeypatch.setattr(Sampler, "counts", recorded)
    run(model, data, tmp_path / "a", subset="0-0")
    assert stages == [("predict", True), ("attacked", False)]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(),
        RuntimeError("GET was unable to find an engine to execute this computation"),
    ],
)
def test_too_many_noises_for_the_memory(error, model, data, tmp_path, monkeypatch):
    def greedy(*_):
        raise error

    monkeypatch.setattr(pgd, "pgd", greedy)
    with pytest.raises(UserError, match="out of memory on cpu with 8 noises; choose a smaller m"):
        run(model, data, tmp_path / "a")


def test_a_model_of_other_data_is_refused(model, data, tmp_path):
    model.provenance["data"] = "another checksum"
    with pytest.raises(UserError, match="trained on other digits data"):
        run(model, data, tmp_path / "a")


@pytest.fixture
def saved(tmp_path):
    """Write an untrained classifier of digits as a checkpoint."""
    digits = datasets.load("digits", tmp_path)
    torch.manual_seed(0)
    classifier = models.build(models.Specification.of("convnet8", datasets.describe("digits")))
    checkpoint.save(tmp_path / "model.pt", classifier, described(), {"data": digits.checksum})
    return tmp_path / "model.pt"


def test_the_command(saved, tmp_path, capsys):
    options = ["--subset=every-60", "--n=50", "--alpha=0.5", "--epsilon=1", "--m=4"]
    cli.main(["attack", str(saved), *options, f"--output={tmp_path / 'a'}"])
    assert len((tmp_path / "a" / "attacked.tsv").read_text().splitlines()) == 7
    assert "under attack" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epsilon=0"], "epsilon: Input should be greater than 0"),
        (["--epsilon=nan"], "epsilon: Input should be"),
        (["--epsilon=1", "--steps=0"], "steps: Input should be greater than or equal to 1"),
        (["--epsilon=1", "--n=10"], "the smallest n that can is 11"),
    ],
)
def test_a_mistake_gets_one_line(saved, tmp_path, options, message):
    with pytest.raises(SystemExit) as caught:
        cli.main(["attack", str(saved), *options, f"--output={tmp_path / 'a'}"])
    assert message in caught.value.code
    assert not (tmp_path / "a").exists()


def test_epsilon_is_required(saved, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["attack", str(saved), "--output=a"])
    assert caught.value.code == 2
    assert "required: --epsilon" in capsys.readouterr().err
