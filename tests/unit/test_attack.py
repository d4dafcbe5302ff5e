"""PREDICT under attack, of a classifier whose distance to every image is known."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from smoothcert import checkpoint, cli, datasets, methods, models
from smoothcert.checkpoint import Checkpoint
from smoothcert.datasets.base import InMemory, to_unit
from smoothcert.errors import UserError
from smoothcert.growing import GrowingTable
from smoothcert.point import Point
from smoothcert.settings import Training
from smoothcert.smoothing import attack
from smoothcert.smoothing.attack import Attacked
from smoothcert.smoothing.sampling import Sampler
from smoothcert.smoothing.settings import Attack

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


def checkpoint_of(classifier, data, folder):
    origin = {"data": data.checksum}
    return Checkpoint(folder / "model.pt", classifier, described(), origin, sha256="0" * 64)


@pytest.fixture
def model(data, tmp_path):
    return checkpoint_of(HalfSpace(), data, tmp_path)


def run(model, data, folder, device=CPU, replace=False, **settings):
    chosen = {"epsilons": [EPSILON], "n": 1000, "m": 8, "precision": "fp32", **settings}
    Attacked(model, data, Attack(**chosen), device).write(folder, replace)
    return (
        pd.read_csv(folder / "attacked.tsv", sep="\t"),
        json.loads((folder / "attacked.json").read_text()),
    )


def test_right_is_left_what_is_further_away_than_epsilon(model, data, tmp_path, device):
    table, about = run(model, data, tmp_path / "a", device)
    wrong = np.isin(np.arange(8), WRONG)
    assert table["idx"].tolist() == list(range(8))
    assert ((table["clean"] == table["label"]) == ~wrong).all()
    assert (table["correct"] == ~wrong & (DISTANCES > EPSILON)).all()
    assert (table["correct"] == (table["predict"] == table["label"])).all()
    assert about["accuracy"] == 6 / 8
    assert about["accuracy_at_epsilon_0.5"] == 3 / 8


def test_gradients_come_from_the_device_whatever_counts_the_votes(tmp_path, device):
    """On a GPU, votes in bf16 are those of a copy of the network."""
    torch.manual_seed(0)
    classifier = models.build(models.Specification.of("convnet8", datasets.describe("digits")))
    labels = torch.arange(10)  # one of them is what the network, which knows nothing, answers
    pixels = torch.full((10, 1, 8, 8), 128, dtype=torch.uint8)
    data = InMemory(pixels, labels, pixels, labels)
    model = checkpoint_of(classifier.eval(), data, tmp_path)
    table, _ = run(model, data, tmp_path / "a", device, n=100, precision="auto")
    assert (table["distance"] > 0).tolist() == (table["clean"] == table["label"]).tolist()
    assert (table["distance"] > 0).sum() == 1


def test_each_epsilon_is_an_attack_of_its_own(model, data, tmp_path):
    one, _ = run(model, data, tmp_path / "one")
    table, about = run(model, data, tmp_path / "three", epsilons=[0.25, EPSILON, 0.85])
    assert table["idx"].tolist() == [i for i in range(8) for _ in range(3)]
    assert table["epsilon"].tolist() == [0.25, EPSILON, 0.85] * 8
    same = table[table["epsilon"] == EPSILON].reset_index(drop=True)
    pd.testing.assert_frame_equal(one.drop(columns="time"), same.drop(columns="time"))
    wrong = np.isin(np.arange(8), WRONG)
    for epsilon, rows in table.groupby("epsilon"):
        assert (rows["correct"].to_numpy() == ~wrong & (epsilon < DISTANCES)).all()
        assert about[f"accuracy_at_epsilon_{epsilon:g}"] == rows["correct"].mean()


def test_the_epsilons_of_an_image_keep_their_order_in_a_large_group(
    model, data, tmp_path, monkeypatch
):
    monkeypatch.setattr(Sampler, "images", 8)
    epsilons = [0.1, 0.25, EPSILON, 0.7, 0.85]
    table, _ = run(model, data, tmp_path / "a", epsilons=epsilons, n=20, alpha=0.5, steps=1)
    assert table["epsilon"].tolist() == epsilons * 8


@pytest.mark.parametrize("torn", [0, 1, 2, 3])
def test_a_killed_attack_continues_after_its_last_whole_image(
    model, data, tmp_path, monkeypatch, capsys, torn
):
    """``torn`` is how many lines of the image it was killed in were written, the last in part."""
    settings = {"epsilons": [0.25, EPSILON, 0.85], "subset": "every-2"}
    whole, about = run(model, data, tmp_path / "whole", **settings)

    def killed(self, **_):
        raise KeyboardInterrupt

    folder = tmp_path / "a"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(GrowingTable, "finish", killed)
        run(model, data, folder, **settings)
    partial = folder / "attacked.tsv.partial"
    lines = partial.read_text().splitlines(keepends=True)
    left = lines[: 1 + 2 * 3 + torn]
    partial.write_text("".join([*left[:-1], left[-1][:-5]] if torn else left))
    capsys.readouterr()
    table, again = run(model, data, folder, **settings)
    assert "continuing after 2 images" in capsys.readouterr().err
    pd.testing.assert_frame_equal(table.drop(columns="time"), whole.drop(columns="time"))
    assert again == about
    assert not partial.exists()


@pytest.mark.parametrize("content", ["", "idx\tlabel\n0\t1\n", "{header}x\t1\n"])
def test_a_damaged_partial_table_is_set_aside(model, data, tmp_path, monkeypatch, capsys, content):
    def killed(self, **_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(GrowingTable, "finish", killed)
        run(model, data, tmp_path / "a")
    partial = tmp_path / "a" / "attacked.tsv.partial"
    header = partial.read_text().splitlines(keepends=True)[0]
    partial.write_text(content.format(header=header))
    table, _ = run(model, data, tmp_path / "a")
    assert "attacked.tsv.partial is damaged: set aside" in capsys.readouterr().err
    assert len(table) == 8


def test_few_votes_abstain_and_are_counted(model, data, tmp_path, monkeypatch):
    """Votes of a classifier that cannot tell leave no answer, which says nothing of its class."""
    counts = Sampler.counts

    def torn(self, images, indices, stage, n):
        found = counts(self, images, indices, stage, n)
        return torch.full_like(found, n // 2) if stage == "attacked" else found

    monkeypatch.setattr(Sampler, "counts", torn)
    table, about = run(model, data, tmp_path / "a")
    assert about["abstention_at_epsilon_0.5"] == 6 / 8
    assert about["accuracy_at_epsilon_0.5"] == 0
    assert (table["predict"][table["clean"] == table["label"]] == -1).all()


def test_a_finished_attack_has_nothing_to_do_and_is_not_replaced(model, data, tmp_path, capsys):
    first, _ = run(model, data, tmp_path / "a")
    capsys.readouterr()
    again, _ = run(model, data, tmp_path / "a")
    assert "holds these answers already" in capsys.readouterr().err
    pd.testing.assert_frame_equal(first, again)
    with pytest.raises(UserError, match=r"attacked\.tsv is of other weights, settings"):
        run(model, data, tmp_path / "a", steps=5)
    pd.testing.assert_frame_equal(first, pd.read_csv(tmp_path / "a" / "attacked.tsv", sep="\t"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: text.rindex("\n", 0, -1) + 1], "whole rows for each of 8 images"),
        (lambda text: text[:-12], "whole rows for each of 8 images"),
        (lambda text: text.replace("predict", "answer"), "predict"),
    ],
)
def test_a_damaged_table_is_not_called_finished(model, data, tmp_path, damage, message):
    run(model, data, tmp_path / "a")
    path = tmp_path / "a" / "attacked.tsv"
    path.write_text(damage(path.read_text()))
    with pytest.raises(UserError, match=rf"attacked\.tsv is damaged \(.*{message}"):
        run(model, data, tmp_path / "a")


def test_others_and_damaged_ones_are_replaced_where_that_is_asked_for(model, data, tmp_path):
    run(model, data, tmp_path / "a", steps=5)
    first, about = run(model, data, tmp_path / "a", replace=True, steps=6)
    assert about["protocol"]["steps"] == 6
    path = tmp_path / "a" / "attacked.tsv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    again, _ = run(model, data, tmp_path / "a", replace=True, steps=6)
    pd.testing.assert_frame_equal(again.drop(columns="time"), first.drop(columns="time"))


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
        "accuracy_at_epsilon_0.5": table["correct"],
    }.items():
        assert about[name] == pytest.approx(values.mean())
        assert about[f"{name}_standard_error"] == pytest.approx(values.std() / 8**0.5)
    assert about["protocol"]["epsilons"] == [EPSILON]
    assert about["images"] == 8
    assert {"commit", "code", "data", "device", "torch"} <= set(about["provenance"])


def test_the_description_tells_what_counts_votes_and_what_computes_gradients(model, data, tmp_path):
    _, about = run(model, data, tmp_path / "a")
    assert about["evaluation"]["backend"] == "openvino"
    assert about["evaluation"]["gradients"] == f"torch {torch.__version__}"


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


def test_the_attack_has_the_noise_of_training_and_the_settings(model, data, tmp_path, monkeypatch):
    chosen, perturb = set(), attack.perturb

    def seen(classifier, image, label, sigma, m, epsilon, steps, generator):
        chosen.add((sigma, m, epsilon, steps))
        return perturb(classifier, image, label, sigma, m, epsilon, steps, generator)

    monkeypatch.setattr(attack, "perturb", seen)
    model = dataclasses.replace(model, point=dataclasses.replace(model.point, sigma=0.3))
    run(model, data, tmp_path / "a", m=3, steps=5)
    assert chosen == {(0.3, 3, EPSILON, 5)}


def test_each_image_is_attacked_under_noise_of_its_own(model, data, tmp_path, monkeypatch):
    seeds, perturb = [], attack.perturb

    def seen(*given):
        seeds.append(given[-1].initial_seed())
        return perturb(*given)

    monkeypatch.setattr(attack, "perturb", seen)
    run(model, data, tmp_path / "a", epsilons=[0.25, EPSILON])
    assert seeds[::2] == seeds[1::2]
    assert len(set(seeds)) == 6


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

    monkeypatch.setattr(attack, "pgd", greedy)
    with pytest.raises(UserError, match="out of memory on cpu with 8 noises; choose a smaller m"):
        run(model, data, tmp_path / "a")


def test_other_errors_are_not_taken_for_memory(model, data, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(attack, "pgd", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
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
    options = ["--subset=every-60", "--n=50", "--alpha=0.5", "--epsilons=1", "--m=4"]
    cli.main(["attack", str(saved), *options, f"--output={tmp_path / 'a'}"])
    assert len((tmp_path / "a" / "attacked.tsv").read_text().splitlines()) == 7
    assert "accuracy at epsilon 1: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epsilons=0"], "epsilons[0]: Input should be greater than 0"),
        (["--epsilons", "0.5", "nan"], "epsilons[1]: Input should be"),
        (["--epsilons", "1", "1.0"], "epsilons: a value stands twice"),
        (["--epsilons=1", "--steps=0"], "steps: Input should be greater than or equal to 1"),
        (["--epsilons=1", "--n=10"], "the smallest n that can is 11"),
    ],
)
def test_a_mistake_gets_one_line(saved, tmp_path, options, message):
    with pytest.raises(SystemExit) as caught:
        cli.main(["attack", str(saved), *options, f"--output={tmp_path / 'a'}"])
    assert message in caught.value.code
    assert not (tmp_path / "a").exists()


def test_an_epsilon_is_required(saved, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["attack", str(saved), "--output=a"])
    assert caught.value.code == 2
    assert "required: --epsilons" in capsys.readouterr().err
