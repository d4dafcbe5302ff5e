"""Accuracy under attack beside certified accuracy: table, figure, and what they are read from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import ATTACK, FAR_APART, rows, write_experiment, written

from smoothcert import config_files, files, finished, runs
from smoothcert.analysis import experiment
from smoothcert.analysis.draw_figures import draw_figures
from smoothcert.analysis.figures import empirical, names
from smoothcert.analysis.write_tables import write_tables
from smoothcert.config import Config
from smoothcert.errors import UserError

EPSILONS = [0.0, 0.25, 0.5, 3.0]
CELL = ["label", "sigma"]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Return an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def share_of(run: dict, share: str, epsilon: float) -> float:
    """Return a share of the images from the files of a run."""
    if share == "certified":
        table = pd.read_csv(Path(run["certificates"], "certificates.tsv"), sep="\t")
        return (table["correct"].astype(bool) & (table["radius"] >= epsilon)).mean()
    table = pd.read_csv(Path(run["attacked"], "attacked.tsv"), sep="\t")
    answers = table[table["epsilon"] == (epsilon or 0.5)]
    given = answers["predict" if epsilon else "clean"]
    return (given == (answers["label"] if share == "empirical" else -1)).mean()


def test_numbers_are_those_of_the_files(folder):
    tables = written(folder, **ATTACK)
    runs = files.read_json(Path("reports/synthetic/experiment.json"))["runs"]
    data = pd.read_csv(tables / "empirical.csv")
    assert len(data) == 2 * 2 * 3 * len(EPSILONS)
    for (label, sigma, share), part in data.groupby([*CELL, "share"]):
        members = [r for r in runs if (r["label"], r["point"]["sigma"]) == (label, sigma)]
        assert part["epsilon"].tolist() == EPSILONS
        values = np.array([[share_of(run, share, e) for e in EPSILONS] for run in members])
        np.testing.assert_allclose(part["mean"], values.mean(0))
        np.testing.assert_allclose(part["std"], values.std(0, ddof=1), atol=1e-12)
        assert set(part["seeds"]) == {3}
    assert {"images", "subset", "n", "attack_steps", "attack_m", "predict_n"} <= set(data)


def test_shares_are_in_order_where_nothing_certified_breaks(folder):
    wide = pd.read_csv(written(folder, **ATTACK) / "empirical.csv").pivot(
        index=[*CELL, "epsilon"], columns="share", values="mean"
    )
    assert (wide["empirical"] >= wide["certified"]).all()
    assert (wide["empirical"] > wide["certified"]).any()
    assert (wide["empirical"] + wide["abstained"] <= 1).all()


def test_the_table_says_what_was_done(folder):
    text = (written(folder, **ATTACK) / "empirical.md").read_text()
    assert "T = 7 steps, m = 5 noises; PREDICT with n = 300, α = 0.001" in text
    assert "not attacked yet" not in text
    lines = rows(folder / "tables/empirical.md")
    assert lines[0] == ["Method", "Images", "ε = 0", "ε = 0.25", "ε = 0.5", "ε = 3", "Seeds"]
    assert [line[:2] for line in lines[2:5]] == [
        ["Gaussian", "certified"], ["Gaussian", "under attack"], ["Gaussian", "abstained"]
    ]  # fmt: skip
    assert lines[2][-2:] == ["0.00 ± 0.00", "3"]


def test_no_attack_no_figure_and_a_table_that_says_so(folder):
    manifest = write_experiment(folder)
    write_tables(manifest, Path("tables"))
    assert "No run was attacked" in Path("tables/empirical.md").read_text()
    assert pd.read_csv("tables/empirical.csv").empty
    assert "empirical" not in names(files.read_json(manifest))


def test_a_partial_report_counts_the_runs_that_are_attacked(folder):
    manifest = write_experiment(folder, **ATTACK)
    content = files.read_json(manifest)
    for run in content["runs"]:
        if run["label"] == "Consistency" or run["point"]["seed"] == 0:
            Path(run["attacked"], "attacked.tsv").unlink()
    found = finished.manifests([content])["synthetic"]
    assert len(found["runs"]) == 12
    assert found["missing"] == []
    assert [one["reason"] for one in found["unattacked"]] == ["attack not begun"] * 8
    assert found["unattacked"][0]["folder"] == content["runs"][0]["attacked"]
    files.write_json(manifest, found)
    write_tables(manifest, Path("tables"))
    assert "8 of 12 runs are not attacked yet" in Path("tables/empirical.md").read_text()
    data = pd.read_csv("tables/empirical.csv")
    assert set(data["label"]) == {"Gaussian"}
    assert set(data["seeds"]) == {2}
    draw_figures(manifest, Path("figures"))
    assert Path("figures/empirical.svg").exists()


def test_the_reason_tells_how_far_an_attack_came(folder):
    content = files.read_json(write_experiment(folder, **ATTACK))
    attacked, certificates = (Path(content["runs"][0][key]) for key in ("attacked", "certificates"))

    def reason() -> str:
        (run,) = finished.manifests([content])["synthetic"]["unattacked"]
        return run["reason"]

    about = files.read_json(certificates / "certificates.json")
    files.write_json(
        certificates / "certificates.json", {**about, "model": {"sha256": "of another training"}}
    )
    assert reason() == "attack on other weights than the certificates"
    (attacked / "attacked.tsv").unlink()
    assert reason() == "attack not begun"
    rows = "".join(f"{image}\t3\n" for image in (0, 0, 0, 4, 4, 4))
    (attacked / "attacked.tsv.partial").write_text(f"idx\tlabel\n{rows}8")
    assert reason() == "attack not finished: 2 images so far"
    (attacked / "attack.log").write_text("smoothcert attack: out of memory on cpu\n")
    assert reason() == "smoothcert attack: out of memory on cpu"


def test_an_attack_on_other_weights_is_refused(folder):
    manifest = write_experiment(folder, **ATTACK)
    path = Path(files.read_json(manifest)["runs"][0]["attacked"], "attacked.json")
    files.write_json(path, {**files.read_json(path), "model": {"sha256": "of another training"}})
    with pytest.raises(UserError, match=f"{path} is of other weights than the certificates"):
        write_tables(manifest, Path("tables"))


def test_the_same_weights_of_another_training_will_do(folder):
    manifest = write_experiment(folder, **ATTACK)
    content = files.read_json(manifest)
    path = Path(content["runs"][0]["attacked"], "attacked.json")
    about = files.read_json(path)
    about["model"]["provenance"] = {**about["model"]["provenance"], "commit": "another"}
    files.write_json(path, about)
    assert finished.manifests([content])["synthetic"]["unattacked"] == []
    write_tables(manifest, Path("tables"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table[1:], "has other rows than one for each image and epsilon"),
        (lambda table: pd.concat([table, table[-1:]]), "has other rows"),
        (lambda table: table.drop(columns="clean"), "has no column clean"),
    ],
)
def test_a_damaged_table_is_refused(folder, change, message):
    manifest = write_experiment(folder, **ATTACK)
    path = Path(files.read_json(manifest)["runs"][0]["attacked"], "attacked.tsv")
    change(pd.read_csv(path, sep="\t")).to_csv(path, sep="\t", index=False)
    with pytest.raises(UserError, match=message) as caught:
        write_tables(manifest, Path("tables"))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("key", ["point", "protocol"])
def test_another_attack_is_refused(folder, key):
    manifest = write_experiment(folder, **ATTACK)
    path = Path(files.read_json(manifest)["runs"][0]["attacked"], "attacked.json")
    files.write_json(path, {**files.read_json(path), key: {}})
    message = f"{path} is of another {key} than the manifest; attack again"
    with pytest.raises(UserError, match=message):
        write_tables(manifest, Path("tables"))


def test_the_figure_shows_curves_and_marks(folder):
    manifest = write_experiment(folder, **ATTACK, methods=FAR_APART)
    content = experiment.load(manifest)
    data = empirical.measure(content)
    marks = data[data["share"] == "empirical"]
    assert marks.groupby(CELL)["radius"].apply(list).tolist() == [EPSILONS] * 4
    curves = data[data["share"] == "certified"]
    assert curves.groupby(CELL)["radius"].max().tolist() == [
        pytest.approx(content.cap(sigma)) for _ in range(2) for sigma in (0.25, 0.5)
    ]
    figure = empirical.draw(content, data)
    for panel in figure.axes:
        assert panel.get_xlim()[1] > 3.0, "the farthest mark is out of sight"
        shown = {tuple(container[0].get_xdata()) for container in panel.containers}
        assert shown == {tuple(EPSILONS)}
        assert len(panel.containers) == 2
    (legend,) = figure.legends
    assert [text.get_text().strip("\u200b") for text in legend.get_texts()] == [
        row.title for row in content.rows
    ]


def test_curves_bear_no_marks_even_where_dashes_repeat(folder):
    methods = [{"method": "gaussian", "label": label} for label in "abcdefg"]
    manifest = write_experiment(folder, **ATTACK, methods=methods, sigmas=[0.5], seeds=[0])
    content = experiment.load(manifest)
    figure = empirical.draw(content, empirical.measure(content))
    (panel,) = figure.axes
    marks = {container[0] for container in panel.containers}
    assert len(marks) == 7
    assert {line.get_marker() for line in panel.get_lines() if len(line.get_xdata()) > 100} == {
        "none"
    }
    assert all(line.get_marker() != "none" for line in marks)


class TestConfiguration:
    def test_images_and_arithmetic_are_those_of_certification(self):
        changes = {"certification": {"subset": "every-7", "precision": "fp32"}, **ATTACK}
        settings = self.read(**changes)
        attack = settings.experiments[0].attacking
        assert attack.subset == "every-7"
        assert attack.precision == "fp32"
        assert attack.epsilons == [0.25, 0.5, 3.0]
        for run in runs.manifest(settings, settings.experiments[0])["runs"]:
            folder = Path(run["attacked"])
            assert folder.parent == Path(run["folder"])
            assert folder.name.startswith("attack-every-7-n300-")

    def test_the_folder_tells_attacks_apart(self):
        folders = {
            self.read(attack={**ATTACK["attack"], **change}).experiments[0].attacking.folder
            for change in ({}, {"m": 6}, {"steps": 8}, {"epsilons": [0.5]}, {"alpha": 0.01})
        }
        assert len(folders) == 5

    def test_votes_are_those_of_certification_unless_they_are_given(self):
        def votes(**changes):
            attack = self.read(**changes).experiments[0].attacking
            return attack.n, attack.alpha

        given = {"certification": {"n": 2000, "alpha": 0.01}}
        assert votes(**given, attack={"epsilons": [1]}) == (2000, 0.01)
        assert votes(**given, attack={"epsilons": [1], "n": 500}) == (500, 0.01)
        assert votes(attack={"epsilons": [1]}) == (100_000, 0.001)

    def test_the_order_of_epsilons_means_nothing(self):
        one, two = (self.read(attack={"epsilons": e}) for e in ([1, 0.5], [0.5, 1]))
        assert one == two

    def test_published_logs_are_not_attacked(self):
        entries = [{"method": "gaussian"}, {"method": "gaussian", "logs": "a/*.tsv"}]
        settings = self.read(**ATTACK, methods=entries)
        listed = runs.manifest(settings, settings.experiments[0])["runs"]
        assert [bool(run["attacked"]) for run in listed] == [True, False]

    @pytest.mark.parametrize(
        ("attack", "message"),
        [
            ({}, "experiments[0].attack.epsilons: this key is required"),
            ({"epsilons": []}, "experiments[0].attack.epsilons: List should have at least 1 item"),
            ({"epsilons": [0]}, "attack.epsilons[0]: Input should be greater than 0, not 0"),
            ({"epsilons": [1, 1]}, "attack.epsilons: a value stands twice"),
            ({"epsilons": [1], "subset": "all"}, "attack.subset: unknown key; it belongs to cert"),
            (
                {"epsilons": [1], "precision": "fp32"},
                "attack.precision: unknown key; it belongs to c",
            ),
            ({"epsilons": [0.1234561, 0.1234562]}, "epsilons: a value stands twice"),
            ({"epsilons": [1], "step": 3}, "attack.step: unknown key; did you mean 'steps'"),
            ({"epsilons": [1], "n": 5}, "attack: n 5 can never answer at alpha 0.001"),
        ],
    )
    def test_mistakes(self, attack, message):
        with pytest.raises(UserError) as caught:
            self.read(attack=attack)
        assert message in str(caught.value)

    def test_epsilons_of_a_method_belong_to_the_attack(self):
        with pytest.raises(UserError, match="epsilons: unknown key; it belongs to attack"):
            self.read(methods=[{"method": "smoothadv", "epsilons": [1]}])

    @staticmethod
    def read(**changes) -> Config:
        content = {
            "name": "one", "dataset": "digits", "arch": "convnet8", "sigmas": [0.5],
            "methods": [{"method": "gaussian"}],
        }  # fmt: skip
        return config_files.read({"experiments": [{**content, **changes}]})
