"""Tables in every format, from certificates drawn at random."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from synthetic import write_experiment

from smoothcert import files
from smoothcert.analysis.render import TABLE_FORMATS, read_fragment
from smoothcert.analysis.tables import TABLES, write_tables
from smoothcert.errors import UserError

HOSTILE = "<script>alert(1)</script> a|b & 50%_$x$"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Return an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder: Path, **changes) -> Path:
    """Return the folder of the tables of an experiment with ``changes``."""
    write_tables(write_experiment(folder, **changes), Path("tables"))
    return Path("tables")


def rows(markdown: Path) -> list[list[str]]:
    """Return the cells of all rows of all tables in a Markdown file."""
    lines = markdown.read_text(encoding="utf-8").splitlines()
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]


class TestNumbers:
    def test_acr_follows_from_the_certificates(self, folder):
        table = pd.read_csv(written(folder) / "acr.csv").set_index(["label", "sigma"])
        runs = json.loads(Path("reports/synthetic/experiment.json").read_text())["runs"]
        acr = []
        for run in runs:
            if run["label"] == "Consistency" and run["point"]["sigma"] == 0.5:
                certificates = pd.read_csv(f"{run['certificates']}/certificates.tsv", sep="\t")
                right = certificates["predict"] == certificates["label"]
                acr.append((certificates["radius"] * right).sum() / 90)
        row = table.loc["Consistency", 0.5]
        assert row["mean"] == pytest.approx(sum(acr) / 3, rel=1e-12)
        assert row["std"] == pytest.approx(pd.Series(acr).std(ddof=1), rel=1e-12)
        assert row["seeds"] == 3
        assert row["lambda"] == 5
        assert 0.02 < row["standard_error"] < 0.1

    def test_certified_accuracy_lists_radii_up_to_the_cap(self, folder):
        table = pd.read_csv(written(folder) / "certified_accuracy.csv")
        curve = table[table["metric"] == "certified_accuracy"]
        gaussian = curve[curve["label"] == "Gaussian"].set_index("sigma")
        assert gaussian.loc[0.25, "radius"].tolist() == [0, 0.25, 0.5, 0.75]
        assert gaussian.loc[0.5, "radius"].max() == 1.5
        assert gaussian.loc[0.5, "mean"].is_monotonic_decreasing
        assert gaussian["mean"].between(0, 1).all()

    def test_runs_in_the_order_of_the_manifest(self, folder):
        table = pd.read_csv(written(folder) / "runs.csv")
        runs = json.loads(Path("reports/synthetic/experiment.json").read_text())["runs"]
        assert table["folder"].tolist() == [run["certificates"] for run in runs]
        assert table["train_seconds"].between(8, 12).all()
        assert table["seconds_per_image"].between(0.19, 0.21).all()

    def test_each_table_carries_its_protocol(self, folder):
        tables = written(folder)
        for name in TABLES:
            protocol = pd.read_csv(tables / f"{name}.csv")[["subset", "n0", "n", "alpha"]]
            assert protocol.drop_duplicates().to_numpy().tolist() == [
                ["every-4", 100, 10_000, 1e-3]
            ]
            markdown = (tables / f"{name}.md").read_text(encoding="utf-8")
            assert "subset every-4 (90 images), n₀ = 100, n = 10,000, α = 0.001" in markdown


class TestLayout:
    def test_file_set_is_fixed(self, folder):
        names = {path.name for path in written(folder).iterdir()}
        assert names == {f"{name}.{suffix}" for name in TABLES for suffix in TABLE_FORMATS}

    def test_formats_show_the_same_number(self, folder):
        tables = written(folder)
        row = pd.read_csv(tables / "acr.csv").iloc[0]
        mean, std = f"{row['mean']:.4f}", f"{row['std']:.4f}"
        assert f"| {mean} ± {std} |" in (tables / "acr.md").read_text(encoding="utf-8")
        assert rf"& {mean} $\pm$ {std} &" in (tables / "acr.tex").read_text(encoding="utf-8")
        html = read_fragment(tables / "acr.html")
        assert f'<td>{mean} <span class="spread">± {std}</span></td>' in html

    def test_highest_mean_is_bold(self, folder):
        table = rows(written(folder) / "acr.md")
        assert table[0] == ["Method", "σ = 0.25", "σ = 0.50", "Seeds"]
        assert [cell.startswith("**") for cell in table[3][1:3]] == [True, True]
        assert not any("**" in cell for cell in table[2])

    def test_one_seed_shows_its_standard_error(self, folder):
        tables = written(folder, seeds=[7])
        row = pd.read_csv(tables / "acr.csv").iloc[0]
        assert pd.isna(row["std"])
        shown = rows(tables / "acr.md")[2]
        assert shown[1] == f"{row['mean']:.4f} ± {row['standard_error']:.4f}"
        assert shown[-1] == "1"
        assert "One seed: ± is the standard error over the 90 images" in (
            tables / "acr.md"
        ).read_text(encoding="utf-8")

    def test_swept_lambda_makes_rows(self, folder):
        sweep = {"method": "consistency", "lambda": [1, 10]}
        table = rows(written(folder, methods=[{"method": "gaussian"}, sweep]) / "acr.md")
        assert [row[0] for row in table[2:]] == [
            "Gaussian",
            "Consistency, λ = 1",
            "Consistency, λ = 10",
        ]

    def test_lambda_tuned_for_each_sigma_is_one_row(self, folder):
        tuned = [
            {"method": "consistency", "lambda": 10, "sigmas": [0.25]},
            {"method": "consistency", "lambda": 5, "sigmas": [0.5]},
        ]
        tables = written(folder, methods=tuned)
        assert len(rows(tables / "acr.md")) == 3
        assert pd.read_csv(tables / "acr.csv")["lambda"].tolist() == [10, 5]

    def test_absent_cell_is_a_dash(self, folder):
        methods = [{"method": "gaussian"}, {"method": "consistency", "lambda": 1, "sigmas": [0.5]}]
        assert rows(written(folder, methods=methods) / "acr.md")[3][1] == "–"

    def test_label_is_text_in_every_format(self, folder):
        tables = written(folder, methods=[{"method": "gaussian", "label": HOSTILE}])
        assert pd.read_csv(tables / "acr.csv")["label"].unique() == [HOSTILE]
        for suffix in ("md", "html", "tex"):
            assert "<script" not in (tables / f"acr.{suffix}").read_text(encoding="utf-8")
        assert "&lt;script&gt;alert(1)" in read_fragment(tables / "acr.html")
        assert r"a\|b &amp; 50%\_$x$" in (tables / "acr.md").read_text(encoding="utf-8")
        latex = r"a\textbar{}b \& 50\%\_\$x\$"
        assert latex in (tables / "acr.tex").read_text(encoding="utf-8")


class TestModes:
    def test_what_evaluate_leaves_unknown_is_a_dash(self, folder):
        protocol = {"subset": "every-4", "n": 10_000, "mode": "evaluate"}
        texts = [
            (written(folder, certification=protocol) / f"{name}.md").read_text() for name in TABLES
        ]
        for text in texts:
            assert "nan" not in text
            assert "mode evaluate" in text
        assert " – |" in texts[1]


class TestRefusals:
    def change(self, path: Path, **changes) -> None:
        files.write_json(path, {**files.read_json(path), **changes})

    def first(self, manifest: Path) -> Path:
        return Path(files.read_json(manifest)["runs"][0]["certificates"])

    def test_other_protocol(self, folder):
        manifest = write_experiment(folder)
        self.change(
            self.first(manifest) / "certificates.json",
            protocol={"subset": "every-4", "n0": 100, "n": 100_000, "alpha": 0.001},
        )
        with pytest.raises(UserError, match="another protocol than the manifest"):
            write_tables(manifest, Path("tables"))
        assert not Path("tables").exists()

    def test_incomplete_table(self, folder):
        manifest = write_experiment(folder)
        path = self.first(manifest) / "certificates.tsv"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
        with pytest.raises(UserError, match="89 rows for 90 images"):
            write_tables(manifest, Path("tables"))

    def test_images_of_another_subset(self, folder):
        manifest = write_experiment(folder)
        path = self.first(manifest) / "certificates.tsv"
        table = pd.read_csv(path, sep="\t")
        table.assign(idx=table["idx"] + 1).to_csv(path, sep="\t", index=False)
        with pytest.raises(UserError, match="other images than subset every-4"):
            write_tables(manifest, Path("tables"))

    def test_run_listed_twice(self, folder):
        manifest = write_experiment(folder)
        runs = files.read_json(manifest)["runs"]
        self.change(manifest, runs=[*runs, runs[0]])
        with pytest.raises(UserError, match=r"lists Gaussian at sigma 0.25 with seed 0 twice"):
            write_tables(manifest, Path("tables"))

    @pytest.mark.parametrize("key", ["protocol", "runs", "radius_step"])
    def test_manifest_without_a_key(self, folder, key):
        manifest = write_experiment(folder)
        content = files.read_json(manifest)
        del content[key]
        files.write_json(manifest, content)
        with pytest.raises(UserError, match=f"it has no key '{key}'"):
            write_tables(manifest, Path("tables"))

    def test_missing_training_log(self, folder):
        manifest = write_experiment(folder)
        (self.first(manifest).parent / "train.tsv").unlink()
        with pytest.raises(UserError, match=r"train\.tsv does not exist"):
            write_tables(manifest, Path("tables"))
