"""The file that holds a trained classifier: weights, what they are and where they come from."""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from smoothcert import files, models
from smoothcert.datasets import Dataset
from smoothcert.errors import UserError, reason
from smoothcert.models.classifier import Classifier
from smoothcert.point import Point
from smoothcert.run_files import MODEL

FORMAT = "smoothcert-model-1"

DAMAGED = "is damaged, or no file of torch.save; a run whose model.pt is deleted is trained again"
"""What is said of a file that cannot be read."""


@dataclass(frozen=True)
class Conversion:
    """What stands in for the point of weights that were trained elsewhere.

    Method and settings of their training are not known, nor is the version of the data.
    """

    dataset: str
    arch: str
    normalize: str
    sigma: float
    """Standard deviation of the training noise, on the [0, 1] pixel scale."""
    seed: int
    """Of the noise of certification."""
    converted_from: str
    """Name of the file that held the weights."""
    sha256: str
    """Of that file."""

    def __post_init__(self):
        if not 0 < self.sigma < math.inf:
            raise UserError(f"sigma {self.sigma:g} is not a positive number")
        if self.seed < 0:
            raise UserError(f"seed {self.seed} is negative")

    @property
    def content(self) -> dict[str, Any]:
        """Return the JSON-like form, which ``converted_from`` tells from a point's."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.dataset} {self.arch} converted from {self.converted_from} "
            f"(sha256 {self.sha256[:12]}) sigma {self.sigma:g} seed {self.seed}"
        )


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint."""

    path: Path
    classifier: Classifier
    point: Point | Conversion
    provenance: dict[str, Any]
    sha256: str
    """Of the file, in hexadecimal."""

    def refuse_other_data(self, data: Dataset) -> None:
        """Raise UserError if the classifier is known to be trained on another version of the data.

        Of a converted one no version is known.
        """
        if isinstance(self.point, Conversion):
            return
        if self.provenance.get("data") != data.checksum:
            raise UserError(
                f"{self.path} was trained on other {self.point.dataset} data than these: their "
                "checksums differ; train again, or set data_dir to the data it was trained on"
            )


def save(
    path: Path, classifier: Classifier, point: Point | Conversion, provenance: dict[str, Any]
) -> None:
    """Write a checkpoint that ``torch.load(path, weights_only=True)`` reads.

    The ``provenance`` of a point names at least ``data``, the checksum of the data set trained on,
    without which the classifier is not certified.
    """
    content = {
        "format": FORMAT,
        "state_dict": {key: value.cpu() for key, value in classifier.state_dict().items()},
        "specification": asdict(classifier.specification),
        "point": point.content,
        "provenance": provenance,
    }
    write(path, content)


def load(path: Path) -> Checkpoint:
    """Return the checkpoint at ``path``, on the CPU and in eval mode.

    Raises UserError if the file is missing or not one of ours, if this version does not know its
    settings, or if its weights do not fit its architecture.
    """
    raw = _raw(path)
    content = _unpickled(path, raw)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path} is not a smoothcert checkpoint; make one with smoothcert convert")
    try:
        specification = models.Specification.read(content["specification"])
        point, provenance = _point(content["point"]), content["provenance"]
        state = content["state_dict"]
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} states settings that this version does not know ({reason(error)}); use the "
            "version that wrote it"
        ) from error
    classifier = models.build(specification)
    try:
        classifier.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"the weights in {path} do not fit a {specification.arch}: "
            f"{str(error).splitlines()[-1].strip()}"
        ) from error
    # Of what was read: the file may be another one by now.
    sha256 = hashlib.sha256(raw).hexdigest()
    return Checkpoint(path, classifier.eval(), point, provenance, sha256)


def _point(content: dict[str, Any]) -> Point | Conversion:
    return Conversion(**content) if "converted_from" in content else Point.read(content)


def write(path: Path, content: dict[str, Any]) -> None:
    """Save with torch, whole or not at all, and byte-identical for equal content."""
    # torch names the archive after the file, which for a temporary file is random.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    files.write_bytes(path, buffer.getvalue())


def read(path: Path) -> Any:
    """Return what torch saved at ``path``, executing nothing, or raise UserError."""
    return _unpickled(path, _raw(path))


def _raw(path: Path) -> bytes:
    if path.is_dir():
        raise UserError(f"{path} is a folder; name the file in it, as {path / MODEL}")
    try:
        return files.read_bytes(path)
    except FileNotFoundError as error:
        raise UserError(f"checkpoint {path} does not exist") from error


def _unpickled(path: Path, raw: bytes) -> Any:
    try:
        return torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        if wanted is None:
            raise UserError(f"{path} {DAMAGED}") from error
        raise UserError(
            f"{path} holds {wanted[1]}, which could run any code when loaded, so it is not loaded; "
            "if you trust its source, load it with torch (weights_only=False) and save its "
            "state_dict alone"
        ) from error
    except Exception as error:  # a damaged file makes the unpickler raise many kinds
        raise UserError(f"{path} {DAMAGED}") from error
