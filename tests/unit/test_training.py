"""The training loop: schedule, minibatches, reproducibility, resume."""

import contextlib
import itertools
import shutil
from dataclasses import replace

import pytest
import torch

from smoothcert import checkpoint, datasets, files, fingerprint, methods, models, train
from smoothcert.datasets.base import InMemory, to_unit
from smoothcert.errors import UserError
from smoothcert.point import Point
from smoothcert.settings import Training

CPU = torch.device("cpu")


def point(method="gaussian", weight=0.0, seed=0, parameters=None, **training):
    settings = {"epochs": 3, "batch_size": 64, "lr": 0.05, **training}
    return Point(
        dataset="digits",
        arch="convnet8",
        method=method,
        sigma=0.25,
        weight=weight,
        seed=seed,
        training=Training(**settings),
        parameters=methods.load(method)(**(parameters or {})),
    )


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return datasets.load("digits", tmp_path_factory.mktemp("data"))


def weights(folder):
    return (folder / "model.pt").read_bytes()


def log(folder):
    """Return the rows of the training log."""
    header, *rows = (line.split("\t") for line in (folder / "train.tsv").read_text().splitlines())
    return [dict(zip(header, map(float, row), strict=True)) for row in rows]


@pytest.mark.parametrize(
    ("convention", "step", "lengths"),
    [
        ("cohen", 30, [30, 30, 30]),
        ("jeong", 30, [31, 30, 29]),
        ("cohen", 50, [50, 50, 50]),
        ("jeong", 50, [51, 50, 49]),
    ],
)
def test_learning_rate_conventions(convention, step, lengths):
    """Epochs at each rate of 90 on MNIST and ImageNet, of 150 on CIFAR-10."""
    training = Training(lr=0.01, lr_step=step, lr_convention=convention)
    rates = [training.learning_rate(epoch) for epoch in range(3 * step)]
    assert rates == sorted(rates, reverse=True)
    assert [sum(abs(r - lr) < 1e-12 for r in rates) for lr in (1e-2, 1e-3, 1e-4)] == lengths


def test_a_remainder_is_dropped():
    parts = train.minibatches(11, methods.load("consistency")(m=3))
    assert [list(range(11)[part]) for part in parts] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("method", "parameters"), [("gaussian", {}), ("smoothadv", {"steps": 2, "m": 2})]
)
def test_the_seed_decides_the_weights(digits, tmp_path, device, method, parameters, precision):
    data = InMemory(
        digits.train_images[:320], digits.train_labels[:320], *[digits.test_images[:0]] * 2
    )
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run = point(method, 0.0, seed, parameters, epochs=2, precision=precision)
        train.train(run, data, tmp_path / name, device)
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")


def test_another_run_is_not_written_over(digits, tmp_path):
    train.train(point(epochs=1), digits, tmp_path, CPU)
    before = weights(tmp_path)
    with pytest.raises(UserError, match=r"model\.pt is of another run"):
        train.train(point(epochs=1, lr=0.04), digits, tmp_path, CPU)
    assert weights(tmp_path) == before


def test_another_run_that_comes_meanwhile_is_not_taken_for_this_one(digits, tmp_path, monkeypatch):
    train.train(point(epochs=1), digits, tmp_path / "other", CPU)
    lock = files.lock

    @contextlib.contextmanager
    def late(path):
        shutil.copytree(tmp_path / "other", tmp_path / "a", dirs_exist_ok=True)
        with lock(path):
            yield

    monkeypatch.setattr(files, "lock", late)
    with pytest.raises(UserError, match=r"model\.pt is of another run"):
        train.train(point(epochs=1, lr=0.04), digits, tmp_path / "a", CPU)


def test_what_is_trained_is_not_trained_again(digits, tmp_path, capsys, monkeypatch):
    train.train(point(epochs=1), digits, tmp_path, CPU)
    before = (tmp_path / "train.tsv").read_bytes()
    train.train(point(epochs=1), digits, tmp_path, CPU)
    assert "holds this model already" in capsys.readouterr().err
    assert (tmp_path / "train.tsv").read_bytes() == before  # its seconds included
    monkeypatch.setattr(fingerprint, "of_training", lambda point: "another")
    with pytest.raises(UserError, match=r"model\.pt is of other code; .* anew with --replace"):
        train.train(point(epochs=1), digits, tmp_path, CPU)
    assert (tmp_path / "train.tsv").read_bytes() == before
    train.train(point(epochs=1), digits, tmp_path, CPU, replace=True)
    assert (tmp_path / "train.tsv").read_bytes() != before


def test_another_run_is_not_replaced_either(digits, tmp_path):
    train.train(point(epochs=1), digits, tmp_path, CPU)
    with pytest.raises(UserError, match=r"model\.pt is of another run"):
        train.train(point(epochs=1, lr=0.04), digits, tmp_path, CPU, replace=True)


def test_a_model_without_its_log_is_trained_again(digits, tmp_path):
    train.train(point(epochs=1), digits, tmp_path, CPU)
    before = weights(tmp_path)
    (tmp_path / "train.tsv").unlink()
    train.train(point(epochs=1), digits, tmp_path, CPU)
    assert len(log(tmp_path)) == 1
    assert weights(tmp_path) == before


def test_a_second_process_is_told_who_trains_in_the_folder(digits, tmp_path):
    with files.lock(tmp_path / "train.lock"), pytest.raises(UserError, match="is being written by"):
        train.train(point(epochs=1), digits, tmp_path, CPU)


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"is a folder; name the file in it, as .*/model\.pt"):
        checkpoint.load(tmp_path)


def test_checkpoint_loads_safely_and_tells_what_it_is(digits, tmp_path):
    run = point("consistency", 2.0, parameters={"m": 3, "eta": 0.1}, epochs=1)
    train.train(run, digits, tmp_path, CPU)
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    assert content["provenance"]["data"] == digits.checksum
    assert content["provenance"]["code"] == fingerprint.of_training(run)
    loaded = checkpoint.load(tmp_path / "model.pt")
    assert loaded.point == run
    content["specification"] |= {"arch": "lenet", "size": 28}
    checkpoint.write(tmp_path / "other.pt", content)
    with pytest.raises(UserError, match="do not fit a lenet"):
        checkpoint.load(tmp_path / "other.pt")


@pytest.mark.parametrize("normalize", ["standard", "center", "none"])
def test_the_classifier_normalises_as_is_set(digits, tmp_path, monkeypatch, normalize):
    described = replace(datasets.describe("digits"), mean=(0.3,), std=(0.4,))
    monkeypatch.setattr("smoothcert.datasets.digits.DESCRIPTION", described)
    train.train(point(epochs=1, normalize=normalize), digits, tmp_path, CPU)
    found = checkpoint.load(tmp_path / "model.pt").classifier.specification
    assert found == models.Specification.of("convnet8", described, normalize)


def test_training_learns(digits, tmp_path):
    train.train(point(epochs=15), digits, tmp_path, CPU)
    rows = (tmp_path / "train.tsv").read_text().splitlines()
    header, last = rows[0].split("\t"), rows[-1].split("\t")
    assert header == ["epoch", "lr", "loss", "regularizer", "noisy_accuracy", "seconds"]
    assert len(rows) == 16
    assert float(last[4]) > 0.8


def test_the_log_averages_over_images_not_steps(digits, tmp_path, monkeypatch):
    """An epoch has 22 batches of 64 images, and one of 29."""
    objective = methods.load("gaussian")
    loss = objective.loss

    def told(self, model, images, *given):
        whole = torch.tensor(float(len(images) == 64))
        return replace(loss(self, model, images, *given), regularizer=2 * whole, hits=whole)

    monkeypatch.setattr(objective, "loss", told)
    train.train(point(epochs=1), digits, tmp_path, CPU)
    (row,) = log(tmp_path)
    assert row["noisy_accuracy"] == pytest.approx(22 * 64 / 1437)
    assert row["regularizer"] == pytest.approx(2 * 22 * 64 / 1437)


def test_each_step_has_the_settings_of_its_epoch(digits, tmp_path, monkeypatch):
    objective = methods.load("gaussian")
    loss, step, found, seeds = objective.loss, torch.optim.SGD.step, [], set()
    keys = ("lr", "momentum", "weight_decay")

    def seen(self, model, images, labels, smoothing, weight):
        found.append((smoothing.epoch, smoothing.sigma, model.training))
        seeds.add(smoothing.generator.initial_seed())
        return loss(self, model, images, labels, smoothing, weight)

    def taken(optimizer, *given):
        found[-1] += tuple(optimizer.param_groups[0][key] for key in keys)
        return step(optimizer, *given)

    monkeypatch.setattr(objective, "loss", seen)
    monkeypatch.setattr(torch.optim.SGD, "step", taken)
    settings = {"lr_step": 1, "momentum": 0.7, "weight_decay": 0.01}
    train.train(point(epochs=2, **settings), digits, tmp_path, CPU)
    assert found == [
        (epoch, 0.25, True, pytest.approx(lr), 0.7, 0.01)
        for epoch, lr in enumerate((0.05, 0.005))
        for _ in range(23)
    ]
    assert len(seeds) == 2
    assert [row["lr"] for row in log(tmp_path)] == pytest.approx([0.05, 0.005])


@pytest.mark.parametrize(("augment", "altered"), [("none", False), ("crop-flip", True)])
def test_images_are_augmented_as_is_set(digits, tmp_path, monkeypatch, augment, altered):
    objective = methods.load("gaussian")
    loss, seen = objective.loss, set()

    def kept(self, model, images, *given):
        seen.update(image.numpy().tobytes() for image in images)
        return loss(self, model, images, *given)

    monkeypatch.setattr(objective, "loss", kept)
    train.train(point(epochs=1, augment=augment), digits, tmp_path, CPU)
    assert (seen != {image.numpy().tobytes() for image in to_unit(digits.train_images)}) == altered


def test_resnet20_learns_on_images_of_cifar10(cifar10_dir, tmp_path):
    """1,500 images in two epochs, by the loader and with the augmentation of the tables."""
    whole = datasets.load("cifar10", cifar10_dir)
    data = InMemory(
        whole.train_images[:1500],
        whole.train_labels[:1500],
        whole.test_images[:1],
        whole.test_labels[:1],
    )
    training = Training(epochs=2, batch_size=50, lr=0.1, augment="crop-flip")
    gaussian = methods.load("gaussian")()
    run = Point("cifar10", "resnet20", "gaussian", 0.25, 0, 0, training, gaussian)
    train.train(run, data, tmp_path, CPU)
    rows = [row.split("\t") for row in (tmp_path / "train.tsv").read_text().splitlines()]
    first, second = (float(row[rows[0].index("loss")]) for row in rows[1:])
    assert second < 0.95 * first
    assert second < 2.15, "blind to the images, the best is log 10 = 2.30"


class KilledError(BaseException):
    """Ends a run as a kill would: no cleaning up."""


def kill_after(monkeypatch, epochs):
    save, calls = train._State.save, []

    def counted(self, path, identity, rows):
        save(self, path, identity, rows)
        calls.append(len(rows))
        if len(rows) == epochs:
            raise KilledError

    monkeypatch.setattr(train._State, "save", counted)
    return calls


def test_resume_reaches_the_same_weights(digits, tmp_path, device, monkeypatch, capsys):
    run = point("consistency", 2.0, epochs=4)
    train.train(run, digits, tmp_path / "whole", device)
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        kill_after(patch, 2)
        train.train(run, digits, tmp_path / "killed", device)
    capsys.readouterr()
    train.train(run, digits, tmp_path / "killed", device)
    assert "resuming after epoch 2" in capsys.readouterr().err
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    assert not (tmp_path / "killed" / "resume.pt").exists()


def test_a_run_that_goes_on_elsewhere_names_both_devices(digits, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        kill_after(patch, 1)
        train.train(point(), digits, tmp_path, CPU)
    here = train.provenance
    monkeypatch.setattr(train, "provenance", lambda *given: here(*given) | {"device": "another"})
    train.train(point(), digits, tmp_path, CPU)
    found = checkpoint.load(tmp_path / "model.pt").provenance["device"]
    monkeypatch.undo()
    train.train(point(), digits, tmp_path / "whole", CPU)
    whole = checkpoint.load(tmp_path / "whole" / "model.pt").provenance["device"]
    assert found == f"{whole} and another"


@pytest.mark.parametrize("change", ["settings", "seed", "code", "data", "damage"])
def test_a_resume_file_of_another_run_is_set_aside(digits, tmp_path, monkeypatch, capsys, change):
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        kill_after(patch, 2)
        train.train(point(), digits, tmp_path / "run", CPU)
    run, data = point(), digits
    if change == "settings":
        run = point(lr=0.04)
    elif change == "seed":
        run = point(seed=5)
    elif change == "code":
        monkeypatch.setattr(fingerprint, "of_training", lambda point: "another")
    elif change == "data":
        data = InMemory(
            digits.train_images.flip(3), digits.train_labels, digits.test_images, digits.test_labels
        )
    else:
        (tmp_path / "run" / "resume.pt").write_bytes(b"PK\x03\x04 torn")
    train.train(run, data, tmp_path / "fresh", CPU)
    train.train(run, data, tmp_path / "run", CPU)
    assert "set aside" in capsys.readouterr().err
    assert (tmp_path / "run" / "resume.pt.aside").exists()
    assert weights(tmp_path / "run") == weights(tmp_path / "fresh")


def test_a_resume_file_that_the_system_cannot_read_stays(digits, tmp_path):
    """It is not damaged, and neither set aside nor replaced: a file server may be back soon."""
    (tmp_path / "resume.pt").symlink_to("/proc/self/mem")  # its first byte is not mapped
    with pytest.raises(UserError, match=r"cannot read .*resume\.pt: Input/output error"):
        train.train(point(), digits, tmp_path, CPU)
    assert (tmp_path / "resume.pt").is_symlink()


def poison(monkeypatch, method, step):
    """Make the loss of a method NaN at a step, the first of which is 1."""
    objective = methods.load(method)
    loss, steps = objective.loss, itertools.count(1)

    def poisoned(*given):
        terms = loss(*given)
        if next(steps) == step:
            terms.classification.data.fill_(float("nan"))
        return terms

    monkeypatch.setattr(objective, "loss", poisoned)


def test_a_loss_that_is_not_finite_stops_the_run(digits, tmp_path, monkeypatch):
    poison(monkeypatch, "gaussian", 23 + 4)  # 23 steps an epoch
    with pytest.raises(UserError, match="nan in epoch 2, batch 4"):
        train.train(point(), digits, tmp_path, CPU)
    kept = checkpoint.read(tmp_path / "resume.pt")
    assert len(kept["rows"]) == 1
    assert not (tmp_path / "model.pt").exists()


def test_a_batch_has_its_number_whatever_its_minibatches(digits, tmp_path, monkeypatch):
    poison(monkeypatch, "consistency", 6)  # the second step of the third batch
    with pytest.raises(UserError, match="nan in epoch 1, batch 3"):
        train.train(point("consistency", 2.0, epochs=1), digits, tmp_path, CPU)


def test_before_the_first_step_the_rate_is_not_to_blame(digits, tmp_path, monkeypatch):
    objective = methods.load("gaussian")
    loss = objective.loss
    nan = torch.tensor(torch.nan)
    monkeypatch.setattr(objective, "loss", lambda *given: replace(loss(*given), regularizer=nan))
    with pytest.raises(UserError, match=r"epoch 1, batch 1; no step came .* loss of method gaussi"):
        train.train(point(), digits, tmp_path, CPU)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda terms: terms.classification, "loss of method gaussian must return Terms of three"),
        (lambda terms: replace(terms, regularizer=0.0), "must return Terms of three scalar"),
        (lambda terms: replace(terms, hits=terms.hits.expand(2)), "must return Terms of three"),
        (lambda terms: replace(terms, hits=terms.hits * torch.nan), "gives hits of nan, which are"),
        (lambda terms: replace(terms, hits=terms.hits + 40), "gives hits of 4.*no share"),
    ],
)
def test_what_a_loss_must_not_return(digits, tmp_path, monkeypatch, change, message):
    objective = methods.load("gaussian")
    loss = objective.loss
    monkeypatch.setattr(objective, "loss", lambda *given: change(loss(*given)))
    with pytest.raises(UserError, match=message):
        train.train(point(), digits, tmp_path, CPU)


def test_weights_that_give_no_logits_are_not_kept(digits, tmp_path, monkeypatch):
    """No loss follows the last step."""
    run = point()
    monkeypatch.setattr(train, "minibatches", lambda images, method: [slice(images)])
    monkeypatch.setattr(type(run.training), "learning_rate", lambda *_: 1e25)
    data = InMemory(digits.train_images[:8], digits.train_labels[:8], *[digits.test_images[:0]] * 2)
    with pytest.raises(
        UserError, match=r"logits of .* are not finite after epoch 1; lower training"
    ):
        train.train(run, data, tmp_path, CPU)
    assert not (tmp_path / "model.pt").exists()


@pytest.mark.parametrize(("precision", "casts"), [("fp32", False), ("bf16", True)])
def test_the_loss_is_computed_in_the_precision_that_is_set(
    digits, tmp_path, monkeypatch, precision, casts
):
    objective = methods.load("gaussian")
    loss, found = objective.loss, set()

    def seen(*given):
        found.add(torch.is_autocast_enabled("cpu"))
        return loss(*given)

    monkeypatch.setattr(objective, "loss", seen)
    train.train(point(epochs=1, precision=precision), digits, tmp_path, CPU)
    assert found == {casts}


def test_bf16_trains_fp32_weights(digits, tmp_path):
    train.train(point(epochs=2, precision="bf16"), digits, tmp_path, CPU)
    state = checkpoint.load(tmp_path / "model.pt").classifier.state_dict()
    assert {value.dtype for value in state.values()} == {torch.float32}
