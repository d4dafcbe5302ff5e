"""The metrics of certificates, each the mean over all test images of a value of the image.

Certificates are a DataFrame with the columns of ``smoothcert.records``, one row an image. An
abstention is wrong at every radius. Comparisons with a radius use >=. (Cohen et al. 2019, section
4; ACR: Zhai et al. 2020, section 5.1.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from smoothcert.analysis.t_tests import deviation
from smoothcert.records import ABSTAIN

ACR = "acr"
"""Average certified radius: the mean of radius x correct, on the [0, 1] pixel scale."""
CERTIFIED = "certified_accuracy"
"""Share of images certified correct at a radius; at radius 0, the papers' clean accuracy."""
ABSTENTION = "abstention"
"""Share of images without a certificate."""
AT_CAP = "at_cap"
"""Share of images whose n votes were unanimous: no method can raise their radius at this n."""

ROUNDINGS = {"3 digits": ".3g", "4 decimals": ".4f", "": ""}
"""How radii may be rounded, coarsest first, with the format that does it."""
LOG_ROUNDING = "3 digits"
"""How those of the published certification logs are."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Where the distribution of the lower bound on p_A is described."""


class Quantity(NamedTuple):
    """A metric, at a radius where it needs one."""

    metric: str
    radius: float | None = None


@dataclass(frozen=True)
class Estimate:
    """Means over seeds and images with their two spreads, arrays of one shape."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    """Sample standard deviation over seeds (ddof = 1); NaN for one seed."""
    standard_error: NDArray[np.float64]
    """Of ``mean``, for images drawn at random: the seeds share their images and are paired."""
    lowest: NDArray[np.float64]
    """Of the seeds."""
    highest: NDArray[np.float64]
    seeds: int

    @property
    def spread(self) -> NDArray[np.float64]:
        """Return what stands behind ±: the std over seeds or, for one seed, the standard error."""
        return self.std if self.seeds > 1 else self.standard_error

    def columns(self, prefix: str = "") -> dict[str, Any]:
        """Return mean, spreads and number of seeds as columns of a table."""
        names = ("mean", "std", "lowest", "highest", "standard_error")
        return {
            **{f"{prefix}{name}": np.atleast_1d(getattr(self, name)) for name in names},
            "seeds": self.seeds,
        }


def radii(step: float, cap: float) -> NDArray[np.float64]:
    """Return 0, step, 2 step, ... up to and including ``cap``."""
    return np.round(np.arange(int(cap / step + 1e-9) + 1) * step, 10)


def credited_radius(certificates: pd.DataFrame) -> NDArray[np.float64]:
    """Return each image's contribution (images,) to the ACR: radius x correct."""
    return (certificates["radius"] * certificates["correct"]).to_numpy(float)


def certified(certificates: pd.DataFrame, at: ArrayLike) -> NDArray[np.bool_]:
    """Return whether each image is certified correct at each radius, (images, radii)."""
    correct = certificates["correct"].to_numpy(bool)
    return correct[:, None] & (certificates["radius"].to_numpy()[:, None] >= np.asarray(at))


def at_cap(certificates: pd.DataFrame, n: int) -> NDArray[np.bool_]:
    """Return whether all ``n`` votes of the protocol fell on the class of each image.

    Where mode staged stopped earlier, unanimous votes give less than the largest radius.
    """
    return (certificates["count"] == n).to_numpy()


def quantities(at: NDArray[np.float64]) -> list[Quantity]:
    """Return what the columns of ``image_values`` are."""
    return [
        Quantity(ACR),
        *(Quantity(CERTIFIED, float(radius)) for radius in at),
        Quantity(ABSTENTION),
        Quantity(AT_CAP),
    ]


def image_values(
    certificates: pd.DataFrame, at: NDArray[np.float64], n: int
) -> NDArray[np.float64]:
    """Return the values (images, quantities) whose means are the metrics; ``n`` is the protocol's.

    NaN marks what is unknown. Mode evaluate does not tell abstentions from mistakes, nor what the
    votes of an image with a wrong class would have been; published logs hold no votes.
    """
    known = "count" in certificates
    values = np.column_stack(
        [
            credited_radius(certificates),
            certified(certificates, at),
            certificates["predict"] == ABSTAIN,
            at_cap(certificates, n) if known else np.full(len(certificates), np.nan),
        ]
    )
    if evaluated_only(certificates):
        values[:, -2:] = np.nan
    return values


def evaluated_only(certificates: pd.DataFrame) -> bool:
    """Return whether the mode is evaluate. Published logs have no column of modes."""
    return "mode" in certificates and (certificates["mode"] == "evaluate").any()


def over_seeds(values: ArrayLike) -> Estimate:
    """Return the estimate from values (seeds, images, ...) of the same images in every seed."""
    values = np.asarray(values, float)
    means, images = values.mean(1), values.shape[1]
    paired = values.mean(0).std(0, ddof=1) if images > 1 else np.full(means.shape[1:], np.nan)
    return _estimate(means, paired / images**0.5)


def certified_accuracy(tables: Sequence[pd.DataFrame], at: ArrayLike) -> Estimate:
    """Return the certified accuracy at the radii ``at`` from the certificates of each seed."""
    credited = [
        np.where(table["correct"], table["radius"], -1)  # wrong at every radius
        for table in tables
    ]
    return shares_reaching(credited, at)


def shares_reaching(values: ArrayLike, thresholds: ArrayLike) -> Estimate:
    """Return the share of images whose value is at least each threshold, over the seeds.

    ``values`` (seeds, images) are of the same images in every seed. The same as ``over_seeds`` of
    the comparisons, without an array of their size.
    """
    values, thresholds = np.asarray(values, float), np.asarray(thresholds, float)
    seeds, images = values.shape
    means = np.array([_reaching(of_seed, thresholds) for of_seed in values]) / images
    # k seeds or more reach a threshold where the image's k-th largest value does. The k sum to
    # the number of seeds that do, and the 2k - 1 to its square.
    ranked = np.sort(values, axis=0)[::-1]
    counts = np.array([_reaching(kth, thresholds) for kth in ranked])
    squares = (2 * np.arange(1, seeds + 1) - 1) @ counts / seeds**2
    if images == 1:
        return _estimate(means, np.full(means.shape[1:], np.nan))
    mean = means.mean(0)
    variance = np.maximum(squares - images * mean**2, 0) / (images - 1)
    return _estimate(means, (variance / images) ** 0.5)


def shares_below(values: ArrayLike, thresholds: ArrayLike) -> Estimate:
    """Return the share of images whose value is below each threshold, as ``shares_reaching``."""
    others = shares_reaching(values, thresholds)
    return replace(
        others, mean=1 - others.mean, lowest=1 - others.highest, highest=1 - others.lowest
    )


def _reaching(values: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.int64]:
    return len(values) - np.searchsorted(np.sort(values), thresholds, side="left")


def _estimate(means: NDArray[np.float64], standard_error: NDArray[np.float64]) -> Estimate:
    """Return the estimate from each seed's means (seeds, ...)."""
    seeds = len(means)
    return Estimate(
        mean=means.mean(0),
        std=deviation(means) if seeds > 1 else np.full(means.shape[1:], np.nan),
        standard_error=standard_error,
        lowest=means.min(0),
        highest=means.max(0),
        seeds=seeds,
    )


def p_lower_quantiles(certificates: pd.DataFrame) -> dict[float, float]:
    """Return the quantiles over all images of the lower confidence bound on p_A; NaN if unknown."""
    if evaluated_only(certificates) or "p_lower" not in certificates:
        return dict.fromkeys(QUANTILES, np.nan)
    return {q: float(v) for q, v in certificates["p_lower"].quantile(list(QUANTILES)).items()}


def round_radii(radii: ArrayLike, rounding: str) -> NDArray[np.float64]:
    """Return certified radii rounded as a publication's logs print them.

    ``rounding`` is ``3 digits`` (significant ones: 1.9057 becomes 1.91), ``4 decimals`` or empty
    for radii as they are. At sigma 0.5 three digits raise the ACR by up to 0.0043, the largest
    radius being 1.9057; and an image whose radius is 0.4996 then counts at 0.5.
    """
    if rounding not in ROUNDINGS:
        known = ", ".join(filter(None, ROUNDINGS))
        raise ValueError(f"unknown rounding {rounding!r}; known: {known}")
    form = ROUNDINGS[rounding]
    values = np.asarray(radii, float)
    if not form:
        return values
    # Through text, as the logs were written: no formula rounds all ties alike.
    return np.array([float(format(value, form)) for value in values.flat]).reshape(values.shape)
