"""The settings of PREDICT and of PREDICT under attack. No torch: configurations read them."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from smoothcert.errors import UserError
from smoothcert.settings import Section
from smoothcert.smoothing.protocol import Evaluation, folder


class Votes(Section):
    """PREDICT (Cohen et al. 2019, section 3.2.1): how many votes, which level."""

    n: int = Field(100_000, ge=1)
    """Noisy votes for each answer."""

    alpha: float = Field(0.001, gt=0, lt=1)
    """Probability, for each answer, that it is not the smoothed classifier's class."""

    @model_validator(mode="after")
    def _able_to_answer(self) -> Votes:
        smallest = math.ceil(1 - math.log2(self.alpha))  # p of unanimous votes: 2 / 2^n
        if self.n < smallest:
            raise UserError(
                f"n {self.n} can never answer at alpha {self.alpha:g}: even unanimous votes "
                f"abstain; the smallest n that can is {smallest}"
            )
        return self


class Prediction(Votes, Evaluation):
    """PREDICT on the images of a subset."""


class AttackSettings(Votes):
    """Which perturbations are looked for and how hard, and the votes on what is found."""

    epsilons: list[Annotated[float, Field(gt=0)]] = Field(min_length=1)
    """L2 bounds on the perturbation, on the [0, 1] pixel scale; each is an attack of its own. Their
    order means nothing."""

    steps: int = Field(20, ge=1)
    """T, steps of projected gradient ascent."""

    m: int = Field(128, ge=1)
    """Noises through which the attack sees the smoothed classifier."""

    @field_validator("epsilons")
    @classmethod
    def _sorted(cls, epsilons: list[float]) -> list[float]:
        if len({f"{epsilon:g}" for epsilon in epsilons}) < len(epsilons):
            raise UserError("a value stands twice, in the six digits that are shown")
        return sorted(epsilons)


class Attack(AttackSettings, Evaluation):
    """PREDICT under attack on the images of a subset."""

    @property
    def folder(self) -> str:
        """Return the folder below a run's: the subset, n and a hash of the rest."""
        return folder("attack", self)
