"""The list of all experiments that have a report: ``reports/index.html``."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from smoothcert import __version__, datasets, files
from smoothcert.analysis.experiment import Experiment, load
from smoothcert.errors import UserError
from smoothcert.report import template
from smoothcert.report.exhibits import Tally, tallies


@dataclass(frozen=True)
class Entry:
    """An experiment and what is there of its report."""

    experiment: Experiment
    report: Path | None
    """Its page, or None if it was not written yet."""
    date: str
    """When the page was written: YYYY-MM-DD."""
    outdated: bool
    """Whether the experiment changed after its page was written."""
    tallies: list[Tally]


def write_index(reports: Path, output: Path) -> None:
    """Write to ``output`` the list of the experiments in the folder ``reports``, newest first.

    An experiment is a folder with ``experiment.json``; one whose page is missing or older is listed
    as such, one that cannot be read with the reason. Raises UserError if there is no such folder.
    """
    entries, unreadable = [], []
    for manifest in sorted(reports.glob("*/experiment.json")):
        try:
            entries.append(_entry(manifest))
        except UserError as error:
            unreadable.append(str(error))
    if not entries and not unreadable:
        raise UserError(f"{reports} holds no experiment; run the workflow first")
    entries.sort(key=lambda entry: entry.date, reverse=True)
    text = (
        template.environment(output.parent)
        .get_template("experiments.html")
        .render(
            entries=entries,
            unreadable=unreadable,
            describe=datasets.describe,
            version=__version__,
            style=template.read("style.css"),
        )
    )
    files.write_text(output, text)


def _entry(manifest: Path) -> Entry:
    experiment, report = load(manifest), manifest.with_name("index.html")
    if not report.is_file():
        return Entry(experiment, None, "", False, [])
    written = report.stat().st_mtime
    return Entry(
        experiment=experiment,
        report=report,
        date=datetime.datetime.fromtimestamp(written).astimezone().date().isoformat(),
        outdated=written < manifest.stat().st_mtime,
        tallies=tallies(manifest.with_name("tables")),
    )
