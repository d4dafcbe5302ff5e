"""The doctor: each check with a case that triggers it and one that does not."""

import copy
import dataclasses
import importlib
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from smoothcert import (
    checkpoint,
    cli,
    config_files,
    datasets,
    doctor,
    fingerprint,
    methods,
    models,
    published,
    runs,
)
from smoothcert.analysis import claims
from smoothcert.doctor import configuration, sizes
from smoothcert.doctor.machine import Machine
from smoothcert.errors import UserError
from smoothcert.point import Point
from smoothcert.settings import Training

GIB = 2**30
MACHINE = Machine(cores=4, memory=16 * GIB, gpus=0, compiler=True, bf16=True, free=10**12)
PUBLISHED = {
    "experiments": [
        {
            "name": "one",
            "dataset": "mnist",
            "arch": "lenet",
            "sigmas": [0.25, 0.5],
            "seeds": [0, 1],
            "methods": [{"method": "gaussian"}, {"method": "consistency", "lambda": 5}],
        }
    ]
}


def settings(top=None, certification=None, **changes):
    """Return a configuration under the published protocol but for the changes."""
    content = {**copy.deepcopy(PUBLISHED), **(top or {})}
    content["experiments"][0].update(changes, certification=certification or {})
    return config_files.read(content)


def on_experiment(check, certification=None, **changes):
    return lines(check(settings(certification=certification, **changes).experiments[0]))


def on_machine(check, top=None, certification=None, changes=None, **machine):
    """Return what a check finds on the machine with its values replaced."""
    here = dataclasses.replace(MACHINE, **machine)
    return lines(check(settings(top, certification, **(changes or {})), here))


def lines(findings):
    return [str(finding) for finding in findings]


class TestExperiments:
    def test_cap_below_published_radii(self):
        assert on_experiment(configuration.radius_cap) == []
        (line,) = on_experiment(configuration.radius_cap, {"n": 10_000})
        assert line.startswith("warning: n 10000 caps radii at 1.60 for sigma 0.50, below")
        assert "radius 1.75 of the published tables; set certification.n to 29691 or more" in line

    def test_the_n_that_is_advised_is_the_least(self):
        assert on_experiment(configuration.radius_cap, {"n": 29_691}) == []
        assert len(on_experiment(configuration.radius_cap, {"n": 29_690})) == 1

    def test_an_n_that_mode_staged_is_advised_is_enough(self):
        staged = {"mode": "staged", "n": 10_000}
        (line,) = on_experiment(configuration.radius_cap, staged)
        n = int(line.split("certification.n to ")[1].split()[0])
        assert on_experiment(configuration.radius_cap, staged | {"n": n}) == []
        assert len(on_experiment(configuration.radius_cap, staged | {"n": n - 1})) == 1

    def test_an_attack_beyond_every_cap(self):
        few = {"n": 100}
        assert on_experiment(configuration.attack_cap, few, attack={"epsilons": [0.25, 0.7]}) == []
        (line,) = on_experiment(configuration.attack_cap, few, attack={"epsilons": [0.5, 0.8, 2]})
        assert line.startswith(
            "warning: n 100 caps radii at 0.75, so that nothing is certified at "
        )
        assert "epsilon 0.8 of the attack" in line

    def test_cap_below_the_first_radius(self):
        digits = {"dataset": "digits", "arch": "convnet8", "sigmas": [0.25]}
        assert on_experiment(configuration.radius_cap, {"n": 100}, **digits) == []
        (line,) = on_experiment(configuration.radius_cap, {"n": 20}, **digits)
        assert "below radius 0.25 of the tables" in line

    def test_noise_levels_of_methods_count(self):
        entries = [{"method": "gaussian", "sigmas": [1.0]}]
        (line,) = on_experiment(configuration.radius_cap, {"n": 50_000}, methods=entries)
        assert "sigma 1.00" in line

    @pytest.mark.parametrize(
        ("protocol", "difference"),
        [
            ({"subset": "every-50"}, "subset every-50"),
            ({"n": 10_000}, "n 10000"),
            ({"n0": 10}, "n0 10"),
            ({"alpha": 0.01}, "alpha 0.01"),
            ({"mode": "staged"}, "mode staged"),
        ],
    )
    def test_other_protocols_than_the_published(self, protocol, difference):
        (line,) = on_experiment(configuration.comparability, protocol)
        assert line.startswith(f"warning: no published number has {difference}, so")

    @pytest.mark.parametrize("protocol", [{}, {"subset": "0-9999"}, {"mode": "evaluate"}])
    def test_the_published_protocol(self, protocol):
        assert on_experiment(configuration.comparability, protocol) == []

    def test_imagenet(self):
        imagenet = {"dataset": "imagenet", "arch": "resnet50"}
        assert on_experiment(configuration.comparability, {"subset": "every-100"}, **imagenet) == []
        (line,) = on_experiment(configuration.comparability, **imagenet)
        assert line.endswith("subset every-100 (Cohen et al. 2019, Jeong & Shin 2020)")

    def test_what_to_set_names_the_source(self):
        (line,) = on_experiment(configuration.comparability, {"subset": "0-99", "n": 1000})
        assert "set certification to subset all (Jeong & Shin 2020), n 100000" in line

    def test_nothing_is_published_of_digits(self):
        digits = {"dataset": "digits", "arch": "convnet8"}
        assert on_experiment(configuration.comparability, {"n": 1000}, **digits) == []

    def test_one_seed(self):
        assert on_experiment(configuration.one_seed) == []
        (line,) = on_experiment(configuration.one_seed, seeds=[3])
        assert line.startswith("warning: one seed shows")
        entries = [{"method": "gaussian", "seeds": [0, 1]}, {"method": "stability", "lambda": 2}]
        (line,) = on_experiment(configuration.one_seed, seeds=[0], methods=entries)
        assert line.startswith("warning: one seed (of Stability) shows")

    def test_experiments_with_published_logs(self, tmp_path, monkeypatch):
        """Logs compare on any subset, and need no data set but the logs."""
        monkeypatch.delenv(configuration.logs.VARIABLE, raising=False)
        log = {"method": "gaussian", "logs": "mnist/gaussian/noise_{sigma}_*.tsv"}
        changes = {"methods": [{"method": "stability", "lambda": 2}, log]}
        assert on_experiment(configuration.comparability, {"subset": "every-20"}, **changes) == []
        (line,) = on_experiment(configuration.comparability, {"n": 1000}, **changes)
        assert "n 1000" in line
        top = {"data_dir": str(tmp_path)}
        data, logs = on_machine(configuration.downloads, top, changes=changes)
        assert (data[:20], logs[:24]) == ("note: data set mnist", "note: the published logs")
        assert on_machine(configuration.downloads, top, changes={"methods": [log]}) == [logs]
        (tmp_path / "published-logs").mkdir()
        assert on_machine(configuration.downloads, top, changes={"methods": [log]}) == []


class TestPapers:
    def fail(self, *_):
        raise UserError("a.csv, line 3")

    def test_claims_that_cannot_be_read(self, monkeypatch):
        assert on_machine(configuration.papers) == []
        monkeypatch.setattr(claims, "read", self.fail)
        assert on_machine(configuration.papers) == ["error: a.csv, line 3"]

    def test_numbers_behind_claims_on_the_data_set_and_network(self, monkeypatch):
        monkeypatch.setattr(published, "find", self.fail)
        assert on_machine(configuration.papers) == ["error: a.csv, line 3"]
        digits = {"dataset": "digits", "arch": "convnet8"}
        assert on_machine(configuration.papers, changes=digits) == []


class TestMachines:
    def test_threads(self):
        assert on_machine(configuration.threads, {"threads": 4}) == []
        (line,) = on_machine(configuration.threads, {"threads": 5})
        assert line.startswith("warning: threads 5 is more")
        assert "set it to 4 or less" in line

    def test_threads_that_decode(self):
        imagenet = {"dataset": "imagenet", "arch": "resnet50"}
        (line,) = on_machine(configuration.threads, changes=imagenet)
        assert line.startswith("warning: experiment one: threads 1 cannot decode images as fast")
        assert line.endswith("set it to 8 or more")
        assert on_machine(configuration.threads, {"threads": 8}, changes=imagenet, cores=8) == []
        assert on_machine(configuration.threads, {"device": "cpu"}, changes=imagenet) == []

    def test_memory(self):
        assert on_machine(configuration.memory, memory=4 * GIB) == []
        (line,) = on_machine(configuration.memory, memory=3 * GIB)
        assert line.startswith("warning: 4 jobs at once need 4 GiB of memory or more, and")
        assert line.endswith("--cores 3 or less")

    def test_fewer_jobs_need_less_memory(self):
        assert on_machine(configuration.memory, {"threads": 2}, memory=2 * GIB) == []
        assert on_machine(configuration.memory, memory=2 * GIB, gpus=1) == []
        few = {"seeds": [0], "sigmas": [0.5]}
        assert on_machine(configuration.memory, memory=2 * GIB, changes=few) == []
        assert (
            len(on_machine(configuration.memory, {"shards": 2}, memory=2 * GIB, changes=few)) == 1
        )

    def test_device(self):
        assert on_machine(configuration.device, {"device": "cuda"}, gpus=1) == []
        assert on_machine(configuration.device) == []
        (line,) = on_machine(configuration.device, {"device": "cuda"})
        assert line.startswith("warning: device cuda needs a GPU")

    def test_compiler(self):
        (line,) = on_machine(configuration.device, gpus=1, compiler=False)
        assert line.startswith("error: certification on a GPU needs a C compiler")
        assert on_machine(configuration.device, {"device": "cpu"}, gpus=1, compiler=False) == []
        assert on_machine(configuration.device, gpus=0, compiler=False) == []

    def test_backend(self):
        openvino = {"backend": "openvino"}
        assert on_machine(configuration.device, certification=openvino) == []
        assert on_machine(configuration.device, {"device": "cpu"}, openvino, gpus=1) == []
        (line,) = on_machine(configuration.device, certification=openvino, gpus=1)
        assert line.startswith("error: experiment one: backend openvino does not compute on a GPU")

    def test_bf16_of_certification(self):
        protocol = {"precision": "bf16"}
        assert on_machine(configuration.bf16, certification=protocol) == []
        assert on_machine(configuration.bf16, certification=protocol, bf16=False, gpus=1) == []
        assert on_machine(configuration.bf16, bf16=False) == []
        (line,) = on_machine(configuration.bf16, certification=protocol, bf16=False)
        assert line.startswith("error: experiment one: certification.precision bf16 needs a CPU")
        (line,) = on_machine(configuration.bf16, certification={**protocol, "backend": "torch"})
        assert line.startswith("error: experiment one: certification.precision bf16 needs")

    def test_bf16_of_training(self):
        changes = {"training": {"precision": "bf16"}}
        assert on_machine(configuration.bf16, changes=changes) == []
        (line,) = on_machine(configuration.bf16, changes=changes, bf16=False)
        assert line.startswith("warning: experiment one: this CPU only emulates bf16")

    def test_downloads(self, tmp_path):
        top = {"data_dir": str(tmp_path)}
        (line,) = on_machine(configuration.downloads, top)
        assert line.startswith(f"note: data set mnist is not in {tmp_path} and will be downloaded")
        (tmp_path / "MNIST/raw").mkdir(parents=True)
        assert on_machine(configuration.downloads, top) == []
        digits = {"dataset": "digits", "arch": "convnet8"}
        assert on_machine(configuration.downloads, {"data_dir": "nowhere"}, changes=digits) == []

    def test_downloads_of_published_logs(self, tmp_path, monkeypatch):
        (tmp_path / "MNIST/raw").mkdir(parents=True)
        changes = {"methods": [{"method": "gaussian", "logs": "noise_{sigma}_*.tsv"}]}
        found = partial(
            on_machine, configuration.downloads, {"data_dir": str(tmp_path)}, changes=changes
        )
        monkeypatch.delenv("SMOOTHCERT_REFERENCE_LOGS", raising=False)
        (line,) = found()
        assert line.startswith(f"note: the published logs are not in {tmp_path}/published-logs and")
        monkeypatch.setenv("SMOOTHCERT_REFERENCE_LOGS", str(tmp_path / "logs"))
        (line,) = found()
        assert line.startswith(f"error: SMOOTHCERT_REFERENCE_LOGS names {tmp_path}/logs, which is")
        (tmp_path / "logs").mkdir()
        assert found() == []

    def test_what_cannot_be_downloaded(self, tmp_path):
        top = {"data_dir": str(tmp_path)}
        imagenet = {"dataset": "imagenet", "arch": "resnet50"}
        (tmp_path / "imagenet/train").mkdir(parents=True)
        (line,) = on_machine(configuration.downloads, top, changes=imagenet)
        assert line.startswith("error: data set imagenet cannot be downloaded, and ")
        assert f"{tmp_path}/imagenet/val is missing; unpack it" in line
        assert line.endswith("set data_dir to a folder that holds imagenet/val")
        (tmp_path / "imagenet/val").mkdir()
        assert on_machine(configuration.downloads, top, changes=imagenet) == []

    @pytest.mark.parametrize(
        ("training", "message"),
        [
            ({"extra_images": "sound.npz"}, None),
            ({"extra_images": "large.npz"}, "extra_images: the images in large.npz are uint8"),
            ({"extra_images": "no.npz"}, "extra_images: no.npz does not exist"),
            ({"init_from": "ten.pt"}, None),
            ({"init_from": "seven.pt"}, "init_from: seven.pt tells 7 classes apart, not 10; set"),
            ({"init_from": "seven.pt", "init_head": "new"}, None),
            ({"init_from": "no.pt"}, "checkpoint no.pt does not exist"),
        ],
    )
    def test_files_that_training_refuses(self, tmp_path, monkeypatch, training, message):
        """Eight runs name them, and one finding does."""
        monkeypatch.chdir(tmp_path)
        for name, size in (("sound", 28), ("large", 32)):
            np.savez(f"{name}.npz", images=np.zeros((2, size, size), "uint8"), labels=[0, 9])
        run = runs.written(settings().experiments[0])
        for name, classes in (("ten", 10), ("seven", 7)):
            content = models.Specification("lenet", 1, 28, classes, (0.0,), (1.0,))
            checkpoint.save(Path(f"{name}.pt"), models.build(content), next(run).point, {})
        found = on_machine(configuration.named_files, changes={"training": training})
        if message is None:
            assert found == []
        else:
            (line,) = found
            assert line.startswith(f"error: experiment one: {message}")

    def test_what_a_run_starts_from_need_not_be_there_yet(self):
        tuned = {"method": "consistency", "lambda": 5, "training": {"init_from": "one/Gaussian"}}
        changes = {"methods": [{"method": "gaussian"}, tuned]}
        assert on_machine(configuration.named_files, changes=changes) == []

    def test_trainings_that_end_before_they_are_what_they_are_called(self):
        late = {"method": "macer", "lambda": 16, "parameters": {"deferral": 31}}
        slow = {"method": "smoothadv", "parameters": {"warmup": 10}}
        methods = [{"method": "gaussian"}, late, slow]
        assert on_experiment(configuration.cut_short, methods=methods) == []
        first, second = on_experiment(
            configuration.cut_short, methods=methods, training={"epochs": 9}
        )
        assert first == (
            "warning: MACER trains for 9 epochs, and its radius term starts after 31; set "
            "parameters.deferral to less"
        )
        assert second.endswith("reaches epsilon after 10; set parameters.warmup to 9 or less")

    def test_nothing_to_run(self):
        logs = [{"method": "gaussian", "logs": "mnist/*.tsv"}]
        (line,) = on_machine(configuration.disk, changes={"methods": logs})
        assert line == "note: nothing to train or certify"

    def test_disk(self):
        """Two methods at two noise levels with two seeds."""
        (line,) = on_machine(configuration.disk)
        assert line == (
            "note: trainings: 8; certifications: 8; disk: about 22 MB; smoothcert cost estimates "
            "the hours"
        )

    def test_disk_of_another_protocol(self):
        """The weights of shared runs count once, 80,000 rows more twice."""
        first = PUBLISHED["experiments"][0]
        other = {**first, "name": "two", "certification": {"n": 1000}}
        (line,) = on_machine(configuration.disk, {"experiments": [copy.deepcopy(first), other]})
        assert line.startswith("note: trainings: 8; certifications: 16; disk: about 30 MB;")

    def test_disk_of_a_network_of_unknown_size(self, monkeypatch):
        monkeypatch.delitem(sizes.WEIGHTS, "lenet")
        (line,) = on_machine(configuration.disk)
        assert "disk: about 826 MB, with lenet as large as the largest network here; " in line

    def test_full_disk(self):
        _, line = on_machine(configuration.disk, free=10**6)
        assert line.startswith("warning: the results take 22 MB and 1 MB are free")

    def test_folders_that_cannot_be_written(self, tmp_path, monkeypatch):
        assert on_machine(configuration.folders) == []
        (line,) = on_machine(configuration.folders, unwritable=("results",))
        assert line.startswith("error: the folder results cannot be written; ")
        monkeypatch.chdir(tmp_path)
        (tmp_path / "results").mkdir()
        # Root may write into any folder, unless the disk is read-only.
        monkeypatch.setattr(os, "access", lambda name, mode: name != "results")
        assert Machine.here().unwritable == ("results",)


def test_weights_are_those_of_the_networks():
    """Each for one of the data sets whose images it takes."""
    described = [datasets.describe(name) for name in datasets.names()]
    assert set(sizes.WEIGHTS) == set(models.names())
    for arch, millions in sizes.WEIGHTS.items():
        size = importlib.import_module(f"smoothcert.models.{arch}").SIZE
        networks = [
            models.build(models.Specification.of(arch, data))
            for data in described
            if data.size == size
        ]
        counts = [sum(weights.numel() for weights in one.parameters()) for one in networks]
        assert any(count / 1e6 == pytest.approx(millions, abs=0.01) for count in counts), arch


def write(path, content):
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_this_machine_is_known():
    machine = Machine.here()
    assert 1 <= machine.cores <= os.cpu_count()
    assert machine.memory > 100 * 2**20
    assert machine.free > 0


class TestFiles:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (None, "does not exist"),
            ("a: [1", "cannot be read as YAML"),
            ("", "is not a mapping of keys"),
            ("- 1", "is not a mapping of keys"),
        ],
    )
    def test_unreadable_files(self, tmp_path, text, message):
        path = tmp_path / "c.yaml"
        if text is not None:
            path.write_text(text)
        (finding,) = configuration.examine([path], MACHINE)
        assert finding.level == "error"
        assert message in finding.text
        assert "\n" not in finding.text

    def test_a_wrong_configuration_is_one_error(self, tmp_path):
        content = copy.deepcopy(PUBLISHED)
        content["experiments"][0]["certification"] = {"n": 9}
        (line,) = lines(configuration.examine([write(tmp_path / "c.yaml", content)], MACHINE))
        assert line.startswith("error: config: experiments[0].certification: n 9 can never certify")

    def test_later_files_win_and_findings_name_the_experiment(self, tmp_path):
        one = write(tmp_path / "a.yaml", {**PUBLISHED, "threads": 9})
        two = write(tmp_path / "b.yml", {"threads": 2})
        content = copy.deepcopy(PUBLISHED)
        content["experiments"][0]["seeds"] = [0]
        three = write(tmp_path / "c.yaml", content)
        assert any("threads 9" in line for line in lines(examine(one)))
        assert not any("threads" in line for line in lines(examine(one, two)))
        assert "warning: experiment one: one seed" in "\n".join(lines(examine(one, two, three)))

    def test_arguments_that_do_not_fit(self, tmp_path):
        path = write(tmp_path / "a.yaml", PUBLISHED)
        with pytest.raises(UserError, match="for a checkpoint"):
            doctor.examine([path], sigma=0.5)
        with pytest.raises(UserError, match="one checkpoint alone"):
            doctor.examine([path, tmp_path / "model.pt"])

    def test_no_torch_for_a_configuration(self, tmp_path):
        path = write(tmp_path / "a.yaml", PUBLISHED)
        program = (
            "import sys; from pathlib import Path; from smoothcert import doctor; "
            f"doctor.examine([Path({str(path)!r})]); sys.exit('torch' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def examine(*paths):
    return configuration.examine(paths, MACHINE)


class TestCheckpoints:
    @pytest.fixture
    def model(self, tmp_path):
        """Write a fresh classifier that names the present code, data and torch."""
        point = Point(
            "digits", "convnet8", "gaussian", 0.25, 0, 0, Training(), methods.load("gaussian")()
        )
        classifier = models.build(models.Specification.of("convnet8", datasets.describe("digits")))
        origin = {
            "smoothcert": "0.0.1",
            "commit": "abc",
            "code": fingerprint.of_training(point),
            "data": datasets.load("digits", tmp_path).checksum,
            "torch": str(torch.__version__),
        }
        checkpoint.save(tmp_path / "model.pt", classifier, point, origin)
        return tmp_path / "model.pt"

    @staticmethod
    def change(path, part, **changes):
        content = checkpoint.read(path)
        content[part].update(changes)
        checkpoint.write(path, content)

    def test_a_sound_one(self, model):
        assert doctor.examine([model]) == []

    def test_noise(self, model):
        assert doctor.examine([model], sigma=0.25) == []
        (line,) = lines(doctor.examine([model], sigma=0.5))
        assert line.startswith(
            "warning: trained with noise of sigma 0.25, which certify, predict and attack smooth"
        )
        assert line.endswith("not with 0.5; to smooth with 0.5, train with it")

    @pytest.mark.parametrize(
        ("key", "line"),
        [
            ("code", "warning: trained by other code than the present (smoothcert 0.0.1, commit"),
            ("torch", "warning: trained with torch another, not "),
            ("data", "error: {model} was trained on other digits data than these: their checksums"),
        ],
    )
    def test_another_origin(self, model, key, line):
        self.change(model, "provenance", **{key: "another"})
        (found,) = lines(doctor.examine([model]))
        assert found.startswith(line.format(model=model))

    def test_data_that_are_not_there(self, model, tmp_path):
        point = checkpoint.read(model)["point"] | {"dataset": "mnist", "arch": "lenet"}
        classifier = models.build(models.Specification.of("lenet", datasets.describe("mnist")))
        origin = checkpoint.read(model)["provenance"]
        checkpoint.save(model, classifier, Point.read(point), origin)
        found = lines(doctor.examine([model], data_dir=tmp_path / "nowhere"))
        assert found[-1].startswith("note: data set mnist is not in")
        assert "set --data-dir to a folder" in found[-1]

    def test_altered_data(self, model, tmp_path):
        (tmp_path / "MNIST/raw").mkdir(parents=True)
        (tmp_path / "MNIST/raw/train-images-idx3-ubyte").write_bytes(b"altered")
        trained = checkpoint.load(model)
        point = Point.read(trained.point.content | {"dataset": "mnist"})
        (line,) = lines(doctor.checkpoint.data(dataclasses.replace(trained, point=point), tmp_path))
        assert line.startswith("error: ")
        assert "is not the original file" in line

    @pytest.mark.parametrize(
        ("content", "end"),
        [
            (
                {"arch": "cifar_resnet110", "state_dict": {"1.fc.bias": torch.zeros(2)}},
                "smoothcert convert writes one with its weights, given --dataset, --normalize and "
                "--sigma",
            ),
            (
                {"1.conv1.weight": torch.zeros(2)},
                "its weights, given --arch, --dataset, --normalize and --sigma",
            ),
            ([1, 2], "holds no weights: neither a bare state_dict nor one under a key"),
        ],
    )
    def test_foreign_ones(self, tmp_path, content, end):
        torch.save(content, tmp_path / "theirs.pth.tar")
        (line,) = lines(doctor.examine([tmp_path / "theirs.pth.tar"]))
        assert line.startswith("error: ")
        assert line.endswith(end)

    def test_converted_ones(self, tmp_path):
        network = models.build(models.Specification.of("convnet8", datasets.describe("digits")))
        torch.save(network.network.state_dict(), tmp_path / "theirs.pt")
        cli.main(
            ["convert", str(tmp_path / "theirs.pt"), "--arch=convnet8", "--dataset=digits",
             "--normalize=none", "--sigma=0.25", f"--output={tmp_path / 'model.pt'}"]
        )  # fmt: skip
        found = lines(doctor.examine([tmp_path / "model.pt"], sigma=0.5))
        assert found[0].startswith("warning: trained with noise of sigma 0.25, which")
        assert found[1].startswith("note: converted from theirs.pt (sha256 ")
        assert "normalize none, sigma 0.25" in found[1]
        assert len(found) == 2

    def test_unreadable_ones(self, tmp_path, model):
        (line,) = lines(doctor.examine([tmp_path / "absent.pt"]))
        assert line.endswith("absent.pt does not exist")
        model.write_bytes(b"not a checkpoint")
        (line,) = lines(doctor.examine([model]))
        assert line.startswith("error: ")

    def test_unknown_architecture(self, model):
        self.change(model, "specification", arch="convnet9")
        (line,) = lines(doctor.examine([model]))
        assert line.startswith("error: unknown arch 'convnet9'")

    def test_unknown_settings(self, model):
        self.change(model, "point", parameters={"m": 2})
        (line,) = lines(doctor.examine([model]))
        assert line.startswith("error: ")
        assert "settings that this version does not know" in line


class TestCommand:
    @pytest.fixture(autouse=True)
    def _machine(self, monkeypatch):
        monkeypatch.setattr(Machine, "here", lambda: MACHINE)

    def test_clean(self, tmp_path, capsys):
        content = copy.deepcopy(PUBLISHED)
        content["data_dir"] = str(tmp_path)
        (tmp_path / "MNIST/raw").mkdir(parents=True)
        cli.main(["doctor", str(write(tmp_path / "a.yaml", content))])
        note, last = capsys.readouterr().out.splitlines()
        assert note.startswith("note: trainings: 8;")
        assert last == "nothing to warn of"

    def test_warnings_succeed(self, tmp_path, capsys):
        content = copy.deepcopy(PUBLISHED)
        content["experiments"][0]["seeds"] = [0]
        cli.main(["doctor", str(write(tmp_path / "a.yaml", content))])
        out = capsys.readouterr().out
        assert "one seed" in out
        assert "nothing to warn of" not in out

    def test_errors_fail(self, tmp_path, capsys):
        with pytest.raises(SystemExit) as caught:
            cli.main(["doctor", str(tmp_path / "model.pt")])
        assert caught.value.code == 1
        assert capsys.readouterr().out.startswith("error: checkpoint ")
