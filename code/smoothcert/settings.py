"""What every settings section shares, and the settings of training that all methods share."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A closed, immutable group of settings: an unknown key is an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True,
        validate_by_name=True, serialize_by_alias=True,
    )  # fmt: skip


class Training(Section):
    """How the weights are optimised: SGD with momentum and a step schedule."""

    epochs: int = Field(90, ge=1)
    """Passes over the training images."""

    batch_size: int = Field(256, ge=1)
    """Different images drawn at once; methods with m > 1 noises cut them into m minibatches."""

    lr: float = Field(0.01, gt=0)
    """Initial learning rate."""

    lr_step: int = Field(30, ge=1)
    """Epochs between two drops of the learning rate by lr_gamma."""

    lr_gamma: float = Field(0.1, gt=0, le=1)
    """Factor of each drop of the learning rate."""

    lr_convention: Literal["cohen", "jeong"] = "cohen"
    """When the rate drops: cohen at epochs k*lr_step, jeong one epoch later (0-based epochs)."""

    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of SGD."""

    weight_decay: float = Field(1e-4, ge=0)
    """L2 penalty of SGD."""

    augment: Literal["none", "crop-flip"] = "none"
    """Of the training images: crop-flip shifts each by up to 4 pixels and mirrors half of them."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the forward pass: fp32, or bf16 through autocast (weights stay fp32)."""

    def learning_rate(self, epoch: int) -> float:
        """Return the learning rate of a 0-based epoch.

        Cohen et al. and Salman et al. step the schedule before an epoch, Jeong & Shin after it
        with the finished epoch's index, so that theirs drops one epoch later.
        """
        finished = max(epoch - 1, 0) if self.lr_convention == "jeong" else epoch
        return self.lr * self.lr_gamma ** (finished // self.lr_step)
