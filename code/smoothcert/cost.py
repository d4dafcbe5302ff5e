"""What a configuration costs: its jobs, their passes through the network, and hours."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, replace
from functools import cache, partial
from itertools import pairwise
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING

from smoothcert import datasets, models
from smoothcert.config import Config
from smoothcert.point import Point
from smoothcert.smoothing import modes
from smoothcert.smoothing.protocol import Protocol

if TYPE_CHECKING:
    import torch

    from smoothcert.stopwatch import TrainingImage, Vote


@dataclass(frozen=True)
class Job:
    """The training of a run or, with a protocol, its certification."""

    experiment: str
    label: str
    point: Point
    protocol: Protocol | None = None

    def finished(self, results: Path) -> bool:
        """Return whether what it makes lies below ``results``, made by whatever code."""
        folder = results / self.point.folder
        if self.protocol:
            return (folder / self.protocol.folder / "certificates.tsv").exists()
        return (folder / "model.pt").exists()


def jobs(settings: Config) -> list[Job]:
    """Return the trainings and certifications of the workflow, each once.

    What experiments share stands with the first one; the shards of a certification are one job.
    Published logs need neither.
    """
    found: dict[tuple[Path, Protocol | None], Job] = {}
    for experiment in settings.experiments:
        for run in experiment.runs():
            if run.log:
                continue
            for protocol in (None, experiment.certification):
                job = Job(experiment.name, run.label, run.point, protocol)
                found.setdefault((run.point.folder, protocol), job)
    return list(found.values())


@dataclass(frozen=True)
class Work:
    """Passes through the network, of single images, and the range of the hours they take."""

    forward: float = 0
    backward: float = 0
    fewest: float = 0
    most: float = 0

    def __add__(self, other: Work) -> Work:
        return Work(*map(add, astuple(self), astuple(other)))


@dataclass(frozen=True)
class Row:
    """The jobs of one stage and label of an experiment."""

    stage: str
    experiment: str
    label: str
    open: int
    """Jobs still to run, each shard for itself."""
    finished: int
    work: Work
    """That of the open jobs."""


def estimate(settings: Config, results: Path, device: torch.device) -> list[Row]:
    """Return the rows of all jobs, trainings first, from measurements on ``device``.

    What takes equally long is measured once, and what is finished not at all.
    """
    from smoothcert import stopwatch

    image = cache(partial(stopwatch.training_image, device=device))
    vote = cache(partial(stopwatch.vote, device=device))
    rows: dict[tuple[str, str, str], Row] = {}
    for job in sorted(jobs(settings), key=lambda job: job.protocol is not None):
        stage = "certify" if job.protocol else "train"
        key = (stage, job.experiment, job.label)
        row = rows.get(key, Row(*key, 0, 0, Work()))
        number = settings.shards if job.protocol else 1
        if job.finished(results):
            rows[key] = replace(row, finished=row.finished + number)
        else:
            work = _certification(job, vote) if job.protocol else _training(job, image)
            rows[key] = replace(row, open=row.open + number, work=row.work + work)
    return list(rows.values())


def _training(job: Job, measure: Callable[[Point], TrainingImage]) -> Work:
    from smoothcert import stopwatch

    training = job.point.training
    image = measure(stopwatch.representative(job.point))
    # Of extra images, as many are drawn as the data set has.
    images = datasets.describe(job.point.dataset).train_images * training.epochs
    images *= 2 if training.extra_images else 1
    hours = [images * seconds / 3600 for seconds in image.seconds]
    return Work(images * image.forward, images * image.backward, min(hours), max(hours))


def _certification(job: Job, measure: Callable[..., Vote]) -> Work:
    point, protocol = job.point, job.protocol
    data = datasets.describe(point.dataset)
    specification = models.Specification.of(point.arch, data, point.training.normalize)
    vote = measure(specification, protocol.precision, protocol.backend)
    looks = modes.of(protocol, point.sigma).looks
    draws = [protocol.n0, looks[0], *(new - old for old, new in pairwise(looks))]
    passes = sum(math.ceil(draw / vote.batch) * vote.batch for draw in draws)
    passes *= len(protocol.indices(data.test_images))
    hours = [passes * seconds / 3600 for seconds in vote.seconds]
    return Work(passes, 0, min(hours), max(hours))


def table(rows: list[Row]) -> str:
    """Return the rows with the totals of each stage and of all, as aligned text."""
    lines = [("", "experiment", "method", "jobs", "done", "forward", "backward", "hours")]
    for stage in dict.fromkeys(row.stage for row in rows):
        own = [row for row in rows if row.stage == stage]
        lines += [_cells(row) for row in own]
        lines.append(_cells(_total(stage, own)))
    lines.append(_cells(_total("all", rows)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(_aligned(line, widths)).rstrip() for line in lines)


def assumptions(settings: Config, device: str) -> str:
    """Return what the estimate holds for; ``device`` describes what was measured."""
    text = (
        f"Measured on {device}, one job at a time; where N run at once, each as fast, divide by N. "
        "Left out: the start of each job, reading images, tables and reports."
    )
    if any(one.certification.mode != "fixed" for one in settings.experiments):
        text += " Modes evaluate and staged take at most as long as this."
    return text


def _total(stage: str, rows: list[Row]) -> Row:
    work = sum((row.work for row in rows), Work())
    return Row(stage, "", "total", sum(r.open for r in rows), sum(r.finished for r in rows), work)


def _cells(row: Row) -> tuple[str, ...]:
    work = row.work
    hours = f"{_rounded(work.fewest)} to {_rounded(work.most)}" if row.open else "-"
    return (
        *(row.stage, row.experiment, row.label, str(row.open), str(row.finished)),
        *(_large(work.forward), _large(work.backward), hours),
    )


def _aligned(line: tuple[str, ...], widths: list[int]) -> Iterator[str]:
    for place, (cell, width) in enumerate(zip(line, widths, strict=True)):
        yield cell.ljust(width) if place < 3 else cell.rjust(width)


def _rounded(hours: float) -> str:
    """Return a positive number with two digits, or all those before the point."""
    return f"{hours:,.{max(1 - math.floor(math.log10(hours)), 0)}f}"


def _large(number: float) -> str:
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:,.1f} {word}"
    return f"{number:,.0f}" if number else "-"
