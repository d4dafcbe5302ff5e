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

from smoothcert import datasets, models, runs
from smoothcert.config import Config
from smoothcert.point import Point
from smoothcert.run_files import ATTACKED, CERTIFICATES, MODEL
from smoothcert.smoothing import modes
from smoothcert.smoothing.protocol import Protocol
from smoothcert.smoothing.settings import Attack

if TYPE_CHECKING:
    import torch

    from smoothcert.stopwatch import TrainingImage, Vote


MADE = {"train": MODEL, "certify": CERTIFICATES, "attack": ATTACKED}
"""What each stage makes, in the order of the stages."""


@dataclass(frozen=True)
class Job:
    """The training of a run or, with the settings of one, its certification or attack."""

    experiment: str
    label: str
    point: Point
    settings: Protocol | Attack | None = None

    @property
    def stage(self) -> str:
        """Return the command that does it."""
        if self.settings is None:
            return "train"
        return "attack" if isinstance(self.settings, Attack) else "certify"

    @property
    def images(self) -> int:
        """Return how many images are evaluated."""
        if self.settings is None:
            return 0
        return len(self.settings.indices(datasets.describe(self.point.dataset).test_images))

    @property
    def rows(self) -> int:
        """Return how many rows of results it writes."""
        several = self.stage == "attack"
        return self.images * (len(self.settings.epsilons) if several else 1)

    def finished(self, results: Path) -> bool:
        """Return whether what it makes lies below ``results``, made by whatever code."""
        folder = results / self.point.folder / (self.settings.folder if self.settings else "")
        return (folder / MADE[self.stage]).exists()


def jobs(settings: Config) -> list[Job]:
    """Return the trainings, certifications and attacks of the workflow, each once.

    What experiments share stands with the first one; the shards of a certification are one job.
    Published logs need none.
    """
    found: dict[tuple[Path, str], Job] = {}
    for experiment in settings.experiments:
        evaluations = [experiment.certification, experiment.attacking]
        for run in runs.resolved(settings, experiment):
            if run.log:
                continue
            for one in (None, *filter(None, evaluations)):
                job = Job(experiment.name, run.label, run.point, one)
                found.setdefault((run.point.folder, one.folder if one else ""), job)
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
    step = cache(partial(stopwatch.attack_step, device=device))
    work_of = {
        "train": lambda job: _training(job, image),
        "certify": lambda job: _certification(job, vote),
        "attack": lambda job: _attack(job, vote, step),
    }
    rows: dict[tuple[str, str, str], Row] = {}
    for job in sorted(jobs(settings), key=lambda job: list(MADE).index(job.stage)):
        key = (job.stage, job.experiment, job.label)
        row = rows.get(key, Row(*key, 0, 0, Work()))
        number = settings.shards if job.stage == "certify" else 1
        if job.finished(results):
            rows[key] = replace(row, finished=row.finished + number)
        else:
            work = work_of[job.stage](job)
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
    protocol = job.settings
    looks = modes.of(protocol, job.point.sigma).looks
    draws = [protocol.n0, looks[0], *(new - old for old, new in pairwise(looks))]
    return _votes(job, draws, measure)


def _attack(
    job: Job, measure_vote: Callable[..., Vote], measure_step: Callable[..., list[float]]
) -> Work:
    attack = job.settings
    epsilons = len(attack.epsilons)
    steps = job.images * epsilons * attack.steps
    hours = [steps * seconds / 3600 for seconds in measure_step(_specification(job), attack.m)]
    gradients = Work(steps * attack.m, steps * attack.m, min(hours), max(hours))
    return gradients + _votes(job, [attack.n] * (1 + epsilons), measure_vote)


def _votes(job: Job, draws: list[int], measure: Callable[..., Vote]) -> Work:
    """Return the work of so many votes for each image."""
    vote = measure(_specification(job), job.settings.precision, job.settings.backend)
    passes = sum(math.ceil(draw / vote.batch) * vote.batch for draw in draws) * job.images
    hours = [passes * seconds / 3600 for seconds in vote.seconds]
    return Work(passes, 0, min(hours), max(hours))


def _specification(job: Job) -> models.Specification:
    point = job.point
    data = datasets.describe(point.dataset)
    return models.Specification.of(point.arch, data, point.training.normalize)


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
    if any(one.attack for one in settings.experiments):
        text += (
            " Attacks take at most as long as this: images that are wrong without one are left out."
        )
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
