"""PREDICT under attack: the accuracy that no perturbation found so far takes away.

Salman et al. (2019) call it empirical robust accuracy.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from smoothcert.attacks.pgd import pgd
from smoothcert.attacks.victim import Victim
from smoothcert.datasets.base import to_unit
from smoothcert.device import is_out_of_memory
from smoothcert.errors import UserError
from smoothcert.records import ABSTAIN
from smoothcert.run_files import ATTACKED
from smoothcert.seeds import derive_seed
from smoothcert.smoothing import predict
from smoothcert.smoothing.answers import Answers
from smoothcert.smoothing.sampling import Sampler


@dataclass(frozen=True)
class Attacked(Answers):
    """``attacked.tsv``: PREDICT's answers under attack, a row for each image and epsilon.

    An image is attacked if PREDICT answers its label, and stays right if PREDICT answers the label
    for what the attack returns too. Attack and answers see noises of their own. ``clean`` is the
    answer for the image, ``predict`` that after the attack, and the votes are those behind
    ``predict``; ``distance`` is the L2 norm of the perturbation, at most epsilon; ``time`` is that
    of the image, all its epsilons together.

    Under the worst perturbation of norm epsilon, the smoothed classifier is right on no more
    images than those that are not answered wrongly here, up to alpha for each, as another attack
    may find more; certified accuracy at radius epsilon bounds the same from below. An abstention
    counts as wrong in ``correct``, as in the papers, and tells nothing of the classifier: the
    fewer votes, the more there are.

    ``answer`` raises UserError if memory does not suffice for m noisy copies and gradients.
    """

    name = ATTACKED.removesuffix(".tsv")
    doing = "attacking"
    columns = (
        *("idx", "label", "clean", "epsilon", "predict", "correct", "distance", "time"),
        *predict.VOTES,
    )

    @property
    def per_image(self) -> int:
        """Return the number of epsilons."""
        return len(self.settings.epsilons)

    @property
    def arithmetic(self) -> dict[str, str]:
        """Return what computes the gradients, whatever counts the votes."""
        return {"gradients": f"torch {torch.__version__}"}

    def answer(self, sampler: Sampler, indices: list[int]) -> pd.DataFrame:
        """Return the rows of images that are counted together, an image's one after another."""
        started = time.perf_counter()
        labels = self.data.test_labels[indices]
        images = to_unit(self.data.read_test(indices))
        clean = predict.ask(sampler, images, indices, "predict", self.settings)
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
                found = predict.ask(
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
        return together.assign(time=round((time.perf_counter() - started) / len(indices), 4))

    def hits(self, image: pd.DataFrame) -> dict[str, bool]:
        """Return whether the answer is right without an attack; right, or absent, under each."""
        found = {}
        for row in image.itertuples():
            found["accuracy"] = row.clean == row.label
            found[f"accuracy_at_epsilon_{row.epsilon:g}"] = bool(row.correct)
            found[f"abstention_at_epsilon_{row.epsilon:g}"] = row.predict == ABSTAIN
        return found

    def _perturbed(self, image: Tensor, label: int, index: int, epsilon: float) -> Tensor:
        """Return an adversarial image (C, H, W) in [0, 1], within epsilon of ``image`` in L2.

        The noises depend on the run's seed and the image's ``index`` alone.
        """
        point, settings, device = self.checkpoint.point, self.settings, self.device
        generator = torch.Generator(device).manual_seed(derive_seed(point.seed, "attack", index))
        return perturb(
            self.checkpoint.classifier.to(device),  # votes may be counted by a copy
            image.to(device),
            label,
            point.sigma,
            settings.m,
            epsilon,
            settings.steps,
            generator,
        ).cpu()


def perturb(
    classifier: nn.Module,
    image: Tensor,
    label: int,
    sigma: float,
    m: int,
    epsilon: float,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """Return an adversarial image (C, H, W) in [0, 1], within ``epsilon`` of ``image`` in L2.

    PGD on the smoothed objective (Salman et al. 2019, objective S) over m noises N(0, sigma^2 I),
    the same in all ``steps``.

    Raises UserError if memory does not suffice.
    """
    images, device = image[None], image.device
    try:
        noises = sigma * torch.randn((m, *images.shape), generator=generator, device=device)
        victim = Victim(classifier, torch.tensor([label], device=device), noises)
        return pgd(victim, images, epsilon, steps, generator)[0]
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"out of memory on {device} with {m} noises; choose a smaller m") from error
