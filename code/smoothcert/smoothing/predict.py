"""PREDICT (Cohen et al. 2019, section 3.2.1): the smoothed classifier's class, or an abstention.

torch and pandas are imported inside the functions, because the command line reads the settings.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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
    import pandas as pd

    from smoothcert.device import describe
    from smoothcert.provenance import provenance
    from smoothcert.records import ABSTAIN
    from smoothcert.smoothing.sampling import Sampler

    point = checkpoint.point
    checkpoint.refuse_other_data(data)
    indices = settings.indices(len(data.test_labels))
    files.make_folder(folder)
    sampler = Sampler(
        checkpoint.classifier,
        point.sigma,
        point.seed,
        device,
        settings.precision,
        settings.backend,
    )
    code = fingerprint.fingerprint(
        "smoothcert.smoothing.predict",
        f"smoothcert.datasets.{point.dataset}",
        f"smoothcert.models.{point.arch}",
    )
    description = {
        "point": point.content,
        "settings": settings.model_dump(mode="json"),
        "images": len(indices),
        "model": {"sha256": files.sha256(checkpoint.path), "provenance": checkpoint.provenance},
        "evaluation": sampler.evaluation,
        "provenance": provenance(device, code, data.checksum),
    }
    say(f"predicting {point} on {describe(device)}, {sampler.evaluation}")
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
            accuracy, abstention = _share(correct, done), _share(abstained, done)
            progress.step(f"accuracy {_words(*accuracy)}  abstained {_words(*abstention)}")
    progress.close()
    table = pd.concat(groups).to_csv(sep="\t", index=False, lineterminator="\n")
    files.write_text(folder / TABLE, table)
    shares = {
        "accuracy": accuracy[0],
        "accuracy_standard_error": accuracy[1],
        "abstention": abstention[0],
        "abstention_standard_error": abstention[1],
    }
    files.write_json(folder / DESCRIPTION, {**description, **shares})


def _predictions(
    sampler: Sampler, data: Dataset, indices: Sequence[int], settings: Prediction
) -> pd.DataFrame:
    """Return the rows of images that are counted together."""
    import pandas as pd

    from smoothcert.datasets.base import to_unit

    started = time.perf_counter()
    rows = list(indices)
    labels = data.test_labels[rows].numpy()
    images = to_unit(data.read_test(rows))
    counts = sampler.counts(images, rows, "predict", settings.n).numpy()
    answers, classes, largest = decide(counts, settings.alpha)
    return pd.DataFrame(
        {
            "idx": rows,
            "label": labels,
            "predict": answers,
            "correct": (answers == labels).astype(int),
            "time": round((time.perf_counter() - started) / len(rows), 4),
            "top": classes[:, 0],
            "count": largest[:, 0],
            "second": classes[:, 1],
            "second_count": largest[:, 1],
            "n": settings.n,
            "batch": sampler.batch,
        }
    )


def _share(hits: int, images: int) -> tuple[float, float | None]:
    """Return a share of images and its standard error, which a single image lacks."""
    share = hits / images
    return share, math.sqrt(share * (1 - share) / (images - 1)) if images > 1 else None


def _words(share: float, error: float | None) -> str:
    return f"{share:.4f}" if error is None else f"{share:.4f} ± {error:.4f}"
