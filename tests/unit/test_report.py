"""The report: one page that is complete, safe and leads to the files behind its numbers."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections import Counter
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
import yaml
from synthetic import ATTACK, STAGED, write_experiment

from smoothcert import cli, config_files, files, fingerprint, runs
from smoothcert.analysis import experiment
from smoothcert.analysis.draw_figures import draw_figures
from smoothcert.analysis.figures import FIGURE_FORMATS, names
from smoothcert.analysis.summary import summarize
from smoothcert.analysis.tables import TABLES
from smoothcert.analysis.write_tables import write_tables
from smoothcert.errors import UserError
from smoothcert.options import read_section
from smoothcert.records import PUBLISHED_COLUMNS
from smoothcert.report import charts, template
from smoothcert.report.page import INTERACTIVE, OWN_PLACE, write_report
from smoothcert.run_files import CERTIFICATES, CERTIFICATES_DESCRIPTION
from smoothcert.settings import Training
from smoothcert.smoothing.protocol import Protocol
from smoothcert.smoothing.settings import Attack

HOSTILE = "<script>alert(1)</script>"
FOLDER = Path("reports/synthetic")


class Tags(HTMLParser):
    """Collects the tags and attributes of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def values(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.tags if name in attributes]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Return a working directory with results and a report on a method with a hostile label."""
    folder = tmp_path_factory.mktemp("report")
    methods = [
        {"method": "gaussian", "label": HOSTILE},
        {"method": "consistency", "lambda": 5},
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        title = f"Title {HOSTILE}"
        manifest = write_experiment(folder, methods=methods, title=title, **ATTACK)
        write_tables(manifest, FOLDER / "tables")
        draw_figures(manifest, FOLDER / "figures")
        for run in files.read_json(manifest)["runs"]:
            summarize(Path(run["certificates"]))
        write()
    return folder


@pytest.fixture(autouse=True)
def here(built, monkeypatch):
    """Work where the report was built."""
    monkeypatch.chdir(built)


@pytest.fixture
def page() -> str:
    return read()


def write(manifest: Path = FOLDER / "experiment.json", output: Path = FOLDER / "index.html") -> str:
    """Write the report and return it."""
    write_report(manifest, FOLDER / "tables", FOLDER / "figures", output)
    return read(output)


def read(output: Path = FOLDER / "index.html") -> str:
    return output.read_text(encoding="utf-8")


def markup(page: str) -> str:
    """Return a page without its scripts and styles."""
    return re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)


def words(page: str) -> str:
    """Return the text of a page or a part of it."""
    text = unescape(re.sub(r"<[^>]*>", "", markup(page)))
    return re.sub(r"\s+", " ", text).replace("\xa0", " ")


def headings(page: str) -> list[str]:
    return [words(heading) for heading in re.findall(r"<h2.*?</h2>", markup(page))]


def section(page: str, name: str) -> str:
    return re.search(rf'<section aria-labelledby="{name}">.*?</section>', page, re.DOTALL)[0]


def embedded(page: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page)[1])


def test_says_what_was_run(page):
    text = words(page)
    for part in (
        "trained on Digits (scikit-learn) with the network convnet8",
        "σ = 0.25 and 0.50, with seeds 0, 1 and 2: 12 classifiers",
        "certified on 90 of the 360 test images",
        "n₀ = 100 noisy votes choose the class; n = 10,000 fresh votes",
        "α = 0.001",
        "No published number is named by this experiment.",
        "None is missing: all 12 runs were trained and certified.",
    ):
        assert part in text


def test_sections_stand_in_their_order(page):
    assert headings(page) == [
        "Protocol", "Tables", "Curves", "Distributions", "Images on which two methods differ most",
        "Figures", "Cost", "Missing and failed runs", "Provenance", "How to read it",
    ]  # fmt: skip
    tables = re.findall(r'<figure class="table" id="table-(\w+)"', page)
    assert tables == [name for name in TABLES if name not in OWN_PLACE] + ["cost"]


@pytest.fixture
def verdicts():
    """Replace the numbers of the tables of verdicts and claims."""
    paths = [FOLDER / "tables" / name for name in ("verdicts.csv", "claims.csv")]
    before = [path.read_text() for path in paths]
    kinds = ["not run", "no log", "reproduced", "not reproduced", "reproduced"]
    metrics = ["acr", "abstention", *["certified_accuracy"] * 2, "acr"]
    paths[0].write_text(pd.DataFrame({"metric": metrics, "verdict": kinds}).to_csv(index=False))
    claims = {"id": ["b", "a", "a"], "outcome": ["undecided", "supported", "supported"]}
    paths[1].write_text(pd.DataFrame(claims).to_csv(index=False))
    yield paths
    for path, text in zip(paths, before, strict=True):
        path.write_text(text)


def test_counts_verdicts_and_claims(verdicts, tmp_path):
    page = write(output=tmp_path / "index.html")
    found = re.findall(r'<li class="(\w+)"><b>(\d)</b> ([\w ]+)</li>', page)
    assert found == [
        ("good", "1", "reproduced"),
        ("open", "1", "not run"),
        ("good", "1", "reproduced"),
        ("bad", "1", "not reproduced"),
        ("open", "1", "no log"),
        ("good", "1", "supported"),
        ("open", "1", "undecided"),
    ]
    published = ["Published ACRs", "Published accuracies and abstentions"]
    assert headings(page)[:6] == [*published, "Claims", "Protocol", "Claims", "Tables"]
    assert 'id="table-claims"' in section(page, "claims")
    assert 'id="table-verdicts"' in section(page, "tables")
    assert "No published number is named" not in words(page)
    assert "1 published number has no log" in words(section(page, "missing"))


def test_verdicts_of_another_form_are_refused(verdicts, tmp_path):
    verdicts[1].write_text("verdict\nsupported\n")
    with pytest.raises(UserError, match=r"claims\.csv is damaged; write the tables anew"):
        write(output=tmp_path / "index.html")


def test_names_no_outside_address(page):
    libraries = charts.libraries()
    assert libraries in page
    ours = page.replace(libraries, "")
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\((?!#)", ours)
    assert "src" not in {name for _, attributes in Tags(ours).tags for name in attributes}


def test_the_libraries_stand_in_a_page():
    assert not re.search("</script|<!--", charts.libraries(), re.IGNORECASE)


def test_label_is_text(page):
    assert page.count("<script") == 3
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 5
    assert embedded(page)["rows"][0]["title"] == HOSTILE


def test_no_id_stands_twice_and_each_reference_has_its_target(page):
    page = markup(page)
    tags = Tags(page)
    ids = Counter(tags.values("id"))
    assert {name for name, count in ids.items() if count > 1} == set()
    references = {href[1:] for href in tags.values("href") if href.startswith("#")}
    references |= set(re.findall(r"url\(#([^)]+)\)", page))
    references |= set(tags.values("aria-labelledby"))
    assert references - set(ids) == set()


def test_links_lead_to_files(page):
    links = [
        href
        for tag, attributes in Tags(page).tags
        if tag == "a" and (href := attributes["href"])[0] != "#"
    ]
    figures = names(files.read_json(FOLDER / "experiment.json"))
    expected = len(TABLES) * 4 + len(figures) * len(FIGURE_FORMATS) + 1 + 12 * 6
    assert len(links) == expected
    for link in links:
        assert (FOLDER / unquote(link)).is_file(), link


def test_commands_make_the_artefacts_again(page):
    lines = unescape("\n".join(re.findall(r"<pre><code>(.*?)</code></pre>", page, re.DOTALL)))
    options = [cli_options(line) for line in lines.splitlines() if line]
    counts = Counter(one.command for one in options)
    assert counts == {
        "tables": 1, "figures": 1, "report": 1,
        "train": 12, "certify": 12, "summarize": 12, "attack": 12,
    }  # fmt: skip
    content = experiment.load(FOLDER / "experiment.json")
    for number, run in enumerate(content.runs):
        train, certify, summarize, attack = options[3 + 4 * number : 7 + 4 * number]
        assert train.output == run.folder
        assert (train.sigma, train.seed, train.weight) == (
            run.point.sigma,
            run.point.seed,
            run.point.weight,
        )
        assert read_section(train, Training).epochs == 5
        assert certify.model == run.folder / "model.pt"
        assert read_section(certify, Protocol).n == 10_000
        assert certify.output == summarize.certificates == run.certificates
        assert attack.model == certify.model
        wanted = sorted(ATTACK["attack"]["epsilons"])
        assert read_section(attack, Attack).epsilons == wanted
        assert attack.output == run.attacked


def cli_options(line: str):
    """Return what the command line understands."""
    program, *arguments = shlex.split(line)
    assert program == "smoothcert"
    return cli._parser(arguments).parse_args(arguments)


def test_configuration_can_be_run_again(page):
    text = unescape(re.search(r"<pre>(experiments:.*?)</pre>", page, re.DOTALL)[1])
    again = config_files.read(yaml.safe_load(text))
    listed = runs.manifest(again, again.experiments[0])["runs"]
    assert listed == files.read_json(FOLDER / "experiment.json")["runs"]


def test_shows_the_origin_of_each_stage(page):
    for part in (
        "0123456789abcdef0123456789abcdef01234567",
        "ab" * 32,
        "cpu (Imagined, 1 thread)",
    ):
        assert page.count(part) >= 2


def test_figures_take_the_colours_of_the_page(page):
    figures = section(page, "figures")
    shown = re.findall(r'<figure class="plot" id="figure-(\w+)"', figures)
    drawn = names(files.read_json(FOLDER / "experiment.json"))
    assert shown == [name for name in drawn if name not in (*INTERACTIVE, *OWN_PLACE)]
    assert 'id="figure-p_lower"' in section(page, "outcomes")
    assert "currentColor" in figures
    assert "#222222" not in figures


def test_missing_runs_are_listed(tmp_path):
    content = files.read_json(FOLDER / "experiment.json")
    gone = content["runs"].pop()
    reason = f"smoothcert train: {HOSTILE}"
    missing = {key: gone[key] for key in ("label", "point", "folder")} | {"reason": reason}
    manifest = tmp_path / "experiment.json"
    files.write_json(manifest, {**content, "missing": [missing]})
    text = words(section(write(manifest, tmp_path / "index.html"), "missing"))
    assert "1 of 12 runs are missing" in text
    assert reason in text
    assert gone["folder"] in text
    assert "None is missing" not in text


def test_collapsed_runs_are_listed(tmp_path):
    content = experiment.load(FOLDER / "experiment.json")
    path = FOLDER / "tables/runs.csv"
    before = path.read_text()
    runs = pd.read_csv(path)
    runs.loc[3, "clean_accuracy"] = embedded(read())["images"]["commonest"]
    shared = runs.iloc[[0]]  # two rows of an experiment may share a run
    pd.concat([runs, shared]).to_csv(path, index=False)
    try:
        page = section(write(output=tmp_path / "index.html"), "missing")
    finally:
        path.write_text(before)
    assert "1 run collapsed" in words(page)
    assert str(content.runs[3].certificates) in page
    assert str(content.runs[2].certificates) not in page
    (row,) = re.findall(r"<tr><td.*", page)
    assert not content.runs[3].point.parameters.regularized
    assert "<td>–</td>" in row


def test_mode_staged_has_its_own_cap(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manifest = write_experiment(tmp_path, sigmas=[1.0], seeds=[0], certification=STAGED)
    write_tables(manifest, FOLDER / "tables")
    draw_figures(manifest, FOLDER / "figures")
    limits = section(write(), "outcomes")
    assert "3.8036" in limits
    assert "α<sup>1/n</sup>" not in limits


def test_published_logs_are_told_from_our_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    methods = [
        {"method": "gaussian", "logs": "{sigma}.tsv"},
        {"method": "consistency", "lambda": 5},
    ]
    manifest = write_experiment(tmp_path, methods=methods, sigmas=[0.5])
    content = experiment.load(manifest)
    for run in content.runs:
        if run.log:
            table = run.read_certificates()[list(PUBLISHED_COLUMNS)]
            files.write_text(run.certificates / CERTIFICATES, table.to_csv(sep="\t", index=False))
            origin = {
                "device": "published log",
                "log": f"{run.point.seed}.tsv",
                "sha256": "ef" * 32,
            }
            description = {**run.description, "provenance": origin}
            del description["model"]
            files.write_json(run.certificates / CERTIFICATES_DESCRIPTION, description)
            (run.folder / "train.tsv").unlink()
    write_tables(manifest, FOLDER / "tables")
    draw_figures(manifest, FOLDER / "figures")
    page = write()
    assert "6 classifiers" in words(page)
    assert "3 of them are certification logs from elsewhere, such as those " in words(page)
    assert "all 6 runs were trained and certified, 3 of them elsewhere." in words(
        section(page, "missing")
    )
    provenance = section(page, "provenance")
    for seed in content.seeds:
        assert f"{seed}.tsv" in provenance
    assert provenance.count("ef" * 32) == 3
    lines = unescape("\n".join(re.findall(r"<pre><code>(.*?)</code></pre>", page, re.DOTALL)))
    commands = Counter(cli_options(line).command for line in lines.splitlines() if line)
    assert (commands["train"], commands["import-logs"]) == (3, 1)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a"], "a"),
        (["a", "b", "c"], "a, b and c"),
        (["a, of x", "b", "c"], "a, of x; b; and c"),
    ],
)
def test_a_list_of_names_with_commas_can_be_read(names, expected):
    assert template.environment(Path()).filters["listing"](names) == expected


def test_one_method_has_nothing_to_be_compared_with(tmp_path):
    manifest = tmp_path / "experiment.json"
    content = files.read_json(FOLDER / "experiment.json")
    alone = [run for run in content["runs"] if run["label"] != HOSTILE]
    files.write_json(manifest, {**content, "runs": alone})
    page = write(manifest, tmp_path / "index.html")
    assert "nothing to compare it with" in section(page, "images")
    assert 'id="choice"' not in page


def test_missing_parts_are_named(tmp_path):
    output = tmp_path / "index.html"
    manifest = FOLDER / "experiment.json"
    with pytest.raises(UserError, match=r"absent/verdicts\.html does not exist; write the"):
        write_report(manifest, Path("absent"), FOLDER / "figures", output)
    with pytest.raises(UserError, match=r"absent/certified_accuracy\.svg does not exist; draw"):
        write_report(manifest, FOLDER / "tables", Path("absent"), output)
    assert not output.exists()


class TestStages:
    def test_an_edit_reruns_its_own_stage(self):
        def stage(name: str) -> set[str]:
            paths = fingerprint._closure((f"smoothcert.{name}",))
            return {str(path.relative_to(fingerprint.PACKAGE)) for path in paths}

        figures, tables = stage("analysis.figures.training"), stage("analysis.tables.acr")
        page = stage("report.page")
        assert "analysis/figures/__init__.py" not in tables
        assert not {"analysis/tables/acr.py", "analysis/render.py"} & figures
        assert {f"report/{name}" for name in ("report.html", "style.css", "report.js")} <= page
        for closure in (figures, tables, stage("analysis.summary")):
            assert not [path for path in closure if path.startswith("report/")]

    def test_loads_no_torch(self):
        modules = "smoothcert.report.page, smoothcert.report.index, smoothcert.analysis.summary"
        code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
