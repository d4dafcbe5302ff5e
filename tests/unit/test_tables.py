"""Tables in every format, from certificates drawn at random."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats
from synthetic import ATTACK, FAR_APART, SWEEP, rows, write_experiment, written

from smoothcert import files, records
from smoothcert.analysis import tables as package
from smoothcert.analysis.figures import FIGURES
from smoothcert.analysis.render import TABLE_FORMATS, read_fragment
from smoothcert.analysis.tables import TABLES
from smoothcert.analysis.write_tables import write_tables
from smoothcert.errors import UserError

HOSTILE = "<script>alert(1)</script> a|b & 50%_$x$"
WORDS = {
    "Method",
    "minus",
    "Model",
    "Family",
    "Device",
    "Certificates",
    "Error over",
    "form",
    "Images",
}
"""Headings of the columns that hold no numbers."""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Return an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(markdown: Path) -> Iterator[str]:
    """Yield every number in the tables of a Markdown file, as Python reads it."""
    for part in markdown.read_text(encoding="utf-8").split("\n\n"):
        if part.startswith("|"):
            head, _, *body = (line.strip("| \n").split(" | ") for line in part.splitlines())
            for row in body:
                cells = [cell for name, cell in zip(head, row, strict=True) if name not in WORDS]
                for number in re.findall(r"−?[\d.,]+(?:e-?\d+)?", " ".join(cells)):
                    yield number.replace("−", "-").replace(",", "")


NUMBERS = [name for name in TABLES if name not in ("verdicts", "claims")]
"""The tables that have something to show of any experiment."""


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
        tables = written(folder, **ATTACK)
        for name in NUMBERS:
            protocol = pd.read_csv(tables / f"{name}.csv")[["subset", "n0", "n", "alpha"]]
            found = protocol.drop_duplicates().to_numpy().tolist()
            assert found == [["every-4", 100, 10_000, 1e-3]] * (name != "sweeps")
            markdown = (tables / f"{name}.md").read_text(encoding="utf-8")
            assert "subset every-4 (90 images), n₀ = 100, n = 10,000, α = 0.001" in markdown

    def test_each_table_tells_of_different_arithmetic(self, folder):
        manifest, tables = write_experiment(folder), Path("tables")
        write_tables(manifest, tables)
        assert "Certified in several ways" not in (tables / "acr.md").read_text(encoding="utf-8")
        first, *others = files.read_json(manifest)["runs"]
        path = Path(first["certificates"], "certificates.json")
        evaluation = {"backend": "torch", "version": "2", "precision": "bf16"}
        files.write_json(path, {**files.read_json(path), "evaluation": evaluation})
        write_tables(manifest, tables)
        ways = f"several ways: openvino in fp32 ({len(others)} runs), torch in bf16 (1 run);"
        for name in NUMBERS:
            assert ways in (tables / f"{name}.md").read_text(encoding="utf-8"), name
        runs = pd.read_csv(tables / "runs.csv")
        assert runs["backend"].tolist() == ["torch", *["openvino"] * len(others)]
        assert runs["precision"].tolist() == ["bf16", *["fp32"] * len(others)]


class TestFormats:
    """What is shown, read back, is what the CSV holds."""

    def by_sigma(self, data: pd.DataFrame, factor: float) -> Iterator[float]:
        for _, row in data.groupby(["label", "lambda"], sort=False):
            for mean, std in zip(row["mean"], row["std"], strict=True):
                yield from (factor * mean, factor * std)
            yield 3

    def acr(self, data: pd.DataFrame) -> Iterator[float]:
        return self.by_sigma(data, 1)

    def abstention(self, data: pd.DataFrame) -> Iterator[float]:
        return self.by_sigma(data, 100)

    def certified_accuracy(self, data: pd.DataFrame) -> Iterator[float]:
        data = data.sort_values("sigma", kind="stable")
        for _, row in data.groupby(["sigma", "label", "lambda"], sort=False):
            for metric, mean, std in zip(row["metric"], row["mean"], row["std"], strict=True):
                factor = 1 if metric == "acr" else 100
                yield from (factor * mean, factor * std)
            yield 3

    def best(self, data: pd.DataFrame) -> Iterator[float]:
        for family, row in data.groupby("family", sort=False):
            if family != "All families":
                for mean, std in zip(row["mean"], row["std"], strict=True):
                    yield from (100 * mean, 100 * std)
                yield row["models"].iloc[0]
        for row in data.to_dict("records"):
            yield row["radius"]
            yield from (100 * row["mean"], 100 * row["std"], row["sigma"])
            yield from (100 * row["clean_mean"], 100 * row["clean_std"], row["seeds"])

    def significance(self, data: pd.DataFrame) -> Iterator[float]:
        for row in data.to_dict("records"):
            factor = 1 if row["metric"] == "acr" else 100
            yield from (factor * row[name] for name in ("difference", "low", "high"))
            yield from (float(f"{row[name]:.2g}") for name in ("p", "p_holm"))
            if row["metric"] != "acr":
                yield row["seeds"]

    def empirical(self, data: pd.DataFrame) -> Iterator[float]:
        for _, row in data.groupby(["sigma", "label", "lambda", "share"], sort=False):
            for mean, std in zip(row["mean"], row["std"], strict=True):
                yield from (100 * mean, 100 * std)
            yield 3

    def sweeps(self, data: pd.DataFrame) -> Iterator[float]:
        for (weight, m, _), row in data.groupby(["lambda", "m", "form"], sort=False):
            yield from (weight, m)
            for name, factor in (("acr", 1), ("clean_accuracy", 100)):
                for mean, std in zip(row[name], row[f"{name}_std"], strict=True):
                    yield from (factor * mean, factor * std)
            yield 3

    def cost(self, data: pd.DataFrame) -> Iterator[float]:
        for row in data.to_dict("records"):
            yield row["runs"]
            for name in ("seconds", "hours_per_run"):
                yield from (row[name], row[f"{name}_std"])
            yield row["hours"]

    def runs(self, data: pd.DataFrame) -> Iterator[float]:
        for row in data.to_dict("records"):
            yield from [row["lambda"]] * (row["label"] != "Gaussian")
            yield from (row["sigma"], row["seed"], row["acr"], row["acr_standard_error"])
            for name in ("clean_accuracy", "abstention", "at_cap"):
                yield from (100 * row[name], 100 * row[f"{name}_standard_error"])
            yield from (row["p_lower_q05"], row["p_lower_q50"])
            yield from (row["train_seconds"], row["seconds_per_image"])

    def test_markdown_and_csv_agree(self, folder):
        tables = written(folder, methods=SWEEP, **ATTACK)
        for name in NUMBERS:
            assert hasattr(self, name), (
                f"give this class a method {name}, which yields the numbers that the table's "
                "Markdown shows, in their order, from its CSV"
            )
            expected = list(getattr(self, name)(pd.read_csv(tables / f"{name}.csv")))
            found = list(shown(tables / f"{name}.md"))
            assert len(found) == len(expected) > 10, name
            for text, value in zip(found, expected, strict=True):
                decimals = len(text.partition(".")[2])
                near = 1e-12 if "e" in text else 0.501 * 10**-decimals
                assert float(text) == pytest.approx(value, abs=near, rel=0), name

    def test_html_and_markdown_agree(self, folder):
        methods = [*SWEEP, {"method": "gaussian", "label": HOSTILE}]
        tables = written(folder, methods=methods, **ATTACK)
        for name in NUMBERS:
            cells = Cells()
            cells.feed((tables / f"{name}.html").read_text(encoding="utf-8"))
            markdown = [
                [cell.replace("**", "").replace("\\", "") for cell in row]
                for row in rows(tables / f"{name}.md")
                if set("".join(row)) - set(":-")
            ]
            assert [len(row) for row in cells.rows] == [len(row) for row in markdown]
            assert [row[1:] for row in cells.rows if HOSTILE not in "".join(row)] == [
                row[1:] for row in markdown if "script" not in "".join(row)
            ]
            assert any(HOSTILE in "".join(row) for row in cells.rows) or name == "sweeps"


def test_each_certificate_table_is_read_once(folder, monkeypatch):
    manifest = write_experiment(
        folder,
        dataset="mnist",
        arch="lenet",
        sigmas=[0.5],
        seeds=[0, 1],
        certification={"subset": "every-100"},
        published={"source": "jeong2020rebuttal"},
    )
    read, original = [], records.read_table
    monkeypatch.setattr(
        records, "read_table", lambda path, *rest: (read.append(path), original(path, *rest))[1]
    )
    write_tables(manifest, Path("tables"))
    assert len(read) == len(set(read)) == 2 * 2
    for name in ("verdicts", "claims"):
        assert len(pd.read_csv(f"tables/{name}.csv")) >= 2


class Cells(HTMLParser):
    """Collects the text of the cells of a page, row by row."""

    def __init__(self):
        super().__init__()
        self.rows: list[list[str]] = []
        self._inside = False

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        self._inside = self._inside or tag in ("td", "th")

    def handle_endtag(self, tag):
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self._inside:
            self.rows[-1][-1] += data.replace("\u00a0", " ")


class TestRegistry:
    def test_each_module_is_a_table(self):
        modules = {path.stem for path in Path(package.__file__).parent.glob("*.py")}
        assert modules == {*TABLES, "base", "__init__"}

    def test_each_table_is_described(self):
        readme = Path(__file__).parents[2] / "reports/README.md"
        described = re.findall(r"^\| `(\w+)` \|", readme.read_text(encoding="utf-8"), re.MULTILINE)
        assert described == [*TABLES, *FIGURES]

    def test_the_list_loads_without_pandas(self):
        code = "import sys, smoothcert.analysis.tables; sys.exit('pandas' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


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

    def test_highest_mean_is_bold_if_significant(self, folder):
        tables = written(folder)
        table = rows(tables / "acr.md")
        assert table[0] == ["Method", "σ = 0.25", "σ = 0.50", "Seeds"]
        p = []
        for _, runs in pd.read_csv(tables / "runs.csv").groupby("sigma"):
            acr = dict(iter(runs.groupby("label")["acr"]))
            assert acr["Consistency"].mean() > acr["Gaussian"].mean()
            test = stats.ttest_ind(acr["Consistency"], acr["Gaussian"], equal_var=False)
            p.append(test.pvalue)
        smaller = min(p)
        significant = [2 * smaller < 0.05 and (one == smaller or one < 0.05) for one in p]
        assert significant == [False, True], "the example no longer has both cases"
        assert [cell.startswith("**") for cell in table[3][1:3]] == significant
        assert not any("**" in cell for cell in table[2])

    def test_one_method_has_nothing_to_be_bold_against(self, folder):
        tables = written(folder, methods=[{"method": "gaussian"}])
        for name in TABLES:
            text = (tables / f"{name}.md").read_text(encoding="utf-8")
            assert "Bold" not in text
            assert "**" not in text

    def test_single_seeds_are_never_bold(self, folder):
        tables = written(folder, seeds=[7], methods=FAR_APART)
        for name in TABLES:
            assert "**" not in (tables / f"{name}.md").read_text(encoding="utf-8")
        text = (tables / "acr.md").read_text(encoding="utf-8")
        assert "Nothing is bold: single seeds tell models apart, but not methods." in text

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

    def test_rows_keep_their_order_at_each_sigma(self, folder):
        methods = [
            {"method": "consistency", "lambda": 10, "sigmas": [0.25]},
            {"method": "gaussian"},
            {"method": "consistency", "lambda": 5, "sigmas": [0.5]},
        ]
        tables = written(folder, methods=methods)
        order = ["Consistency", "Gaussian"]
        found = [row[0] for row in rows(tables / "certified_accuracy.md") if row[0] in order]
        assert found == order * 2
        pairs = [row[:2] for row in rows(tables / "significance.md") if row[0] in order]
        assert pairs == [order[::-1]] * 2

    def test_absent_cell_is_a_dash(self, folder):
        methods = [{"method": "gaussian"}, {"method": "consistency", "lambda": 1, "sigmas": [0.5]}]
        assert rows(written(folder, methods=methods) / "acr.md")[3][1] == "–"

    def test_guessed_settings_are_marked(self, folder):
        guess = {"label": "Guess", "unpublished": ["m", "eta"], "parameters": {"m": 4}}
        methods = [*SWEEP[:2], {"method": "consistency", "lambda": 10, **guess}]
        tables = written(folder, methods=methods, **ATTACK)
        for name in NUMBERS:
            text = (tables / f"{name}.md").read_text(encoding="utf-8")
            assert "| Guess † |" in text
            assert "† Settings that the reproduced source does not state: m, eta of Guess." in text
            assert "Gaussian †" not in text
        runs = pd.read_csv(tables / "runs.csv")
        assert runs.groupby("label")["unpublished"].first().dropna().to_dict() == {"Guess": "m eta"}
        assert "†" not in (written(folder, methods=SWEEP) / "acr.md").read_text(encoding="utf-8")

    def test_label_is_text_in_every_format(self, folder):
        tables = written(folder, methods=[{"method": "gaussian", "label": HOSTILE}])
        assert pd.read_csv(tables / "acr.csv")["label"].unique() == [HOSTILE]
        for name in TABLES:
            for suffix in ("md", "html", "tex"):
                text = (tables / f"{name}.{suffix}").read_text(encoding="utf-8")
                assert "<script" not in text
                assert "$x$" not in text or suffix != "tex"
        assert "&lt;script&gt;alert(1)" in read_fragment(tables / "acr.html")
        assert r"a\|b &amp; 50%\_\$x\$" in (tables / "acr.md").read_text(encoding="utf-8")
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
        assert " – |" in texts[list(TABLES).index("certified_accuracy")]


class TestRefusals:
    def test_runs_of_different_data(self, folder):
        manifest = write_experiment(folder)
        path = Path(files.read_json(manifest)["runs"][1]["certificates"], "certificates.tsv")
        table = pd.read_csv(path, sep="\t")
        table["label"] = (table["label"] + 1) % 10
        table["correct"] = (table["predict"] == table["label"]).astype(int)
        table.to_csv(path, sep="\t", index=False)
        with pytest.raises(
            UserError, match=r"has other labels than .*: they are of different data"
        ):
            write_tables(manifest, Path("tables"))

    def test_a_radius_beyond_what_n_votes_allow(self, folder):
        manifest = write_experiment(folder)
        path = Path(files.read_json(manifest)["runs"][1]["certificates"], "certificates.tsv")
        table = pd.read_csv(path, sep="\t")
        table.loc[table["radius"].idxmax(), "radius"] *= 2
        table.to_csv(path, sep="\t", index=False)
        with pytest.raises(UserError, match=r"has a radius of .*, and n 10000 allows"):
            write_tables(manifest, Path("tables"))

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

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ([0, 1, 3, 4, 5], "has not one row for each epoch; train again"),
            ([0, 1, 2, 2, 3, 4, 5], "has not one row for each epoch; train again"),
            ([0, 1, 2], "has 2 epochs, not 5; train again"),
        ],
    )
    def test_training_log_without_an_epoch(self, folder, rows, message):
        manifest = write_experiment(folder)
        path = self.first(manifest).parent / "train.tsv"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[row] for row in rows))
        with pytest.raises(UserError, match=rf"train\.tsv {message}"):
            write_tables(manifest, Path("tables"))

    def test_missing_training_log(self, folder):
        manifest = write_experiment(folder)
        (self.first(manifest).parent / "train.tsv").unlink()
        with pytest.raises(UserError, match=r"train\.tsv does not exist"):
            write_tables(manifest, Path("tables"))
