"""The look that all figures share: for print, in colours that the colour-blind can tell apart.

Each row of an experiment has a colour, a dash and a marker of its own, so that figures can be read
in grey too.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from smoothcert import files
from smoothcert.analysis.experiment import Experiment, Row, Run

INK, PAPER = "#222222", "#ffffff"
"""Colours of text and lines, and of the background, for those who recolour the SVG."""

COLUMNS = 3
"""Panels side by side, where a figure has a panel for each sigma."""
WIDTH = 9.6
"""Of a figure, in inches; a lone panel takes half of it, and many columns take more."""
NARROWEST = 3.1
"""A panel may get, in inches."""

_PALETTE = [
    colour for i, colour in enumerate(sns.color_palette("colorblind").as_hex()) if i not in (6, 8)
]
"""Seaborn's colour-blind safe palette without its pink and yellow, which are faint on white."""
_DASHES = ("-", (0, (4, 1.8)), (0, (1.4, 1.4)), (0, (5, 1.8, 1.4, 1.8)), (0, (9, 2.5)))
_MARKERS = "os^DvPX*<>"
_METADATA = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "pdf": {"CreationDate": None},
    "png": {"Software": None},
}
"""No times or versions, so that equal runs leave equal files."""
_STYLE = {
    **sns.axes_style("ticks"),
    **sns.plotting_context("paper"),
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    ),
    "axes.grid": True,
    "grid.color": "#88888844",
    "font.family": "DejaVu Sans",
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "legend.fontsize": "medium",
    "svg.hashsalt": "smoothcert",
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}


def for_print() -> AbstractContextManager:
    """Return the context in which figures are made and saved."""
    return mpl.rc_context(_STYLE)


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write ``figure`` into ``folder`` as ``name``, in each format."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # lay out once, not once a format
    for suffix, metadata in _METADATA.items():
        with files.replacing(folder / f"{name}.{suffix}") as temporary:
            figure.savefig(temporary, format=suffix, metadata=metadata)


# Lines


def numbers(experiment: Experiment) -> dict[Row, int]:
    """Return the number of each row, which tells its colour, dash and marker.

    A published log has the colour of the runs that repeat it.
    """
    repeated: dict[tuple, Row] = {}
    for run in experiment.runs:
        if run.log is None:
            repeated.setdefault(_cell(run), run.row)
    twins = {
        run.row: repeated[_cell(run)]
        for run in experiment.runs
        if run.log is not None and _cell(run) in repeated
    }
    others = [row for row in experiment.rows if row not in twins]
    found = {row: number for number, row in enumerate(others)}
    for row, twin in twins.items():
        alike = itertools.count(found[twin] + len(_PALETTE), len(_PALETTE))
        found[row] = next(number for number in alike if number not in found.values())
    return found


def _cell(run: Run) -> tuple:
    """Return what runs of the same method at the same settings and noise level share."""
    point = run.point
    return point.method, point.parameters, point.weight, point.sigma


def appearance(index: int) -> dict[str, Any]:
    """Return colour and dash of a row's number: different for the first 40."""
    return {
        "color": _PALETTE[index % len(_PALETTE)],
        "linestyle": _DASHES[index % len(_DASHES)],
    }


def line_style(index: int) -> dict[str, Any]:
    """Return the look of a row's line; from the first number beyond the dashes, it bears marks."""
    again = index // len(_DASHES)
    if again == 0:
        return appearance(index)
    start = 0.02 * (index % len(_DASHES))  # so that lines that agree do not hide marks
    marks = {"markersize": 4, "markevery": (start, 0.13)}
    return appearance(index) | {"marker": _MARKERS[(again - 1) % len(_MARKERS)], **marks}


def marker_style(index: int) -> dict[str, Any]:
    """Return colour and marker of a row's points: different for the first 40."""
    return {
        "color": _PALETTE[index % len(_PALETTE)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "linestyle": "none",
    }


def line(panel: Axes, x: str, data: pd.DataFrame, index: int) -> None:
    """Draw ``mean`` against the column ``x`` and a band.

    The band goes from the lowest seed to the highest or, for one seed, a standard error up and
    down, if there is one.
    """
    look = line_style(index)
    panel.plot(data[x], data["mean"], **look)
    low, high = data["lowest"], data["highest"]
    if "standard_error" in data:
        several, error = data["seeds"] > 1, data["standard_error"]
        low = low.where(several, data["mean"] - error)
        high = high.where(several, data["mean"] + error)
    panel.fill_between(data[x], low, high, color=look["color"], alpha=0.2, linewidth=0)


def points(panel: Axes, x: str, y: str, data: pd.DataFrame, look: Mapping[str, Any]) -> None:
    """Draw a marker at the means of the quantities ``x`` and ``y``, with the spread of each."""
    if len(data):
        panel.errorbar(
            data[f"{x}_mean"], data[f"{y}_mean"], xerr=bar(data, f"{x}_"), yerr=bar(data, f"{y}_"),
            elinewidth=0.9, capsize=2, **look,
        )  # fmt: skip


def name_points(
    panel: Axes, places: NDArray[np.float64], names: Sequence[str], wanted: Sequence[bool]
) -> None:
    """Write their names beside those of the ``places`` (points, 2) that are ``wanted``.

    A name for which there is no room is left out. The figure must have been laid out.
    """
    font = FontProperties(size=7)
    height, dot = font.get_size_in_points(), 72 / panel.get_figure().dpi
    points = panel.transData.transform(places) * dot
    left, bottom, right, top = panel.bbox.extents * dot
    taken = [Bbox.from_bounds(x - 3, y - 3, 6, 6) for x, y in points]
    for place, point, name, asked in zip(places, points, names, wanted, strict=True):
        width = 72 * _inches(name, font)
        offsets = ((dx, dy) for dy in (4, -4 - height) for dx in (4, -4 - width)) if asked else ()
        for offset in offsets:
            box = Bbox.from_bounds(*(point + offset), width, height)
            inside = left <= box.x0 and box.x1 <= right and bottom <= box.y0 and box.y1 <= top
            if inside and not any(box.overlaps(other) for other in taken):
                panel.annotate(
                    name, place, offset, textcoords="offset points", va="bottom", fontsize=7,
                    path_effects=[withStroke(linewidth=2, foreground=PAPER)],
                )  # fmt: skip
                taken.append(box)
                break


def bar(data: pd.DataFrame, prefix: str = "") -> NDArray[np.float64]:
    """Return the standard deviation over seeds, or the standard error where there is one seed."""
    spread = data[f"{prefix}std"]
    if f"{prefix}standard_error" in data:
        spread = spread.fillna(data[f"{prefix}standard_error"])
    return spread.fillna(0).to_numpy()


# Figures


def entry(title: str, look: Mapping[str, Any]) -> Line2D:
    """Return an entry of a legend."""
    return Line2D([], [], label=title, **{**look, "markevery": None})


def entries(
    rows: Iterable[tuple[int, Row]], look: Callable[[int], Mapping[str, Any]]
) -> list[Line2D]:
    """Return the legend of the rows of an experiment, given with their indices."""
    return [entry(row.title, look(index)) for index, row in rows]


def _panels(
    heights: Sequence[float],
    columns: int,
    legend: Sequence[Line2D],
    note: str,
    share: str | bool = False,
) -> tuple[Figure, NDArray]:
    """Return a figure and its panels (rows, columns), with legend and note below them.

    ``heights`` are those of the rows of panels, in inches. The figure grows with its legend.
    """
    width = columns * max(WIDTH / max(columns, 2), NARROWEST)
    figure = Figure(figsize=(width, 1), layout="constrained")
    made = figure.subplots(
        len(heights), columns, squeeze=False, sharey=share, height_ratios=heights
    )
    sns.despine(figure)
    renderer = FigureCanvasAgg(figure).get_renderer()
    keys = _legend(figure, legend, width - 0.3)
    below = figure.text(
        0.5, 0, _wrapped(note, width - 0.3, FontProperties(size=7.5)), fontsize=7.5,
        ha="center", va="bottom", linespacing=1.3,
    )  # fmt: skip
    gap = 0.06
    first, second = (
        part.get_window_extent(renderer).height / figure.dpi + gap for part in (below, keys)
    )
    bottom = gap / 2 + first + second
    total = sum(heights) + bottom
    below.set_y(gap / 2 / total)
    keys.set_bbox_to_anchor((0.5, (gap / 2 + first) / total), transform=figure.transFigure)
    for part in (below, keys):
        part.set_in_layout(False)
    figure.set_size_inches(width, total)
    figure.get_layout_engine().set(rect=(0, bottom / total, 1, 1 - bottom / total))
    return figure, made


def stacks(
    count: int,
    heights: Sequence[float],
    legend: Sequence[Line2D],
    note: str,
    share: str | bool = False,
) -> tuple[Figure, list[NDArray]]:
    """Return a figure and its ``count`` stacks of panels, in rows of COLUMNS; four in a square.

    ``heights`` are those of a stack's panels, in inches.
    """
    columns = 2 if count == 4 else min(count, COLUMNS)
    rows = -(-count // columns)
    figure, made = _panels([*heights] * rows, columns, legend, note, share)
    found = [stack for row in np.split(made, rows) for stack in row.T]
    for panel in np.ravel(found[count:]):
        panel.remove()
    return figure, found[:count]


def grid(count: int, legend: Sequence[Line2D], note: str) -> tuple[Figure, list[Axes]]:
    """Return a figure and its ``count`` panels, as stacks of one."""
    figure, found = stacks(count, [3.0], legend, note)
    return figure, [panel for (panel,) in found]


def sigma_title(panel: Axes, sigma: float) -> None:
    """Write the noise level above ``panel``."""
    panel.set_title(f"$\\sigma$ = {sigma:.2f}", loc="left")


def first_column(panel: Axes) -> bool:
    """Return whether ``panel`` is the leftmost of its row."""
    return panel.get_subplotspec().is_first_col()


def counts(experiment: Experiment) -> str:
    """Return the protocol behind a figure in a few words."""
    protocol = experiment.protocol
    votes = f"n₀ = {protocol.n0:,}, n = {protocol.n:,}, α = {protocol.alpha:g}"
    votes = votes.replace(" = ", "\u00a0=\u00a0")
    return f"{experiment.images:,} test images (subset {protocol.subset}), {votes}."


def bands(data: pd.DataFrame) -> str:
    """Return what the lines and bands of ``line`` are."""
    known = "standard_error" in data
    error = "± 1 standard error over the images" if known else ""
    if data["seeds"].max() == 1:
        return "Lines: one seed (seeds = 1)" + (f"; bands: {error}." if known else ".")
    words = f"Lines: mean of {_seeds(data)}; bands: from the lowest seed to the highest"
    return words + (f", for one seed {error}." if known and data["seeds"].min() == 1 else ".")


def spread(data: pd.DataFrame) -> str:
    """Return what stands behind ±, in numbers and in the bars of ``points``."""
    if data["seeds"].max() == 1:
        return "standard error over the images (seeds = 1)"
    words = f"sample standard deviation over {_seeds(data)}"
    if data["seeds"].min() == 1:
        words += ", for one seed the standard error over the images"
    return words


def _seeds(data: pd.DataFrame) -> str:
    low, high = data["seeds"].min(), data["seeds"].max()
    return f"{high} seeds" if low == high else f"{low} to {high} seeds"


def plain(label: str) -> str:
    """Return a label that matplotlib shows as it is: neither formula nor hidden."""
    # Nothing else: in a PDF, what does not show divides words.
    shown = f"\u200b{label}" if label.startswith("_") else label
    return shown.replace("$", r"\$")


def _legend(figure: Figure, entries: Sequence[Line2D], width: float) -> Legend:
    """Return a legend of as many columns as fit, its longest labels wrapped."""
    font = FontProperties(size=mpl.rcParams["legend.fontsize"])
    handle, gap = 3.2, 2.0
    extra = (handle + 0.8 + gap) * font.get_size_in_points() / 72
    labels = [_wrapped(entry.get_label(), width - extra, font) for entry in entries]
    widest = max(_inches(part, font) for label in labels for part in label.splitlines())
    fitting = max(1, min(len(entries), int(width / (widest + extra))))
    lines = -(-len(entries) // fitting)
    return figure.legend(
        handles=list(entries), labels=[plain(label) for label in labels],
        loc="lower center", ncols=-(-len(entries) // lines), frameon=False,
        handlelength=handle, columnspacing=gap, borderaxespad=0, borderpad=0,
    )  # fmt: skip


def _wrapped(text: str, width: float, font: FontProperties) -> str:
    """Return ``text`` in lines of at most ``width`` inches."""
    lines, letters = [text], int(len(text) * width / _inches(text, font)) + 1
    while letters > 1 and max(_inches(line, font) for line in lines) > width:
        letters -= 1
        lines = textwrap.wrap(text, letters)
    return "\n".join(lines)


def _inches(text: str, font: FontProperties) -> float:
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return width / 72
