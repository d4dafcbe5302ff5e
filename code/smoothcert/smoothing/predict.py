"""PREDICT (Cohen et al. 2019, section 3.2.1): the smoothed classifier's class, or an abstention."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc
from torch import Tensor

from smoothcert.datasets.base import to_unit
from smoothcert.records import ABSTAIN
from smoothcert.smoothing.answers import Answers
from smoothcert.smoothing.sampling import Sampler
from smoothcert.smoothing.settings import Votes

VOTES = ("top", "count", "second", "second_count", "n", "batch")
"""The columns of the votes behind an answer: the two classes with most of them, and how many."""


def p_value(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Return the p-value of the two-sided binomial test of two counts against equal chances.

    ``first`` >= ``second`` >= 0, ``first`` >= 1. By symmetry it is twice the upper tail
    P(Binomial(first + second, 1/2) >= first) = I_{1/2}(first, second + 1), at most 1.
    """
    first, second = np.broadcast_arrays(np.asarray(first, float), np.asarray(second, float))
    return np.minimum(2 * betainc(first, second + 1, 0.5), 1.0)


def decide(counts: NDArray[np.int64], alpha: float) -> tuple[NDArray, NDArray, NDArray]:
    """Return PREDICT's answers, and the two classes with most votes and their counts.

    ``counts`` is (B, classes >= 2). The answers, int64 (B,), are the class with most votes, or -1
    unless the test of the two largest counts has p <= ``alpha``. Classes and counts are int64
    (B, 2), the largest first; among equal counts the lower class comes first.

    For counts of independent votes, each answer is, with probability at least 1 - alpha, an
    abstention or the most probable class (Hung & Fithian 2019; Cohen et al. 2019, proposition 1).
    """
    classes = np.argsort(-counts, axis=1, kind="stable")[:, :2]
    largest = np.take_along_axis(counts, classes, 1)
    answered = p_value(largest[:, 0], largest[:, 1]) <= alpha
    return np.where(answered, classes[:, 0], ABSTAIN), classes, largest


@dataclass(frozen=True)
class Predictions(Answers):
    """``predictions.tsv``: the smoothed classifier's class for each image.

    With probability at least 1 - alpha over the noise, the answer for an image is -1 (abstain) or
    the class of the smoothed classifier, the most probable one under N(0, sigma^2 I) noise;
    sigma is the training noise and the noise's seed the run's. Nothing is said of a radius, and
    abstentions are not CERTIFY's: that one abstains where it cannot show p_A > 1/2, this one
    where it cannot tell the two most frequent classes apart. The probability is that of one image,
    not of all together.
    """

    name = "predictions"
    doing = "predicting"
    columns = ("idx", "label", "predict", "correct", "time", *VOTES)

    def answer(self, sampler: Sampler, indices: list[int]) -> pd.DataFrame:
        """Return a row for each image."""
        started = time.perf_counter()
        labels = self.data.test_labels[indices].numpy()
        images = to_unit(self.data.read_test(indices))
        table = ask(sampler, images, indices, "predict", self.settings)
        return table.assign(
            idx=indices,
            label=labels,
            correct=(table["predict"] == labels).astype(int),
            time=round((time.perf_counter() - started) / len(indices), 4),
        )

    def hits(self, image: pd.DataFrame) -> dict[str, bool]:
        """Return whether the answer is right, and whether it is an abstention."""
        (row,) = image.itertuples()
        return {"accuracy": bool(row.correct), "abstention": row.predict == ABSTAIN}


def ask(
    sampler: Sampler, images: Tensor, indices: Sequence[int], stage: str, votes: Votes
) -> pd.DataFrame:
    """Return PREDICT's answer for each image (B, C, H, W), ``predict``, and the VOTES behind it.

    ``stage`` names the draw: votes that chose anything must not be counted again.
    """
    counts = sampler.counts(images, indices, stage, votes.n).numpy()
    found, classes, largest = decide(counts, votes.alpha)
    columns = (classes[:, 0], largest[:, 0], classes[:, 1], largest[:, 1], votes.n, sampler.batch)
    return pd.DataFrame({"predict": found, **dict(zip(VOTES, columns, strict=True))})
