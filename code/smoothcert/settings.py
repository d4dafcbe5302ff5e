"""What every settings section shares, and the settings of training that all methods share."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """A closed, immutable group of settings: an unknown key is an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True,
        validate_by_name=True, serialize_by_alias=True,
    )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _booleans_are_no_numbers(cls, content: Any) -> Any:
        fields = {field.alias or name: field for name, field in cls.model_fields.items()}
        for key, value in content.items() if isinstance(content, dict) else ():
            field = fields.get(key)
            booleans = field is None or bool in (field.annotation, *get_args(field.annotation))
            values = value if isinstance(value, list) else [value]
            if not booleans and any(isinstance(one, bool) for one in values):
                raise ValueError(f"{key}: yes, no, true and false are no numbers; quote a text")
        return content


class Training(Section):
    """How the weights are optimised: SGD with momentum and a step schedule."""

    epochs: int = Field(90, ge=1)
    """Passes over the training images."""

    batch_size: int = Field(256, ge=1)
    """Different images drawn at once; methods with m > 1 noises cut them into m minibatches."""

    lr: float = Field(0.01, gt=0, le=1e6)
    """Initial learning rate."""

    lr_step: int = Field(30, ge=1)
    """Epochs between two drops of the learning rate by lr_gamma."""

    lr_gamma: float = Field(0.1, gt=0, le=1)
    """Factor of each drop of the learning rate."""

    lr_convention: Literal["cohen", "jeong"] = "cohen"
    """When the rate drops: cohen at epochs k*lr_step, jeong one epoch later (0-based epochs)."""

    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of SGD."""

    weight_decay: float = Field(1e-4, ge=0, le=1e6)
    """L2 penalty of SGD."""

    augment: Literal["none", "crop-flip", "resized-crop-flip"] = "none"
    """crop-flip: shifts by up to 4 pixels, mirrors half. resized-crop-flip: ImageNet's crops."""

    normalize: Literal["standard", "center", "none"] = "standard"
    """First layer of the network: takes off the data set's mean and divides by its standard
    deviation (standard), takes off the mean (center), or neither (none)."""

    init_from: str | None = Field(None, min_length=1)
    """Weights to start from: a checkpoint file (.pt) or, in a configuration, another run as
    EXPERIMENT/LABEL, of the same sigma, seed and, where it sweeps, lambda."""

    init_head: Literal["kept", "new"] = "kept"
    """The last layer of init_from: kept, or new, as for another number of classes."""

    extra_images: str | None = Field(None, min_length=1)
    """File (.npz) of pseudo-labelled images: uint8 (N, H, W, C), and labels (N,). An epoch
    takes as many batches of these as of the data set."""

    extra_weight: float = Field(1.0, gt=0)
    """Factor of the loss on extra_images."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the forward pass: fp32, or bf16 through autocast (weights stay fp32)."""

    @model_validator(mode="after")
    def _nothing_is_without_meaning(self) -> Training:
        for key, needs in (("init_head", "init_from"), ("extra_weight", "extra_images")):
            if getattr(self, key) != type(self).model_fields[key].default and not getattr(
                self, needs
            ):
                raise ValueError(f"{key} means nothing without {needs}; leave it out")
        return self

    def learning_rate(self, epoch: int) -> float:
        """Return the learning rate of a 0-based epoch.

        Cohen et al. and Salman et al. step the schedule before an epoch, Jeong & Shin after it
        with the finished epoch's index, so that theirs drops one epoch later.
        """
        finished = max(epoch - 1, 0) if self.lr_convention == "jeong" else epoch
        return self.lr * self.lr_gamma ** (finished // self.lr_step)
