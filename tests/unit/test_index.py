"""The list of all reports: right whatever part of them was built."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pandas as pd
import pytest
from synthetic import write_experiment

from smoothcert import files
from smoothcert.errors import UserError
from smoothcert.report.index import write_index


@pytest.fixture
def reports(tmp_path, monkeypatch) -> Path:
    """Return the folder of two experiments, of which the second has a report."""
    monkeypatch.chdir(tmp_path)
    for name, title in (("first", "One & only"), ("second", "<script>alert(1)</script>")):
        write_experiment(tmp_path, name=name, title=title, seeds=[0], sigmas=[0.5])
    files.write_text(Path("reports/second/index.html"), "<html>")
    files.write_text(Path("reports/second/tables/verdicts.csv"), "metric,verdict\n")
    files.write_text(Path("reports/second/tables/claims.csv"), "id,outcome\n")
    date = pd.Timestamp("2026-03-01 12:00").timestamp()
    os.utime("reports/second/index.html", (date + 9, date + 9))
    os.utime("reports/second/experiment.json", (date, date))
    return Path("reports")


def listing(reports: Path) -> list[str]:
    """Return the text of each experiment on the list."""
    write_index(reports, reports / "index.html")
    page = (reports / "index.html").read_text(encoding="utf-8")
    articles = re.findall(r"<article>(.*?)</article>", page, re.DOTALL)
    return [re.sub(r"\s+", " ", article.replace("&nbsp;", " ")) for article in articles]


def test_lists_what_is_built_and_what_is_not(reports):
    built, absent = listing(reports)
    assert '<a href="second/index.html">&lt;script&gt;alert(1)&lt;/script&gt;</a>' in built
    assert "2026-03-01" in built
    assert "Gaussian and Consistency; σ = 0.50; 2 runs; 90 test images, n = 10,000" in built
    assert "out of date" not in built
    assert "<a " not in absent
    assert "One &amp; only" in absent
    assert "No report yet" in absent


def test_a_page_older_than_its_experiment_is_out_of_date(reports):
    os.utime(reports / "second/experiment.json")
    assert "out of date" in listing(reports)[0]


def test_counts_verdicts_and_claims(reports):
    verdicts = ["reproduced", "not reproduced", "reproduced", "inconclusive"]
    table = pd.DataFrame({"metric": "acr", "verdict": verdicts}).to_csv(index=False)
    files.write_text(reports / "second/tables/verdicts.csv", table)
    claims = pd.DataFrame({"id": ["a", "a", "b"], "outcome": "supported"}).to_csv(index=False)
    files.write_text(reports / "second/tables/claims.csv", claims)
    counts = re.findall(r'<li class="(\w+)"><b>(\d)</b> ([\w ]+)</li>', listing(reports)[0])
    assert counts == [
        ("good", "2", "reproduced"),
        ("bad", "1", "not reproduced"),
        ("open", "1", "inconclusive"),
        ("good", "2", "supported"),
    ]


def test_what_cannot_be_read_is_named(reports):
    files.write_text(reports / "third/experiment.json", "{}")
    assert len(listing(reports)) == 2
    page = (reports / "index.html").read_text()
    assert "reports/third/experiment.json is not a manifest" in page
    content = files.read_json(reports / "first/experiment.json")
    content["runs"][0]["point"]["training"]["colour"] = "blue"
    files.write_json(reports / "third/experiment.json", content)
    listing(reports)
    page = (reports / "index.html").read_text()
    assert "is not a manifest: colour: unknown key" in page


def test_without_experiments_it_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no experiment; run the workflow first"):
        write_index(tmp_path, tmp_path / "index.html")
