"""What runs again after which change, on a workflow that really ran."""

import copy
import re
import shutil

import pytest
from workspace import TINY, Workspace

from smoothcert.analysis.tables import TABLES

EVERYTHING_AFTER = {"summarize", "tables", "figures", "report", "index"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a workspace whose tiny experiment has run to its report."""
    workspace = Workspace(tmp_path_factory.mktemp("project"))
    config = workspace.configure(TINY)
    result = workspace.snakemake("--configfile", config)
    assert result.returncode == 0, result.stdout + result.stderr
    return workspace


@pytest.fixture
def planned(finished):
    """Return a function that edits a file, tells what a dry run would run, and undoes the edit."""

    def plan(name: str, old: str, new: str) -> dict[str, set[str]]:
        path = finished.folder / name
        before = path.read_bytes()
        finished.edit(name, old, new)
        try:
            return finished.planned("--configfile", "config/tiny.yaml")
        finally:
            path.write_bytes(before)

    return plan


def methods(runs):
    return {run.split("/")[2].split("-")[0] for run in runs}


def test_the_whole_report_is_there(finished):
    folder = finished.folder / "reports" / "tiny"
    assert (folder / "index.html").stat().st_size > 10_000
    assert 'href="tiny/index.html"' in (folder.parent / "index.html").read_text()
    for table in TABLES:
        for suffix in ("csv", "md", "tex", "html"):
            assert (folder / "tables" / f"{table}.{suffix}").stat().st_size > 0
    drawn = {path.name for path in (folder / "figures").iterdir()}
    assert drawn == {
        f"{figure}.{suffix}"
        for figure in ("certified_accuracy", "empirical", "p_lower", "cost", "training")
        for suffix in ("svg", "pdf", "png", "csv")
    }
    for run in finished.manifest("tiny")["runs"]:
        assert (finished.folder / run["certificates"] / "summary.json").exists()
        assert "image 6/6" in (finished.folder / run["attacked"] / "attack.log").read_text()
        assert "epoch 2/2" in (finished.folder / run["folder"] / "train.log").read_text()


def test_nothing_is_left_to_do(finished):
    assert finished.planned("--configfile", "config/tiny.yaml") == {}
    result = finished.snakemake("--configfile", "config/tiny.yaml")
    assert "Nothing to be done" in result.stdout + result.stderr


def test_a_template_concerns_the_report_alone(planned):
    plan = planned("code/smoothcert/report/report.html", "<body", "<!-- --><body")
    assert plan == {"report": {"of tiny"}, "index": {"of reports"}}


def test_a_figure_concerns_the_experiments_that_have_it(planned):
    name = "code/smoothcert/analysis/figures/{}.py"
    edit = "import annotations\n", "import annotations\nX = 1\n"
    assert set(planned(name.format("cost"), *edit)) == {"figures", "report", "index"}
    assert planned(name.format("tradeoff"), *edit) == {}


def test_a_claim_concerns_the_tables_and_what_shows_them(planned):
    plan = planned("config/claims.yaml", "The ACR hardly depends", "The ACR does hardly depend")
    assert set(plan) == {"tables", "report", "index"}


def test_how_the_published_runs_were_trained_concerns_the_claims(planned):
    setting = "dataset: mnist\n  settings: {epochs: 9"
    plan = planned("config/published/training.yaml", f"{setting}0", f"{setting}1")
    assert "tables" in plan


def test_published_numbers_concern_the_claims(planned):
    assert "tables" in planned("config/published/zhai2020.csv", ",100000,0.001,", ",1000,0.001,")


def test_a_caption_reruns_nothing_but_the_snakemake_report(planned):
    assert planned("workflow/report/table.rst", "Means", "The means") == {}


@pytest.mark.parametrize(
    "name", ["train.py", "smoothing/certify.py", "methods/consistency.py", "analysis/tables/acr.py"]
)
def test_a_comment_reruns_nothing(planned, name):
    path = f"code/smoothcert/{name}"
    assert planned(path, "import annotations\n", "import annotations  # a remark\n") == {}


def test_a_loss_reruns_its_method_and_what_follows(planned):
    plan = planned("code/smoothcert/methods/consistency.py", "weight * div", "1.5 * weight * div")
    assert set(plan) == {"train", "certify", "attack", *EVERYTHING_AFTER}
    for stage in ("train", "certify", "attack"):
        assert methods(plan[stage]) == {"consistency"}


def test_an_attack_concerns_attacks_and_what_shows_them(planned):
    plan = planned("config/tiny.yaml", "steps: 2", "steps: 3")
    assert set(plan) == {"attack", "experiment", "tables", "figures", "report", "index"}
    name = "code/smoothcert/smoothing/attack.py"
    plan = planned(name, "import annotations\n", "import annotations\nX = 1\n")
    assert set(plan) == {"attack", "tables", "figures", "report", "index"}


def test_another_n_reruns_certification_not_training(planned):
    plan = planned("config/tiny.yaml", "n: 100", "n: 200")
    assert set(plan) == {"certify", "experiment", *EVERYTHING_AFTER}


def test_a_changed_experiment_is_announced_in_a_line(finished):
    content = copy.deepcopy(TINY)
    content["experiments"][0]["title"] = "Another title"
    config = finished.configure(content, "config/title.yaml")
    result = finished.snakemake("--dry-run", "--configfile", config)
    reasons = re.findall("Params have changed.*", result.stdout + result.stderr)
    assert len(reasons) == 1
    assert len(reasons[0]) < 400


@pytest.mark.parametrize("name", ["analysis/tables/acr.py", "report/page.py"])
def test_deleted_certificates_are_made_again_for_what_reads_them(finished, planned, name):
    """As the message on damaged ones says, though their summary is still there."""
    (run, *_) = finished.manifest("tiny")["runs"]
    table = finished.folder / run["certificates"] / "certificates.tsv"
    away = table.rename(table.with_name("away"))
    edit = "import annotations\n", "import annotations\nX = 1\n"
    plan = planned(f"code/smoothcert/{name}", *edit)
    away.rename(table)
    assert len(plan["certify"]) == 1


def test_another_setting_trains_anew(planned):
    plan = planned("config/tiny.yaml", "lr: 0.05", "lr: 0.04")
    assert methods(plan["train"]) == {"gaussian", "consistency"}


def test_another_seed_adds_its_runs_alone(finished):
    content = copy.deepcopy(TINY)
    content["experiments"][0]["seeds"] = [0, 1]
    config = finished.configure(content, "config/seeds.yaml")
    plan = finished.planned("--configfile", config)
    assert {run.rsplit("-", 1)[1] for run in plan["train"]} == {"1"}
    assert len(plan["train"]) == 2


def test_data_folder_device_and_threads_rerun_nothing(planned):
    assert planned("config/tiny.yaml", "my data/$(x)", "elsewhere") == {}


def test_a_shorter_run_leaves_a_longer_one_untouched(finished):
    before = finished.files("results")
    content = copy.deepcopy(TINY)
    content["experiments"][0].update(name="smoke", training={"epochs": 1, "batch_size": 64})
    config = finished.configure(content, "config/smoke.yaml")
    result = finished.snakemake("--configfile", config, "--until", "attack", "summarize")
    assert result.returncode == 0, result.stdout + result.stderr
    after = finished.files("results")
    assert {path: after[path] for path in before} == before
    assert len(after) > len(before)


def test_a_failure_leaves_what_was_finished_on_the_list(finished):
    content = copy.deepcopy(TINY)
    (first,) = content["experiments"]
    fails = {**first, "name": "fails", "seeds": [0, 1]}
    fails["training"] = {**first["training"], "lr": 1e6}
    content["experiments"] = [{**first, "name": "works"}, fails]
    config = finished.configure(content, "config/fails.yaml")
    result = finished.snakemake("--configfile", config)
    assert result.returncode != 0
    index = (finished.folder / "reports/index.html").read_text()
    assert 'href="works/index.html"' in index
    assert 'href="fails/index.html"' not in index

    # What is there of the other one can be reported on; here nothing is, so it is left out.
    result = finished.snakemake("--configfile", config, "--config", "partial=true")
    assert result.returncode == 0, result.stdout + result.stderr
    content["experiments"] = [fails]
    config = finished.configure(content, "config/fails.yaml")
    result = finished.snakemake("--configfile", config, "--config", "partial=true")
    assert "partial: there is no finished run" in result.stderr


def test_partial_reports_on_the_finished_runs(finished):
    content = copy.deepcopy(TINY)
    content["experiments"][0]["methods"].append({"method": "macer", "lambda": 16})
    config = finished.configure(content, "config/partial.yaml")
    partial = ("--configfile", config, "--config", "partial=true")
    before = finished.files("results")
    result = finished.snakemake(*partial)
    assert result.returncode == 0, result.stdout + result.stderr
    assert finished.files("results") == before
    page = (finished.folder / "reports/tiny/index.html").read_text()
    assert "1 of 3 runs are missing" in page
    assert "training not begun" in page
    assert finished.planned(*partial) == {}
    assert {"train", "certify", "attack"} <= set(finished.planned("--configfile", config))


def test_partial_takes_certificates_that_came_without_their_models(finished, tmp_path):
    elsewhere = Workspace(tmp_path)
    left = shutil.ignore_patterns("model.pt", "summary.json", "dataset.json")
    shutil.copytree(finished.folder / "results", tmp_path / "results", ignore=left)
    config = elsewhere.configure(TINY)
    result = elsewhere.snakemake("--configfile", config, "--config", "partial=true")
    assert result.returncode == 0, result.stdout + result.stderr
    for name in ("acr", "empirical"):
        table = f"reports/tiny/tables/{name}.csv"
        assert (tmp_path / table).read_text() == (finished.folder / table).read_text()
    assert not list((tmp_path / "results").rglob("model.pt"))


def test_snakemakes_own_report(finished):
    result = finished.snakemake("--configfile", "config/tiny.yaml", "--report", "workflow.html")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "(WARNING" not in result.stderr  # of docutils, about captions
    page = (finished.folder / "workflow.html").read_text()
    assert "1. Tables" in page
    assert "every-60" in page
    assert '"labels": {"experiment": "tiny", "dataset": "digits", "method": ' in page


MERGE = "workflow/rules/certify.smk"


def test_shards_give_the_same_certificates_in_parallel_jobs(finished):
    content = copy.deepcopy(TINY)
    content["experiments"][0]["certification"]["subset"] = "every-30"
    whole = finished.configure(content, "config/whole.yaml")
    result = finished.snakemake("--until", "certify", "--configfile", whole)
    assert result.returncode == 0, result.stdout + result.stderr
    tables = sorted((finished.folder / "results").rglob("certify-every-30-*/certificates.tsv"))
    before = [certificates(table) for table in tables]
    assert len(before) == 2
    sharded = finished.configure({**content, "shards": 3}, "config/shards.yaml")
    log = tables[0].parent / "shard-2-of-3.log"

    def run_in_shards():
        result = finished.snakemake("--until", "merge_shards", "--configfile", sharded)
        assert result.returncode == 0, result.stdout + result.stderr
        assert [certificates(table) for table in tables] == before

    finished.edit(MERGE, "python -m smoothcert merge", "exit 1; python -m smoothcert merge")
    result = finished.snakemake("--until", "merge_shards", "--configfile", sharded)
    assert result.returncode != 0
    assert [certificates(table) for table in tables] == before
    finished.edit(MERGE, "exit 1; ", "")
    run_in_shards()
    assert "took over 4 rows" in log.read_text(), "finished rows were certified again"
    for table in tables:
        table.unlink()
        table.with_suffix(".json").unlink()
    run_in_shards()
    assert "image 4/4" in log.read_text()
    assert "took over 4 rows" not in log.read_text()


def test_what_a_job_finds_sound_is_not_made_again(finished):
    """As where nothing but times changed, after a copy."""
    (run, *_) = finished.manifest("tiny")["runs"]
    folder, certified, attacked = (
        finished.folder / run[key] for key in ("folder", "certificates", "attacked")
    )
    paths = [folder / "model.pt", certified / "certificates.tsv", attacked / "attacked.tsv"]
    before = [path.read_bytes() for path in paths]
    force = ("--forcerun", "train", "certify", "attack")
    result = finished.snakemake("--configfile", "config/tiny.yaml", *force)
    assert result.returncode == 0, result.stdout + result.stderr
    for log in (folder / "train.log", certified / "certify.log", attacked / "attack.log"):
        assert " already" in log.read_text()
    assert [path.read_bytes() for path in paths] == before


def test_a_damaged_model_takes_no_certificates_with_it(finished):
    (run, *_) = finished.manifest("tiny")["runs"]
    model = finished.folder / run["folder"] / "model.pt"
    table = finished.folder / run["certificates"] / "certificates.tsv"
    whole, before = model.read_bytes(), table.read_bytes()
    model.write_bytes(whole[:-1000])
    result = finished.snakemake("--configfile", "config/tiny.yaml")
    assert result.returncode != 0
    assert table.read_bytes() == before
    model.write_bytes(whole)
    result = finished.snakemake("--configfile", "config/tiny.yaml")
    assert result.returncode == 0, result.stdout + result.stderr
    assert table.read_bytes() == before


def test_what_a_job_made_before_it_failed_is_kept(finished):
    """As where its time limit came, or the disk was full, after the model was written."""
    content = copy.deepcopy(TINY)
    content["experiments"][0] |= {"name": "third", "seeds": [3]}
    name = finished.configure(content, "config/third.yaml")
    config = ("--configfile", name, "--until", "train")
    rule, command = "workflow/rules/train.smk", "--output {params.folder:q} > {log:q} 2>&1"
    finished.edit(rule, command, f"{command}; exit 1")
    assert finished.snakemake(*config).returncode != 0
    finished.edit(rule, f"{command}; exit 1", command)
    models = sorted((finished.folder / "results").rglob("seed-3/model.pt"))
    before = [path.read_bytes() for path in models]
    assert len(models) == 2
    result = finished.snakemake(*config)
    assert result.returncode == 0, result.stdout + result.stderr
    for path in models:
        assert " already" in path.with_name("train.log").read_text()
    assert [path.read_bytes() for path in models] == before


def test_what_failed_is_not_taken_for_done(finished):
    """Snakemake puts the old output of a failed job back, and notes the new settings."""
    config = ("--configfile", "config/tiny.yaml")
    loss = "code/smoothcert/methods/consistency.py"
    before = (finished.folder / loss).read_bytes()
    finished.edit(loss, "weight * div", "1.5 * weight * div")
    planned = finished.planned(*config)
    result = finished.snakemake(*config, "--config", "device=cuda")
    assert result.returncode != 0
    assert "torch sees no GPU" in result.stdout + result.stderr
    assert finished.planned(*config) == planned
    (finished.folder / loss).write_bytes(before)
    result = finished.snakemake(*config)
    assert result.returncode == 0, result.stdout + result.stderr
    assert finished.planned(*config) == {}


def test_damaged_certificates_stop_every_call(finished):
    config = ("--configfile", "config/tiny.yaml")
    (run, *_) = finished.manifest("tiny")["runs"]
    table = finished.folder / run["certificates"] / "certificates.tsv"
    whole = table.read_text()
    table.write_text(whole[: whole[:-1].rindex("\n") + 1])
    for _ in range(2):
        result = finished.snakemake(*config)
        assert result.returncode != 0
        assert f"{run['certificates']}/certificates.tsv" in result.stdout + result.stderr
    table.write_text(whole)
    result = finished.snakemake(*config)
    assert result.returncode == 0, result.stdout + result.stderr
    assert finished.planned(*config) == {}


def certificates(path):
    """Return the cells without the column of seconds."""
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    return [row[:5] + row[6:] for row in rows]
