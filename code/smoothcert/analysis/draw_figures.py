"""The figures of an experiment, drawn."""

from __future__ import annotations

import importlib
from pathlib import Path

from smoothcert import files
from smoothcert.analysis import figures
from smoothcert.analysis.experiment import load
from smoothcert.analysis.figures import style


def draw_figures(manifest: Path, folder: Path) -> None:
    """Draw the figures that apply to ``manifest`` into ``folder``, in FIGURE_FORMATS.

    Each certificate table is read once. Equal runs give equal files. Raises UserError if the
    manifest or a run's file is missing, damaged or of another protocol.
    """
    experiment = load(manifest)
    for name in figures.names(experiment.manifest):
        module = importlib.import_module(f"{figures.__name__}.{name}")
        data = module.measure(experiment)
        files.write_text(folder / f"{name}.csv", data.to_csv(index=False, float_format="%.6g"))
        with style.for_print():
            style.save(module.draw(experiment, data), folder, name)
