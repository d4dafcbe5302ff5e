"""The report: one page that is complete, safe and leads to the files behind its numbers."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from synthetic import write_experiment

from smoothcert import files, fingerprint
from smoothcert.analysis.figures import FIGURE_FORMATS, draw_figures, names
from smoothcert.analysis.summary import summarize
from smoothcert.analysis.tables import write_tables
from smoothcert.errors import UserError
from smoothcert.report.page import write_report

HOSTILE = "<script>alert(1)</script>"


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
        manifest = write_experiment(folder, methods=methods, title=f"Title {HOSTILE}")
        reports = manifest.parent
        write_tables(manifest, reports / "tables")
        draw_figures(manifest, reports / "figures")
        for run in files.read_json(manifest)["runs"]:
            summarize(Path(run["certificates"]))
        write_report(manifest, reports / "tables", reports / "figures", reports / "index.html")
    return folder


@pytest.fixture
def report(built) -> Path:
    return built / "reports/synthetic/index.html"


@pytest.fixture
def page(report) -> str:
    return report.read_text(encoding="utf-8")


def test_says_what_was_run(page):
    text = re.sub(r"\s+", " ", page.replace("&nbsp;", " "))
    for words in (
        "trained on Digits (scikit-learn) with the network convnet8",
        "σ = 0.25 and 0.50, with seeds 0, 1 and 2: 12 classifiers",
        "certified on 90 of the 360 test images",
        "n₀ = 100 noisy votes choose the class; n = 10,000 fresh votes",
        "α = 0.001",
    ):
        assert words in text


def test_sections_stand_in_their_order(page):
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert headings == [
        "Protocol", "Results", "Training", "Limits of the radius", "Provenance", "Files",
        "How to read it",
    ]  # fmt: skip
    tables = [page.index(f'id="table-{name}"') for name in ("acr", "certified_accuracy", "runs")]
    assert tables == sorted(tables)


def test_names_no_outside_address(page):
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\((?!#)", page)
    assert "script" not in {tag for tag, _ in Tags(page).tags}


def test_label_is_text(page):
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 5


def test_no_id_stands_twice_and_each_reference_has_its_target(page):
    tags = Tags(page)
    ids = Counter(tags.values("id"))
    assert {name for name, count in ids.items() if count > 1} == set()
    references = {href[1:] for href in tags.values("href") if href.startswith("#")}
    references |= set(re.findall(r"url\(#([^)]+)\)", page))
    references |= set(tags.values("aria-labelledby"))
    assert references - set(ids) == set()


def test_links_lead_to_files(page, report):
    links = [
        href
        for tag, attributes in Tags(page).tags
        if tag == "a" and (href := attributes["href"])[0] != "#"
    ]
    figures = names(files.read_json(report.parent / "experiment.json"))
    assert len(links) == 3 * 4 + len(figures) * len(FIGURE_FORMATS) + 1 + 12 * 4
    for link in links:
        assert (report.parent / unquote(link)).is_file(), link


def test_shows_the_origin_of_each_stage(page):
    for words in (
        "0123456789abcdef0123456789abcdef01234567",
        "ab" * 32,
        "cpu (Imagined, 1 thread)",
    ):
        assert page.count(words) >= 2


def test_figures_take_the_colours_of_the_page(page):
    assert page.count("<svg") == 6
    assert "currentColor" in page
    assert "#222222" not in page


def test_missing_parts_are_named(built, monkeypatch, tmp_path):
    monkeypatch.chdir(built)
    folder = Path("reports/synthetic")
    output = tmp_path / "index.html"
    with pytest.raises(UserError, match=r"absent/acr\.html; write the tables first"):
        write_report(folder / "experiment.json", Path("absent"), folder / "figures", output)
    with pytest.raises(UserError, match=r"absent/certified_accuracy\.svg; draw the figures first"):
        write_report(folder / "experiment.json", folder / "tables", Path("absent"), output)
    assert not output.exists()


class TestStages:
    def test_an_edit_reruns_its_own_stage(self):
        def stage(name: str) -> set[str]:
            paths = fingerprint._closure((f"smoothcert.{name}",))
            return {str(path.relative_to(fingerprint.PACKAGE)) for path in paths}

        figures, tables = stage("analysis.figures.training"), stage("analysis.tables")
        page = stage("report.page")
        assert "analysis/figures/__init__.py" not in tables
        assert not {"analysis/tables.py", "analysis/render.py"} & figures
        assert {"report/report.html", "report/style.css"} <= page
        for closure in (figures, tables, stage("analysis.summary")):
            assert not [path for path in closure if path.startswith("report/")]

    def test_loads_no_torch(self):
        modules = "smoothcert.report.page, smoothcert.analysis.summary"
        code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
