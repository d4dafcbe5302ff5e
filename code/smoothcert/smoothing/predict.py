"""PREDICT (Cohen et al. 2019, section 3.2.1): the smoothed classifier's class, or an abstention.

torch and pandas are imported inside the functions, because the command line reads the settings.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator
from scipy.special import betainc

from smoothcert import files, fingerprint
from smoothcert.errors import UserError
from smoothcert.progress import Progress, say
from smoothcert.smoothing.protocol import Evaluation

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import Tensor

    from smoothcert.checkpoint import Checkpoint
    from smoothcert.datasets import Dataset
    from smoothcert.smoothing.sampling import Sampler

TABLE, DESCRIPTION = "predictions.tsv", "predictions.json"


class Prediction(Evaluation):
    """Which images, how many votes, which level."""

    n: int = Field(100_000, ge=1)
    """Noisy votes for each image."""

    alpha: float = Field(0.001, gt=0, lt=1)
    """Probability, for each image, of an answer that is not the smoothed classifier's class."""

    @model_validator(mode="after")
    def _able_to_answer(self) -> Prediction:
        smallest = math.ceil(1 - math.log2(self.alpha))  # p of unanimous votes: 2 / 2^n
        if self.n < smallest:
            raise UserError(
                f"n {self.n} can never answer at alpha {self.alpha:g}: even unanimous votes "
                f"abstain; the smallest n that can is {smallest}"
            )
        return self


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
    from smoothcert.records import ABSTAIN

    classes = np.argsort(-counts, axis=1, kind="stable")[:, :2]
    largest = np.take_along_axis(counts, classes, 1)
    answered = p_value(largest[:, 0], largest[:, 1]) <= alpha
    return np.where(answered, classes[:, 0], ABSTAIN), classes, largest


def predict(
    checkpoint: Checkpoint,
    data: Dataset,
    settings: Prediction,
    folder: Path,
    device: torch.device,
) -> None:
    """Predict the images of the subset; write ``predictions.tsv`` and ``.json`` into ``folder``.

    With probability at least 1 - alpha over the noise, the answer for an image is -1 (abstain) or
    the class of the smoothed classifier, the most probable one under N(0, sigma^2 I) noise;
    sigma is the training noise and the noise's seed the run's. Nothing is said of a radius, and
    abstentions are not CERTIFY's: that one abstains where it cannot show p_A > 1/2, this one
    where it cannot tell the two most frequent classes apart. The probability is that of one image,
    not of all together. Both files are written at the end.

    Raises UserError if the subset reaches beyond the test images or if the classifier was trained
    on another version of the data.
    """
    from smoothcert.device import describe
    from smoothcert.records import ABSTAIN

    checkpoint.refuse_other_data(data)
    indices = settings.indices(len(data.test_labels))
    files.make_folder(folder)
    sampler = sampler_of(checkpoint, settings, device)
    about = description(__name__, checkpoint, data, settings, sampler, device)
    say(f"predicting {checkpoint.point} on {describe(device)}, {sampler}")
    groups: list[pd.DataFrame] = []
    done = correct = abstained = 0
    progress = Progress(len(indices), "image")
    for first in range(0, len(indices), sampler.images):
        group = _predictions(sampler, data, indices[first : first + sampler.images], settings)
        groups.append(group)
        for row in group.itertuples():
            done += 1
            correct += row.correct
            abstained += row.predict == ABSTAIN
            accuracy, abstention = Share.of(correct, done), Share.of(abstained, done)
            progress.step(f"accuracy {accuracy}  abstained {abstention}")
    progress.close()
    files.write_text(folder / TABLE, tsv(groups))
    shares = {**accuracy.content("accuracy"), **abstention.content("abstention")}
    files.write_json(folder / DESCRIPTION, {**about, **shares})


def sampler_of(checkpoint: Checkpoint, settings: Prediction, device: torch.device) -> Sampler:
    """Return what counts the votes of a classifier under the noise that it was trained with."""
    from smoothcert.smoothing.sampling import Sampler

    point = checkpoint.point
    return Sampler(
        checkpoint.classifier,
        point.sigma,
        point.seed,
        device,
        settings.precision,
        settings.backend,
    )


def description(
    module: str,
    checkpoint: Checkpoint,
    data: Dataset,
    settings: Prediction,
    sampler: Sampler,
    device: torch.device,
) -> dict[str, Any]:
    """Return what predictions are made of; ``module`` names the code that makes them."""
    from smoothcert.provenance import provenance

    point = checkpoint.point
    code = fingerprint.fingerprint(
        module, f"smoothcert.datasets.{point.dataset}", f"smoothcert.models.{point.arch}"
    )
    return {
        "point": point.content,
        "settings": settings.model_dump(mode="json"),
        "images": len(settings.indices(len(data.test_labels))),
        "model": {"sha256": files.sha256(checkpoint.path), "provenance": checkpoint.provenance},
        "evaluation": sampler.evaluation,
        "provenance": provenance(device, code, data.checksum),
    }


def answers(
    sampler: Sampler, images: Tensor, indices: Sequence[int], stage: str, settings: Prediction
) -> pd.DataFrame:
    """Return PREDICT's answer for each image (B, C, H, W), and the votes behind it.

    ``stage`` names the draw: votes that chose anything must not be counted again.
    """
    import pandas as pd

    counts = sampler.counts(images, indices, stage, settings.n).numpy()
    found, classes, largest = decide(counts, settings.alpha)
    return pd.DataFrame(
        {
            "predict": found,
            "top": classes[:, 0],
            "count": largest[:, 0],
            "second": classes[:, 1],
            "second_count": largest[:, 1],
            "n": settings.n,
            "batch": sampler.batch,
        }
    )


def tsv(groups: Sequence[pd.DataFrame]) -> str:
    """Return the text of the table of all groups."""
    import pandas as pd

    return pd.concat(groups).to_csv(sep="\t", index=False, lineterminator="\n")


def _predictions(
    sampler: Sampler, data: Dataset, indices: Sequence[int], settings: Prediction
) -> pd.DataFrame:
    """Return the rows of images that are counted together."""
    from smoothcert.datasets.base import to_unit

    started = time.perf_counter()
    rows = list(indices)
    labels = data.test_labels[rows].numpy()
    table = answers(sampler, to_unit(data.read_test(rows)), rows, "predict", settings)
    table.insert(0, "idx", rows)
    table.insert(1, "label", labels)
    table.insert(3, "correct", (table["predict"] == labels).astype(int))
    table.insert(4, "time", round((time.perf_counter() - started) / len(rows), 4))
    return table


@dataclass(frozen=True)
class Share:
    """A share of images."""

    value: float
    error: float | None
    """Its standard error, which a single image lacks."""

    @classmethod
    def of(cls, hits: int, images: int) -> Share:
        """Return the share of ``hits`` among ``images``."""
        share = hits / images
        error = math.sqrt(share * (1 - share) / (images - 1)) if images > 1 else None
        return cls(share, error)

    def content(self, name: str) -> dict[str, float | None]:
        """Return the JSON-like form under ``name``."""
        return {name: self.value, f"{name}_standard_error": self.error}

    def __str__(self) -> str:
        return f"{self.value:.4f}" if self.error is None else f"{self.value:.4f} ± {self.error:.4f}"
