"""The tables of an experiment: one module a table, listed here.

The workflow reads the list in its dry run, so this module imports pandas inside functions.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

TABLES = {
    "verdicts": "Published numbers and ours",
    "claims": "Claims of the papers",
    "acr": "Average certified radius (ACR)",
    "certified_accuracy": "Certified accuracy",
    "empirical": "Certified and empirical accuracy",
    "best": "Best certified accuracy at each radius",
    "abstention": "Abstention",
    "significance": "Differences between methods",
    "sweeps": "Sweeps of settings",
    "cost": "Cost",
    "runs": "Every run",
}
"""Name and title, in the order of the report; the name is that of the module and of the files."""


def write_tables(manifest: Path, folder: Path) -> None:
    """Write the tables of ``manifest`` into ``folder``: TABLES x TABLE_FORMATS.

    Every experiment gets every table; one that has nothing to show says so. Raises UserError if the
    manifest or a run's file is missing, damaged or of another protocol.
    """
    from smoothcert.analysis import experiment, measurement, render

    results = measurement.measure(experiment.load(manifest))
    # Not by a statement: the page, which reads TABLES, would depend on it.
    closing = importlib.import_module(f"{__name__}.base").closing_notes(results)
    for name, title in TABLES.items():
        module = importlib.import_module(f"{__name__}.{name}")
        table = module.table(results)
        table = replace(table, notes=[*table.notes, *closing])
        render.write(name, title, table, folder)
