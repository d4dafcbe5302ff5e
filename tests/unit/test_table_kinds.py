"""The numbers of each kind of table, against the runs and certificates behind them."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from synthetic import FAR_APART, STAGED, SWEEP, rows, write_experiment, written

from smoothcert import files
from smoothcert.analysis.write_tables import write_tables
from smoothcert.errors import UserError


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Return an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def radii(certificates: Path) -> pd.Series:
    """Return radius x correct of each image."""
    table = pd.read_csv(certificates / "certificates.tsv", sep="\t")
    return table["radius"] * (table["predict"] == table["label"])


class TestBest:
    def test_is_the_highest_of_each_family(self, folder):
        tables = written(folder, methods=SWEEP)
        best = pd.read_csv(tables / "best.csv")
        curves = pd.read_csv(tables / "certified_accuracy.csv").query(
            "metric == 'certified_accuracy'"
        )
        curves["family"] = curves["label"].replace("KL", "Consistency")
        highest = curves.groupby(["family", "radius"])["mean"].max()
        overall = curves.assign(family="All families").groupby(["family", "radius"])["mean"].max()
        expected = pd.concat([highest, overall])
        found = best.set_index(["family", "radius"])["mean"]
        assert found.to_dict() == expected[expected > 0].to_dict()
        counts = best.groupby("family")["models"].first().to_dict()
        assert counts == {"All families": 8, "Gaussian": 2, "Consistency": 6}

    def test_published_logs_are_left_out_beside_runs_of_ours(self, folder):
        """Their radii are rounded, which would decide."""
        log = {"method": "gaussian", "label": "Log", "logs": "noise_{sigma}_*.tsv"}
        tables = written(folder, methods=[{"method": "gaussian"}, log])
        assert set(pd.read_csv(tables / "best.csv")["label"]) == {"Gaussian"}
        assert "Published logs, whose radii are rounded, are left out" in (
            tables / "best.md"
        ).read_text(encoding="utf-8")
        tables = written(folder, methods=[log])
        assert set(pd.read_csv(tables / "best.csv")["label"]) == {"Log"}
        assert "left out" not in (tables / "best.md").read_text().partition("left out")[2]

    def test_names_the_model_with_its_clean_accuracy(self, folder):
        tables = written(folder, methods=SWEEP)
        model = ["label", "lambda", "sigma"]
        curves = pd.read_csv(tables / "certified_accuracy.csv").query(
            "metric == 'certified_accuracy'"
        )
        curves = curves.set_index([*model, "radius"])["mean"]
        for row in pd.read_csv(tables / "best.csv").to_dict("records"):
            key = tuple(row[name] for name in model)
            assert curves[*key, row["radius"]] == row["mean"]
            assert curves[*key, 0.0] == row["clean_mean"]

    def test_one_family_needs_no_summary(self, folder):
        text = (written(folder, methods=[{"method": "gaussian"}]) / "best.md").read_text()
        assert "All families" not in text
        assert "Gaussian: best of 2" in text


class TestSignificance:
    @pytest.mark.parametrize("seeds", [[0, 1, 2], [3]], ids=["over seeds", "over images"])
    def test_tests_each_pair_at_each_sigma(self, folder, seeds):
        tables = written(folder, methods=SWEEP, seeds=seeds)
        data = pd.read_csv(tables / "significance.csv").query("metric == 'acr'")
        runs = pd.read_csv(tables / "runs.csv")
        runs["acr_of"] = [radii(Path(run)) for run in runs["folder"]]
        cells = {
            key: group["acr_of"]
            for key, group in runs.groupby(["sigma", "label", "lambda"], sort=False)
        }
        keys = [key for key in cells if key[0] == 0.25] + [key for key in cells if key[0] == 0.5]
        pairs = [(a, b) for a, b in combinations(keys, 2) if a[0] == b[0]]
        assert len(data) == len(pairs) == 12
        for (earlier, later), row in zip(pairs, data.to_dict("records"), strict=True):
            assert (row["sigma"], row["other_label"], row["other_lambda"]) == earlier
            assert (row["sigma"], row["label"], row["lambda"]) == later
            if len(seeds) > 1:
                means = [[values.mean() for values in cells[key]] for key in (later, earlier)]
                expected = stats.ttest_ind(*means, equal_var=False)
            else:
                expected = stats.ttest_rel(cells[later].iloc[0], cells[earlier].iloc[0])
            assert row["p"] == pytest.approx(expected.pvalue, rel=1e-6)
            interval = expected.confidence_interval(0.95)
            assert_allclose([row["low"], row["high"]], interval, rtol=1e-6)
            assert row["error_over"] == ("seeds" if len(seeds) > 1 else "images")

    def test_one_seed_beside_several_is_compared_over_images(self, folder):
        methods = [{"method": "gaussian"}, {"method": "consistency", "lambda": 5, "seeds": [0]}]
        tables = written(folder, methods=methods, sigmas=[0.5])
        runs = pd.read_csv(tables / "runs.csv").groupby("label")["folder"]
        several, single = (
            np.mean([radii(Path(run)) for run in runs.get_group(label)], axis=0)
            for label in ("Gaussian", "Consistency")
        )
        row = pd.read_csv(tables / "significance.csv").iloc[0]
        assert row["p"] == pytest.approx(stats.ttest_rel(single, several).pvalue, rel=1e-6)
        assert (row["error_over"], row["seeds"], row["other_seeds"]) == ("images", 1, 3)
        text = (tables / "significance.md").read_text(encoding="utf-8")
        assert "a paired t test over images where a side is a single seed" in text

    def test_adjusts_over_the_whole_table(self, folder):
        data = pd.read_csv(written(folder, methods=SWEEP) / "significance.csv").dropna()
        lowest = data.sort_values("p").iloc[0]
        assert lowest["p_holm"] == pytest.approx(min(1, len(data) * lowest["p"]))
        assert (data["p_holm"] >= data["p"]).all()

    def test_says_what_the_error_leaves_out(self, folder):
        tables = written(folder, seeds=[3], methods=FAR_APART)
        text = (tables / "significance.md").read_text(encoding="utf-8")
        assert "leaves out the deviation between seeds" in text
        assert (pd.read_csv(tables / "significance.csv")["p_holm"] < 0.05).any()
        assert "**" not in text

    def test_one_method_has_nothing_to_differ_from(self, folder):
        tables = written(folder, methods=[{"method": "gaussian"}])
        assert pd.read_csv(tables / "significance.csv").empty
        assert "no two methods" in (tables / "significance.md").read_text(encoding="utf-8")


class TestSweeps:
    def test_lists_what_differs_in_order(self, folder):
        tables = written(folder, methods=SWEEP)
        data = pd.read_csv(tables / "sweeps.csv")
        lines = data[["label", "lambda", "m", "form"]].drop_duplicates()
        assert lines.to_numpy().tolist() == [
            ["Consistency", 1, 2, "released"],
            ["Consistency", 10, 2, "released"],
            ["KL", 10, 4, "kl"],
        ]
        head, first = rows(tables / "sweeps.md")[:3:2]
        assert head[:5] == ["Method", "λ", "m", "form", "ACR, σ = 0.25"]
        assert first[:4] == ["Consistency", "1", "2", "released"]

    def test_numbers_are_those_of_the_other_tables(self, folder):
        tables = written(folder, methods=SWEEP)
        model = ["label", "lambda", "sigma"]
        acr = pd.read_csv(tables / "acr.csv").set_index(model)["mean"]
        for row in pd.read_csv(tables / "sweeps.csv").to_dict("records"):
            assert row["acr"] == acr[tuple(row[name] for name in model)]

    def test_training_settings_count(self, folder):
        methods = [{"method": "gaussian"}] + [
            {"method": "gaussian", "label": f"lr {lr}", "training": {"lr": lr}} for lr in (0.1, 1)
        ]
        data = pd.read_csv(written(folder, methods=methods) / "sweeps.csv")
        assert data["lr"].drop_duplicates().tolist() == [0.01, 0.1, 1]

    def test_one_setting_a_sigma_is_no_sweep(self, folder):
        methods = [
            {"method": "consistency", "lambda": 10, "sigmas": [0.25]},
            {"method": "consistency", "lambda": 5, "sigmas": [0.5]},
        ]
        tables = written(folder, methods=methods)
        assert pd.read_csv(tables / "sweeps.csv").empty
        assert "No method runs with several settings" in (tables / "sweeps.md").read_text()


class TestCost:
    def test_adds_up_the_logs(self, folder):
        cost = pd.read_csv(written(folder) / "cost.csv").set_index(["stage", "label"])
        runs = json.loads(Path("reports/synthetic/experiment.json").read_text())["runs"]
        runs = [run for run in runs if run["label"] == "Gaussian"]
        train = [pd.read_csv(f"{run['folder']}/train.tsv", sep="\t")["seconds"] for run in runs]
        times = [
            pd.read_csv(f"{run['certificates']}/certificates.tsv", sep="\t")["time"] for run in runs
        ]
        training, certification = (
            cost.loc[stage, "Gaussian"] for stage in ("training", "certification")
        )
        assert training["runs"] == 6
        assert training["device"] == "cpu (Imagined, 1 thread)"
        assert training["hours"] == pytest.approx(sum(map(sum, train)) / 3600)
        assert training["seconds_std"] == pytest.approx(stats.tstd([log.mean() for log in train]))
        assert certification["hours"] == pytest.approx(sum(map(sum, times)) / 3600)
        assert certification["seconds"] == pytest.approx(pd.concat(times).mean())

    def test_devices_are_told_apart(self, folder):
        manifest = write_experiment(folder)
        path = Path(files.read_json(manifest)["runs"][0]["certificates"]) / "certificates.json"
        content = files.read_json(path)
        content["provenance"] = {**content["provenance"], "device": "cuda (Fast)"}
        files.write_json(path, content)
        write_tables(manifest, Path("tables"))
        cost = pd.read_csv("tables/cost.csv").query("label == 'Gaussian'")
        assert cost[["stage", "device", "runs"]].to_numpy().tolist() == [
            ["training", "cpu (Imagined, 1 thread)", 6],
            ["certification", "cuda (Fast)", 1],
            ["certification", "cpu (Imagined, 1 thread)", 5],
        ]

    def test_peak_memory_is_that_of_the_benchmarks(self, folder):
        manifest = write_experiment(folder)
        runs = files.read_json(manifest)["runs"]
        for run, memory in zip(runs, ("700.5", "NA", "900.25"), strict=False):
            text = f"s\th:m:s\tmax_rss\n9.1\t0:00:09\t{memory}\n"
            files.write_text(Path(run["folder"]) / "train.benchmark.tsv", text)
        write_tables(manifest, Path("tables"))
        cost = pd.read_csv("tables/cost.csv").set_index(["stage", "label"])["peak_memory"]
        assert cost["training", "Gaussian"] == 900.25
        assert cost.drop(("training", "Gaussian")).isna().all()

    def test_peak_memory_is_that_of_the_largest_shard(self, folder):
        manifest = write_experiment(folder)
        run = files.read_json(manifest)["runs"][0]
        for number, memory in enumerate(("800.5", "NA", "700.25"), 1):
            path = Path(run["certificates"]) / f"shard-{number}-of-3.benchmark.tsv"
            files.write_text(path, f"s\th:m:s\tmax_rss\n9.1\t0:00:09\t{memory}\n")
        write_tables(manifest, Path("tables"))
        cost = pd.read_csv("tables/cost.csv").set_index(["stage", "label"])["peak_memory"]
        assert cost["certification", "Gaussian"] == 800.5
        assert cost.drop(("certification", "Gaussian")).isna().all()

    def test_a_damaged_benchmark_is_named(self, folder):
        manifest = write_experiment(folder)
        run = files.read_json(manifest)["runs"][0]
        path = Path(run["certificates"]) / "certify.benchmark.tsv"
        path.write_text("")
        with pytest.raises(UserError, match=r"certify\.benchmark\.tsv is not a benchmark"):
            write_tables(manifest, Path("tables"))


class TestRuns:
    def test_mode_staged_has_its_own_cap(self, folder):
        tables = written(folder, sigmas=[1.0], seeds=[0], certification=STAGED)
        for run in pd.read_csv(tables / "runs.csv").to_dict("records"):
            assert run["radius_cap"] == pytest.approx(3.8036, abs=1e-4)
            certificates = pd.read_csv(Path(run["folder"]) / "certificates.tsv", sep="\t")
            assert run["at_cap"] == (certificates["radius"] >= run["radius_cap"]).mean() > 0


class TestAbstention:
    def test_is_the_mean_over_runs(self, folder):
        tables = written(folder)
        runs = pd.read_csv(tables / "runs.csv").groupby(["label", "sigma"])["abstention"]
        data = pd.read_csv(tables / "abstention.csv").set_index(["label", "sigma"])
        assert_allclose(data["mean"], runs.mean()[data.index])
        assert_allclose(data["std"], runs.std()[data.index])

    def test_is_unknown_in_mode_evaluate(self, folder):
        protocol = {"subset": "every-4", "n": 10_000, "mode": "evaluate"}
        tables = written(folder, certification=protocol)
        assert pd.read_csv(tables / "abstention.csv").empty
        assert "does not tell abstentions" in (tables / "abstention.md").read_text()
