"""Answers of PREDICT for a subset of the test images: a table with its description, resumable."""

from __future__ import annotations

import io
import math
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd
import torch

from smoothcert import files, growing
from smoothcert.checkpoint import Checkpoint
from smoothcert.datasets.base import Dataset
from smoothcert.device import describe
from smoothcert.errors import UserError, reason
from smoothcert.growing import GrowingTable
from smoothcert.progress import Progress, say
from smoothcert.smoothing import evaluation
from smoothcert.smoothing.sampling import Sampler
from smoothcert.smoothing.settings import Attack, Prediction


@dataclass(frozen=True)
class Share:
    """A share of images."""

    value: float
    error: float | None
    """Its standard error, which a single image lacks."""

    @classmethod
    def of(cls, hits: int, images: int) -> Share:
        """Return the share of ``hits`` among ``images``."""
        share = hits / images
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
    def hits(self, image: pd.DataFrame) -> dict[str, bool]:
        """Return what the rows of one image add to each share, by its name."""

    @property
    def arithmetic(self) -> dict[str, str]:
        """Return what makes the answers beside the sampler."""
        return {}

    def write(self, folder: Path, replace: bool = False) -> None:
        """Write the table and its description into ``folder``.

        Rows are written as they come; a killed call continues after its last whole image, provided
        that weights, settings, data, code, back end, precision and kind of device are the same.
        Where ``folder`` holds these very answers already, nothing is done. Where it holds others
        that are to be replaced, they stay until these are finished.

        Raises UserError if ``folder`` holds others that are not to be replaced, if the subset
        reaches beyond the test images, if the classifier was trained on another version of the
        data, or if another process is writing the same table.
        """
        checkpoint, data, settings = self.checkpoint, self.data, self.settings
        sampler = evaluation.sampler_of(checkpoint, settings, self.device)
        arithmetic = sampler.evaluation | self.arithmetic
        description = evaluation.describe(
            type(self).__module__, checkpoint, data, settings, arithmetic, self.device
        )
        indices = settings.indices(len(data.test_labels))
        table = folder / f"{self.name}.tsv"
        if growing.is_finished(table, description, replace):
            fault = self._fault(table, indices)
            if not fault:
                say(f"{folder} holds these answers already")
                return
            if not replace:
                raise UserError(f"{table} is damaged ({fault}); replace it by --replace")
        with GrowingTable(folder, self.name, self.columns, description, self.per_image) as table:
            say(f"{self.doing} {checkpoint.point} on {describe(self.device)}, {sampler}")
            written, counts = self._written(table.path), Counter()
            for _, image in written.groupby("idx"):
                counts.update(self.hits(image))
            known = set(written["idx"])
            done = len(known)
            todo = [index for index in indices if index not in known]
            progress = Progress(len(indices), "image", done=done)
            for first in range(0, len(todo), sampler.images):
                answered = self.answer(sampler, todo[first : first + sampler.images])
                for _, image in answered.groupby("idx", sort=False):
                    table.write(image[list(self.columns)].itertuples(index=False))
                    counts.update(self.hits(image))
                    done += 1
                    progress.step(_words(counts, done))
            progress.close()
            outcome = {}
            for what, hits in counts.items():
                outcome |= Share.of(hits, done).content(what)
            table.finish(**outcome)

    def _written(self, table: Path) -> pd.DataFrame:
        """Return the rows that an unfinished table holds, or raise UserError."""
        content = files.read_bytes(table)
        try:
            rows = pd.read_csv(io.BytesIO(content), sep="\t")
            sound = (rows.groupby("idx").size() == self.per_image).all()
        except ValueError:
            sound = False
        if not sound or rows.isna().any(axis=None):
            raise UserError(f"{table} is damaged; delete it, and its images are answered again")
        return rows

    def _fault(self, table: Path, indices: range) -> str | None:
        """Return why a finished table cannot be used, if so."""
        content = files.read_bytes(table)
        try:
            rows = pd.read_csv(io.BytesIO(content), sep="\t", usecols=list(self.columns))
        except ValueError as error:
            return reason(error)
        whole = rows["idx"].tolist() == [i for i in indices for _ in range(self.per_image)]
        if whole and not rows.isna().any(axis=None):
            return None
        return f"it has not {self.per_image} whole rows for each of {len(indices)} images"


def _words(counts: Counter[str], images: int) -> str:
    return "  ".join(
        f"{what.replace('_', ' ')}: {Share.of(hits, images)}" for what, hits in counts.items()
    )
