"""The point (dataset, arch, method, settings, sigma, lambda, seed) and its folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from smoothcert import datasets, files, methods
from smoothcert.errors import UserError
from smoothcert.methods.base import Method
from smoothcert.settings import Training


@dataclass(frozen=True)
class Point:
    """One training run, complete: equal points have equal weights on equal machines."""

    dataset: str
    arch: str
    method: str
    sigma: float
    """Standard deviation of the training noise, on the [0, 1] pixel scale."""
    weight: float
    """lambda, the weight of the method's regularizer; 0 for a method without one."""
    seed: int
    training: Training
    parameters: Method

    def __post_init__(self):
        if not 0 < self.sigma < 100 or round(self.sigma, 2) != self.sigma:
            raise UserError(
                f"sigma {self.sigma:g} is not a positive number with at most two decimals"
            )
        if self.weight < 0:
            raise UserError(f"lambda {self.weight:g} is negative")
        if self.weight and not self.parameters.regularized:
            raise UserError(
                f"method {self.method} has no regularizer, so lambda must be 0, not {self.weight:g}"
            )
        if self.training.batch_size < self.parameters.minibatches:
            raise UserError(
                f"batch_size {self.training.batch_size} cannot be cut into the method's "
                f"{self.parameters.minibatches} minibatches; raise training.batch_size"
            )
        data = datasets.describe(self.dataset)
        if data.train_images < self.parameters.minibatches:
            raise UserError(
                f"the {data.train_images} training images of {self.dataset} cannot be cut into the "
                f"method's {self.parameters.minibatches} minibatches; lower its m"
            )
        taken = data.augmentations
        if self.training.augment not in taken:
            raise UserError(
                f"{self.dataset} does not take augment {self.training.augment}, only "
                f"{' or '.join(taken)}; change training.augment"
            )
        if self.training.extra_images and self.training.augment == "resized-crop-flip":
            raise UserError(
                "extra_images cannot be augmented by resized-crop-flip; change training.augment"
            )
        if self.seed < 0:
            raise UserError(f"seed {self.seed} is negative")

    @classmethod
    def read(cls, content: dict[str, Any]) -> Point:
        """Return the point from the JSON-like form that ``content`` wrote."""
        content = dict(content)
        return cls(
            weight=content.pop("lambda"),
            training=Training(**content.pop("training")),
            parameters=methods.load(content["method"])(**content.pop("parameters")),
            **content,
        )

    @property
    def content(self) -> dict[str, Any]:
        """Return the JSON-like form of the whole point."""
        return {
            "dataset": self.dataset,
            "arch": self.arch,
            "method": self.method,
            "sigma": self.sigma,
            "lambda": self.weight,
            "seed": self.seed,
            **self.settings,
        }

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Return every setting of the training but sigma, lambda and the seed."""
        return {
            "training": self.training.model_dump(mode="json"),
            "parameters": self.parameters.model_dump(mode="json"),
        }

    @property
    def settings_hash(self) -> str:
        """Return eight hexadecimal digits of the settings."""
        return files.digest(self.settings)[:8]

    @property
    def folder(self) -> Path:
        """Return the run's folder below ``results/``."""
        return Path(
            self.dataset,
            self.arch,
            f"{self.method}-{self.settings_hash}",
            f"sigma-{self.sigma:.2f}",
            f"lambda-{self.weight:.15g}",
            f"seed-{self.seed}",
        )

    def __str__(self) -> str:
        lambda_ = f" lambda {self.weight:g}" if self.parameters.regularized else ""
        return f"{self.dataset} {self.method} sigma {self.sigma:.2f}{lambda_} seed {self.seed}"
