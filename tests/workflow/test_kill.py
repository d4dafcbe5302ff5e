"""SIGKILL at random moments, then the same command again: nothing is lost and nothing differs."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import commands
import pytest
import torch

from smoothcert import checkpoint, datasets, methods, models
from smoothcert.datasets.base import to_unit
from smoothcert.point import Point
from smoothcert.settings import Training

EPOCHS = 20
TRAIN = ["--dataset", "digits", "--arch", "convnet8", "--method", "consistency", "--sigma", "0.25",
         "--lambda", "2", "--epochs", str(EPOCHS), "--batch-size", "64",
         "--lr", "0.05"]  # fmt: skip
CERTIFY = ["--subset", "every-2", "--n", "2000"]


def finish(*arguments: object, log: Path) -> str:
    process = commands.start("smoothcert", *arguments, log=log)
    process.communicate(timeout=300)
    assert process.returncode == 0, log.read_text()
    return log.read_text()


def kill_within(
    command: list, log: Path, ready: Path, chance: random.Random, most: float = 0.4
) -> None:
    """Kill the command at a random moment after the file ``ready`` has something to lose."""
    process = commands.start("smoothcert", *command, log=log)
    while not ready.exists() or ready.stat().st_size < 1000:
        assert process.poll() is None, log.read_text()
        time.sleep(0.01)
    time.sleep(chance.uniform(0, most))
    process.kill()
    process.communicate()


def epochs(log: str) -> list[int]:
    return [int(number) for number in re.findall(r"^epoch (\d+)/", log, re.M)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a folder with an undisturbed training run and its undisturbed certificates."""
    folder = tmp_path_factory.mktemp("whole")
    finish("train", *TRAIN, "--output", folder, log=folder / "log")
    finish("certify", folder / "model.pt", *CERTIFY, "--output", folder / "c", log=folder / "log")
    return folder


def test_train(whole, tmp_path):
    chance = random.Random(0)
    for number in range(5):
        run = tmp_path / str(number)
        command = ["train", *TRAIN, "--output", run]
        kill_within(command, tmp_path / "first", run / "resume.pt", chance)
        saved = len(torch.load(run / "resume.pt", weights_only=True)["rows"])
        assert 1 <= saved < EPOCHS
        log = finish(*command, log=tmp_path / "second")
        assert epochs(log) == list(range(saved + 1, EPOCHS + 1)), (
            "an epoch was repeated or left out"
        )
        assert f"resuming after epoch {saved}" in log
        assert (run / "model.pt").read_bytes() == (whole / "model.pt").read_bytes()


def test_certify(whole, tmp_path):
    chance = random.Random(1)
    for number in range(5):
        # A copy in a folder of its own: rows are taken over from finished tables beside a model.
        model = tmp_path / str(number) / "model.pt"
        model.parent.mkdir()
        model.write_bytes((whole / "model.pt").read_bytes())
        folder = model.parent / "c"
        command = ["certify", model, *CERTIFY, "--output", folder]
        partial = folder / "certificates.tsv.partial"
        kill_within(command, tmp_path / "first", partial, chance)
        before = partial.read_text()
        kept = before[: before.rfind("\n") + 1]
        assert kept.count("\n") > 10
        log = finish(*command, log=tmp_path / "second")
        assert f"continuing after {kept.count(chr(10)) - 1} images" in log
        after = folder / "certificates.tsv"
        assert after.read_text().startswith(kept), "a finished row was done again"
        assert read_without_time(after) == read_without_time(whole / "c" / "certificates.tsv")


def test_attack(whole, tmp_path):
    options = ["--epsilons", 0.5, 0.25, "--subset", "every-6", "--n", 2000, "--m", 8, "--output"]
    command = ["attack", whole / "model.pt", *options]
    finish(*command, tmp_path / "whole", log=tmp_path / "log")
    chance = random.Random(2)
    for number in range(2):
        folder = tmp_path / str(number)
        partial = folder / "attacked.tsv.partial"
        kill_within([*command, folder], tmp_path / "log", partial, chance)
        text = partial.read_text()
        before = text[: text.rfind("\n") + 1].splitlines(keepends=True)
        kept = before[: 1 + (len(before) - 1) // 2 * 2]  # two rows an image
        assert 10 < len(kept) < 121
        log = finish(*command, folder, log=tmp_path / "log")
        assert f"continuing after {len(kept) // 2} images" in log
        after = folder / "attacked.tsv"
        assert after.read_text().startswith("".join(kept)), "a finished row was done again"
        assert read_without_time(after) == read_without_time(tmp_path / "whole" / after.name)


def read_without_time(path: Path) -> list[list[str]]:
    """Return the cells without the column of seconds."""
    head, *rows = (line.split("\t") for line in path.read_text().splitlines())
    return [[cell for name, cell in zip(head, row, strict=True) if name != "time"] for row in rows]


@pytest.mark.parametrize(
    ("dataset", "arch", "subset"), [("mnist", "lenet", "0-99"), ("cifar10", "resnet20", "0-39")]
)
def test_certify_on_images_of_the_papers(
    tmp_path, mnist_dir, cifar10_dir, dataset, arch, subset, precision
):
    data_dir = {"mnist": mnist_dir, "cifar10": cifar10_dir}[dataset]
    model = save_untrained(tmp_path / "model.pt", dataset, arch, data_dir)
    command = ["certify", model, "--subset", subset, "--n0", 10, "--n", 50, "--data-dir", data_dir,
               "--precision", precision, "--output"]  # fmt: skip
    finish(*command, tmp_path / "whole" / "c", log=tmp_path / "log")
    finish(*command[:-1], "--threads", "2", "--output", tmp_path / "two", log=tmp_path / "log")
    (tmp_path / "whole" / "c" / "certificates.json").unlink()  # or its rows would be taken over
    (tmp_path / "two" / "certificates.json").unlink()
    killed = tmp_path / "killed"
    partial = killed / "certificates.tsv.partial"
    kill_within([*command, killed], tmp_path / "log", partial, random.Random(4), most=0.2)
    log = finish(*command, killed, log=tmp_path / "log")
    assert re.search(r"continuing after \d\d images", log)
    expected = read_without_time(tmp_path / "whole" / "c" / "certificates.tsv")
    assert len({row[5] for row in expected[1:]}) > 2, "more than two classes are predicted"
    assert read_without_time(tmp_path / "two" / "certificates.tsv") == expected
    assert read_without_time(killed / "certificates.tsv") == expected


def save_untrained(path: Path, dataset: str, arch: str, data_dir: Path) -> Path:
    """Write a classifier with random weights whose votes fall on several classes."""
    data = datasets.load(dataset, data_dir)
    torch.manual_seed(0)
    classifier = models.build(models.Specification.of(arch, datasets.describe(dataset))).eval()
    last = list(classifier.modules())[-1]
    with torch.no_grad():
        images = to_unit(data.test_images[:200])
        last.bias -= classifier(images + 0.5 * torch.randn_like(images)).mean(0)
        last.weight *= 30
        last.bias *= 30
    parameters = methods.load("gaussian")()
    point = Point(dataset, arch, "gaussian", 0.5, 0, 0, Training(), parameters)
    checkpoint.save(path, classifier, point, {"data": data.checksum})
    return path


def test_other_settings_after_a_kill_train_afresh(tmp_path):
    run = tmp_path / "run"
    command = ["train", *TRAIN, "--output", run]
    kill_within(command, tmp_path / "log", run / "resume.pt", random.Random(2))
    log = finish(*command, "--eta", "0.1", log=tmp_path / "log")
    assert "set aside" in log
    assert epochs(log) == list(range(1, EPOCHS + 1))


def test_retraining_after_a_kill_discards_old_rows(whole, tmp_path):
    model = tmp_path / "model.pt"
    model.write_bytes((whole / "model.pt").read_bytes())
    folder = tmp_path / "c"
    command = ["certify", model, *CERTIFY, "--output", folder]
    partial = folder / "certificates.tsv.partial"
    kill_within(command, tmp_path / "log", partial, random.Random(3))
    model.unlink()
    finish("train", *TRAIN, "--seed", "1", "--output", tmp_path, log=tmp_path / "log")
    log = finish(*command, log=tmp_path / "log")
    assert "set aside" in log
    assert "continuing" not in log
    assert (folder / "certificates.tsv").read_text().count("\n") == 181
