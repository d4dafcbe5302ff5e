"""PREDICT under attack: the accuracy that no perturbation found so far takes away.

Salman et al. (2019) call it empirical robust accuracy. torch and pandas are imported inside the
functions, because the command line reads the settings.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from smoothcert import files
from smoothcert.errors import UserError
from smoothcert.progress import Progress, say
from smoothcert.seeds import derive_seed
from smoothcert.smoothing import predict
from smoothcert.smoothing.predict import Prediction, Share

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import Tensor

    from smoothcert.checkpoint import Checkpoint
    from smoothcert.datasets import Dataset
    from smoothcert.smoothing.sampling import Sampler

TABLE, DESCRIPTION = "attacked.tsv", "attacked.json"


class Attack(Prediction):
    """Which perturbations are looked for and how hard, and the votes on what is found."""

    epsilon: float = Field(gt=0)
    """L2 bound on the perturbation, on the [0, 1] pixel scale."""

    steps: int = Field(20, ge=1)
    """T, steps of projected gradient ascent."""

    m: int = Field(128, ge=1)
    """Noises through which the attack sees the smoothed classifier."""


def attack(
    checkpoint: Checkpoint,
    data: Dataset,
    settings: Attack,
    folder: Path,
    device: torch.device,
) -> None:
    """Attack the images of the subset; write ``attacked.tsv`` and ``.json`` into ``folder``.

    An image is attacked if PREDICT answers its label, and stays right if PREDICT answers the label
    for what the attack returns too. Attack and answers see noises of their own. ``clean`` is the
    answer for the image, ``predict`` that after the attack, and the votes are those behind
    ``predict``; ``distance`` is the L2 norm of the perturbation, at most epsilon. The share of
    images that stay right bounds the accuracy under the worst perturbation from above, as another
    attack may find more; certified accuracy at radius epsilon bounds it from below. Both files are
    written at the end.

    Raises UserError if the subset reaches beyond the test images, if the classifier was trained on
    another version of the data, or if memory does not suffice for m noisy copies and gradients.
    """
    from smoothcert.device import describe

    checkpoint.refuse_other_data(data)
    indices = settings.indices(len(data.test_labels))
    files.make_folder(folder)
    sampler = predict.sampler_of(checkpoint, settings, device)
    about = predict.description(__name__, checkpoint, data, settings, sampler, device)
    say(f"attacking {checkpoint.point} on {describe(device)}, {sampler}")
    groups: list[pd.DataFrame] = []
    done = clean = robust = 0
    progress = Progress(len(indices), "image")
    for first in range(0, len(indices), sampler.images):
        rows = indices[first : first + sampler.images]
        group = _attacked(checkpoint, sampler, data, rows, settings, device)
        groups.append(group)
        for row in group.itertuples():
            done += 1
            clean += row.clean == row.label
            robust += row.correct
            accuracy, left = Share.of(clean, done), Share.of(robust, done)
            progress.step(f"accuracy {accuracy}  under attack {left}")
    progress.close()
    files.write_text(folder / TABLE, predict.tsv(groups))
    shares = {**accuracy.content("accuracy"), **left.content("accuracy_under_attack")}
    files.write_json(folder / DESCRIPTION, {**about, **shares})


def _attacked(
    checkpoint: Checkpoint,
    sampler: Sampler,
    data: Dataset,
    indices: Sequence[int],
    settings: Attack,
    device: torch.device,
) -> pd.DataFrame:
    """Return the rows of images that are counted together."""
    import torch

    from smoothcert.datasets.base import to_unit

    started = time.perf_counter()
    rows = list(indices)
    labels = data.test_labels[rows]
    images = to_unit(data.read_test(rows))
    table = predict.answers(sampler, images, rows, "predict", settings)
    clean = table["predict"].to_numpy(copy=True)
    (right,) = (clean == labels.numpy()).nonzero()
    adversarial = images.clone()
    for row in right:
        adversarial[row] = _perturbed(
            checkpoint, images[row], int(labels[row]), rows[row], settings, device
        )
    if len(right):
        attacked = [rows[row] for row in right]
        found = predict.answers(sampler, adversarial[right], attacked, "attacked", settings)
        table.iloc[right] = found.to_numpy()
    distance = torch.linalg.vector_norm(adversarial - images, dim=(1, 2, 3))
    table.insert(0, "idx", rows)
    table.insert(1, "label", labels.numpy())
    table.insert(2, "clean", clean)
    table.insert(4, "correct", (table["predict"] == table["label"]).astype(int))
    table.insert(5, "distance", distance.numpy().round(6))
    table.insert(6, "time", round((time.perf_counter() - started) / len(rows), 4))
    return table


def _perturbed(
    checkpoint: Checkpoint,
    image: Tensor,
    label: int,
    index: int,
    settings: Attack,
    device: torch.device,
) -> Tensor:
    """Return an adversarial image (C, H, W) in [0, 1], within epsilon of ``image`` in L2.

    PGD on the smoothed objective (Salman et al. 2019, objective S) over m fixed noises, which
    depend on the run's seed and the image's ``index`` alone.

    Raises UserError where memory runs out.
    """
    import torch

    from smoothcert.attacks.pgd import pgd
    from smoothcert.attacks.victim import Victim
    from smoothcert.device import is_out_of_memory

    point = checkpoint.point
    generator = torch.Generator(device).manual_seed(derive_seed(point.seed, "attack", index))
    images = image[None].to(device)
    shape = (settings.m, *images.shape)
    try:
        noises = point.sigma * torch.randn(shape, generator=generator, device=device)
        victim = Victim(checkpoint.classifier, torch.tensor([label], device=device), noises)
        found = pgd(victim, images, settings.epsilon, settings.steps, generator)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"out of memory on {device} with {settings.m} noises; choose a smaller m"
        ) from error
    return found[0].cpu()
