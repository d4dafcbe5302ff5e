"""The verdicts of an experiment: what is compared with what, how it is shown, what is not run."""

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
from synthetic import rows, write_experiment

from smoothcert import files
from smoothcert.analysis import experiment, judgement, metrics
from smoothcert.analysis.measurement import measure
from smoothcert.analysis.tables import verdicts
from smoothcert.analysis.write_tables import write_tables
from smoothcert.published.number import Number

NUMBER = Number(
    source="authors2020",
    dataset="digits",
    arch="convnet8",
    method="gaussian",
    settings={"epochs": "5"},
    sigma=0.25,
    metric="acr",
    radius=None,
    subset="every-4",
    images=90,
    n=10_000,
    alpha=0.001,
    radii="3 digits",
    printed="0.4000",
    std=0.01,
    seeds=5,
    table="table 1",
    note="",
)


@pytest.fixture
def judge(tmp_path, monkeypatch):
    """Return a function that judges an experiment's Gaussian cell beside published numbers."""
    monkeypatch.chdir(tmp_path)
    manifest = write_experiment(tmp_path)

    def with_numbers(*numbers, **cell):
        content = files.read_json(manifest)
        about = {"label": "Gaussian", "lambda": 0, "sigma": 0.25, "settings": {"epochs": 5}}
        about |= {"log": False, "numbers": [dataclasses.asdict(number) for number in numbers]}
        files.write_json(manifest, {**content, "published": [about | cell]})
        return judgement.judge(experiment.load(manifest))

    with_numbers.manifest = manifest
    return with_numbers


def number(**changes):
    return dataclasses.replace(NUMBER, **changes)


def kind(judged):
    (one,) = judged
    return str(one.verdict.kind)


def rounded_acr(judge):
    """Return the mean ACR of the Gaussian runs at sigma 0.25, of radii of three digits."""
    runs = [
        run.read_certificates()
        for run in experiment.load(judge.manifest).runs
        if run.row.label == "Gaussian" and run.point.sigma == 0.25
    ]
    values = [
        [float(f"{r:.3g}") * c for r, c in zip(run["radius"], run["correct"], strict=True)]
        for run in runs
    ]
    return float(pd.DataFrame(values).mean(axis=1).mean())


def test_what_mode_evaluate_does_not_tell_is_not_called_not_run(judge, tmp_path):
    protocol = {"subset": "every-4", "n": 10_000, "mode": "evaluate"}
    write_experiment(tmp_path, certification=protocol)
    acr, abstention = judge(NUMBER, number(metric="abstention"))
    assert acr.verdict.ours.seeds == 3
    assert str(abstention.kind) == "not comparable"
    assert abstention.verdict.reason == "mode evaluate does not tell abstentions from mistakes"


def test_ours_are_rounded_as_theirs(judge):
    (one,) = judge(NUMBER)
    assert one.verdict.ours.mean == pytest.approx(rounded_acr(judge), abs=1e-12)
    assert one.verdict.ours.seeds == 3
    (plain,) = judge(number(radii=""))
    assert plain.verdict.ours.mean != one.verdict.ours.mean


def test_a_number_near_ours_is_reproduced_and_a_far_one_is_not(judge):
    near = number(printed=f"{rounded_acr(judge):.4f}", std=1e-5)
    manifest = files.read_json(judge.manifest)
    manifest["configuration"]["margin"]["acr"] = 0.2
    files.write_json(judge.manifest, manifest)
    assert kind(judge(near)) == "reproduced"
    assert kind(judge(number(printed="0.1000"))) == "not reproduced"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"subset": "all"}, "subset (ours every-4, theirs all)"),
        ({"n": 100_000}, "n (ours 10000, theirs 100000)"),
        ({"alpha": 0.01}, "alpha (ours 0.001, theirs 0.01)"),
        ({"settings": {"epochs": "90"}}, "epochs (ours 5, theirs 90)"),
    ],
)
def test_what_differs_is_not_comparable(judge, changes, words):
    (one,) = judge(number(**changes))
    assert str(one.verdict.kind) == "not comparable"
    assert words in one.verdict.reason


def test_mode_staged_is_not_comparable_since_it_lowers_radii(judge, tmp_path):
    protocol = {"subset": "every-4", "n": 10_000, "mode": "staged"}
    write_experiment(tmp_path, certification=protocol)
    (one,) = judge(NUMBER)
    assert str(one.verdict.kind) == "not comparable"
    assert one.verdict.reason == "differs in mode (ours staged, theirs fixed)"


def beside_log(judge, ours, theirs):
    """Judge the Gaussian cell against ``ours`` where the other method's runs are a log behind
    ``theirs``."""
    label = experiment.load(judge.manifest).rows[1].label
    judge(ours)
    content = files.read_json(judge.manifest)
    first = next(run for run in content["runs"] if run["label"] == label)
    log = {"label": label, "lambda": first["point"]["lambda"], "sigma": 0.25, "log": True}
    (cell,) = content["published"]
    log["numbers"] = [dataclasses.asdict(theirs)]
    content["published"] = [cell, cell | log]
    content["configuration"]["margin"]["acr"] = 1e-4
    files.write_json(judge.manifest, content)
    return judgement.judge(experiment.load(judge.manifest))


def test_more_images_settle_it_where_logs_hold_more(judge):
    whole = number(subset="all", seeds=3, images=1_000_000)
    (one,) = beside_log(judge, whole, whole)
    assert str(one.verdict.kind) == "inconclusive"
    assert one.verdict.images_needed > 90
    assert "images would settle it" in one.verdict.reason


def test_the_table_tells_what_was_published_where_logs_stand_in(judge):
    whole = number(subset="all", seeds=3, images=1_000_000, printed="0.3210", std=0.01)
    (one,) = beside_log(judge, whole, whole)
    assert one.by_logs
    table = verdicts.table(measure(experiment.load(judge.manifest)))
    (row,) = table.data.to_dict("records")
    assert (row["basis"], row["as_published"], row["as_published_std"]) == ("logs", 0.321, 0.01)
    assert row["published"] == one.verdict.theirs.mean != 0.321
    assert "Basis" in [column.heading for column in table.blocks[0].columns]
    assert any(note.startswith("Basis: logs") for note in table.notes)


@pytest.mark.parametrize(("printed", "doubted"), [("0.4000", True), ("0.3000", False)])
def test_logs_that_are_not_those_of_the_print_are_told(judge, printed, doubted):
    """They stand in on our images; on all of theirs, they do or do not give what was printed."""
    label = experiment.load(judge.manifest).rows[1].label
    for run in files.read_json(judge.manifest)["runs"]:
        if run["label"] == label:
            path = Path(run["certificates"], "certificates.json")
            files.write_json(path, files.read_json(path) | {"log_acr": 0.3})
    whole = number(subset="all", seeds=3, images=1_000_000, printed=printed, std=None)
    (one,) = beside_log(judge, whole, whole)
    told = "theirs is by their logs, and on all images the log differs: mean by -0.1 from what was"
    assert (told in one.verdict.reason) is doubted


def test_a_share_of_0_or_1_cannot_be_shown_to_be_repeated(judge):
    zero = number(metric="certified_accuracy", radius=3.0, printed="0.00", std=None, seeds=1)
    (one,) = judge(zero)
    assert str(one.verdict.kind) == "inconclusive"
    assert "leaves no margin, so that no run can be shown to repeat it" in one.verdict.reason
    assert "images or seeds" not in one.verdict.reason


@pytest.mark.parametrize(
    "other", [{"method": "consistency"}, {"settings": {"epochs": "5", "lambda": "10"}}]
)
def test_the_log_of_another_cell_of_the_same_table_does_not_stand_in(judge, other):
    whole = number(subset="all", seeds=3)
    (one,) = beside_log(judge, whole, dataclasses.replace(whole, **other))
    assert str(one.verdict.kind) == "not comparable"
    assert one.verdict.theirs.mean == 0.4


def test_logs_of_fewer_seeds_than_were_published_do_not_stand_in(judge):
    whole = number(subset="all", seeds=5)
    (one,) = beside_log(judge, whole, whole)
    assert str(one.verdict.kind) == "not comparable"
    assert (one.verdict.theirs.mean, one.verdict.theirs.seeds) == (0.4, 5)


def test_accuracies_and_abstentions_are_compared_too(judge):
    accuracy = number(metric="certified_accuracy", radius=0.25, printed="0.7")
    abstention = number(metric="abstention", printed="0.05")
    times = number(metric="seconds_per_epoch", printed="8")
    judged = judge(accuracy, abstention, times)
    assert [one.number.metric for one in judged] == ["certified_accuracy", "abstention"]
    run = next(iter(experiment.load(judge.manifest).runs)).read_certificates()
    rounded = metrics.round_radii(run["radius"], "3 digits")
    share = ((rounded >= 0.25) & (run["correct"] == 1)).mean()
    assert 0 < share < 1
    assert judged[0].verdict.ours.mean == pytest.approx(share, abs=0.1)


def test_a_cell_without_runs_is_listed(judge):
    (one,) = judge(NUMBER, label="SmoothAdv")
    assert one.verdict is None
    write_tables(judge.manifest, judge.manifest.parent)
    (line,) = [row for row in rows(judge.manifest.parent / "verdicts.md") if row[0] == "SmoothAdv"]
    assert line[4] == "–"
    assert line[8:] == ["not run", "no run of ours"]
    (row,) = pd.read_csv(judge.manifest.parent / "verdicts.csv").to_dict("records")
    assert (row["verdict"], row["published"], row["table"]) == ("not run", 0.4, "table 1")


def test_the_table_shows_both_sides_with_their_counts(judge):
    judge(NUMBER)
    write_tables(judge.manifest, judge.manifest.parent)
    line = rows(judge.manifest.parent / "verdicts.md")[2]
    assert line[:4] == ["Gaussian", "0.25", "0.4000 ± 0.0100", "5"]
    assert line[4].startswith(f"{rounded_acr(judge):.4f} ± ")
    assert line[5] == "3"


def test_accuracies_of_all_radii_stand_in_one_block(judge):
    radii = [0.0, 0.25, 0.5]
    judge(*(number(metric="certified_accuracy", radius=r, printed="0.5") for r in radii))
    write_tables(judge.manifest, judge.manifest.parent)
    path = judge.manifest.parent / "verdicts.md"
    assert path.read_text(encoding="utf-8").count("###") == 1
    head, *lines = (row for row in rows(path) if row[0] in ("Method", "Gaussian"))
    assert head[2] == "r"
    assert [float(line[2]) for line in lines] == radii
    assert "authors2020" in path.read_text(encoding="utf-8")


def test_markdown_and_csv_agree(judge):
    judge(NUMBER, number(metric="abstention", printed="0.05", std=None, seeds=1))
    write_tables(judge.manifest, judge.manifest.parent)
    data = pd.read_csv(judge.manifest.parent / "verdicts.csv")
    lines = [line for line in rows(judge.manifest.parent / "verdicts.md") if line[0] == "Gaussian"]
    assert len(lines) == len(data) == 2
    for line, (_, row), factor in zip(lines, data.iterrows(), (1, 100), strict=True):
        shown = [float(line[i].split(" ")[0].replace("−", "-")) for i in (2, 4, 6)]
        held = [factor * row[key] for key in ("published", "ours", "difference")]
        assert shown == pytest.approx(held, abs=0.006 if factor > 1 else 6e-5)
        assert line[8] == row["verdict"]


def test_the_csv_tells_what_would_settle_it(judge):
    judged = judge(NUMBER)
    write_tables(judge.manifest, judge.manifest.parent)
    data = pd.read_csv(judge.manifest.parent / "verdicts.csv")
    for name in ("seeds_needed", "images_needed"):
        wanted = [getattr(one.verdict, name) for one in judged]
        assert data[name].astype(object).where(data[name].notna(), None).tolist() == wanted


def test_a_best_of_a_sweep_says_so(judge):
    judge(number(settings={"best_of": "14"}))
    write_tables(judge.manifest, judge.manifest.parent)
    assert (
        "the best of 14 runs on the test set" in rows(judge.manifest.parent / "verdicts.md")[2][-1]
    )


def test_without_published_numbers_the_tables_say_so(judge):
    files.write_json(judge.manifest, {**files.read_json(judge.manifest), "published": []})
    write_tables(judge.manifest, judge.manifest.parent)
    for name in ("verdicts", "claims"):
        text = (judge.manifest.parent / f"{name}.md").read_text(encoding="utf-8")
        assert "no published number" in text or "No claim" in text
        assert pd.read_csv(judge.manifest.parent / f"{name}.csv").empty
