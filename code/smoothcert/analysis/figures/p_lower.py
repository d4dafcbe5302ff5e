"""How the lower bounds on p_A are distributed, and the shares that end elsewhere.

The axis is that of Phi^-1, on which the certified radius is linear; below 1/2 lie the abstentions.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from smoothcert.analysis import metrics
from smoothcert.analysis.experiment import Experiment
from smoothcert.analysis.figures import style, tidy
from smoothcert.analysis.metrics import ABSTENTION, AT_CAP
from smoothcert.records import ABSTAIN

BELOW = "below"
"""Share of images whose bound is below ``p_lower``; at 1/2, the abstentions."""
WRONG = "wrong"
"""Share of images with a certificate for a wrong class."""

SHARES = {ABSTENTION: "Abstained", WRONG: "Wrong", AT_CAP: "At cap"}
TICKS = (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999)


def measure(experiment: Experiment) -> pd.DataFrame:
    """Return the distribution of each row and sigma, and its shares, by ``quantity``."""
    at, parts = _bounds(experiment), []
    for (row, sigma), runs in experiment.cells.items():
        outcomes = [run.outcomes for run in runs if "p_lower" in run.outcomes]
        if not outcomes:  # published logs hold radii alone
            continue
        named = tidy.cell(experiment, row, sigma)
        below = metrics.shares_below([table["p_lower"] for table in outcomes], at)
        parts.append(tidy.frame({**named, "quantity": BELOW, "p_lower": at}, below))
        shares = metrics.over_seeds([_ends(table, experiment) for table in outcomes])
        parts.append(tidy.frame({**named, "quantity": list(SHARES), "p_lower": np.nan}, shares))
    return tidy.counted(experiment, parts)


def draw(experiment: Experiment, data: pd.DataFrame) -> Figure:
    """Return the figure of what ``measure`` returned."""
    sigmas = [sigma for sigma in experiment.sigmas if (data["sigma"] == sigma).any()]
    legend = style.entries(tidy.rows(experiment, data), style.line_style)
    note = (
        f"All images, right or wrong. {style.bands(data)} Below: shares in %, ± "
        f"{style.spread(data)}; at cap: all n votes agree. {style.counts(experiment)}"
    )
    heights = [2.8, 0.17 * (len(legend) + 1) + 0.1]
    figure, stacks = style.stacks(len(sigmas), heights, legend, note)
    for (above, below), sigma in zip(stacks, sigmas, strict=True):
        at_sigma = data[data["sigma"] == sigma]
        for index, row in tidy.rows(experiment, at_sigma):
            own = tidy.of(row, at_sigma)
            distribution = own[own["quantity"] == BELOW]
            style.line(above, "x", distribution.assign(x=ndtri(distribution["p_lower"])), index)
        _axes(above, _bounds(experiment)[-1])
        style.sigma_title(above, sigma)
        _list_shares(below, experiment, at_sigma)
    return figure


def _bounds(experiment: Experiment) -> NDArray[np.float64]:
    """Return the bounds at which the distribution is evaluated, from 1/2 to unanimous votes."""
    last = experiment.largest_bound
    at = ndtr(np.linspace(0, ndtri(last), tidy.POINTS))
    at[0], at[-1] = 0.5, last  # exactly: images lie on both
    return at


def _ends(outcomes: pd.DataFrame, experiment: Experiment) -> NDArray[np.bool_]:
    """Return whether each image (images, shares) belongs to SHARES."""
    abstained = outcomes["predict"] == ABSTAIN
    return np.column_stack(
        [
            abstained,
            ~abstained & (outcomes["correct"] == 0),
            metrics.at_cap(outcomes, experiment.protocol.n),
        ]
    )


def _axes(panel: Axes, last: float) -> None:
    ticks = [tick for tick in TICKS if tick <= last]
    panel.set_xticks(ndtri(ticks), [f"{tick:g}" for tick in ticks])
    panel.set(xlim=(0, ndtri(last) * 1.03), ylim=(0, 1), xlabel="Lower bound on $p_A$")
    if style.first_column(panel):
        panel.set_ylabel("Share of images below")


def _list_shares(panel: Axes, experiment: Experiment, data: pd.DataFrame) -> None:
    """List the shares of each row beside a sample of its line."""
    places = dict(zip(SHARES, (0.44, 0.71, 0.98), strict=True))
    for name, place in places.items():
        panel.text(place, 0, SHARES[name], ha="right", va="center", fontsize="small")
    rows = tidy.rows(experiment, data)
    for height, (index, row) in enumerate(rows, 1):
        shares = tidy.of(row, data).set_index("quantity")
        look = style.line_style(index) | {"markevery": [1]}
        panel.plot([0, 0.06, 0.12], [height] * 3, **look, clip_on=False)
        for name, place in places.items():
            share = shares.loc[name]
            spread = share["std"] if share["seeds"] > 1 else share["standard_error"]
            panel.text(
                place, height, f"{100 * share['mean']:.1f} ± {100 * spread:.1f}",
                ha="right", va="center", fontsize="small",
            )  # fmt: skip
    panel.set_axis_off()
    panel.set(xlim=(0, 1), ylim=(len(rows) + 0.5, -0.5))
