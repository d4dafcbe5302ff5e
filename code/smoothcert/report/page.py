"""Assembles the report of an experiment: one HTML file that asks for no other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from markupsafe import Markup

from smoothcert import __version__, datasets, files
from smoothcert.analysis.experiment import Experiment, Run, load
from smoothcert.analysis.figures import names, style
from smoothcert.analysis.verdicts import Kind
from smoothcert.report import charts, exhibits, origin, series, template

OWN_PLACE = ("verdicts", "claims", "cost", "p_lower")
"""Tables and figures that stand where the page speaks of them; the others follow one another."""
INTERACTIVE = ("certified_accuracy",)
"""Figures that the page draws itself, with more in them."""


def write_report(manifest: Path, tables: Path, figures: Path, output: Path) -> None:
    """Write the report of ``manifest`` to ``output``, with the tables and figures drawn for it.

    Links to the files behind the numbers are relative to ``output``. Raises UserError if a table,
    a figure, certificates or a run's description is missing or not ours.
    """
    experiment = load(manifest)
    written = exhibits.tables(tables)
    drawn = exhibits.figures(figures, names(experiment.manifest))
    runs = exhibits.read_numbers(
        tables / "runs.csv", "folder", "clean_accuracy", "at_cap", "p_lower_q50"
    )
    tallies = exhibits.tallies(tables)
    reduced = series.reduce(experiment)
    page = template.environment(output.parent).get_template("report.html")
    text = page.render(
        experiment=experiment,
        data=datasets.describe(experiment.dataset),
        labels=list(dict.fromkeys(run.row.label for run in experiment.runs)),
        tallies=tallies,
        unlogged=sum(tally.counts.get(Kind.NO_LOG, 0) for tally in tallies),
        written=written,
        drawn=drawn,
        tables=[table for name, table in written.items() if name not in OWN_PLACE],
        figures=[
            figure for name, figure in drawn.items() if name not in (*OWN_PLACE, *INTERACTIVE)
        ],
        embedded={
            **reduced,
            "rows": _rows(experiment),
            "outcomes": charts.coloured(reduced["outcomes"]),
            "charts": charts.specifications(),
        },
        libraries=Markup(charts.libraries()),  # noqa: S704
        script=template.read("report.js"),
        caps=_caps(experiment, runs),
        collapsed=_collapsed(experiment, runs, reduced["images"]["commonest"]),
        origin=origin.provenance(experiment),
        outputs=origin.outputs(manifest, tables, figures, output, written.values(), drawn.values()),
        run_files=[(run, origin.run_files(run)) for run in experiment.runs],
        run_commands=[origin.run_commands(run) for run in experiment.runs if not run.log],
        logs=[run for run in experiment.runs if run.log],
        import_logs=origin.import_command(experiment, manifest),
        configuration=yaml.safe_dump(
            {"experiments": [experiment.configuration]}, sort_keys=False, allow_unicode=True
        ),
        version=__version__,
        style=template.read("style.css"),
    )
    files.write_text(output, text)


def _rows(experiment: Experiment) -> list[dict[str, Any]]:
    """Return how tables and charts call and draw each row."""
    numbers = style.numbers(experiment)
    looks = [style.appearance(numbers[row]) for row in experiment.rows]
    return [
        {"title": row.title, "colour": look["color"], "dash": _dash(look["linestyle"])}
        for row, look in zip(experiment.rows, looks, strict=True)
    ]


def _dash(style: str | tuple[int, Sequence[float]]) -> list[float]:
    """Return matplotlib's dashes, which are in line widths, in pixels; none for a solid line."""
    return [] if style == "-" else [round(1.8 * part, 1) for part in style[1]]


def _caps(experiment: Experiment, runs: pd.DataFrame) -> list[dict[str, Any]]:
    """Return for each sigma the largest radius, and how the runs stand to it."""
    return [
        {
            "sigma": sigma,
            "radius": experiment.cap(sigma),
            "at_cap": _range(group["at_cap"], "{:.1%}"),
            "median": _range(group["p_lower_q50"], "{:.5f}"),
            "runs": len(group),
        }
        for sigma, group in runs.groupby("sigma")
    ]


def _range(values: pd.Series, form: str) -> str:
    if values.isna().all():
        return "–"
    low, high = form.format(values.min()), form.format(values.max())
    return low if low == high else f"{low} – {high}"


def _collapsed(
    experiment: Experiment, runs: pd.DataFrame, chance: float
) -> list[tuple[Run, dict[str, Any]]]:
    """Return the runs that are no more often right than ``chance``, with their numbers."""
    numbers = {row["folder"]: row for row in runs.to_dict("records")}  # rows may share a run
    found = ((run, numbers[str(run.certificates)]) for run in experiment.runs)
    return [(run, number) for run, number in found if number["clean_accuracy"] <= chance]
