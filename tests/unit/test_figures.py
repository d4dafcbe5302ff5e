"""Figures: what their lines show, and that equal runs leave equal files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from synthetic import write_experiment

from smoothcert.analysis import experiment, figures
from smoothcert.analysis.figures import FIGURE_FORMATS, FIGURES, draw_figures
from smoothcert.smoothing.bounds import largest_radius


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Return an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_equal_runs_leave_equal_files(folder):
    manifest = write_experiment(folder, seeds=[0], sigmas=[0.5])
    for name in ("first", "second"):
        draw_figures(manifest, Path(name))
    drawn = sorted(path.name for path in Path("first").iterdir())
    assert drawn == sorted(f"{name}.{suffix}" for name in FIGURES for suffix in FIGURE_FORMATS)
    for name in drawn:
        content = Path("first", name).read_bytes()
        assert content == Path("second", name).read_bytes(), name
        assert len(content) > 5000


def test_curve_is_the_mean_of_the_seeds_up_to_the_cap(folder):
    content = experiment.load(write_experiment(folder))
    panel = figures._curves(content).axes[1]
    line = panel.get_lines()[0]
    radii, accuracy = line.get_xdata(), line.get_ydata()
    cap = largest_radius(10_000, 0.001, 0.5)
    assert radii[-1] == radii[-2] == cap
    assert accuracy[-1] == 0
    tables = [run.read_certificates() for run in content.cells[content.rows[0], 0.5]]
    for point in (0, 100, 250, 399):
        shares = [((t.predict == t.label) & (t.radius >= radii[point])).mean() for t in tables]
        assert accuracy[point] == pytest.approx(np.mean(shares))


def test_training_shows_no_regularizer_where_there_is_none(folder):
    both = experiment.load(write_experiment(folder))
    grid = np.reshape(figures._training(both).axes, (3, 2))
    assert [len(panel.get_lines()) for panel in grid[:, 0]] == [2, 1, 2]
    plain = experiment.load(write_experiment(folder, methods=[{"method": "gaussian"}]))
    assert len(figures._training(plain).axes) == 2 * 2


def test_labels_are_shown_as_they_are(folder):
    labels = ["_hidden", "costs $5 or $6"]
    methods = [{"method": "gaussian", "label": label} for label in labels]
    figure = figures._curves(experiment.load(write_experiment(folder, methods=methods)))
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [text.lstrip("\u200b") for text in shown] == ["_hidden", r"costs \$5 or \$6"]


def test_many_rows_look_different():
    looks = {str(figures.appearance(index)) for index in range(40)}
    assert len(looks) == 40
