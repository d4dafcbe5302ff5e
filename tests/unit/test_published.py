"""The published numbers: how they are read and found, and what the files hold."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from smoothcert import datasets, methods, models, published
from smoothcert.analysis import metrics
from smoothcert.errors import UserError
from smoothcert.published import FOLDER, Query, find, numbers
from smoothcert.published.number import METRICS, Number
from smoothcert.published.rows import COLUMNS, ROUNDINGS
from smoothcert.smoothing.protocol import SUBSET

ROW = {
    "dataset": "mnist",
    "arch": "lenet",
    "method": "consistency",
    "settings": "m=2;lambda=10;eta=0.5",
    "sigma": "0.50",
    "metric": "certified_accuracy",
    "radius": "0.5",
    "subset": "every-20",
    "images": "500",
    "n": "100000",
    "alpha": "0.001",
    "radii": "3 digits",
    "value": "0.60",
    "std": "",
    "seeds": "1",
    "table": "data/logs/a",
    "note": "",
}


def write(folder: Path, *rows: dict[str, str], name: str = "someone2020") -> Path:
    """Write rows that differ from ROW into a file of published numbers."""
    path = folder / f"{name}.csv"
    with path.open("w", encoding="utf-8", newline="") as handle:
        table = csv.DictWriter(handle, COLUMNS)
        table.writeheader()
        table.writerows({**ROW, **row} for row in rows)
    return path


def one(wanted: Query, folder: Path = FOLDER) -> Number:
    """Return the only published number that matches."""
    (number,) = find(wanted, folder)
    return number


class TestReading:
    def test_a_row(self, tmp_path):
        write(tmp_path, {})
        entry = one(Query(source="someone2020"), tmp_path)
        assert (entry.sigma, entry.radius, entry.images, entry.n) == (0.5, 0.5, 500, 100_000)
        assert (entry.std, entry.seeds, entry.best_of) == (None, 1, None)
        assert entry.settings == {"m": "2", "lambda": "10", "eta": "0.5"}

    def test_trailing_zeros_tell_the_rounding(self, tmp_path):
        write(tmp_path, {"value": "0.60"}, {"value": "0.6", "seeds": "2"}, {"value": "1", "n": ""})
        assert [entry.value for entry in find(Query(), tmp_path)] == [0.6, 0.6, 1]
        roundings = [entry.rounding for entry in find(Query(), tmp_path)]
        assert roundings == pytest.approx([0.005, 0.05, 0.5])

    def test_a_maximum(self, tmp_path):
        write(tmp_path, {"settings": "best_of=14", "sigma": ""})
        entry = one(Query(), tmp_path)
        assert (entry.best_of, entry.sigma) == ("14", None)

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            ({"sigma": "a half"}, "sigma: 'a half' is no number above 0"),
            ({"sigma": "0"}, "sigma: '0' is no number above 0"),
            ({"radius": "-1"}, "radius: '-1' is no number from 0 up"),
            ({"n": "1e5"}, "n: '1e5' is no whole number above 0"),
            ({"images": "0"}, "images: '0' is no whole number above 0"),
            ({"seeds": ""}, "seeds: '' is no whole number above 0"),
            ({"value": ""}, "value: '' is no share in [0, 1]"),
            ({"value": "nan"}, "value: 'nan' is no share in [0, 1]"),
            ({"value": "70.0"}, "value: '70.0' is no share in [0, 1], as 0.7 for 70%"),
            ({"std": "1.2"}, "std: '1.2' is no share in [0, 1]"),
            ({"std": "0.01", "seeds": "1"}, "std: '0.01', but seeds is 1, and one run has no dev"),
            ({"alpha": "5"}, "alpha: '5' is no probability above 0 and below 1, as 0.001"),
            ({"alpha": "0"}, "alpha: '0' is no probability above 0 and below 1, as 0.001"),
            ({"settings": "lr=0.1;lr=0.2"}, "settings: 'lr' is given twice"),
            ({"metric": "abstention", "radius": "", "value": "3"}, "value: '3' is no share"),
            (
                {"metric": "ACR"},
                "metric: unknown metric 'ACR'; known: 'abstention', 'acr', 'certified",
            ),
            ({"metric": "acr"}, "radius: '0.5' means nothing to metric acr; leave it empty"),
            ({"radius": ""}, "radius: '', but certified_accuracy needs one"),
            ({"radii": "3 digit"}, "radii: unknown radii '3 digit'; did you mean '3 digits'?"),
            ({"settings": "lambda"}, "settings: 'lambda' is not key=value"),
            ({"settings": "epoch=9"}, "settings: 'epoch' is no setting of method consistency; did"),
            ({"settings": "pwer=2"}, "settings: 'pwer' is no setting of method consistency; known"),
            ({"settings": "m=2", "method": "gaussian"}, "settings: 'm' is no setting of method ga"),
        ],
    )
    def test_a_damaged_row_is_one_line(self, tmp_path, damage, message):
        path = write(tmp_path, {}, damage)
        self.refuses(path, f"{path}, line 3, {message}")

    @pytest.mark.parametrize(("cells", "count"), [("a,b", 2), ("," * 15, 16), ("a" + "," * 17, 18)])
    def test_missing_and_surplus_cells_are_counted(self, tmp_path, cells, count):
        path = write(tmp_path, {})
        path.write_text(f"{path.read_text()}{cells}\n")
        self.refuses(path, f"{path}, line 3, {count} cells where the header has 17; a cell with")

    def refuses(self, path: Path, message: str) -> None:
        with pytest.raises(UserError) as caught:
            find(Query(), path.parent)
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("subset", ["all", "every-10", "0-99", "", "the first 9", "every 9th"])
    def test_subsets_are_ours_or_words(self, tmp_path, subset):
        write(tmp_path, {"subset": subset})
        assert one(Query(), tmp_path).subset == subset
        assert " " in subset or not subset or SUBSET.fullmatch(subset)

    @pytest.mark.parametrize(
        "subset", ["every10", "every 10", "Every-10", "every-0", "500 - 999", "999-500", "some"]
    )
    def test_a_mistyped_subset_is_no_words(self, tmp_path, subset):
        path = write(tmp_path, {"subset": subset})
        self.refuses(path, f"{path}, line 2, subset: {subset!r} is not all, every-K or FIRST-LAST")

    def test_settings_of_training_of_the_choice_and_of_methods_that_we_lack(self, tmp_path):
        told = "epochs=9;train_sigma=0.5;best_of=3"
        write(tmp_path, {"settings": told}, {"settings": "mix_step=1", "method": "smoothmix"})
        assert [len(entry.settings) for entry in find(Query(), tmp_path)] == [3, 1]

    def test_other_columns_are_refused(self, tmp_path):
        (tmp_path / "a.csv").write_text("dataset,value\nmnist,1\n")
        with pytest.raises(UserError, match=r"a\.csv must have the columns dataset, arch"):
            find(Query(), tmp_path)

    def test_a_file_that_cannot_be_read_is_one_line(self, tmp_path):
        path = tmp_path / "a2020.csv"
        path.mkdir()
        self.refuses(path, f"cannot read {path}: Is a directory")
        path.rmdir()
        path.write_bytes(b"\xff")
        self.refuses(path, f"{path} is not UTF-8 text")

    def test_a_file_is_read_when_it_is_asked_for_and_without_torch_or_pandas(self):
        code = (
            "import sys\n"
            "from smoothcert import published\n"
            "assert published._read.cache_info().currsize == 0\n"
            "published.find(published.Query(source='jeong2020rebuttal', method='macer', sigma=1))\n"
            "assert published._read.cache_info().currsize == 1\n"
            "assert not {'torch', 'pandas'} & set(sys.modules)\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


class TestFinding:
    @pytest.mark.parametrize(
        "wanted",
        [
            {"sigma": 1},
            {"method": "macer"},
            {"radius": 0},
            {"subset": "all"},
            {"seeds": 5},
            {"table": "logs/b"},
            {"settings": {"lambda": 5}},
            {"settings": {"lambda": "5.0"}},
        ],
    )
    def test_each_key_selects(self, tmp_path, wanted):
        other = {
            "sigma": "1.00",
            "method": "macer",
            "radius": "0",
            "subset": "all",
            "seeds": "5",
            "table": "data/logs/b",
            "settings": "lambda=5",
        }
        write(tmp_path, {}, other)
        assert one(Query(**wanted), tmp_path).table == "data/logs/b"

    def test_none_names_what_was_asked_and_what_there_is(self, tmp_path):
        write(tmp_path, {}, {"sigma": "1.00"})
        with pytest.raises(UserError) as caught:
            numbers(Query(dataset="mnist", sigma=0.3, settings={"lambda": 10}), {}, tmp_path)
        assert str(caught.value) == (
            "no published number has dataset mnist, sigma 0.3, lambda 10; sigma is one of 0.5, 1; "
            "published: none leaves the method out"
        )

    def test_twice_says_how_to_narrow(self, tmp_path):
        write(tmp_path, {}, {"sigma": "1.00", "table": "b"})
        with pytest.raises(UserError) as caught:
            numbers(Query(dataset="mnist"), {}, tmp_path)
        assert str(caught.value) == (
            "2 published numbers have metric certified_accuracy, radius 0.5, dataset mnist: "
            "add sigma, which is one of 0.5, 1"
        )

    def test_twice_narrows_by_a_setting_or_a_source(self, tmp_path):
        write(tmp_path, {}, {"settings": "m=2;lambda=5", "table": "b"})
        with pytest.raises(UserError, match=r"add settings\.lambda, which is one of 10, 5$"):
            numbers(Query(sigma=0.5), {}, tmp_path)
        write(tmp_path, {}, name="other2021")
        with pytest.raises(UserError, match="add source, which is one of other2021, someone2020"):
            numbers(Query(settings={"lambda": 10}), {}, tmp_path)

    def test_twice_narrows_by_a_log_as_the_last_resort(self, tmp_path):
        write(tmp_path, {}, {"seeds": "5", "table": "b"}, {"seeds": "5", "table": "c"})
        with pytest.raises(
            UserError, match=r"3 published numbers .*: add seeds, which is one of 1"
        ):
            numbers(Query(sigma=0.5), {}, tmp_path)
        with pytest.raises(
            UserError, match=r"2 published numbers .*: add table, which is one of b"
        ):
            numbers(Query(seeds=5), {}, tmp_path)

    def test_a_misspelt_source(self):
        with pytest.raises(UserError, match="did you mean 'salman2019'"):
            find(Query(source="salmon2019"))

    def test_a_misspelt_key(self):
        with pytest.raises(ValueError, match="sgima"):
            Query(sgima=0.5)


class TestProtocol:
    """n and alpha, where the rows of a source agree."""

    CELL = ("someone2020", "mnist", "lenet")

    def test_the_rows_of_the_method_come_first(self, tmp_path):
        other = {"method": "macer", "settings": "k=16", "n": "500", "alpha": "0.01"}
        write(tmp_path, {"n": "1000"}, {"n": ""}, other)
        of = {m: published.protocol(*self.CELL, m, tmp_path) for m in ("consistency", "macer")}
        assert of["consistency"] == {"n0": 100, "n": 1000, "alpha": 0.001}
        assert of["macer"] == {"n0": 100, "n": 500, "alpha": 0.01}
        assert published.protocol(*self.CELL, "gaussian", tmp_path) == published.PROTOCOL

    def test_a_method_without_rows_goes_by_the_source(self, tmp_path):
        predicted = {"metric": "predict_accuracy", "radius": "", "n": "10000"}
        write(tmp_path, {"n": "1000"}, predicted)
        assert published.protocol(*self.CELL, "gaussian", tmp_path)["n"] == 1000

    def test_rows_that_disagree_or_tell_nothing_tell_of_the_papers_protocol(self, tmp_path):
        write(tmp_path, {"n": "1000", "alpha": ""}, {"n": "500", "alpha": ""})
        assert published.protocol(*self.CELL, "consistency", tmp_path) == published.PROTOCOL


class TestFiles:
    """What config/published holds."""

    def test_every_source_is_described(self):
        text = (FOLDER / "README.md").read_text(encoding="utf-8")
        described = re.findall(r"^\| `(\w+\d{4}\w*)` \|", text, re.MULTILINE)
        assert sorted(described) == published.sources()
        assert len(find(Query())) == 3918

    def test_every_column_is_described(self):
        text = (FOLDER / "README.md").read_text(encoding="utf-8")
        assert [name for name in COLUMNS if f"`{name}`" not in text] == []

    @pytest.mark.parametrize(
        ("column", "ours"),
        [
            ("dataset", datasets.names()),
            ("arch", models.names()),
            ("method", methods.names()),
        ],
    )
    def test_every_name_that_is_not_ours_is_described(self, column, ours):
        text = (FOLDER / "README.md").read_text(encoding="utf-8")
        foreign = {getattr(entry, column) for entry in find(Query())} - set(ours)
        assert [name for name in sorted(foreign) if f"`{name}`" not in text] == []

    def test_no_two_rows_are_of_the_same_number(self):
        keys = [
            (e.source, e.dataset, e.arch, e.method, tuple(e.settings.items()), e.sigma, e.metric,
             e.radius, e.subset, e.n, e.seeds, e.table)
            for e in find(Query())
        ]  # fmt: skip
        assert len(set(keys)) == len(keys)

    def test_several_seeds_have_a_deviation(self):
        assert all((entry.std is None) == (entry.seeds == 1) for entry in find(Query()))

    def test_metrics_and_roundings_are_those_of_the_analysis(self):
        assert {metrics.ACR, metrics.CERTIFIED, metrics.ABSTENTION} <= set(METRICS)
        assert tuple(metrics.ROUNDINGS) == ROUNDINGS

    def test_clean_accuracy_is_certified_accuracy_at_0(self):
        wanted = Query(
            source="salman2019",
            radius=0,
            settings={"best_of": 14, "best_at": 0.5},
            table="latex_new/our_cifar10_certified_outer_envelop",
        )
        found = find(wanted)
        assert {entry.metric for entry in found} == {"certified_accuracy"}
        assert [entry.printed for entry in found] == ["0.76", "0.81"]

    def test_a_table_of_two_decimals_keeps_its_zeros(self):
        wanted = {"source": "salman2019", "table": "table 2", "radius": 1}
        entry = one(Query(**wanted, settings={"self_training": "yes", "best_of": 11}))
        assert (entry.printed, entry.rounding) == ("0.40", pytest.approx(0.005))


class TestSharedTraining:
    @pytest.mark.parametrize(
        ("wanted", "settings"),
        [
            ({"arch": "resnet20", "method": "stability"}, {"epochs": "150", "lr_step": "50"}),
            ({"arch": "densenet40", "method": "gaussian"}, {"epochs": "150", "batch_size": "256"}),
            ({"arch": "resnet20", "method": "macer"}, {"deferral": "0", "epochs": "150"}),
            ({"arch": "resnet110", "method": "macer"}, {"epochs": "440", "normalize": "none"}),
            (
                {"source": "jeong2023catrs", "method": "smoothadv"},
                {"epsilon": "0.99609375", "train_on": "all", "lr_convention": "cohen"},
            ),
        ],
    )
    def test_what_rows_leave_out(self, wanted, settings):
        cell = {"source": "jeong2020", "dataset": "cifar10", "sigma": 0.5, "metric": "acr"}
        entry = one(Query(**{**cell, **wanted}))
        assert settings.items() <= entry.settings.items()

    def told(self, folder: Path, *entries: dict) -> dict[str, str]:
        """Return the settings of the one row that is written, beside shared ones."""
        write(folder, {"settings": "m=2"})
        shared = [{"source": ["someone2020"], **entry} for entry in entries]
        (folder / "training.yaml").write_text(yaml.safe_dump({"shared": shared}))
        return one(Query(), folder).settings

    def test_a_row_counts_before_an_entry_and_a_later_entry_before_an_earlier_one(self, tmp_path):
        first = {"settings": {"lr": 0.1, "epochs": 90, "normalize": "none"}}
        second = {"method": ["consistency"], "settings": {"m": 4, "lr": 0.5}}
        settings = {"lr": "0.5", "epochs": "90", "normalize": "none", "m": "2"}
        assert self.told(tmp_path, first, second) == settings

    @pytest.mark.parametrize(("unless", "settings"), [(["m"], 1), (["eta", "pretrain"], 2)])
    def test_unless_a_row_was_trained_in_another_way(self, tmp_path, unless, settings):
        entry = {"method": ["consistency"], "unless": unless, "settings": {"lr": 1}}
        assert len(self.told(tmp_path, entry)) == settings

    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            ({"sorce": ["a2020"]}, "shared[0].sorce: unknown key; did you mean 'source'?"),
            ({"settings": {}}, "shared[0].settings: "),
            ({"settings": ["lr"]}, "shared[0].settings: expects keys with values, not ['lr']"),
            ({"settings": {"lr": [1, 2]}}, "shared[0].settings.lr: takes one value, not a list"),
            ({"source": "someone2020"}, "shared[0].source: expects a list, as [someone2020]"),
            (
                {"source": ["someone2002"]},
                "shared[0].source: unknown source 'someone2002'; did you",
            ),
            (
                {"settings": {"epoch": 9}},
                "shared[0]: settings: 'epoch' is no setting of every meth",
            ),
            (
                {"settings": {"eta": 0.5}},
                "shared[0]: settings: 'eta' is no setting of every method",
            ),
            ({"unless": ["pretrian"]}, "shared[0]: unless: 'pretrian' is no setting of every meth"),
            (
                {"method": ["consistency"], "settings": {"k": 9}},
                "shared[0]: settings: 'k' is no setting of method consistency; known: 'augment',",
            ),
            ({"dataset": "mnits"}, "shared[0]: someone2020 has no row of mnits"),
            (
                {"arch": "lenet5", "dataset": "mnist"},
                "shared[0]: someone2020 has no row of mnist and",
            ),
            (
                {"method": ["consistency", "macer"]},
                "shared[0]: someone2020 has no row of macer",
            ),
        ],
    )
    def test_a_mistake_is_one_line(self, tmp_path, entry, message):
        with pytest.raises(UserError) as caught:
            self.told(tmp_path, {"settings": {"lr": 0.1}, **entry})
        assert str(caught.value).startswith(f"{tmp_path}/training.yaml: {message}")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("shared: [a\n", " cannot be read as YAML: while"),
            ("- source: a\n", " is not a mapping of keys; start it with shared:"),
            ("shared: []\nshared: []\n", " cannot be read as YAML: shared stands twice"),
            ("", " is not a mapping of keys; start it with shared:"),
            ("share: []\n", ": share: unknown key; did you mean 'shared'?"),
        ],
    )
    def test_a_damaged_file_is_one_line(self, tmp_path, text, message):
        write(tmp_path, {})
        (tmp_path / "training.yaml").write_text(text)
        with pytest.raises(UserError) as caught:
            find(Query(), tmp_path)
        assert str(caught.value).startswith(f"{tmp_path}/training.yaml{message}")
        assert "\n" not in str(caught.value)


class TestRoundRadii:
    def test_as_logs_are_printed(self):
        radii = [1.90573, 0.95286, 3.81146, 0.4996, 0.0, 0.00012345]
        rounded = metrics.round_radii(radii, "3 digits")
        assert rounded.tolist() == [1.91, 0.953, 3.81, 0.5, 0.0, 0.000123]
        assert rounded.tolist() == [float(f"{radius:.3}") for radius in radii]

    def test_other_forms(self):
        radii = [1.90573, 0.00012345]
        assert metrics.round_radii(radii, "4 decimals").tolist() == [1.9057, 0.0001]
        assert metrics.round_radii(radii, "").tolist() == radii
        with pytest.raises(ValueError, match="unknown rounding '2 digits'"):
            metrics.round_radii(radii, "2 digits")
