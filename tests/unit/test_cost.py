"""The cost of a configuration: its jobs, exact passes, and hours that follow from measurements."""

import copy
import csv
import time
from pathlib import Path

import pytest
import torch
import yaml
from torch.nn.modules import module

from smoothcert import cli, config_files, cost, datasets, methods, models, stopwatch, train
from smoothcert.errors import UserError
from smoothcert.point import Point
from smoothcert.run_files import TRAINING_LOG
from smoothcert.settings import Training
from smoothcert.smoothing import attack
from smoothcert.smoothing.sampling import Sampler

CPU = torch.device("cpu")
DIGITS = {
    "experiments": [
        {
            "name": "one",
            "dataset": "digits",
            "arch": "convnet8",
            "sigmas": [0.25, 0.5],
            "seeds": [0, 1],
            "training": {"epochs": 10},
            "certification": {"n": 1000},
            "methods": [{"method": "gaussian"}, {"method": "consistency", "lambda": [5, 10]}],
        }
    ]
}


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(stopwatch, "SECONDS", 0.05)


@pytest.fixture
def measured(monkeypatch):
    """Replace the measurements by fixed ones; return what was measured."""
    calls = []

    def training_image(point, device):
        calls.append(point)
        return stopwatch.TrainingImage([0.001, 0.002, 0.0015], forward=3, backward=2)

    def vote(specification, precision, backend, device):
        calls.append(specification)
        return stopwatch.Vote([1e-6, 4e-6], batch=400)

    def attack_step(specification, m, device):
        calls.append(m)
        return [0.01, 0.03]

    monkeypatch.setattr(stopwatch, "attack_step", attack_step)
    monkeypatch.setattr(stopwatch, "training_image", training_image)
    monkeypatch.setattr(stopwatch, "vote", vote)
    return calls


def settings(top=None, *more, **changes):
    """Return DIGITS with changes of its experiment, and copies of that with others."""
    content = {**copy.deepcopy(DIGITS), **(top or {})}
    content["experiments"][0].update(changes)
    for number, others in enumerate(more):
        content["experiments"].append({**content["experiments"][0], "name": f"{number}", **others})
    return config_files.read(content)


def estimate(settings, results=Path("nowhere")):
    return {
        (row.stage, row.experiment, row.label): row for row in cost.estimate(settings, results, CPU)
    }


def point(method="gaussian", parameters=None, **training):
    objective = methods.load(method)(**(parameters or {}))
    weight = 2.0 if objective.regularized else 0.0
    training = Training(**training)
    return Point("digits", "convnet8", method, 0.25, weight, 3, training, objective)


class TestJobs:
    def test_two_stages_of_each_run(self):
        jobs = cost.jobs(settings())
        assert len(jobs) == 2 * (2 * 2 + 2 * 2 * 2)
        assert sum(job.settings is None for job in jobs) == 12

    def test_what_experiments_share_counts_once(self):
        whole = cost.jobs(settings())
        assert cost.jobs(settings(None, {})) == whole
        other = cost.jobs(settings(None, {"certification": {"n": 2000}}))
        assert other[: len(whole)] == whole
        assert [job.settings.n for job in other[len(whole) :]] == [2000] * 12

    def test_published_logs_need_none(self):
        log = {"method": "stability", "lambda": 2, "logs": "a/*.tsv"}
        entries = [*DIGITS["experiments"][0]["methods"], log]
        assert cost.jobs(settings(methods=entries)) == cost.jobs(settings())

    def test_an_attack_is_a_third_stage(self, tmp_path):
        jobs = cost.jobs(settings(attack={"epsilons": [0.5, 1]}))
        assert [job.stage for job in jobs] == ["train", "certify", "attack"] * 12
        attack = jobs[2]
        table = tmp_path / attack.point.folder / attack.settings.folder / "attacked.tsv"
        table.parent.mkdir(parents=True)
        assert not attack.finished(tmp_path)
        table.touch()
        assert attack.finished(tmp_path)
        assert not jobs[1].finished(tmp_path)

    def test_finished(self, tmp_path):
        training, certification = cost.jobs(settings())[:2]
        folder = tmp_path / training.point.folder
        table = folder / certification.settings.folder / "certificates.tsv"
        table.parent.mkdir(parents=True)
        assert not training.finished(tmp_path)
        (folder / "model.pt").touch()
        assert training.finished(tmp_path)
        assert not certification.finished(tmp_path)
        table.touch()
        assert certification.finished(tmp_path)


@pytest.mark.usefixtures("measured")
class TestEstimate:
    def test_training(self):
        """8 runs of 10 epochs of 1,437 images at 1 to 2 ms, three passes forward, two back."""
        row = estimate(settings())["train", "one", "Consistency"]
        assert (row.open, row.finished) == (8, 0)
        images = 8 * 10 * 1437
        assert (row.work.forward, row.work.backward) == (3 * images, 2 * images)
        assert row.work.fewest == pytest.approx(images * 0.001 / 3600)
        assert row.work.most == pytest.approx(images * 0.002 / 3600)

    def test_certification_fills_its_batches(self):
        """Batches of 400 votes: one for n0 = 100, three for n = 1000."""
        row = estimate(settings())["certify", "one", "Gaussian"]
        votes = 4 * 360 * (400 + 1200)
        assert (row.open, row.work.forward, row.work.backward) == (4, votes, 0)
        assert row.work.fewest == pytest.approx(votes * 1e-6 / 3600)
        assert row.work.most == pytest.approx(votes * 4e-6 / 3600)

    def test_an_attack_takes_its_steps_and_three_answers(self):
        """Two epsilons: 2 x 7 steps of 5 noises, and 3 x 1000 votes in batches of 400."""
        attack = {"epsilons": [0.5, 1], "steps": 7, "m": 5, "n": 1000}
        row = estimate(settings(attack=attack))["attack", "one", "Gaussian"]
        images, votes = 4 * 360, 3 * 1200
        assert (row.open, row.work.backward) == (4, images * 14 * 5)
        assert row.work.forward == images * (14 * 5 + votes)
        assert row.work.fewest == pytest.approx(images * (14 * 0.01 + votes * 1e-6) / 3600)
        assert row.work.most == pytest.approx(images * (14 * 0.03 + votes * 4e-6) / 3600)

    def test_modes_take_all_their_looks(self):
        """Looks after 100, 1,000 and 10,000 votes, the first two rounded up to 400 and 1,200."""
        protocol = {"n": 10_000, "mode": "staged", "subset": "0-9"}
        row = estimate(settings(certification=protocol))["certify", "one", "Gaussian"]
        assert row.work.forward == 4 * 10 * (400 + 400 + 1200 + 9200)

    def test_extra_images_double_an_epoch(self):
        one = estimate(settings())["train", "one", "Gaussian"].work
        extra = {"epochs": 10, "extra_images": "more.npz"}
        assert estimate(settings(training=extra))["train", "one", "Gaussian"].work == one + one

    def test_shards_are_jobs_of_the_same_work(self):
        one, two = (estimate(settings(top)) for top in ({}, {"shards": 3}))
        key = ("certify", "one", "Gaussian")
        assert (one[key].open, two[key].open) == (4, 12)
        assert one[key].work == two[key].work
        assert two["train", "one", "Gaussian"].open == 4

    def test_trainings_come_first(self):
        stages = [key[0] for key in estimate(settings(None, {"seeds": [7]}))]
        assert stages == ["train"] * 4 + ["certify"] * 4

    def test_equal_kinds_are_measured_once(self, measured):
        others = {"training": {"epochs": 3, "lr": 1.0}, "seeds": [5], "certification": {"n": 20}}
        estimate(settings(None, others))
        assert [getattr(one, "method", one) for one in measured[:2]] == ["gaussian", "consistency"]
        assert len(measured) == 3

    @pytest.mark.parametrize(
        "training", [{"batch_size": 9}, {"precision": "bf16"}, {"augment": "crop-flip"}]
    )
    def test_other_kinds_are_measured_too(self, measured, training):
        estimate(settings(None, {"training": training}))
        assert len(measured) == 5

    def test_what_is_finished_is_not_measured(self, measured, tmp_path):
        one = settings()
        for job in cost.jobs(one):
            table = tmp_path / job.point.folder / one.experiments[0].certification.folder
            table.mkdir(parents=True, exist_ok=True)
            (tmp_path / job.point.folder / "model.pt").touch()
            if job.label == "Gaussian":
                (table / "certificates.tsv").touch()
        rows = estimate(one, tmp_path)
        assert [type(one) for one in measured] == [models.Specification]
        assert [(row.open, row.finished) for row in rows.values()] == [
            (0, 4), (0, 8), (0, 4), (8, 0)
        ]  # fmt: skip
        assert rows["train", "one", "Gaussian"].work == cost.Work()


T, M = 3, 2
ATTACK = {"steps": T, "m": M}


class TestTrainingImage:
    @pytest.mark.parametrize(
        ("method", "parameters", "forward", "backward"),
        [
            ("gaussian", {}, 1, 1),
            ("stability", {}, 2, 2),
            ("consistency", {"m": 4}, 4, 4),
            ("macer", {"k": 5}, 5, 5),
            ("pgd", ATTACK, (T + 1) * M, (T + 1) * M),
            ("pgd", {**ATTACK, "noise": "after"}, T + M, T + M),
            ("smoothadv", ATTACK, (T + 1) * M, (T + 1) * M),
            ("smoothadv", {**ATTACK, "attack": "ddn"}, (T + 1) * M, (T + 1) * M),
            ("smoothadv", {**ATTACK, "gradient": "gradient-free"}, (T + 1) * M, M),
            ("smoothadv", {**ATTACK, "train_on": "one"}, T * M + 1, T * M + 1),
            ("smoothadv_consistency", ATTACK, (T + 1) * M, (T + 1) * M),
        ],
    )
    def test_passes(self, method, parameters, forward, backward):
        image = stopwatch.training_image(stopwatch.representative(point(method, parameters)), CPU)
        assert (image.forward, image.backward) == (forward, backward)
        assert len(image.seconds) >= 2
        assert all(seconds > 0 for seconds in image.seconds)

    def test_an_epoch_takes_its_images_times_as_long(self, tmp_path, monkeypatch):
        """To a factor of ten, for machines with other work; a batch has 64 images."""
        monkeypatch.setattr(stopwatch, "SECONDS", 0.5)
        one = point(epochs=3, batch_size=64)
        train.train(one, datasets.load("digits", tmp_path), tmp_path, CPU)
        rows = list(csv.DictReader((tmp_path / TRAINING_LOG).open(), delimiter="\t"))
        epoch = min(float(row["seconds"]) for row in rows)
        image = stopwatch.training_image(stopwatch.representative(one), CPU)
        assert 0.1 < min(image.seconds) * 1437 / epoch < 10

    def test_twenty_passes_take_longer_than_one(self, monkeypatch):
        monkeypatch.setattr(stopwatch, "SECONDS", 0.2)
        attack = {"steps": 4, "m": 4}
        one, twenty = (
            stopwatch.training_image(stopwatch.representative(each), CPU)
            for each in (point(), point("smoothadv", attack))
        )
        assert min(twenty.seconds) > 3 * min(one.seconds)

    def test_loss_and_run_have_no_say(self, tmp_path, monkeypatch):
        """Neither a rate that no loss survives nor files that are not there stop it."""
        monkeypatch.chdir(tmp_path)
        one = point(lr=1e6, epochs=50, init_from="none.pt", extra_images="none.npz")
        stopwatch.training_image(stopwatch.representative(one), CPU)
        assert list(tmp_path.iterdir()) == []

    def test_no_hook_stays(self):
        stopwatch.training_image(stopwatch.representative(point()), CPU)
        assert not module._global_forward_hooks

    def test_points_that_take_equally_long_are_one(self):
        one = stopwatch.representative(point("consistency", lr=1.0))
        other = Point.read({**point("consistency").content, "sigma": 1.0, "lambda": 9, "seed": 1})
        assert one == stopwatch.representative(other)
        assert one == stopwatch.representative(point("consistency", {"eta": 0.1}, weight_decay=0))
        assert one != stopwatch.representative(point("consistency", {"m": 4}))
        assert one != stopwatch.representative(point("consistency", precision="bf16"))


def test_votes_take_their_number_times_as_long():
    """To a factor of ten, for machines with other work."""
    specification = models.Specification.of("convnet8", datasets.describe("digits"))
    vote = stopwatch.vote(specification, "fp32", "auto", CPU)
    sampler = Sampler(models.build(specification), 0.25, 0, CPU, "fp32")
    started = time.perf_counter()
    sampler.counts(torch.rand(1, 1, 8, 8), [0], "choose", 20_000)
    assert 0.1 < min(vote.seconds) * 20_000 / (time.perf_counter() - started) < 10
    assert vote.batch == 100
    assert len(vote.seconds) >= 2


def test_a_step_of_an_attack_grows_with_its_noises():
    specification = models.Specification.of("convnet8", datasets.describe("digits"))
    few, many = (stopwatch.attack_step(specification, m, CPU) for m in (2, 2000))
    assert len(few) >= 2
    assert 0 < min(few) < min(many)


class TestTable:
    def test_lines_are_aligned_and_add_up(self):
        rows = [
            cost.Row("train", "one", "Gaussian", 4, 2, cost.Work(1.5e6, 1.5e6, 0.01234, 0.0199)),
            cost.Row("train", "two", "M", 0, 3, cost.Work()),
            cost.Row("certify", "one", "Gaussian", 4, 0, cost.Work(2.5e9, 0, 12.34, 1200.6)),
        ]
        assert cost.table(rows).splitlines() == [
            "         experiment  method    jobs  done      forward     backward           hours",
            "train    one         Gaussian     4     2  1.5 million  1.5 million  0.012 to 0.020",
            "train    two         M            0     3            -            -               -",
            "train                total        4     5  1.5 million  1.5 million  0.012 to 0.020",
            "certify  one         Gaussian     4     0  2.5 billion            -     12 to 1,201",
            "certify              total        4     0  2.5 billion            -     12 to 1,201",
            "all                  total        8     5  2.5 billion  1.5 million     12 to 1,201",
        ]

    def test_assumptions(self):
        assert "Measured on a toaster, one job at a time" in cost.assumptions(
            settings(), "a toaster"
        )
        assert "at most" not in cost.assumptions(settings(), "")
        staged = settings(certification={"n": 1000, "mode": "staged"})
        assert cost.assumptions(staged, "").endswith("take at most as long as this.")


class TestCommand:
    @pytest.fixture
    def path(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "a.yaml").write_text(yaml.safe_dump({**DIGITS, "threads": 1}))
        return "a.yaml"

    def test_a_configuration(self, path, capsys):
        cli.main(["cost", path])
        out, err = capsys.readouterr()
        assert out.splitlines()[1].split()[:5] == ["train", "one", "Gaussian", "4", "0"]
        assert "1 thread)" in out.splitlines()[-1]
        assert err.splitlines() == [
            "measuring training: convnet8, gaussian",
            "measuring training: convnet8, consistency",
            "measuring certification: convnet8",
        ]

    @pytest.mark.usefixtures("measured")
    def test_options_and_results(self, path, capsys, tmp_path):
        folder = tmp_path / "results" / cost.jobs(settings())[0].point.folder
        folder.mkdir(parents=True)
        (folder / "model.pt").touch()
        before = torch.get_num_threads()
        cli.main(["cost", path, "--device", "cpu", "--threads", "2"])
        torch.set_num_threads(before)
        out = capsys.readouterr().out
        assert out.splitlines()[1].split()[:5] == ["train", "one", "Gaussian", "3", "1"]
        assert "2 threads)" in out.splitlines()[-1]

    def test_mistakes_are_one_line(self, path, tmp_path):
        with pytest.raises(SystemExit, match=r"^smoothcert cost: none.yaml does not exist$"):
            cli.main(["cost", "none.yaml"])
        openvino = {"certification": {"backend": "torch", "precision": "bf16"}}
        content = copy.deepcopy(DIGITS)
        content["experiments"][0].update(openvino)
        (tmp_path / "b.yaml").write_text(yaml.safe_dump(content))
        with pytest.raises(SystemExit, match=r"does not compute in bf16; use precision"):
            cli.main(["cost", path, "b.yaml", "--device", "cpu"])


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
)
def test_memory_that_does_not_suffice_is_one_line(error, monkeypatch):
    def refuse(*_):
        raise error

    monkeypatch.setattr(attack, "pgd", refuse)
    specification = models.Specification.of("convnet8", datasets.describe("digits"))
    with pytest.raises(UserError, match="out of memory on cpu with 8 noises; choose a smaller m"):
        stopwatch.attack_step(specification, 8, CPU)
    monkeypatch.setattr(methods.load("gaussian"), "loss", refuse)
    with pytest.raises(UserError, match=r"lower training.batch_size"):
        stopwatch.training_image(stopwatch.representative(point()), CPU)
    assert not module._global_forward_hooks
