"""Every LaTeX table in pdflatex, with the packages that its first line asks for."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from synthetic import write_experiment

from smoothcert.analysis.cells import Block, Cell, Column, Table
from smoothcert.analysis.latex import latex
from smoothcert.analysis.tables import TABLES
from smoothcert.analysis.write_tables import write_tables

HOSTILE = r"[1] * <script>alert(1)</script> 50% & $x_1$ #{}~^\ | ≈∞x₂² “η = 1” \input{x}"
METHODS = [
    {"method": "gaussian", "label": HOSTILE},
    {"method": "consistency", "lambda": [1, 5], "family": "*"},
    {"method": "consistency", "lambda": 5, "label": "[]", "parameters": {"form": "kl"}},
]
PACKAGES = "fontenc", "array,booktabs,graphicx"


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """Return a function that typesets the tables of an experiment and returns pdflatex's log."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    monkeypatch.chdir(tmp_path)

    def run(**changes) -> str:
        write_tables(write_experiment(tmp_path, **changes), Path("tables"))
        packages = Path("tables/acr.tex").read_text(encoding="utf-8").splitlines()[0]
        assert all(package in packages for package in PACKAGES)
        document = [
            r"\documentclass{article}",
            packages.removeprefix("% ").replace(", ", "\n"),
            r"\begin{document}",
            *(rf"\input{{tables/{name}}}" for name in TABLES),
            r"\end{document}",
        ]
        Path("all.tex").write_text("\n".join(document), encoding="utf-8")
        done = subprocess.run(
            ["pdflatex", "-draftmode", "-halt-on-error", "-interaction=nonstopmode", "all.tex"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,
        )
        assert done.returncode == 0, done.stdout[-2000:]
        return Path("all.log").read_text(encoding="utf-8", errors="replace")

    return run


def wide(columns: int, label: str = "Gaussian") -> Table:
    """Return a table of a method's numbers."""
    headings = [Column("Method", words=True), *(Column(f"{i / 4:.2f}") for i in range(columns))]
    cells = [Cell(label), *(Cell(f"{i}.00", "0.25") for i in range(columns))]
    return Table(["A note."], [Block("", headings, [cells])], pd.DataFrame({"x": [1]}))


def test_many_numbers_are_cut_into_tables_that_a_page_can_hold():
    text = latex("wide", "Wide", wide(20))
    parts = re.findall(r"\\midrule\n(.*) \\\\", text)
    assert all(part.startswith("Gaussian & ") for part in parts)
    numbers = [re.findall(r"(\d+)\.00 ", part) for part in parts]
    assert [len(part) for part in numbers] == [5, 5, 5, 5]
    assert [number for part in numbers for number in part] == [str(i) for i in range(20)]
    assert r"\begin{table*}" in text
    assert r"\begin{table}" in latex("wide", "Wide", wide(2))


def test_sentences_break_and_paths_do_not():
    for label, breaks in (("several words " * 12, True), ("results/" * 20, False)):
        table = wide(3, label)
        headings = [*table.blocks[0].columns, Column("Folder", words=True)]
        rows = [[*row, Cell("x")] for row in table.blocks[0].rows]
        text = latex("wide", "Wide", replace(table, blocks=[Block("", headings, rows)]))
        assert ("p{" in text) == breaks


@pytest.mark.parametrize(
    "changes",
    [
        {"methods": METHODS},
        {"methods": METHODS, "seeds": [0], "certification": {"n": 100, "mode": "evaluate"}},
        {"methods": METHODS[:1], "sigmas": [1.0]},
        # Some hundred runs, which no page holds.
        {"seeds": [*range(40)], "certification": {"n": 100, "subset": "every-40"}},
    ],
    ids=["hostile", "evaluate", "alone", "long"],
)
def test_compiles(compiled, changes):
    log = compiled(**changes)
    assert "Missing character" not in log
    assert "Float too large for page" not in log
    # A table is as wide as the page at most; captions break like text.
    assert not [box for box in re.findall(r"Overfull \\hbox \((\d+)", log) if int(box) > 20]
