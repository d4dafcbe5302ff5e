"""PREDICT under attack: the accuracy that no perturbation found so far takes away.

Salman et al. (2019) call it empirical robust accuracy.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from smoothcert.attacks.pgd import pgd
from smoothcert.attacks.victim import Victim
from smoothcert.datasets.base import to_unit
from smoothcert.device import is_out_of_memory
from smoothcert.errors import UserError
from smoothcert.seeds import derive_seed
from smoothcert.smoothing import predict
from smoothcert.smoothing.answers import Answers, Share
from smoothcert.smoothing.sampling import Sampler


@dataclass(frozen=True)
class Attacked(Answers):
    """``attacked.tsv``: PREDICT's answers under attack, a row for each image and epsilon.

    An image is attacked if PREDICT answers its label, and stays right if PREDICT answers the label
    for what the attack returns too. Attack and answers see noises of their own. ``clean`` is the
    answer for the image, ``predict`` that after the attack, and the votes are those behind
    ``predict``; ``distance`` is the L2 norm of the perturbation, at most epsilon. The share of
    images that stay right bounds the accuracy under the worst perturbation from above, as another
    attack may find more; certified accuracy at radius epsilon bounds it from below. An abstention
    counts as wrong.

    ``answer`` raises UserError if memory does not suffice for m noisy copies and gradients.
    """

    name = "attacked"
    doing = "attacking"
    columns = (
        *("idx", "label", "clean", "epsilon", "predict", "correct", "distance", "time"),
        *predict.VOTES,
    )

    @property
    def per_image(self) -> int:
        """Return the number of epsilons."""
        return len(self.settings.epsilons)

    def answer(self, sampler: Sampler, indices: list[int]) -> pd.DataFrame:
        """Return the rows of images that are counted together, an image's one after another."""
        started = time.perf_counter()
        labels = self.data.test_labels[indices]
        images = to_unit(self.data.read_test(indices))
        clean = predict.answers(sampler, images, indices, "predict", self.settings)
        (right,) = (clean["predict"].to_numpy() == labels.numpy()).nonzero()
        tables = []
        for epsilon in self.settings.epsilons:
            adversarial = images.clone()
            for row in right:
                adversarial[row] = self._perturbed(
                    images[row], int(labels[row]), indices[row], epsilon
                )
            table = clean.copy()
            if len(right):
                attacked = [indices[row] for row in right]
                found = predict.answers(
                    sampler, adversarial[right], attacked, "attacked", self.settings
                )
                table.iloc[right] = found.to_numpy()
            distance = torch.linalg.vector_norm(adversarial - images, dim=(1, 2, 3))
            tables.append(
                table.assign(
                    idx=indices,
                    label=labels.numpy(),
                    clean=clean["predict"],
                    epsilon=epsilon,
                    correct=(table["predict"] == labels.numpy()).astype(int),
                    distance=distance.numpy().round(6),
                )
            )
        together = pd.concat(tables).sort_values("idx", kind="stable")
        return together.assign(time=round((time.perf_counter() - started) / len(together), 4))

    def shares(self, rows: pd.DataFrame) -> dict[str, Share]:
        """Return the share of right answers without an attack, and under each."""
        first = rows[rows["epsilon"] == self.settings.epsilons[0]]
        return {
            "accuracy": Share.of(first["clean"] == first["label"]),
            **{
                f"accuracy_at_epsilon_{epsilon:g}": Share.of(
                    rows["correct"][rows["epsilon"] == epsilon]
                )
                for epsilon in self.settings.epsilons
            },
        }

    def _perturbed(self, image: Tensor, label: int, index: int, epsilon: float) -> Tensor:
        """Return an adversarial image (C, H, W) in [0, 1], within epsilon of ``image`` in L2.

        PGD on the smoothed objective (Salman et al. 2019, objective S) over m fixed noises, which
        depend on the run's seed and the image's ``index`` alone.

        Raises UserError where memory runs out.
        """
        point, device, m = self.checkpoint.point, self.device, self.settings.m
        generator = torch.Generator(device).manual_seed(derive_seed(point.seed, "attack", index))
        images = image[None].to(device)
        try:
            noises = point.sigma * torch.randn(
                (m, *images.shape), generator=generator, device=device
            )
            labels = torch.tensor([label], device=device)
            victim = Victim(self.checkpoint.classifier, labels, noises)
            found = pgd(victim, images, epsilon, self.settings.steps, generator)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(
                f"out of memory on {device} with {m} noises; choose a smaller m"
            ) from error
        return found[0].cpu()
