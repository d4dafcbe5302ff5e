"""Figures: which apply, what they show, and that equal runs leave equal files."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from synthetic import ATTACK, CONFIGURATION, PUBLISHED, STAGED, write_experiment

from smoothcert import config_files, files, records
from smoothcert.analysis import experiment, figures, metrics
from smoothcert.analysis.draw_figures import draw_figures
from smoothcert.analysis.experiment import Experiment
from smoothcert.analysis.figures import (
    FIGURE_FORMATS,
    FIGURES,
    certified_accuracy,
    cost,
    envelope,
    p_lower,
    representatives,
    style,
    tradeoff,
    training,
)
from smoothcert.run_files import CERTIFICATES
from smoothcert.runs import manifest
from smoothcert.smoothing.bounds import largest_radius

GAUSSIAN = {"method": "gaussian"}
SWEPT = {"method": "consistency", "label": "Swept", "lambda": [10, 1, 5]}
LOG = {"method": "stability", "lambda": 2, "label": "Log", "logs": "noise_{sigma}_*.tsv"}
LONG = "A label of many words, as $5 < 6 and _more_ words that say how its runs were trained"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Return an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def load(folder):
    """Return a function that writes results and loads their experiment."""

    def write(**changes) -> Experiment:
        return experiment.load(write_experiment(folder, **changes))

    return write


def names(**changes) -> list[str]:
    settings = config_files.read({"experiments": [{**CONFIGURATION, **changes}]})
    return figures.names(manifest(settings, settings.experiments[0]))


def unconditional(name: str) -> bool:
    return FIGURES[name].applies is figures.Kind._field_defaults["applies"]


class TestWhichApply:
    # The condition of the first two is that there are runs of ours, not published logs alone.
    ALWAYS = ("p_lower", "training", *(name for name in FIGURES if unconditional(name)))

    @pytest.mark.parametrize(
        ("changes", "more"),
        [
            ({"methods": [GAUSSIAN], "sigmas": [0.5], "seeds": [0]}, set()),
            ({"methods": [GAUSSIAN], "sigmas": [0.5], "seeds": [0, 1]}, {"representatives"}),
            ({"methods": [GAUSSIAN], "seeds": [0]}, {"envelope"}),
            ({"sigmas": [0.5], "seeds": [0]}, {"cost"}),
            (
                {"methods": [SWEPT], "sigmas": [0.5], "seeds": [0]},
                {"envelope", "tradeoff", "cost"},
            ),
            ({"methods": [GAUSSIAN], "sigmas": [0.5], "seeds": [0], **ATTACK}, {"empirical"}),
            ({"methods": [GAUSSIAN, SWEPT], **ATTACK}, set(FIGURES)),
        ],
    )
    def test_an_experiment_has_the_figures_of_what_it_compares(self, changes, more):
        expected = {*self.ALWAYS, *more}
        assert names(**changes) == [name for name in FIGURES if name in expected]

    def test_one_lambda_a_sigma_is_no_sweep(self):
        methods = [
            {"method": "consistency", "lambda": weight, "sigmas": [sigma]}
            for weight, sigma in ((10, 0.25), (5, 0.5))
        ]
        assert "tradeoff" not in names(methods=methods)

    def test_a_family_is_compared_where_its_entries_are_single(self):
        methods = [{"method": "smoothadv", "label": label, "family": "SmoothAdv"} for label in "ab"]
        assert "envelope" in names(methods=methods, sigmas=[0.5])
        methods[0]["family"] = "Another"
        assert "envelope" not in names(methods=methods, sigmas=[0.5])

    def test_published_logs_have_no_votes_and_no_training(self):
        assert not {"p_lower", "cost", "training"} & set(names(methods=[LOG]))
        assert {"p_lower", "training"} <= set(names(methods=[GAUSSIAN, LOG]))
        assert "cost" not in names(methods=[GAUSSIAN, LOG])

    def test_mode_evaluate_has_no_distribution_of_votes(self):
        assert "p_lower" not in names(certification={"mode": "evaluate"})

    def test_the_list_needs_no_pandas(self):
        code = (
            "import sys; from smoothcert.analysis import figures; "
            "sys.exit(bool({'pandas', 'matplotlib', 'torch'} & set(sys.modules)))"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_figure_has_its_caption():
    """Snakemake's report alone would notice: workflow/report/<name>.rst."""
    captions = Path(__file__).parents[2].glob("workflow/report/*.rst")
    others = {"page", "table", "workflow"}
    assert {path.stem for path in captions} - others == set(FIGURES)


class TestFiles:
    def test_equal_runs_leave_equal_files(self, folder):
        changes = {"methods": [GAUSSIAN, SWEPT], "sigmas": [0.5], "seeds": [0, 1]}
        manifest = write_experiment(folder, **changes, **ATTACK)
        for name in ("first", "second"):
            draw_figures(manifest, Path(name))
        drawn = sorted(path.name for path in Path("first").iterdir())
        assert drawn == sorted(f"{name}.{suffix}" for name in FIGURES for suffix in FIGURE_FORMATS)
        for name in drawn:
            content = Path("first", name).read_bytes()
            assert content == Path("second", name).read_bytes(), name
            assert len(content) > 400

    def test_each_certificate_table_is_read_once(self, folder, monkeypatch):
        manifest = write_experiment(folder, **ATTACK)
        monkeypatch.setattr(style, "save", lambda *_: None)
        read, original = [], records.read_table
        monkeypatch.setattr(
            records, "read_table", lambda path, *rest: (read.append(path), original(path, *rest))[1]
        )
        draw_figures(manifest, Path("figures"))
        assert len(read) == len(set(read)) == 2 * 2 * 3

    def test_data_stand_beside_each_figure_with_spread_and_counts(self, folder, monkeypatch):
        monkeypatch.setattr(style, "save", lambda *_: None)
        manifest = write_experiment(folder, methods=[GAUSSIAN, SWEPT], **ATTACK)
        draw_figures(manifest, Path("figures"))
        for name in FIGURES:
            data = pd.read_csv(Path("figures", f"{name}.csv"))
            assert {"label", "lambda", "sigma", "seeds"} <= set(data), name
            assert any(column.endswith("std") for column in data), name
            if name != "training":
                assert {"images", "subset", "n0", "n", "alpha", "mode"} <= set(data), name

    def test_published_logs_are_drawn_without_votes_and_training(self, folder, monkeypatch):
        manifest = write_experiment(folder, methods=[GAUSSIAN, LOG])
        for run in files.read_json(manifest)["runs"]:
            if run["log"]:
                path = Path(run["certificates"], CERTIFICATES)
                table = pd.read_csv(path, sep="\t")[list(records.PUBLISHED_COLUMNS)]
                table.to_csv(path, sep="\t", index=False)
                Path(run["folder"], "train.tsv").unlink()
        labels = {}
        monkeypatch.setattr(style, "save", lambda figure, _, name: labels.update({name: figure}))
        draw_figures(manifest, Path("figures"))
        legends = {
            name: [text.get_text().strip("\u200b") for text in figure.legends[0].get_texts()]
            for name, figure in labels.items()
        }
        assert legends["certified_accuracy"] == ["Gaussian", "Log"]
        assert legends["p_lower"] == legends["training"] == ["Gaussian"]

    def test_a_log_has_the_colour_of_the_runs_that_repeat_it_and_a_look_of_its_own(self, load):
        swept = {"method": "consistency", "lambda": [1, 5], "label": "Swept"}
        content = load(methods=[{**GAUSSIAN, "label": "Log", "logs": LOG["logs"]}, swept, GAUSSIAN])
        numbers = {row.title: number for row, number in style.numbers(content).items()}
        looks = {title: style.line_style(number) for title, number in numbers.items()}
        assert looks["Log"]["color"] == looks["Gaussian"]["color"]
        assert looks["Log"]["linestyle"] != looks["Gaussian"]["linestyle"]
        assert len({look["color"] for look in looks.values()}) == len(looks) - 1
        data = certified_accuracy.measure(content)
        assert set(data.loc[data["label"] == "Log", "source"]) == {"published log"}
        assert set(data.loc[data["label"] != "Log", "source"]) == {"ours"}

    @pytest.mark.parametrize("figure", [certified_accuracy, representatives])
    def test_the_legend_has_the_looks_of_the_curves(self, load, figure):
        log = {**GAUSSIAN, "label": "Log", "logs": LOG["logs"]}
        content = load(methods=[GAUSSIAN, {**SWEPT, "lambda": 5}, log])
        drawn = figure.draw(content, figure.measure(content))
        shown = [(one.get_color(), one.get_linestyle()) for one in drawn.legends[0].get_lines()]
        lines = [one for one in drawn.axes[0].get_lines() if one.get_color() != style.INK]
        assert shown == [(one.get_color(), one.get_linestyle()) for one in lines]
        assert len(set(shown)) == 3


class TestCertifiedAccuracy:
    def test_curve_is_the_mean_of_the_seeds_up_to_the_cap(self, load):
        content = load()
        figure = certified_accuracy.draw(content, certified_accuracy.measure(content))
        line = figure.axes[1].get_lines()[0]
        radii, accuracy = line.get_xdata(), line.get_ydata()
        cap = largest_radius(10_000, 0.001, 0.5)
        assert radii[-1] == radii[-2] == cap
        assert accuracy[-1] == 0
        tables = [run.read_certificates() for run in content.cells[content.rows[0], 0.5]]
        for point in (0, 100, 250, 399):
            shares = [((t.predict == t.label) & (t.radius >= radii[point])).mean() for t in tables]
            assert accuracy[point] == pytest.approx(np.mean(shares))

    def test_mode_staged_has_its_own_cap(self, load):
        data = certified_accuracy.measure(load(sigmas=[1.0], seeds=[0], certification=STAGED))
        assert data["radius"].max() == pytest.approx(3.8036, abs=1e-4)
        assert data["mean"].iloc[-1] > 0

    def test_band_reaches_from_the_lowest_seed_to_the_highest(self, load):
        content = load()
        data = certified_accuracy.measure(content)
        own = data[(data["label"] == "Gaussian") & (data["sigma"] == 0.25)]
        tables = [run.read_certificates() for run in content.cells[content.rows[0], 0.25]]
        curves = [metrics.certified(table, own["radius"]).mean(0) for table in tables]
        assert_allclose(own["lowest"], np.min(curves, 0))
        assert_allclose(own["highest"], np.max(curves, 0))
        assert own["highest"].gt(own["lowest"]).any()
        panel = certified_accuracy.draw(content, data).axes[0]
        low, high = band(panel)
        assert (low, high) == (0, own["highest"].max())

    def test_one_seed_shows_the_standard_error_and_says_so(self, load):
        content = load(seeds=[0], methods=[GAUSSIAN])
        data = certified_accuracy.measure(content)
        figure = certified_accuracy.draw(content, data)
        own = data[data["sigma"] == 0.25]
        low, high = band(figure.axes[0])
        assert high == pytest.approx((own["mean"] + own["standard_error"]).max())
        assert low == pytest.approx(min(0, (own["mean"] - own["standard_error"]).min()))
        assert "seeds = 1" in figure.texts[0].get_text()

    def test_published_points_take_the_look_of_their_row(self, load):
        content = load(
            **PUBLISHED,
            methods=[
                {"method": "consistency", "lambda": 5, "published": "none"},
                GAUSSIAN,
                {**GAUSSIAN, "label": "Another", "seeds": [], "sigmas": [0.5]},
            ],
        )
        data = certified_accuracy.measure(content)
        published = data[data["source"] == "salman2019"]
        printed = published[(published["label"] == "Gaussian") & (published["sigma"] == 0.5)]
        assert dict(zip(printed["radius"], printed["mean"], strict=True))[0.25] == 0.5491
        assert set(zip(data["dataset"], data["arch"], strict=True)) == {
            (content.dataset, content.arch)
        }
        figure = certified_accuracy.draw(content, data)
        lines = figure.axes[1].get_lines()
        curve, (own, other) = lines[1], [one for one in lines if one.get_linestyle() == "None"]
        assert own.get_color() == curve.get_color()
        assert own.get_markerfacecolor() == "none"
        assert_array_equal(own.get_xdata(), printed["radius"])
        assert_array_equal(own.get_ydata(), printed["mean"])
        assert other.get_color() not in {line.get_color() for line in lines[:2]}
        assert legend(figure)[2:] == [
            "Gaussian, published (salman2019)",
            "Another, published (salman2019)",
        ]
        assert "left out" not in figure.texts[0].get_text()

    def test_published_points_beyond_the_cap_are_not_drawn(self, load):
        few = {"certification": {"subset": "all", "n": 1000}}
        content = load(**PUBLISHED | few, methods=[GAUSSIAN], sigmas=[0.5])
        (target,) = content.published
        untold = tuple(replace(number, n=None) for number in target.numbers)
        content = replace(content, published=(replace(target, numbers=untold),))
        figure = certified_accuracy.draw(content, certified_accuracy.measure(content))
        (own,) = (one for one in figure.axes[0].get_lines() if one.get_linestyle() == "None")
        cap, radii = (
            largest_radius(1000, 0.001, 0.5),
            [n.radius for n in untold if n.metric == metrics.CERTIFIED],
        )
        assert max(radii) > cap
        assert_array_equal(own.get_xdata(), [radius for radius in radii if radius <= cap])

    @pytest.mark.parametrize("change", [{"subset": "every-20"}, {"n": 1000}, {"mode": "staged"}])
    def test_published_points_of_another_protocol_are_left_out(self, load, change):
        """Beside curves of other images the eye would compare them."""
        protocol = PUBLISHED["certification"] | change
        content = load(**PUBLISHED | {"certification": protocol}, methods=[GAUSSIAN])
        data = certified_accuracy.measure(content)
        assert set(data["source"]) == {"ours"}
        assert "left out" in certified_accuracy.draw(content, data).texts[0].get_text()

    def test_points_of_a_log_are_left_out_where_ours_have_them(self, load):
        content = load(**PUBLISHED, methods=[GAUSSIAN])
        points = (certified_accuracy.measure(content)["source"] == "salman2019").sum()
        log = [replace(target, label="Log", log=True) for target in content.published]
        for published, expected in (((*content.published, *log), points), (log, points)):
            data = certified_accuracy.measure(replace(content, published=published))
            assert (data["source"] == "salman2019").sum() == expected > 0


class TestEnvelope:
    def test_is_the_best_model_at_each_radius(self, load):
        content = load(methods=[GAUSSIAN, SWEPT], seeds=[0, 1])
        data = envelope.measure(content)
        curves = certified_accuracy.measure(content)
        assert set(data["over"]) == {"0.25", "0.50", "all"}
        own = data[(data["family"] == "Swept") & (data["over"] == "0.50")]
        models = curves[(curves["label"] == "Swept") & (curves["sigma"] == 0.5)]
        by_lambda = models.pivot(index="radius", columns="lambda", values="mean")
        assert_allclose(own["mean"], by_lambda.max(axis=1))
        first = by_lambda[SWEPT["lambda"]].idxmax(axis=1)  # of equals, the first entry
        assert_array_equal(own["lambda"], first)
        assert set(own["models"]) == {3}
        assert own["lambda"].nunique() > 1

    def test_over_all_sigmas_small_noise_wins_at_small_radii(self, load):
        content = load(methods=[GAUSSIAN])
        data = envelope.measure(content)
        assert set(data["over"]) == {"all"}
        assert (data["radius"].max(), data["sigma"].iloc[-1]) == (
            largest_radius(10_000, 0.001, 0.5),
            0.5,
        )
        highest = certified_accuracy.measure(content).groupby("sigma")["mean"].max()
        assert data["mean"].iloc[0] == pytest.approx(highest.max())

    def test_a_family_gathers_labels(self, load):
        methods = [{"method": "smoothadv", "label": label, "family": "SmoothAdv"} for label in "ab"]
        content = load(methods=[GAUSSIAN, *methods], sigmas=[0.5], seeds=[0])
        data = envelope.measure(content)
        models = data.groupby("family")["models"].unique().map(list).to_dict()
        assert models == {"Gaussian": [1], "SmoothAdv": [2]}
        # A log is rounded: it counts in no family with runs of ours.
        log = {"pattern": "*.tsv", "seeds": [0]}
        mixed = replace(
            content,
            runs=tuple(
                replace(run, log=log) if run.row.label in ("Gaussian", "b") else run
                for run in content.runs
            ),
        )
        models = envelope.measure(mixed).groupby("family")["models"].unique().map(list).to_dict()
        assert models == {"Gaussian": [1], "SmoothAdv": [1]}
        assert legend(envelope.draw(content, data)) == ["Gaussian", "SmoothAdv"]


class TestRepresentatives:
    def test_shows_one_seed_of_each_row_and_names_it(self, load):
        content = load(seeds=[3, 5, 8])
        data = representatives.measure(content)
        assert set(data["picking_seed"]) == {representatives.PICKING_SEED}
        picked = data.groupby("label")["seed"].unique()
        for row in content.rows:
            (seed,) = picked[row.label]
            (run,) = [run for run in content.cells[row, 0.5] if run.point.seed == seed]
            own = data[(data["label"] == row.label) & (data["sigma"] == 0.5)]
            expected = metrics.certified(run.read_certificates(), own["radius"]).mean(0)
            assert_allclose(own["mean"], expected)
        figure = representatives.draw(content, data)
        assert legend(figure) == [
            f"{row.title} (seed {picked[row.label][0]})" for row in content.rows
        ]
        assert "picking seed 0" in figure.texts[0].get_text()

    def test_the_pick_is_not_always_the_first_seed(self, load):
        methods = [{**GAUSSIAN, "label": f"Row {index}"} for index in range(12)]
        data = representatives.measure(load(methods=methods, sigmas=[0.5]))
        assert set(data["seed"]) == {0, 1, 2}


class TestBounds:
    @pytest.mark.parametrize("certification", [CONFIGURATION["certification"], STAGED])
    def test_ends_are_the_abstentions_and_the_cap(self, load, certification):
        content = load(certification=certification)
        data = p_lower.measure(content)
        for (row, sigma), runs in content.cells.items():
            own = data[(data["label"] == row.label) & (data["sigma"] == sigma)]
            below = own[own["quantity"] == p_lower.BELOW]
            shares = own[own["quantity"] != p_lower.BELOW].set_index("quantity")["mean"]
            tables = pd.concat([run.read_certificates() for run in runs])
            assert below["mean"].iloc[0] == pytest.approx((tables["predict"] == -1).mean())
            assert below["mean"].iloc[-1] == pytest.approx(1 - shares["at_cap"])
            assert shares["abstention"] == pytest.approx(below["mean"].iloc[0])
            wrong = (tables["predict"] != -1) & (tables["predict"] != tables["label"])
            assert shares["wrong"] == pytest.approx(wrong.mean())
            assert shares["wrong"] > 0

    def test_shares_stand_below_their_panel(self, load):
        content = load(sigmas=[0.5])
        data = p_lower.measure(content)
        figure = p_lower.draw(content, data)
        listed = [text.get_text() for text in figure.axes[1].texts]
        assert listed[:3] == ["Abstained", "Wrong", "At cap"]
        ends = data[data["quantity"] != p_lower.BELOW]
        assert listed[3:] == [
            f"{100 * end['mean']:.1f} ± {100 * end['std']:.1f}" for _, end in ends.iterrows()
        ]


class TestTradeoff:
    def test_paths_follow_lambda(self, load):
        content = load(methods=[GAUSSIAN, SWEPT], sigmas=[0.5])
        data = tradeoff.measure(content)
        figure = tradeoff.draw(content, data)
        lines = {line.get_marker(): line for line in figure.axes[0].get_lines()}
        path = lines["s"]
        expected = data[data["label"] == "Swept"].sort_values("lambda")
        assert list(expected["lambda"]) == [1, 5, 10]
        assert_array_equal(path.get_xdata(), expected["clean_accuracy_mean"])
        assert_array_equal(path.get_ydata(), expected["acr_mean"])
        assert path.get_linestyle() != "None"
        assert lines["o"].get_linestyle() == "None"

    def test_numbers_are_the_tables(self, load):
        content = load(methods=[SWEPT], sigmas=[0.5])
        data = tradeoff.measure(content).set_index("lambda")
        for (row, _), runs in content.cells.items():
            tables = [run.read_certificates() for run in runs]
            acr = [(table["radius"] * table["correct"]).mean() for table in tables]
            clean = [table["correct"].mean() for table in tables]
            own = data.loc[row.weight]
            assert own["acr_mean"] == pytest.approx(np.mean(acr))
            assert own["acr_std"] == pytest.approx(np.std(acr, ddof=1))
            assert own["clean_accuracy_mean"] == pytest.approx(np.mean(clean))

    def test_names_of_points_do_not_overlap(self, load):
        sweep = {**SWEPT, "lambda": [*range(1, 13)]}
        content = load(methods=[sweep], sigmas=[0.5], seeds=[0])
        figure = tradeoff.draw(content, tradeoff.measure(content))
        figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in figure.axes[0].texts]
        assert 3 <= len(boxes) <= 12
        apart = [
            not one.padded(-2).overlaps(other.padded(-2))
            for index, one in enumerate(boxes)
            for other in boxes[:index]
        ]
        assert all(apart)


class TestCost:
    def test_is_the_time_of_training_and_the_acr(self, load):
        content = load()
        data = cost.measure(content)
        for (row, sigma), runs in content.cells.items():
            (own,) = data[(data["label"] == row.label) & (data["sigma"] == sigma)].to_dict(
                "records"
            )
            seconds = [run.read_training()["seconds"].sum() for run in runs]
            assert own["seconds_mean"] == pytest.approx(np.mean(seconds))
            assert own["seconds_std"] == pytest.approx(np.std(seconds, ddof=1))
        assert set(data["device"]) == {"cpu (Imagined, 1 thread)"}

    def test_seconds_of_several_devices_are_not_averaged(self, load):
        content = load(sigmas=[0.5], methods=[GAUSSIAN], seeds=[0, 1, 2])
        runs = content.cells[content.rows[0], 0.5]
        provenance = {"device": "cuda (Imagined)"}
        runs[1].description["model"] = {"provenance": provenance}
        data = cost.measure(content)
        assert data["device"].tolist() == ["cpu (Imagined, 1 thread)", "cuda (Imagined)"]
        assert data["seeds"].tolist() == [2, 1]
        seconds = [runs[i].read_training()["seconds"].sum() for i in (0, 2)]
        assert data["seconds_mean"][0] == pytest.approx(np.mean(seconds))

    def test_marks_tell_the_devices_apart(self, load):
        content = load(sigmas=[0.5], methods=[GAUSSIAN], seeds=[0, 1, 2])
        runs = content.cells[content.rows[0], 0.5]
        runs[1].description["model"] = {"provenance": {"device": "cuda (Imagined)"}}
        figure = cost.draw(content, cost.measure(content))
        marks = [line for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
        assert [line.get_fillstyle() for line in marks] == ["full", "none"]
        assert legend(figure)[-2:] == ["cpu (Imagined, 1 thread)", "cuda (Imagined)"]

    def test_no_bar_is_cut_off(self, load):
        content = load(sigmas=[0.5])
        data = cost.measure(content).assign(seconds_mean=[30.0, 40.0], seconds_std=[1.0, 15.0])
        panel = cost.draw(content, data).axes[0]
        assert panel.get_xlim()[1] > 55

    @pytest.mark.parametrize(
        ("times", "unit", "scale"),
        [
            ([0.3, 0.9], "seconds", "linear"),
            ([130, 1000], "minutes", "linear"),
            ([130, 1400], "minutes", "log"),
            ([7200, 72000], "hours", "log"),
        ],
    )
    def test_the_axis_suits_the_times(self, load, times, unit, scale):
        content = load(sigmas=[0.5])
        data = cost.measure(content).assign(seconds_mean=times)
        panel = cost.draw(content, data).axes[0]
        assert panel.get_xlabel() == f"Training time, {unit}"
        assert panel.get_xscale() == scale
        low, high = panel.get_xlim()
        lines = {line.get_marker(): line for line in panel.get_lines()}
        (first,), (last,) = (lines[marker].get_xdata() for marker in "os")
        assert low < first < last < high


class TestTraining:
    def test_shows_no_regularizer_where_there_is_none(self, load):
        content = load()
        grid = np.reshape(training.draw(content, training.measure(content)).axes, (3, 2))
        assert [len(panel.get_lines()) for panel in grid[:, 0]] == [2, 1, 2]
        plain = load(methods=[GAUSSIAN])
        assert len(training.draw(plain, training.measure(plain)).axes) == 2 * 2

    def test_epochs_are_whole_numbers(self, load):
        content = load(training={"epochs": 3})
        panel = training.draw(content, training.measure(content)).axes[-1]
        assert all(tick == int(tick) for tick in panel.get_xticks())

    @pytest.mark.parametrize(
        ("factor", "shift", "expected"),
        [(1, 0, "linear"), (100, 0, "log"), (100, -1, "linear")],
    )
    def test_losses_far_apart_have_a_logarithmic_axis(self, load, factor, shift, expected):
        content = load()
        data = training.measure(content)
        values = ["mean", "lowest", "highest"]
        data[values] = 0.9 + shift
        data.loc[data["label"] == "Consistency", values] *= factor
        panels = training.draw(content, data).axes
        scales = {panel.get_ylabel(): panel.get_yscale() for panel in panels}
        assert scales["Loss"] == expected
        assert scales["Noisy accuracy"] == "linear"

    def test_shows_the_mean_of_the_logs(self, load):
        content = load()
        data = training.measure(content)
        own = data[(data["label"] == "Consistency") & (data["sigma"] == 0.5)]
        logs = [run.read_training() for run in content.cells[content.rows[1], 0.5]]
        for name in training.QUANTITIES:
            expected = np.mean([log[name] for log in logs], axis=0)
            assert_allclose(own.loc[own["quantity"] == name, "mean"], expected)


class TestLook:
    def test_labels_are_shown_as_they_are(self, load):
        labels = ["_hidden", "costs $5 or $6"]
        methods = [{**GAUSSIAN, "label": label} for label in labels]
        content = load(methods=methods)
        figure = certified_accuracy.draw(content, certified_accuracy.measure(content))
        assert legend(figure) == ["_hidden", r"costs \$5 or \$6"]

    def test_many_rows_look_different(self):
        assert len({str(style.line_style(index)) for index in range(40)}) == 40
        assert len({str(style.marker_style(index)) for index in range(40)}) == 40

    def test_many_rows_look_different_in_grey(self):
        looks = [style.line_style(index) for index in range(40)]
        grey = {(str(look["linestyle"]), look.get("marker")) for look in looks}
        assert len(grey) == 40

    @pytest.mark.parametrize(
        "sigmas", [[0.5], [0.25, 0.5, 1.0], [0.12, 0.25, 0.5, 1.0]], ids=["one", "three", "four"]
    )
    @pytest.mark.parametrize("module", [certified_accuracy, p_lower, tradeoff, cost, training])
    def test_nothing_overlaps_or_is_cut(self, load, module, sigmas):
        methods = [{**GAUSSIAN, "label": f"{LONG} ({index})"} for index in range(9)]
        content = load(methods=[*methods, SWEPT], sigmas=sigmas, seeds=[0])
        with style.for_print():
            figure = module.draw(content, module.measure(content))
        figure.draw_without_rendering()
        note = figure.texts[0].get_window_extent()
        keys = figure.legends[0].get_window_extent()
        panels = [panel.get_tightbbox() for panel in figure.axes]
        for box in (note, keys, *panels):
            assert box.x0 >= 0 and box.x1 <= figure.bbox.x1, module  # noqa: PT018
            assert box.y0 >= 0 and box.y1 <= figure.bbox.y1, module  # noqa: PT018
        order = [note, keys, min(panels, key=lambda box: box.y0)]
        for below, above in pairwise(order):
            assert below.y1 <= above.y0
        boxes = [text.get_window_extent() for text in figure.legends[0].get_texts()]
        for index, one in enumerate(boxes):
            assert not any(one.overlaps(other) for other in boxes[:index])


def legend(figure: Figure) -> list[str]:
    return [text.get_text().strip("\u200b") for text in figure.legends[0].get_texts()]


def band(panel) -> tuple[float, float]:
    """Return how far the band of the panel's first line reaches."""
    places = np.concatenate([path.vertices for path in panel.collections[0].get_paths()])
    return places[:, 1].min(), places[:, 1].max()
