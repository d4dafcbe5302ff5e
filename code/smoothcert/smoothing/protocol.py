"""The certification protocol: what makes two certificates comparable."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from smoothcert import files
from smoothcert.errors import UserError, reason
from smoothcert.settings import Section
from smoothcert.smoothing.bounds import smallest_n

ModeName = Literal["fixed", "evaluate", "staged", "radius"]
Precision = Literal["auto", "fp32", "bf16"]
BackendName = Literal["auto", "openvino", "torch"]

STAGED_SHARES = (0.05, 0.15, 0.8)
"""Of alpha, that the looks of mode staged spend, the first one first."""

SUBSET = re.compile(r"all|every-([1-9]\d*)|(\d+)-(\d+)")
"""How test images are named."""


class Evaluation(Section):
    """Which images are evaluated under noise, and in what arithmetic."""

    subset: str = "all"
    """Test images: all, every-K (indices 0, K, 2K, ...) or FIRST-LAST (both included)."""

    precision: Precision = "auto"
    """Arithmetic of the network: fp32, bf16, or auto: bf16 where the device has it."""

    backend: BackendName = "auto"
    """What evaluates it: openvino (CPU), torch, or auto: openvino on a CPU, torch on a GPU."""

    @field_validator("subset")
    @classmethod
    def _known_subset(cls, subset: str) -> str:
        match = SUBSET.fullmatch(subset)
        if not match or (match[2] and int(match[2]) > int(match[3])):
            raise UserError(f"{subset!r} is not all, every-K or FIRST-LAST (as in 500-999)")
        return subset

    def indices(self, test_images: int) -> range:
        """Return the indices of the subset among ``test_images`` images.

        Raises UserError if the subset reaches beyond the last image.
        """
        match = SUBSET.fullmatch(self.subset)
        if match[2] is None:
            return range(0, test_images, int(match[1] or 1))
        first, last = int(match[2]), int(match[3])
        if last >= test_images:
            raise UserError(f"subset {self.subset} reaches beyond the {test_images} test images")
        return range(first, last + 1)


class Protocol(Evaluation):
    """CERTIFY (Cohen et al. 2019, section 3.2.2): which images, how many votes, which level."""

    n0: int = Field(100, ge=1)
    """Noisy votes that choose the class."""

    n: int = Field(100_000, ge=1)
    """Fresh noisy votes that estimate p_A, the chosen class's probability."""

    alpha: float = Field(0.001, gt=0, lt=1)
    """Probability, for each image, that the certificate is wrong."""

    mode: ModeName = "fixed"
    """fixed: the papers' protocol. evaluate: no estimate for images whose chosen class is wrong.
    staged: stops once more votes could hardly help. radius: decides for one radius alone, with
    smoothcert certify only, as experiments need all radii."""

    tolerance: float = Field(0.05, gt=0, lt=1)
    """Of mode staged: the share of the radius that stopping early may cost."""

    radius: float | None = Field(None, gt=0)
    """Of mode radius: the L2 radius on the [0, 1] pixel scale at which to decide."""

    @model_validator(mode="after")
    def _able_to_certify(self) -> Protocol:
        # The last look of mode staged has a share of alpha only.
        smallest = smallest_n(self.alpha * (STAGED_SHARES[-1] if self.mode == "staged" else 1))
        if self.n < smallest:
            raise UserError(
                f"n {self.n} can never certify at alpha {self.alpha:g}: even unanimous votes "
                f"abstain; the smallest n that can is {smallest}"
            )
        if self.mode == "radius" and self.radius is None:
            raise UserError("mode radius needs radius, at which it decides")
        if self.mode != "radius" and self.radius is not None:
            raise UserError("radius belongs to mode radius: choose that mode, or leave radius out")
        if self.mode != "staged" and self.tolerance != type(self).model_fields["tolerance"].default:
            raise UserError(
                "tolerance belongs to mode staged: choose that mode, or leave tolerance out"
            )
        return self

    @property
    def folder(self) -> str:
        """Return the folder below a run's: the subset, n and a hash of the rest."""
        return folder("certify", self)


def folder(stage: str, settings: Evaluation) -> str:
    """Return the folder below a run's: stage, subset, n and a hash of the rest."""
    rest = files.digest(settings.model_dump(mode="json", exclude={"subset", "n"}))[:8]
    return f"{stage}-{settings.subset}-n{settings.n}-{rest}"


def read_protocol(folder: Path, content: dict[str, Any]) -> Protocol:
    """Return the protocol of the certificates in ``folder``, which their description states.

    Raises UserError if it is none that this version knows.
    """
    try:
        return Protocol(**content)
    except (ValidationError, TypeError) as error:
        raise UserError(
            f"{folder} states a protocol that this version does not know ({reason(error)}); "
            "certify again"
        ) from error
