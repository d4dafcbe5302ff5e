"""The tables of an experiment, written."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

from smoothcert.analysis import experiment, measurement, render, tables
from smoothcert.analysis.tables import base


def write_tables(manifest: Path, folder: Path) -> None:
    """Write the tables of ``manifest`` into ``folder``: TABLES x TABLE_FORMATS.

    Every experiment gets every table; one that has nothing to show says so. Raises UserError if the
    manifest or a run's file is missing, damaged or of another protocol.
    """
    results = measurement.measure(experiment.load(manifest))
    closing = base.closing_notes(results)
    for name, title in tables.TABLES.items():
        module = importlib.import_module(f"{tables.__name__}.{name}")
        table = module.table(results)
        table = replace(table, notes=[*table.notes, *closing])
        render.write(name, title, table, folder)
