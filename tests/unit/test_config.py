"""The configuration: what it expands to, and the one line that each mistake gets."""

import copy
import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from smoothcert import config, config_files, datasets
from smoothcert.errors import UserError
from smoothcert.point import Point
from smoothcert.runs import manifest, resolved, written

BASE = {
    "experiments": [
        {
            "name": "digits",
            "dataset": "digits",
            "arch": "convnet8",
            "sigmas": [0.25, 0.5],
            "seeds": [0, 1],
            "training": {"epochs": 3, "lr": 0.1},
            "methods": [
                {"method": "gaussian"},
                {
                    "method": "consistency",
                    "lambda": [5, 10],
                    "training": {"lr": 0.2},
                    "parameters": {"eta": 0.4},
                },
            ],
        }
    ]
}


def runs(**changes):
    content = copy.deepcopy(BASE)
    content["experiments"][0].update(changes)
    return list(written(config_files.read(content).experiments[0]))


def test_an_experiment_expands_to_its_points():
    points = [run.point for run in runs()]
    assert len(points) == 2 * 2 + 2 * 2 * 2
    assert len({point.folder for point in points}) == 12
    last = points[-1]
    assert str(last.folder).startswith("digits/convnet8/consistency-")
    assert str(last.folder).endswith("sigma-0.50/lambda-10/seed-1")
    assert (last.training.epochs, last.training.lr, points[0].training.lr) == (3, 0.2, 0.1)
    assert last.parameters.eta == 0.4


def test_a_point_survives_its_own_description():
    for run in runs():
        assert Point.read(run.point.content) == run.point


def test_every_setting_changes_the_folder():
    def folder(**changes):
        return runs(**changes)[0].point.folder

    base = folder()
    changes = {
        "epochs": 4, "batch_size": 8, "lr": 0.3, "lr_step": 2, "lr_gamma": 0.5, "momentum": 0.1,
        "lr_convention": "jeong", "augment": "crop-flip", "weight_decay": 0.1, "precision": "bf16",
        "normalize": "none", "init_from": "a.pt", "init_head": "new", "extra_images": "a.npz",
        "extra_weight": 0.5,
    }  # fmt: skip
    needed = {"init_head": "init_from", "extra_weight": "extra_images"}
    for key, value in changes.items():
        others = {one: changes[one] for one in (needed.get(key),) if one}
        training = {"epochs": 3, "lr": 0.1, **others}
        plain = folder(training=training) if others else base
        assert folder(training={**training, key: value}) != plain, key
    assert set(changes) == set(runs()[0].point.training.model_dump())


def test_the_resolved_configuration_reads_back_as_itself():
    settings = config_files.read(BASE)
    assert config_files.read(settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize("hundredths", [1, 7, 12, 25, 29, 57, 58, 100, 113])
def test_sigmas_have_two_decimals(hundredths):
    sigma = hundredths / 100
    assert f"sigma-{sigma:.2f}" in str(runs(sigmas=[sigma])[0].point.folder)


def test_a_method_that_cannot_be_loaded_stops_nothing_but_its_own_use(tmp_path):
    """Whoever writes one goes on working with the others."""
    package = tmp_path / "smoothcert"
    shutil.copytree(Path(config.__file__).parent, package)
    for name, text in {"torn": "def f(:", "lost": "import nothere", "helper": "X = 1"}.items():
        (package / "methods" / f"{name}.py").write_text(text)
    script = (
        "import sys, yaml; from smoothcert import config_files\n"
        "for method in ['gaussian', 'torn', 'lost', 'helper']:\n"
        "    content = yaml.safe_load(sys.argv[1])\n"
        "    content['experiments'][0]['methods'] = [{'method': method}]\n"
        "    try: print('fine', config_files.read(content).experiments[0].methods[0].method)\n"
        "    except ValueError as error: print(error)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, yaml.safe_dump(BASE)],
        env={"PYTHONPATH": str(tmp_path), "PATH": ""}, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert found[0] == "fine gaussian"
    assert re.search(r"methods\[0\]\.method: \S+torn\.py: cannot be loaded \(SyntaxEr", found[1])
    assert "lost.py: cannot be loaded (ModuleNotFoundError: No module named" in found[2]
    assert "helper.py: no class Objective" in found[3]
    assert len(found) == 4


def test_a_file_stands_for_its_experiments(tmp_path):
    others = [{**BASE["experiments"][0], "name": name} for name in ("first", "second")]
    path = tmp_path / "others.yaml"
    path.write_text(yaml.safe_dump({"experiments": others}), encoding="utf-8")
    read = config_files.read({"experiments": [str(path), *BASE["experiments"]]}).experiments
    assert [one.name for one in read] == ["first", "second", "digits"]
    assert list(written(read[0])) == runs()
    above = tmp_path / "above.yaml"
    above.write_text(yaml.safe_dump({"experiments": [str(path), *BASE["experiments"]]}))
    assert config_files.read({"experiments": [str(above)]}).experiments == read


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("experiments: [", "cannot be read as YAML: while parsing"),
        ("experiments: []\nexperiments: []", "experiments stands twice in"),
        ("- 1", "is not a mapping of keys"),
        ("experiments: []\ndevice: cpu", "sets device too, which only files on the command line"),
        ("experiments: []", "experiments: List should have at least 1 item"),
        ("experiments: [{name: a}]", "experiments[0].dataset: this key is required"),
        ("experiments: [file.yaml]", "file.yaml -> file.yaml: files that list each other"),
        ("experiments: [{name: a, title: {{title}}}]", "a key is no plain word in"),
        ("1: 2\nthreads: 2\nexperiments: []", "file.yaml sets 1 too"),
    ],
)
def test_a_bad_file_of_experiments_is_named(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    if text:
        (tmp_path / "file.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        config_files.read({"experiments": ["file.yaml"]})
    line = str(caught.value)
    assert line.startswith("config: experiments: file.yaml")
    assert message in line
    assert "\n" not in line


def test_unpublished_settings_are_noted_and_change_no_run():
    methods = [{"method": "gaussian"}, {"method": "consistency", "lambda": 5}]
    noted = copy.deepcopy(methods)
    noted[1]["unpublished"] = ["lambda", "eta", "epochs"]
    plain, marked = runs(methods=methods), runs(methods=noted)
    assert [run.point for run in marked] == [run.point for run in plain]
    assert {(run.label, run.unpublished) for run in marked} == {
        ("Gaussian", ()),
        ("Consistency", ("lambda", "eta", "epochs")),
    }


def entry(number, **changes):
    """Return a change of one method's entry; a value of None removes the key."""

    def change(content):
        target = content["experiments"][0]["methods"][number]
        target.update(changes)
        for key in [key for key, value in changes.items() if value is None]:
            del target[key]

    return change


def experiment(**changes):
    return lambda content: content["experiments"][0].update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(data_dri="x"), "data_dri: unknown key; did you mean 'data_dir'?"),
        (experiment(sigmaz=[1]), "experiments[0].sigmaz: unknown key; did you mean 'sigmas'?"),
        (
            entry(1, parameters={"etta": 1}),
            "experiments[0].methods[1].parameters.etta: unknown key; did you mean 'eta'?",
        ),
        (entry(1, method="consistncy"), "unknown method 'consistncy'; did you mean 'consistency'?"),
        (entry(1, method=None), "experiments[0].methods[1].method: this key is required"),
        (entry(1, **{"lambda": None}), "method consistency needs lambda"),
        (entry(1, **{"lambda": []}), "methods[1]: lambda is an empty list, which runs"),
        (entry(1, sigmas=[]), "methods[1].sigmas: List should have at least 1 item"),
        (entry(0, **{"lambda": 3}), "method gaussian has no regularizer: leave lambda out"),
        (entry(1, parameters={"m": 1}), "methods[1].parameters.m: Input should be greater than"),
        (entry(0, parameters={"m": 2}), "parameters.m: unknown key; method gaussian has no param"),
        (entry(1, parameters={"k": 2}), "parameters.k: unknown key; known: 'eta', 'form', 'm'"),
        (
            entry(1, parameters={"eta": [0, 1]}),
            "experiments[0].methods[1].parameters.eta: takes one value, not a list; only lambda "
            "sweeps over a list: give each value an entry of its own under methods, with a label",
        ),
        (entry(1, parameters={"form": ["kl"]}), "parameters.form: takes one value, not a list; on"),
        (experiment(training={"lr": [0.1, 0.2]}), "training.lr: takes one value, not a list; only"),
        (experiment(certification={"n": [10]}), "certification.n: takes one value, not a list"),
        (entry(1, parameters={"lambda": 2}), "lambda: unknown key; it belongs to its method"),
        (entry(1, eta=2), "methods[1].eta: unknown key; it belongs to parameters"),
        (entry(1, lr=2), "methods[1].lr: unknown key; it belongs to training"),
        (entry(1, lamda=2), "methods[1].lamda: unknown key; did you mean 'lambda'?"),
        (experiment(n=9), "experiments[0].n: unknown key; it belongs to certification"),
        (experiment(device="cpu"), "[0].device: unknown key; it belongs to the top level"),
        (experiment(margin={"arc": 1}), "margin.arc: unknown key; did you mean 'acr'?"),
        (lambda c: c.update(seeds=[0]), "config: seeds: unknown key; it belongs to the experiment"),
        (entry(0, unpublished=["epoch"]), "'epoch' is no setting; did you mean 'epochs'?"),
        (entry(0, unpublished=["eta"]), "unpublished: 'eta' is no setting"),
        (experiment(sigmas=[-0.5]), "sigmas[0]: Input should be greater than 0, not -0.5"),
        (
            experiment(sigmas=[0.505]),
            "sigmas[0]: a noise level has at most two decimals, not 0.505",
        ),
        (experiment(sigmas=[0.5, 0.5]), "sigmas: a value stands twice"),
        (experiment(sigmas=[True]), "experiments[0]: sigmas: yes, no, true and false are no num"),
        (lambda c: c.update(threads=True), "threads: yes, no, true and false are no numbers"),
        (entry(1, **{"lambda": True}), "lambda: yes, no, true and false are no numbers"),
        (experiment(seeds=[10**40]), "seeds[0]: Input should be less than 1000000000"),
        (experiment(name="a" * 300), "experiments[0].name: String should have at most 100 char"),
        (
            lambda c: [one.update(seeds=[]) for one in c["experiments"][0]["methods"]],
            "seeds: no method has one, so that nothing would run; give one a seed",
        ),
        (experiment(methods=["gaussian"]), "methods[0]: expects keys with values, not 'gaussian'"),
        (entry(0, unpublished="lr"), "unpublished: expects a list, as [lr]"),
        (entry(0, label=" \n"), "label: white space alone is no name"),
        (entry(0, logs="/logs/*.tsv"), "logs: no pattern of file names below the folder of the"),
        (entry(0, logs="mnist/**x/*"), "logs: no pattern of file names below the folder of the"),
        (entry(0, logs="."), "logs: no pattern of file names below the folder of the logs"),
        (
            experiment(
                methods=[
                    {"method": "gaussian", "label": "Our  method", "seeds": [0]},
                    {
                        "method": "gaussian",
                        "label": "Our method\n",
                        "seeds": [1],
                        "training": {"lr": 1},
                    },
                ]
            ),
            "two runs labelled 'Our method' share sigma 0.25, lambda 0, but not all settings",
        ),
        (
            entry(0, training={"init_head": "new"}),
            "training: init_head means nothing without init_from; leave it out",
        ),
        (
            entry(0, training={"extra_weight": 3}),
            "training: extra_weight means nothing without extra_images; leave it out",
        ),
        (experiment(dataset="mnst"), "unknown dataset 'mnst'; did you mean 'mnist'?"),
        (experiment(arch="resnet110"), "arch resnet110 takes images of 32x32 pixels, not 8x8"),
        (experiment(arch="lenett"), "unknown arch 'lenett'; did you mean 'lenet'?"),
        (experiment(certification={"n": 0}), "certification.n: Input should be greater than"),
        (experiment(certification={"n0": 0}), "certification.n0: Input should be greater than"),
        (experiment(certification={"alpha": 0}), "certification.alpha: Input should be greater"),
        (experiment(certification={"alpha": 1}), "certification.alpha: Input should be less"),
        (experiment(certification={"n": 9}), "the smallest n that can is 10"),
        (experiment(certification={"subset": "every-0"}), "is not all, every-K or FIRST-LAST"),
        (experiment(certification={"subset": "0-360"}), "beyond the 360 test images"),
        (experiment(training={"epoch": 3}), "training.epoch: unknown key; did you mean 'epochs'?"),
        (experiment(training={"lr": float("nan")}), "training.lr: Input should be"),
        (experiment(training={"lr": 1e300}), "training.lr: Input should be less than or equal to"),
        (
            experiment(training={"weight_decay": 1e300}),
            "training.weight_decay: Input should be less than or equal to",
        ),
        (experiment(name="A b"), "experiments[0].name"),
        (experiment(training={"batch_size": 1}), "cannot be cut into the method's 2 minibatches"),
        (
            entry(1, parameters={"m": 1438}, training={"batch_size": 1438}),
            "the 1437 training images of digits cannot be cut into the method's 1438 minibatches",
        ),
        (experiment(certification={"mode": "radius", "radius": 1}), "use it with smoothcert cert"),
        (experiment(certification={"mode": "radius"}), "needs radius, at which it decides"),
        (experiment(certification={"radius": 1}), "radius belongs to mode radius: choose that"),
        (experiment(certification={"tolerance": 0.1}), "tolerance belongs to mode staged: choose"),
        (experiment(methods=[]), "experiments[0].methods: List should have at least 1 item"),
        (lambda c: c["experiments"].append(c["experiments"][0]), "two experiments are called"),
        (
            lambda c: c.update(experiments=None),
            "experiments is empty: leave it out or give it a li",
        ),
        (lambda c: c.update(experiments="x.yaml"), "experiments: expects a list, as [x.yaml]"),
        (lambda c: c["experiments"][0].update(training=None), "training is empty: leave it out or"),
        (
            lambda c: c["experiments"][0].update(published="jeong2020"),
            "experiments[0].published: expects keys with values, not 'jeong2020'",
        ),
        (
            lambda c: c["experiments"][0].update(sigma=c["experiments"][0].pop("sigmas")),
            "experiments[0].sigma: unknown key; did you mean 'sigmas'",
        ),
        (
            lambda c: c["experiments"][0]["methods"].append({"method": "consistency", "lambda": 5}),
            "'Consistency' share sigma 0.25, lambda 5, but not all settings; label",
        ),
        (
            lambda c: c["experiments"][0]["methods"].append(
                {"method": "macer", "lambda": 0, "label": "Gaussian", "seeds": [9]}
            ),
            "'Gaussian' share sigma 0.25, lambda 0, but not all settings; label them apart",
        ),
        (
            lambda c: c["experiments"][0]["methods"].append(
                {"method": "gaussian", "label": "Gaussian", "logs": "a/*.tsv", "seeds": [9]}
            ),
            "'Gaussian' share sigma 0.25, lambda 0, but not all settings; label them apart",
        ),
        (entry(1, published={"sigma": 0.5}), "published.sigma: unknown key"),
        (
            lambda c: c["experiments"][0]["methods"].append({"method": "gaussian"}),
            "'Gaussian' share sigma 0.25, lambda 0 and seed 0; leave one out",
        ),
        (entry(1, **{"lambda": [5, 5]}), "share sigma 0.25, lambda 5 and seed 0; leave"),
        (entry(0, seeds=[1, 1]), "share sigma 0.25, lambda 0 and seed 1; leave one"),
        (entry(1, **{"lambda": "x"}), "methods[1].lambda: Input should be a valid number"),
        (entry(1, **{"lambda": [5, -1]}), "lambda[1]: Input should be greater than or equal to 0"),
        (entry(1, published={"sources": "x"}), "published.sources: unknown key; did you mean 'so"),
    ],
)
def test_a_mistake_gets_one_line_that_names_the_key(change, message):
    content = copy.deepcopy(BASE)
    change(content)
    with pytest.raises(UserError) as caught:
        config_files.read(content)
    line = str(caught.value)
    assert message in line
    assert line.startswith("config: ")
    assert "\n" not in line


class TestInitFrom:
    """Training that starts from another run of the configuration."""

    @staticmethod
    def settings(reference="pretraining/Gaussian", head="kept", **changes):
        before = {
            "name": "pretraining",
            "dataset": "digits",
            "arch": "convnet8",
            "sigmas": [0.25],
            "seeds": [0, 1],
            "methods": [
                {"method": "gaussian"},
                {"method": "consistency", "label": "swept", "lambda": [5, 10]},
            ],
        } | changes
        training = {"init_from": reference, "init_head": head}
        after = {
            "name": "finetuning",
            "dataset": "digits",
            "arch": "convnet8",
            "sigmas": [0.25],
            "seeds": [1],
            "methods": [{"method": "consistency", "lambda": 10, "training": training}],
        }
        return {"experiments": [after, before]}

    def points(self, *arguments, **changes):
        settings = config_files.read(self.settings(*arguments, **changes))
        return [[run.point for run in resolved(settings, one)] for one in settings.experiments]

    def test_names_the_run_of_the_same_sigma_and_seed(self):
        (tuned,), sources = self.points()
        (source,) = [p for p in sources if (p.method, p.seed) == ("gaussian", 1)]
        assert tuned.training.init_from == f"results/{source.folder}/model.pt"

    def test_takes_the_same_lambda_of_a_sweep(self):
        (tuned,), _ = self.points("pretraining/swept")
        assert "lambda-10/seed-1" in tuned.training.init_from

    def test_a_change_of_the_source_changes_the_folder(self):
        (before,), _ = self.points()
        (after,), _ = self.points(training={"epochs": 7})
        assert before.folder != after.folder

    def test_a_file_of_another_name_is_sent_to_convert(self, tmp_path):
        path = tmp_path / "lenet.pth"
        path.touch()
        with pytest.raises(UserError, match=r"lenet\.pth' is a file, but .*; smoothcert convert"):
            config_files.read(self.settings(str(path)))

    def test_a_file_stays_as_it_is(self):
        (tuned,), _ = self.points("models/mine.pt")
        assert tuned.training.init_from == "models/mine.pt"

    @pytest.mark.parametrize(
        ("reference", "changes", "message"),
        [
            ("pretraining/Gausian", {}, "did you mean 'pretraining/Gaussian'?"),
            ("Gaussian", {}, "neither a run as EXPERIMENT/LABEL nor a checkpoint file (.pt)"),
            (
                "x",
                {"methods": [{"method": "gaussian", "label": "a, b"}]},
                "known: 'finetuning/Consistency', 'pretraining/a, b'",
            ),
            ("pretraining/Gaussian", {"seeds": [0]}, "has no run with sigma 0.25, seed 1"),
            ("pretraining/swept", {"sigmas": [0.5]}, "has no run with sigma 0.25, seed 1"),
            (
                "pretraining/theirs",
                {"methods": [{"method": "gaussian", "label": "theirs", "logs": "a/*.tsv"}]},
                "has no run with sigma 0.25, seed 1",
            ),
            (
                "finetuning/Consistency",
                {},
                "in a circle: finetuning/Consistency -> finetuning/Consistency",
            ),
            (
                "pretraining/Gaussian",
                {"dataset": "mnist", "arch": "lenet"},
                "is a lenet, not a convnet8",
            ),
        ],
    )
    def test_a_mistake_gets_one_line(self, reference, changes, message):
        with pytest.raises(UserError) as error:
            config_files.read(self.settings(reference, **changes))
        assert message in str(error.value)
        assert "\n" not in str(error.value)

    def test_a_longer_circle(self):
        content = self.settings("pretraining/Gaussian")
        content["experiments"][1]["methods"][0]["training"] = {
            "init_from": "finetuning/Consistency"
        }
        with pytest.raises(UserError, match="Consistency -> pretraining/Gaussian -> finetuning"):
            config_files.read(content)

    def test_other_classes_need_a_new_head(self, monkeypatch):
        mnist = dataclasses.replace(datasets.describe("mnist"), size=8, classes=7)
        monkeypatch.setattr("smoothcert.datasets.mnist.DESCRIPTION", mnist)
        with pytest.raises(UserError, match="7 classes apart, not 10; set init_head to new"):
            self.points(dataset="mnist")
        (tuned,), _ = self.points("pretraining/Gaussian", "new", dataset="mnist")
        assert tuned.training.init_from.startswith("results/mnist/")


class TestPublished:
    """Published numbers that an experiment names."""

    @staticmethod
    def settings(published, *methods, **changes):
        experiment = {
            "name": "mnist",
            "dataset": "mnist",
            "arch": "lenet",
            "sigmas": [0.5],
            "methods": [*methods] or [{"method": "gaussian"}],
            "published": published,
        }
        return {"experiments": [experiment | changes]}

    def cells(self, *arguments, **changes):
        settings = config_files.read(self.settings(*arguments, **changes))
        return manifest(settings, settings.experiments[0])["published"]

    def test_an_entry_meets_the_numbers_of_its_method(self):
        (cell,) = self.cells({"source": "jeong2020rebuttal"})
        (number,) = cell["numbers"]
        assert (number["metric"], number["printed"], number["std"]) == ("acr", "1.5581", 0.0016)
        assert number["settings"]["epochs"] == "90"
        assert cell["settings"]["lr"] == 0.01

    def test_a_sweep_meets_the_number_of_each_weight(self):
        method = {
            "method": "consistency",
            "lambda": [1, 20],
            "published": {"settings": {"m": 2, "form": "released"}, "seeds": 1},
        }
        found = self.cells(
            {"source": "jeong2020"}, method, sigmas=[1.0], training={"lr_convention": "jeong"}
        )
        assert [cell["numbers"][0]["settings"]["lambda"] for cell in found] == ["1", "20"]
        assert {n["metric"] for n in found[0]["numbers"]} >= {"acr", "certified_accuracy"}

    def test_none_is_compared_with_nothing(self):
        source = {"source": "jeong2020rebuttal"}
        gaussian = {"method": "gaussian"}
        pgd = {"method": "pgd", "published": "none"}
        assert len(self.cells(source, gaussian, pgd)) == 1
        assert self.cells(None) == []

    @pytest.mark.parametrize(
        ("published", "changes", "message"),
        [
            ({"source": "jeong2020rebuttal"}, {"sigmas": [0.3]}, "sigma is one of 0.25, 0.5, 1"),
            ({"source": "jeong2020rebutal"}, {}, "did you mean 'jeong2020rebuttal'?"),
            ({"sources": "jeong2020"}, {}, "published.sources: unknown key; did you mean 'source'"),
            ({"settings": {"m": [2]}}, {}, "published.settings.m: takes one value, not a list"),
            ({}, {}, "published numbers have"),
        ],
    )
    def test_a_mistake_gets_one_line(self, published, changes, message):
        with pytest.raises(UserError) as error:
            config_files.read(self.settings(published, **changes))
        assert message in str(error.value)
        assert "\n" not in str(error.value)


def test_overlays_merge_as_in_snakemake(tmp_path, monkeypatch):
    """Dictionaries merge, and all else is replaced, lists too; the workflow's own comes first."""
    monkeypatch.chdir(tmp_path)
    utils = pytest.importorskip("snakemake.utils")
    contents = [
        {"x": {"p": {"s": 1}, "q": [1, 2]}, "y": {"t": 1}, "z": None},
        {"x": {"p": {"u": 2}, "q": [3]}, "y": {}, "z": {"r": [1]}},
        {"z": 4},
    ]
    paths = [tmp_path / f"{number}.yaml" for number in range(len(contents))]
    theirs = {}
    for path, content in zip(paths, contents, strict=True):
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        utils.update_config(theirs, copy.deepcopy(content))
    ours = config_files.merged(paths)
    assert ours == theirs == {"x": {"p": {"s": 1, "u": 2}, "q": [3]}, "y": {"t": 1}, "z": 4}
    Path("config").mkdir()
    paths[0].rename("config/config.yaml")
    assert config_files.merged(paths[1:]) == ours
