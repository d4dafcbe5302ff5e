"""What a robust classifier costs to train: training time against ACR."""

from __future__ import annotations

from collections import defaultdict
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from smoothcert.analysis import metrics
from smoothcert.analysis.experiment import Experiment
from smoothcert.analysis.figures import style, tidy

UNITS = {"hours": 3600, "minutes": 60, "seconds": 1}
FILLS = ("full", "none", "left", "right", "top", "bottom")
"""Of the marks, by device."""


def measure(experiment: Experiment) -> pd.DataFrame:
    """Return training time, in seconds, and ACR of each row, sigma and device.

    The time is the run's own, without that of weights it started from.
    """
    parts = []
    for (row, sigma), runs in experiment.cells.items():
        by_device = defaultdict(list)
        for run in runs:
            if not run.log:
                by_device[run.description["model"]["provenance"]["device"]].append(run)
        for device, group in by_device.items():
            seconds = np.array([[run.read_training()["seconds"].sum()] for run in group])
            time = metrics.over_seeds(seconds).columns("seconds_")
            del time["seconds_standard_error"]  # a run has one time, whatever the images
            named = tidy.cell(experiment, row, sigma) | {"device": device}
            parts.append(pd.DataFrame({**named, **time, **tidy.acr(group)}))
    return tidy.counted(experiment, parts)


def draw(experiment: Experiment, data: pd.DataFrame) -> Figure:
    """Return the figure of what ``measure`` returned."""
    longest = data["seconds_mean"].max()
    unit = next((name for name, size in UNITS.items() if longest >= 2 * size), "seconds")
    own = [name for name in data if name.startswith("seconds_")]
    data = data.assign(
        **{name.replace("seconds", "time"): data[name] / UNITS[unit] for name in own}
    )
    devices = dict(zip(data["device"].unique(), cycle(FILLS)))
    note = f"Mean and {style.spread(data)}. {style.counts(experiment)} "
    if len(devices) == 1:
        note += f"Trained on {next(iter(devices))}."
    else:
        note += (
            f"Trained on {len(devices)} kinds of devices, whose times do not compare: marks tell "
            "them apart."
        )
    sigmas = [sigma for sigma in experiment.sigmas if (data["sigma"] == sigma).any()]
    legend = style.entries(tidy.rows(experiment, data), style.marker_style)
    if len(devices) > 1:
        mark = {"marker": "o", "color": style.INK, "linestyle": "none"}
        legend += [style.entry(name, mark | {"fillstyle": fill}) for name, fill in devices.items()]
    figure, panels = style.grid(len(sigmas), legend, note)
    for panel, sigma in zip(panels, sigmas, strict=True):
        at_sigma = data[data["sigma"] == sigma]
        for index, row in tidy.rows(experiment, at_sigma):
            own = tidy.of(row, at_sigma)
            for device, marks in own.groupby("device", sort=False):
                look = style.marker_style(index) | {"fillstyle": devices[device]}
                style.points(panel, "time", "acr", marks, look)
        _time_axis(panel, data["time_mean"], data["time_std"], unit)
        style.sigma_title(panel, sigma)
        if style.first_column(panel):
            panel.set_ylabel("ACR")
    return figure


def _time_axis(panel: Axes, times: pd.Series, deviations: pd.Series, unit: str) -> None:
    """Let the axis, the same in all panels, begin at 0 where the times have one magnitude.

    It ends beyond the longest time with its deviation, NaN where that is not known.
    """
    panel.set_xlabel(f"Training time, {unit}")
    longest = (times + deviations.fillna(0)).max()
    if times.max() < 10 * times.min():
        panel.set_xlim(0, 1.1 * longest)
        return
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlim(times.min() / 1.5, 1.5 * longest)
