"""The papers' claims: their file, and what runs say of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats
from synthetic import AS_PUBLISHED, PARAMETERS, write_experiment

from smoothcert import files, published
from smoothcert.analysis import claims, evidence, experiment, measurement, metrics
from smoothcert.analysis.claims import Claim
from smoothcert.analysis.evidence import Finding, Outcome, evaluate
from smoothcert.errors import UserError

COMPARISON = {
    "left": {"method": "consistency"},
    "relation": "above",
    "right": [{"method": "gaussian"}],
    "sigmas": [0.5],
}
CLAIM = {
    "id": "a-claim",
    "text": "A claim.",
    "source": "Someone 2020",
    "published": "jeong2020rebuttal",
    "dataset": "mnist",
    "arch": "lenet",
}
LOW, HIGH = [1.55, 1.56, 1.57], [1.65, 1.66, 1.67]


def claim(*changes: dict) -> Claim:
    """Return a claim of comparisons that differ from COMPARISON."""
    return Claim(**CLAIM, comparisons=[COMPARISON | change for change in changes or [{}]])


def runs(*cells: tuple[str, list[float]], **columns) -> pd.DataFrame:
    """Return the table of runs of (method, a value a seed) at sigma 0.5."""
    row = {"sigma": 0.5, "subset": "all", "metric": "acr", "radius": np.nan, **AS_PUBLISHED}
    return pd.DataFrame(
        {"method": method, "seed": seed, "value": value, **PARAMETERS[method]} | row | columns
        for method, values in cells
        for seed, value in enumerate(values)
    )


class TestFile:
    def write(self, folder: Path, *contents: dict) -> Path:
        path = folder / "claims.yaml"
        path.write_text(yaml.safe_dump({"claims": list(contents)}))
        return path

    def test_of_the_project(self):
        found = claims.read()
        assert {"acr-is-robust-to-the-seed", "smoothadv-gains-double-digits"} <= {
            claim.id for claim in found
        }
        (gains,) = (claim for claim in found if claim.id == "smoothadv-gains-double-digits")
        assert [c.radius for c in gains.comparisons] == [0.5, 1.0, 2.0]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"id": "Two words"}, "claims[0].id: String should match pattern"),
            ({"dataset": "minst"}, "claim a-claim: dataset: unknown dataset 'minst'; did you"),
            ({"arch": "lenett"}, "claim a-claim: arch: unknown arch 'lenett'; did you mean 'l"),
            ({"comparisons": []}, "claim a-claim: comparisons: List should have at least 1 item"),
            ({"because": 1}, "claim a-claim: because: unknown key; known: 'arch', 'comp"),
        ],
    )
    def test_a_wrong_claim_is_one_line(self, tmp_path, change, message):
        path = self.write(tmp_path, CLAIM | {"comparisons": [COMPARISON]} | change)
        self.refuses(path, message)

    def test_a_misspelt_key_is_named_and_not_the_missing_one(self, tmp_path):
        path = self.write(tmp_path, CLAIM | {"comparison": [COMPARISON]})
        self.refuses(path, "claim a-claim: comparison: unknown key; did you mean 'comparisons'?")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"left": {"method": "gausian"}}, "left.method: unknown method 'gausian'; did you"),
            ({"relation": "over"}, "relation: Input should be 'above', 'below', 'equal' or 'ste"),
            ({"metric": "certified_accuracy"}, "and no other, needs radius"),
            ({"radius": 0.5}, "and no other, needs radius"),
            ({"relation": "equal"}, "relation equal needs a threshold above 0"),
            ({"right": []}, "right: List should have at least 1 item"),
            ({"sigma": [0.5]}, "sigma: unknown key; did you mean 'sigmas'?"),
            (
                {"left": {"method": "consistency", "settings": {"powr": 2}}},
                "left: settings: 'powr' is no setting of method consistency; known: 'aug",
            ),
            (
                {"right": [{"method": "gaussian", "settings": {"epoch": 9}}]},
                "right[0]: settings: 'epoch' is no setting of method gaussian; did you mean 'epoch",
            ),
        ],
    )
    def test_a_wrong_comparison_is_one_line(self, tmp_path, change, message):
        path = self.write(tmp_path, CLAIM | {"comparisons": [COMPARISON | change]})
        self.refuses(path, message)
        self.refuses(path, f"{path}: claim a-claim: comparisons[0]")

    def test_an_id_stands_once(self, tmp_path):
        content = CLAIM | {"comparisons": [COMPARISON]}
        self.refuses(self.write(tmp_path, content, content), "two claims have the id a-claim")

    def test_what_is_not_yaml_is_one_line(self, tmp_path):
        path = tmp_path / "claims.yaml"
        self.refuses(path, "does not exist")
        path.write_text("claims: [")
        self.refuses(path, "cannot be read as YAML")
        path.write_text("")
        self.refuses(path, "is not a mapping of keys; start it with claims:")

    def refuses(self, path: Path, message: str) -> None:
        with pytest.raises(UserError) as caught:
            claims.read(path)
        assert message in str(caught.value)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


class TestEvaluate:
    def outcome(self, table: pd.DataFrame, *changes: dict) -> Outcome:
        return evaluate(claim(*changes), table).outcome

    def test_supported_with_welchs_interval(self):
        result = evaluate(claim(), runs(("consistency", HIGH), ("gaussian", LOW)))
        welch = stats.ttest_ind(HIGH, LOW, equal_var=False).confidence_interval(0.95)
        assert result.outcome == Outcome.SUPPORTED
        (finding,) = result.findings
        assert finding.difference.value == pytest.approx(0.1)
        assert finding.interval == pytest.approx(tuple(welch))
        assert (finding.level, finding.reason) == (0.95, "3 and 3 seeds")

    def test_contradicted(self):
        table = runs(("consistency", LOW), ("gaussian", HIGH))
        assert self.outcome(table) == Outcome.CONTRADICTED
        assert self.outcome(table, {"relation": "below"}) == Outcome.SUPPORTED

    def test_undecided(self):
        table = runs(("consistency", [1.56, 1.57, 1.59]), ("gaussian", LOW))
        assert self.outcome(table) == Outcome.UNDECIDED

    def test_not_run(self):
        result = evaluate(claim(), runs(("gaussian", LOW)))
        assert result.outcome == Outcome.NOT_RUN
        assert result.findings[0].reason == "consistency was not run at sigma 0.50"

    @pytest.mark.parametrize(
        ("threshold", "above", "below"),
        [
            (0.05, Outcome.SUPPORTED, Outcome.CONTRADICTED),
            (0.1, Outcome.UNDECIDED, Outcome.CONTRADICTED),
            (0.15, Outcome.CONTRADICTED, Outcome.CONTRADICTED),
        ],
    )
    def test_threshold(self, threshold, above, below):
        table = runs(("consistency", HIGH), ("gaussian", LOW))
        assert self.outcome(table, {"threshold": threshold}) == above
        assert self.outcome(table, {"threshold": threshold, "relation": "below"}) == below

    # The difference is 0.1; its error sqrt(2/3) * 0.01 = 0.008165, df 4; t(0.95) = 2.132 makes a
    # reach of 0.0174 at 90%, t(0.975) = 2.776 one of 0.0227 at 95%.
    @pytest.mark.parametrize(
        ("threshold", "expected"),
        [
            (0.118, Outcome.SUPPORTED),
            (0.117, Outcome.UNDECIDED),
            (0.078, Outcome.UNDECIDED),
            (0.077, Outcome.CONTRADICTED),
        ],
    )
    def test_equal_is_a_test_of_equivalence(self, threshold, expected):
        change = {"relation": "equal", "threshold": threshold}
        assert self.outcome(runs(("consistency", HIGH), ("gaussian", LOW)), change) == expected
        assert self.outcome(runs(("consistency", LOW), ("gaussian", HIGH)), change) == expected

    # The deviation is 0.01 with df 4 and the difference 0.1: t = 12.247, the 97.5% quantile of the
    # noncentral t distribution with parameter 3.972 and the 2.5% one of that with 20.639.
    @pytest.mark.parametrize(
        ("threshold", "expected"),
        [
            (0.309, Outcome.SUPPORTED),
            (0.308, Outcome.UNDECIDED),
            (0.060, Outcome.UNDECIDED),
            (0.059, Outcome.CONTRADICTED),
        ],
    )
    def test_steady_bounds_the_deviation(self, threshold, expected):
        change = {"relation": "steady", "threshold": threshold}
        result = evaluate(claim(change), runs(("consistency", HIGH), ("gaussian", LOW)))
        assert result.outcome == expected
        told = "the deviation is 0.059 to 0.31 times the difference"
        assert result.findings[0].reason == f"3 and 3 seeds; {told}"

    def test_steady_takes_hardly_any_deviation(self):
        change = {"relation": "steady", "threshold": 0.01}
        table = runs(("consistency", [1.0, 1.0, 1.0 + 1e-6]), ("gaussian", [2.0, 2.0, 2.0 + 1e-6]))
        assert evaluate(claim(change), table).outcome == Outcome.SUPPORTED

    def test_all_comparisons_must_hold(self):
        table = runs(("consistency", HIGH), ("gaussian", LOW), ("macer", [1.76, 1.77, 1.78]))
        others = {"right": [{"method": "gaussian"}, {"method": "macer"}]}
        assert self.outcome(table, others) == Outcome.CONTRADICTED
        assert self.outcome(table, {}, {"sigmas": [0.5, 1.0]}) == Outcome.NOT_RUN
        assert self.outcome(table, others, {"sigmas": [0.5, 1.0]}) == Outcome.CONTRADICTED

    def test_many_comparisons_are_not_contradicted_by_chance(self):
        # The difference is -0.03 with a reach of 0.0227 at 95% and of 0.0457 at 99.5%.
        table = runs(("consistency", LOW), ("gaussian", [1.58, 1.59, 1.60]))
        assert self.outcome(table) == Outcome.CONTRADICTED
        others = {"right": [{"method": "gaussian"}] * 10}
        result = evaluate(claim(others), table)
        assert result.outcome == Outcome.UNDECIDED
        assert result.findings[0].level == pytest.approx(0.995)
        assert result.findings[0].interval[1] > 0

    @pytest.mark.parametrize(
        ("change", "difference"),
        [
            ({"epochs": 3}, "epochs (ours 3, theirs 90)"),
            ({"lr_convention": "cohen"}, "lr_convention (ours cohen, theirs jeong)"),
            ({"weight_decay": 0.0}, "weight_decay (ours 0, theirs 0.0001)"),
            ({"precision": "bf16"}, "precision (ours bf16, theirs fp32)"),
            ({"init_from": "a/model.pt"}, "init_from (ours a/model.pt, theirs none)"),
            ({"n": 10_000}, "n (ours 10000, theirs 100000)"),
            ({"alpha": 0.01}, "alpha (ours 0.01, theirs 0.001)"),
            ({"lambda": 77.0}, "lambda (ours 77, theirs 20)"),
            ({"m": 16}, "m (ours 16, theirs 2)"),
        ],
    )
    def test_runs_of_another_training_or_protocol_say_nothing(self, change, difference):
        table = pd.concat([runs(("consistency", LOW), **change), runs(("gaussian", HIGH))])
        (finding,) = evaluate(claim(), table).findings
        assert finding.outcome == Outcome.NOT_COMPARABLE
        assert finding.reason == f"consistency differs in {difference}"
        assert finding.difference is None

    def test_a_source_that_tells_its_own_n_is_compared_at_that(self, monkeypatch):
        rows = published.find(published.Query(source=CLAIM["published"]))
        monkeypatch.setattr(published, "find", lambda *_: [replace(row, n=1000) for row in rows])
        few = runs(("consistency", HIGH), ("gaussian", LOW), n=1000)
        assert self.outcome(few) == Outcome.SUPPORTED
        (finding,) = evaluate(claim(), runs(("consistency", HIGH), ("gaussian", LOW))).findings
        assert finding.reason == "consistency differs in n (ours 100000, theirs 1000)"

    def test_a_run_counts_if_it_is_like_any_of_the_published_ones(self):
        """The logs on MNIST have the released form with m = 2, 4 and 8."""
        of_logs = claim().model_copy(update={"published": "jeong2020"})
        form = {"form": "released", "eta": 0.5, "lambda": 5.0}
        for m, outcome in ((4, Outcome.SUPPORTED), (3, Outcome.NOT_COMPARABLE)):
            ours = runs(("consistency", HIGH), **form, m=m)
            table = pd.concat([ours, runs(("gaussian", LOW))])
            assert evaluate(of_logs, table).outcome == outcome

    def test_a_cell_may_have_its_numbers_from_elsewhere(self):
        gaussian = {"method": "gaussian", "published": "salman2019"}
        table = runs(("consistency", HIGH), ("gaussian", LOW))
        (finding,) = evaluate(claim({"right": [gaussian]}), table).findings
        assert finding.reason == "gaussian differs in training (theirs is not told)"

    def test_a_part_of_the_images_adds_the_error_of_drawing_them(self):
        """By hand: Welch's error over seeds and the paired one over images, in quadrature."""
        rng = np.random.default_rng(3)
        images = {"consistency": rng.normal(1.6, 0.5, (3, 200)), "gaussian": np.ones((3, 200))}
        images["gaussian"] += rng.normal(0.5, 0.01, (3, 1))
        table = pd.concat(
            [
                runs((method, list(values.mean(1))), subset="every-50").assign(
                    of_images=list(values)
                )
                for method, values in images.items()
            ]
        )
        (finding,) = evaluate(claim(), table).findings
        left, right = images["consistency"], images["gaussian"]
        seeds = left.mean(1).var(ddof=1) / 3, right.mean(1).var(ddof=1) / 3
        drawn = (left - right).mean(0).var(ddof=1) / 200 * (1 - 200 / 10_000)
        parts = [*zip(seeds, (2, 2), strict=True), (drawn, 199)]
        error = np.sqrt(sum(v for v, _ in parts))
        df = error**4 / (sum(seeds) ** 2 / (sum(seeds) ** 2 / sum(s**2 / 2 for s in seeds))
                         + drawn**2 / 199)  # fmt: skip
        assert finding.difference.error == pytest.approx(error)
        assert finding.difference.df == pytest.approx(df)
        assert finding.reason == "3 and 3 seeds, 200 of 10,000 images"
        whole = table.assign(subset="all")  # which the source certified
        (finding,) = evaluate(claim(), whole).findings
        assert finding.difference.error == pytest.approx(np.sqrt(sum(seeds)))
        (finding,) = evaluate(claim({"relation": "steady", "threshold": 1}), table).findings
        assert finding.difference.error == pytest.approx(np.sqrt(sum(seeds)))

    def test_seeds_of_several_settings_are_not_averaged(self):
        table = pd.concat([runs(("consistency", HIGH)), runs(("gaussian", LOW))])
        assert self.outcome(table.assign(configuration=table["method"]), {}) == Outcome.SUPPORTED
        mixed = table.assign(configuration=table["method"] + table["seed"].astype(str))
        assert self.outcome(mixed, {}) == Outcome.UNDECIDED

    def test_a_side_that_was_not_run_comes_before_one_of_several_settings(self):
        table = runs(("consistency", HIGH))
        mixed = table.assign(configuration=table["seed"].astype(str))
        assert self.outcome(mixed, {}) == Outcome.NOT_RUN

    def test_lambda_and_settings_select(self):
        table = pd.concat(
            [
                runs(("consistency", HIGH), **{"lambda": 20.0, "form": "first"}),
                runs(("consistency", LOW), **{"lambda": 5.0, "form": "first"}),
                runs(("consistency", LOW), **{"lambda": 20.0, "form": "released"}),
                runs(("gaussian", LOW)),
            ]
        )
        exact = {"method": "consistency", "lambda": 20, "settings": {"form": "first"}}
        assert self.outcome(table, {"left": exact}) == Outcome.SUPPORTED
        others = exact | {"settings": {"form": "released"}}
        assert self.outcome(table, {"left": others}) == Outcome.NOT_COMPARABLE
        unknown = exact | {"settings": {"m": 1}}
        assert self.outcome(table, {"left": unknown}) == Outcome.NOT_RUN

    def test_runs_unlike_the_published_ones_are_left_out_beside_others(self):
        published = runs(("consistency", HIGH), ("gaussian", LOW), configuration="a")
        other = runs(("consistency", LOW), configuration="b", **{"lambda": 5.0})
        assert self.outcome(pd.concat([other, published]), {}) == Outcome.SUPPORTED

    def test_several_settings_that_the_source_does_not_tell_apart_tell_nothing(self):
        table = pd.concat(
            [
                runs(("consistency", HIGH), ("gaussian", LOW), configuration="a"),
                runs(("consistency", LOW), configuration="b"),
            ]
        )
        result = evaluate(claim(), table)
        assert result.outcome == Outcome.UNDECIDED
        assert result.findings[0].reason == (
            "consistency was run with several settings at sigma 0.50; the claim must name lambda "
            "or settings"
        )

    def test_metric_and_radius_select(self):
        change = {"metric": "certified_accuracy", "radius": 0.5}
        better, worse = [
            (("consistency", values), ("gaussian", others))
            for values, others in ((HIGH, LOW), (LOW, HIGH))
        ]
        table = pd.concat(
            [runs(*worse), runs(*worse, **(change | {"radius": 0.0})), runs(*better, **change)]
        )
        assert self.outcome(table, change) == Outcome.SUPPORTED
        assert self.outcome(table, change | {"radius": 0.0}) == Outcome.CONTRADICTED

    def test_abstentions_are_added(self):
        correct = {"metric": "certified_accuracy", "radius": 0.5}
        change = correct | {"add_abstention": True}
        certified = ("consistency", [0.57, 0.58, 0.59]), ("gaussian", [0.42, 0.43, 0.44])
        abstained = ("consistency", [0.03] * 3), ("gaussian", [0.08] * 3)
        table = pd.concat([runs(*certified, **correct), runs(*abstained, metric="abstention")])
        (finding,) = evaluate(claim(change), table).findings
        assert finding.difference.value == pytest.approx(0.61 - 0.51)
        (finding,) = evaluate(claim(change), table[table["metric"] != "abstention"]).findings
        assert finding.outcome == Outcome.NOT_RUN

    def test_abstentions_of_another_configuration_are_not_added(self):
        correct = {"metric": "certified_accuracy", "radius": 0.5}
        certified = ("consistency", [0.57, 0.58, 0.59]), ("gaussian", [0.42, 0.43, 0.44])
        abstained = ("consistency", [0.03] * 3), ("gaussian", [0.08] * 3)
        others = [("consistency", [0.9] * 3)]  # of a shortened training, which does not count
        table = pd.concat(
            [
                runs(*certified, **correct, configuration="a"),
                runs(*abstained, metric="abstention", configuration="a"),
                runs(*others, **correct, configuration="b", epochs=9),
                runs(*others, metric="abstention", configuration="b", epochs=9),
            ]
        )
        (finding,) = evaluate(claim(correct | {"add_abstention": True}), table).findings
        assert finding.difference.value == pytest.approx(0.61 - 0.51)

    def test_mode_staged_says_nothing_since_it_lowers_radii(self):
        table = pd.concat([runs(("consistency", HIGH), mode="staged"), runs(("gaussian", LOW))])
        (finding,) = evaluate(claim(), table).findings
        assert finding.outcome == Outcome.NOT_COMPARABLE
        assert finding.reason == "consistency differs in mode (ours staged, theirs fixed)"

    def test_what_mode_evaluate_does_not_tell_is_not_called_not_run(self):
        table = runs(("consistency", [np.nan] * 3), ("gaussian", [np.nan] * 3), metric="abstention")
        (finding,) = evaluate(claim({"metric": "abstention"}), table).findings
        assert finding.outcome == Outcome.NOT_COMPARABLE
        assert "consistency: mode evaluate does not tell abstentions" in finding.reason

    @pytest.mark.parametrize("others", [[1.5], LOW])
    def test_a_single_seed_is_undecided(self, others):
        (finding,) = evaluate(claim(), runs(("consistency", [1.7]), ("gaussian", others))).findings
        assert finding.outcome == Outcome.UNDECIDED
        assert finding.reason == "a single run on a side tells no deviation between seeds"


class TestJudge:
    """Runs on images of MNIST, trained and certified as the published ones."""

    @pytest.fixture
    def manifest(self, tmp_path, monkeypatch) -> Path:
        monkeypatch.chdir(tmp_path)
        return write_experiment(
            tmp_path,
            dataset="mnist",
            arch="lenet",
            sigmas=[0.5],
            training={"epochs": 90, "lr": 0.01, "lr_step": 30, "lr_convention": "jeong"},
            certification={"subset": "every-100", "n": 100_000},
            methods=[{"method": "gaussian"}, {"method": "consistency", "lambda": 5}],
        )

    def test_runs_of_several_seeds_are_averaged_whatever_they_start_from(self, manifest):
        one, two, _ = [
            run.point for run in experiment.load(manifest).runs if run.point.method == "gaussian"
        ]

        def configuration(point, **training):
            changed = replace(point, training=point.training.model_copy(update=training))
            return evidence._configuration(changed)

        fresh, started = configuration(one), configuration(one, init_from="a/seed-0/model.pt")
        assert one.seed != two.seed
        assert configuration(two) == fresh
        assert configuration(two, init_from="a/seed-0/model.pt") == started
        assert configuration(two, init_from="a/seed-1/model.pt") == started
        assert len({fresh, started, configuration(one, epochs=9)}) == 3

    def judge(self, manifest: Path) -> tuple[Finding, dict[str, float]]:
        """Return what the runs say at sigma 0.5, and the gain in ACR by how radii are rounded."""
        content = experiment.load(manifest)
        (result,) = (
            one
            for one in evidence.judge(measurement.measure(content))
            if one.claim.id == "consistency-raises-acr-on-mnist"
        )
        (found,) = (one for one in result.findings if one.outcome != Outcome.NOT_RUN)
        gains = {}
        for rounding in ("", "3 digits"):
            acr = {"gaussian": [], "consistency": []}
            for run in content.runs:
                table = run.read_certificates()
                radii = metrics.round_radii(table["radius"], rounding)
                acr[run.point.method].append((radii * table["correct"]).mean())
            gains[rounding] = np.mean(acr["consistency"]) - np.mean(acr["gaussian"])
        assert abs(gains[""] - gains["3 digits"]) > 1e-6
        return found, gains

    def test_runs_that_differ_in_their_seed_alone_are_averaged(self, manifest):
        found, gains = self.judge(manifest)
        assert (found.outcome, found.reason) == (
            Outcome.SUPPORTED,
            "3 and 3 seeds, 100 of 10,000 images",
        )
        assert found.difference.value == pytest.approx(gains[""], abs=1e-9)

    def test_beside_a_published_log_radii_are_rounded_as_the_logs_are(self, manifest):
        content = files.read_json(manifest)
        for run in content["runs"]:
            if run["point"]["method"] == "gaussian":
                run["log"] = {"pattern": "*.tsv", "seeds": [0, 1, 2]}
        files.write_json(manifest, content)
        found, gains = self.judge(manifest)
        assert found.difference.value == pytest.approx(gains["3 digits"], abs=1e-9)

    def test_a_log_counts_where_its_method_was_not_run_here(self):
        ours, theirs, other = (
            SimpleNamespace(log=log, point=SimpleNamespace(method=method))
            for log, method in ((None, "gaussian"), ({}, "gaussian"), ({}, "macer"))
        )
        assert evidence.counted([ours, theirs, other]) == [ours, other]


def test_every_cell_of_the_projects_claims_has_published_runs():
    """Of known training: or anything would count as such a run."""
    for one in claims.read():
        for comparison in one.comparisons:
            for cell, sigma in product((comparison.left, *comparison.right), comparison.sigmas):
                numbers = evidence._published(one, cell, sigma)
                assert any("epochs" in number.settings for number in numbers), (one.id, str(cell))


def test_claims_of_the_project_can_be_evaluated():
    cells = [
        runs((method, LOW), sigma=sigma)
        for method, sigma in product(("gaussian", "macer"), (0.25, 0.5, 1.0))
    ]
    outcomes = {c.id: evaluate(c, pd.concat(cells)).outcome for c in claims.read()}
    assert set(outcomes.values()) == {Outcome.NOT_RUN}
