"""What a configuration comes to: the runs of its experiments, and where each starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from smoothcert import datasets, published
from smoothcert.config import Config, Entry, Experiment
from smoothcert.errors import UserError, suggestion
from smoothcert.point import Point
from smoothcert.published import logs
from smoothcert.run_files import MODEL
from smoothcert.smoothing.settings import Attack

RESULTS = "results"
"""Folder of all runs, in the workflow's working folder."""


@dataclass(frozen=True)
class Run:
    """A point of an experiment under the label of its row."""

    label: str
    family: str
    point: Point
    log: dict[str, Any] | None
    """For a run that is a published log: the pattern of file names, and the entry's seeds."""
    unpublished: tuple[str, ...]
    """Settings of the point that the reproduced source does not state."""


def written(experiment: Experiment) -> Iterator[Run]:
    """Yield the runs in the order of the methods, with ``init_from`` as it is written."""
    for entry, point in _points(experiment):
        yield _run(experiment, entry, point)


def resolved(settings: Config, experiment: Experiment) -> Iterator[Run]:
    """Yield the runs of an experiment; where ``init_from`` names one, it is its model's file.

    Raises UserError if it names no run of the configuration, leads back to itself, or names one
    of another arch or, unless init_head is new, number of classes.
    """
    for entry, point in _points(experiment):
        yield _run(experiment, entry, _started(settings, experiment, entry, point))


def refuse_clashes(experiment: Experiment) -> None:
    """Raise UserError if an experiment has no run, or runs that its tables cannot tell apart."""
    cells: dict[tuple, dict[int, tuple]] = {}
    for run in written(experiment):
        point = run.point
        seeds = cells.setdefault((run.label, point.sigma, point.weight), {})
        settings = (replace(point, seed=0), run.log is None)
        place = (
            f"experiment {experiment.name}: two runs labelled {run.label!r} share sigma "
            f"{point.sigma:g}, lambda {point.weight:g}"
        )
        if any(settings != other for other in seeds.values()):
            raise UserError(f"{place}, but not all settings; label them apart")
        if point.seed in seeds:
            raise UserError(f"{place} and seed {point.seed}; leave one out")
        seeds[point.seed] = settings
    if not cells:
        raise UserError(
            f"experiment {experiment.name}: seeds: no method has one, so that nothing would run; "
            "give one a seed"
        )


def points(settings: Config) -> list[Point]:
    """Return the points that are trained, as often as experiments name them."""
    every = (run for one in settings.experiments for run in resolved(settings, one))
    return [run.point for run in every if not run.log]


def made(settings: Config) -> set[str]:
    """Return the files of the models that the runs of the configuration make."""
    return set(map(_model, points(settings)))


def refuse_absent_files(settings: Config) -> None:
    """Raise UserError if a file that training reads is not there and no run makes it.

    Snakemake would say so too, but not which key names the file.
    """
    models = made(settings)
    for point in points(settings):
        for key in ("init_from", "extra_images"):
            file = getattr(point.training, key)
            if file and file not in models and not Path(file).exists():
                raise UserError(f"config: {key} of {point}: {file} does not exist")


def manifest(settings: Config, experiment: Experiment) -> dict[str, Any]:
    """Return what an experiment consists of, for the analysis: protocol, settings, runs.

    Raises UserError as ``resolved`` does, and if none or several published numbers are meant by
    one of a cell.
    """
    attack = experiment.attacking
    return {
        "name": experiment.name,
        "title": experiment.heading,
        "dataset": experiment.dataset,
        "arch": experiment.arch,
        "radius_step": experiment.radius_step,
        "protocol": experiment.certification.model_dump(mode="json"),
        "attack": attack.model_dump(mode="json") if attack else None,
        "configuration": experiment.model_dump(mode="json"),
        "runs": [_listed(experiment, attack, run) for run in resolved(settings, experiment)],
        "published": list(_published(experiment)),
        # What a report on the finished runs alone leaves out; see ``finished``.
        "missing": [],
        "unattacked": [],
    }


def _points(experiment: Experiment) -> Iterator[tuple[Entry, Point]]:
    """Yield the entries' points as they are written."""
    for entry in experiment.methods:
        sigmas = entry.sigmas or experiment.sigmas
        for sigma, weight, seed in product(sigmas, entry.lambdas, _seeds(experiment, entry)):
            point = Point(
                dataset=experiment.dataset,
                arch=experiment.arch,
                method=entry.method,
                sigma=sigma,
                weight=weight,
                seed=seed,
                training=entry.training,
                parameters=entry.parameters,
            )
            yield entry, point


def _seeds(experiment: Experiment, entry: Entry) -> list[int]:
    return experiment.seeds if entry.seeds is None else entry.seeds


def _run(experiment: Experiment, entry: Entry, point: Point) -> Run:
    seeds = _seeds(experiment, entry)
    log = {"pattern": entry.logs, "seeds": seeds} if entry.logs else None
    return Run(entry.title, entry.family or entry.title, point, log, entry.unpublished)


def _started(
    settings: Config,
    experiment: Experiment,
    entry: Entry,
    point: Point,
    followers: tuple[str, ...] = (),
) -> Point:
    """Return the entry's point with the file that it starts from.

    ``followers`` are the entries that start from it.
    """
    start = entry.training.init_from
    if not start or start.endswith(".pt"):
        return point
    name = f"{experiment.name}/{entry.title}"
    if name in followers:
        raise UserError(f"init_from leads in a circle: {' -> '.join((*followers, name))}")
    place = f"experiment {experiment.name}, {entry.title}: init_from {start!r}"
    named = _named(settings, start, point, place)
    source = _started(settings, *named, (*followers, name))
    if source.arch != experiment.arch:
        raise UserError(f"{place} is a {source.arch}, not a {experiment.arch}")
    classes = [datasets.describe(one.dataset).classes for one in (source, experiment)]
    if classes[0] != classes[1] and entry.training.init_head == "kept":
        raise UserError(
            f"{place} tells {classes[0]} classes apart, not {classes[1]}; set init_head to new"
        )
    return replace(point, training=point.training.model_copy(update={"init_from": _model(source)}))


def _named(
    settings: Config, start: str, point: Point, place: str
) -> tuple[Experiment, Entry, Point]:
    """Return the run ``start``, as EXPERIMENT/LABEL, that goes with ``point``, as it is written.

    Raises UserError, which begins with ``place``, if there is none or several.
    """
    experiments = {one.name: one for one in settings.experiments}
    names = [f"{one.name}/{e.title}" for one in settings.experiments for e in one.methods]
    if start not in names:
        if Path(start).is_file():
            raise UserError(
                f"{place} is a file, but its name does not end in .pt; smoothcert convert writes a "
                "checkpoint with weights that were trained elsewhere"
            )
        raise UserError(
            f"{place} is neither a run as EXPERIMENT/LABEL nor a checkpoint file (.pt)"
            f"{suggestion(start, names)}"
        )
    name, _, label = start.partition("/")
    found = [
        (experiments[name], entry, its)
        for entry, its in _points(experiments[name])
        if entry.title == label
        and not entry.logs
        and (its.sigma, its.seed) == (point.sigma, point.seed)
        and (len(entry.lambdas) == 1 or its.weight == point.weight)
    ]
    if len(found) != 1:
        raise UserError(
            f"{place} has {'no run' if not found else 'several runs'} with sigma {point.sigma:g}, "
            f"seed {point.seed} and lambda {point.weight:g}"
        )
    return found[0]


def _model(point: Point) -> str:
    return f"{RESULTS}/{point.folder}/{MODEL}"


def _listed(experiment: Experiment, attack: Attack | None, run: Run) -> dict[str, Any]:
    """Return what a manifest says of a run."""
    # Imported logs lie beside the trained runs.
    below = f"{logs.NAME}/{experiment.name}/" if run.log else ""
    folder = f"{RESULTS}/{below}{run.point.folder}"
    return {
        "label": run.label,
        "family": run.family,
        "point": run.point.content,
        "folder": folder,
        "certificates": f"{folder}/{experiment.certification.folder}",
        "attacked": f"{folder}/{attack.folder}" if attack and not run.log else None,
        "log": run.log,
        "unpublished": list(run.unpublished),
    }


def _published(experiment: Experiment) -> Iterator[dict[str, Any]]:
    """Yield the published numbers of each cell, in the order of the methods."""
    for entry in experiment.methods:
        wanted = [one for one in (experiment.published, entry.published) if one is not None]
        if not wanted or entry.published == "none":
            continue
        for sigma, weight in product(entry.sigmas or experiment.sigmas, entry.lambdas):
            cell = {"dataset": experiment.dataset, "arch": experiment.arch, "sigma": sigma}
            meant = published.combine({"method": entry.method}, *wanted, cell)
            settings = {
                **entry.training.model_dump(mode="json"),
                **entry.parameters.model_dump(mode="json"),
                "lambda": weight,
            }
            try:
                numbers = published.numbers(meant, settings)
            except UserError as error:
                raise UserError(f"experiment {experiment.name}, {entry.title}: {error}") from error
            yield {
                "label": entry.title,
                "lambda": weight,
                "sigma": sigma,
                "settings": settings,
                "log": entry.logs is not None,
                "numbers": [asdict(number) for number in numbers],
            }
