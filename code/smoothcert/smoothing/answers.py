"""Answers of PREDICT for a subset of the test images: a table with its description, resumable."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import torch

from smoothcert import files, fingerprint, growing
from smoothcert.checkpoint import Checkpoint
from smoothcert.datasets.base import Dataset
from smoothcert.device import describe, name
from smoothcert.errors import UserError
from smoothcert.growing import GrowingTable
from smoothcert.progress import Progress, say
from smoothcert.provenance import provenance
from smoothcert.smoothing.sampling import Sampler
from smoothcert.smoothing.settings import Attack, Prediction


@dataclass(frozen=True)
class Share:
    """A share of images."""

    value: float
    error: float | None
    """Its standard error, which a single image lacks."""

    @classmethod
    def of(cls, hits: pd.Series) -> Share:
        """Return the share of the images that are hit."""
        share, images = float(hits.mean()), len(hits)
        error = math.sqrt(share * (1 - share) / (images - 1)) if images > 1 else None
        return cls(share, error)

    def content(self, name: str) -> dict[str, float | None]:
        """Return the JSON-like form under ``name``."""
        return {name: self.value, f"{name}_standard_error": self.error}

    def __str__(self) -> str:
        return f"{self.value:.4f}" if self.error is None else f"{self.value:.4f} ± {self.error:.4f}"


@dataclass(frozen=True)
class Answers(ABC):
    """The answers to one question about the images of a subset."""

    checkpoint: Checkpoint
    data: Dataset
    settings: Prediction | Attack
    device: torch.device

    name: ClassVar[str]
    """Of the table and its description."""
    doing: ClassVar[str]
    """What it is called while it runs."""
    columns: ClassVar[tuple[str, ...]]
    """Of the table; the first is ``idx``, the image's index."""
    per_image: ClassVar[int] = 1
    """Rows of an image."""

    @abstractmethod
    def answer(self, sampler: Sampler, indices: list[int]) -> pd.DataFrame:
        """Return the rows of images that are counted together, an image's one after another."""

    @abstractmethod
    def shares(self, rows: pd.DataFrame) -> dict[str, Share]:
        """Return what the rows come to."""

    def write(self, folder: Path) -> None:
        """Write the table and its description into ``folder``.

        Rows are written as they come; a killed call continues after its last whole image, provided
        that weights, settings, data, code, back end, precision and kind of device are the same.
        Where ``folder`` holds these very answers already, nothing is done.

        Raises UserError if ``folder`` holds others, if the subset reaches beyond the test images,
        if the classifier was trained on another version of the data, or if another process is
        writing the same table.
        """
        self.checkpoint.refuse_other_data(self.data)
        indices = self.settings.indices(len(self.data.test_labels))
        point = self.checkpoint.point
        sampler = Sampler(
            self.checkpoint.classifier,
            point.sigma,
            point.seed,
            self.device,
            self.settings.precision,
            self.settings.backend,
        )
        description = self._description(sampler)
        if self._is_finished(folder, description):
            say(f"{folder} holds these answers already")
            return
        with GrowingTable(folder, self.name, self.columns, description, self.per_image) as table:
            say(f"{self.doing} {point} on {describe(self.device)}, {sampler}")
            written = pd.read_csv(table.path, sep="\t")
            rows = [written] if len(written) else []
            done = set(written["idx"])
            todo = [index for index in indices if index not in done]
            progress = Progress(len(indices), "image", done=len(done))
            for first in range(0, len(todo), sampler.images):
                answered = self.answer(sampler, todo[first : first + sampler.images])
                for _, image in answered.groupby("idx", sort=False):
                    table.write(image[list(self.columns)].itertuples(index=False))
                    rows.append(image)
                    progress.step(_words(self.shares(pd.concat(rows))))
            progress.close()
            outcome = {}
            for what, share in self.shares(pd.concat(rows)).items():
                outcome |= share.content(what)
            table.finish(**outcome)

    def _description(self, sampler: Sampler) -> dict[str, Any]:
        checkpoint, point = self.checkpoint, self.checkpoint.point
        code = fingerprint.of_evaluation(type(self).__module__, point.dataset, point.arch)
        description = {
            "point": point.content,
            "protocol": self.settings.model_dump(mode="json"),
            "shard": "1/1",
            "images": len(self.settings.indices(len(self.data.test_labels))),
            "model": {"sha256": files.sha256(checkpoint.path), "provenance": checkpoint.provenance},
            "evaluation": sampler.evaluation,
            "provenance": provenance(self.device, code, self.data.checksum),
        }
        return {**description, "identity": growing.identity(description, name(self.device))}

    def _is_finished(self, folder: Path, description: dict[str, Any]) -> bool:
        table = folder / f"{self.name}.tsv"
        if not table.exists():
            return False
        try:
            found = growing.place(files.read_json(table.with_suffix(".json")))
        except (UserError, KeyError, TypeError):
            found = None
        if found == growing.place(description):
            return True
        raise UserError(
            f"{table} is of other weights, settings, code or devices; choose another folder, or "
            "delete it"
        )


def _words(shares: dict[str, Share]) -> str:
    return "  ".join(f"{name.replace('_', ' ')}: {share}" for name, share in shares.items())
