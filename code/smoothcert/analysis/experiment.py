"""An experiment's manifest and its runs, read once for tables, figures and report."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from smoothcert import datasets, files, records
from smoothcert.analysis.manifest import Manifest, swept
from smoothcert.analysis.soundness import refuse_beyond, refuse_impossible
from smoothcert.errors import UserError, reason
from smoothcert.point import Point
from smoothcert.published.number import Number
from smoothcert.run_files import (
    ATTACKED,
    ATTACKED_DESCRIPTION,
    CERTIFICATES,
    CERTIFICATES_DESCRIPTION,
    TRAINING_LOG,
)
from smoothcert.smoothing import modes
from smoothcert.smoothing.protocol import Protocol
from smoothcert.smoothing.settings import Attack

TRAINING_COLUMNS = ("epoch", "lr", "loss", "regularizer", "noisy_accuracy", "seconds")
OUTCOME = ("label", "predict", "radius", "correct", "time", "count", "p_lower", "mode")


@dataclass(frozen=True)
class Row:
    """A method as tables and figures list it."""

    label: str
    weight: float | None
    """lambda where the experiment sweeps it at one sigma, else None."""

    @property
    def title(self) -> str:
        """Return the label, with lambda where it tells rows apart."""
        return self.label if self.weight is None else f"{self.label}, λ = {self.weight:g}"


@dataclass(frozen=True)
class Run:
    """One trained and certified point."""

    row: Row
    family: str
    """Name of the rows among which the best at each radius is sought."""
    point: Point
    protocol: Protocol
    folder: Path
    certificates: Path
    """Folder of the certificates, below ``folder``."""
    attack: Attack | None = None
    """What was looked for; None if the experiment has no attack."""
    attacked: Path | None = None
    """Folder of the answers under attack, below ``folder``; None if there are none."""
    log: dict[str, Any] | None = None
    """For a published log: the pattern of its file name and the seeds of its row."""
    unpublished: tuple[str, ...] = ()
    """Settings that the reproduced source does not state."""

    @cached_property
    def description(self) -> dict[str, Any]:
        """Return what stands beside the certificates.

        Raises UserError if they are of another point or protocol than the manifest says.
        """
        return _refuse_other(
            self.certificates / CERTIFICATES_DESCRIPTION, "certify again",
            point=self.point.content, protocol=self.protocol.model_dump(mode="json"),
        )  # fmt: skip

    @property
    def arithmetic(self) -> dict[str, str | None]:
        """Return the back end and the precision that classified; None where a log tells neither."""
        told = self.description.get("evaluation", {})
        return {key: told.get(key) for key in ("backend", "precision")}

    def read_certificates(self) -> pd.DataFrame:
        """Return the certificates of the protocol's images, sorted by image.

        Raises UserError if a row is missing, duplicate, impossible, of an image outside the subset
        or with a radius that the protocol cannot certify.
        """
        images = subset(self.point.dataset, self.protocol)
        path = self.certificates / CERTIFICATES
        table = records.read_table(path, len(images))
        refuse_impossible(path, table)
        if table["idx"].tolist() != list(images):
            raise UserError(f"{path} has other images than subset {self.protocol.subset}")
        refuse_beyond(self.certificates, table, self.description)
        return table

    @cached_property
    def attack_description(self) -> dict[str, Any]:
        """Return what stands beside the answers under attack.

        Raises UserError if they are of another point or attack than the manifest says, or of other
        weights than the certificates.
        """
        path = self.attacked / ATTACKED_DESCRIPTION
        found = _refuse_other(
            path, "attack again",
            point=self.point.content, protocol=self.attack.model_dump(mode="json"),
        )  # fmt: skip
        # Training that was repeated may give the same weights at another commit.
        weights = [about.get("model", {}).get("sha256") for about in (found, self.description)]
        if weights[0] != weights[1]:
            raise UserError(f"{path} is of other weights than the certificates; attack again")
        return found

    def read_attacked(self) -> pd.DataFrame:
        """Return the answers under attack, sorted by image, then by epsilon.

        Raises UserError if they are not those of each image and epsilon of the attack, or as
        ``attack_description`` does.
        """
        path, epsilons = self.attacked / ATTACKED, self.attack_description["protocol"]["epsilons"]
        columns = ("idx", "epsilon", "label", "clean", "predict", "correct")
        table = _read(path, columns, "attack again")
        images = self.attack.indices(datasets.describe(self.point.dataset).test_images)
        wanted = [(image, epsilon) for image in images for epsilon in epsilons]
        if list(zip(table["idx"], table["epsilon"], strict=True)) != wanted:
            raise UserError(
                f"{path} has other rows than one for each image and epsilon; attack again"
            )
        return table

    @cached_property
    def outcomes(self) -> pd.DataFrame:
        """Return the columns of the certificates that metrics are made of, read once and kept."""
        certificates = self.read_certificates()
        return certificates[[name for name in OUTCOME if name in certificates]]

    def read_training(self) -> pd.DataFrame | None:
        """Return the training log, a row an epoch, or None for a published run."""
        if self.log:
            return None
        log = read_training(self.folder)
        if len(log) != self.point.training.epochs:
            raise UserError(
                f"{self.folder / TRAINING_LOG} has {len(log)} epochs, not "
                f"{self.point.training.epochs}; train again"
            )
        return log

    def read_peak_memory(self, stage: Literal["train", "certify"]) -> float:
        """Return the largest resident memory of the stage's jobs, in MB (2^20 bytes).

        A certification in shards has a job a shard. NaN without a benchmark of Snakemake's, or if
        the jobs were too short for one.
        """
        folder = self.folder if stage == "train" else self.certificates
        found = [*folder.glob(f"{stage}.benchmark.tsv"), *folder.glob("shard-*.benchmark.tsv")]
        return float(pd.Series(map(_peak_memory, found), dtype=float).max())


@dataclass(frozen=True)
class Target:
    """A row at one sigma, and the published numbers that it is to repeat."""

    label: str
    weight: float
    sigma: float
    settings: dict[str, Any]
    log: bool
    """Whether the target's runs are published logs."""
    numbers: tuple[Number, ...]


@dataclass(frozen=True)
class Missing:
    """A run, or its attack, that was planned and is not there."""

    label: str
    point: Point
    folder: Path
    reason: str
    """How far it came, in one line."""


@dataclass(frozen=True)
class Experiment:
    """A manifest: what one report compares, all under one protocol."""

    name: str
    title: str
    dataset: str
    arch: str
    radius_step: float
    protocol: Protocol
    attack: Attack | None
    configuration: dict[str, Any]
    """The experiment's section of the configuration, to be shown."""
    manifest: Manifest
    """As read: it tells which tables and figures apply."""
    runs: tuple[Run, ...]
    published: tuple[Target, ...] = ()
    """The published numbers of each cell."""
    missing: tuple[Missing, ...] = ()
    """What a report on the finished runs leaves out."""
    unattacked: tuple[Missing, ...] = ()
    """Runs whose attack it leaves out; the folder is that of the attack."""

    @property
    def rows(self) -> list[Row]:
        """Return the rows in the order of the configuration."""
        return list(dict.fromkeys(run.row for run in self.runs))

    def row_of(self, label: str, weight: float) -> Row:
        """Return the row of a label and lambda, whether or not it was run."""
        swept = Row(label, weight)
        return swept if swept in self.rows else Row(label, None)

    @property
    def sigmas(self) -> list[float]:
        """Return the noise levels, ascending."""
        return sorted({run.point.sigma for run in self.runs})

    @property
    def seeds(self) -> list[int]:
        """Return the seeds, ascending."""
        return sorted({run.point.seed for run in self.runs})

    @property
    def images(self) -> int:
        """Return how many test images each run certifies."""
        return len(subset(self.dataset, self.protocol))

    def cap(self, sigma: float) -> float:
        """Return the largest radius that the protocol can certify at ``sigma``, in its units."""
        return modes.of(self.protocol, sigma).largest_radius(sigma)

    @property
    def largest_bound(self) -> float:
        """Return the lower bound on p_A that belongs to the caps, the same at every sigma."""
        return modes.of(self.protocol, self.sigmas[0]).largest_bound

    @cached_property
    def unpublished(self) -> dict[Row, tuple[str, ...]]:
        """Return each row's settings that the reproduced source does not state, if it has any."""
        found = defaultdict(dict)
        for run in self.runs:
            found[run.row].update(dict.fromkeys(run.unpublished))
        return {row: tuple(names) for row, names in found.items() if names}

    @cached_property
    def cells(self) -> dict[tuple[Row, float], list[Run]]:
        """Return the runs, one a seed, of each row and sigma."""
        cells = defaultdict(list)
        for run in self.runs:
            cells[run.row, run.point.sigma].append(run)
        return dict(cells)


def load(manifest: Path) -> Experiment:
    """Return the experiment that ``manifest`` describes; paths stay relative to the caller's.

    Raises UserError if the file is missing or is not a manifest, or if a run stands in it twice.
    """
    content = files.read_json(manifest)
    try:
        return _experiment(manifest, content)
    except UserError:
        raise
    except KeyError as error:
        raise UserError(f"{manifest} is not a manifest: it has no key {error}") from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{manifest} is not a manifest: {reason(error)}") from error


def subset(dataset: str, protocol: Protocol) -> range:
    """Return the indices of the test images that ``protocol`` certifies, or raise UserError."""
    return protocol.indices(datasets.describe(dataset).test_images)


def read_training(folder: Path) -> pd.DataFrame:
    """Return the training log in a run's folder, a row an epoch, or raise UserError."""
    path = folder / TRAINING_LOG
    log = _read(path, TRAINING_COLUMNS, "train again")
    if log.empty:
        raise UserError(f"{path} has no epochs; train again")
    try:
        log = log.astype(dict.fromkeys(TRAINING_COLUMNS, float) | {"epoch": int})
    except ValueError as error:
        raise UserError(f"{path} has a damaged row ({reason(error)}); train again") from error
    if log["epoch"].tolist() != list(range(1, len(log) + 1)):
        raise UserError(f"{path} has not one row for each epoch; train again")
    return log


def _read(path: Path, columns: Sequence[str], remedy: str) -> pd.DataFrame:
    try:
        content = files.read_bytes(path)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; {remedy}") from error
    try:
        table = pd.read_csv(io.BytesIO(content), sep="\t")
    except ValueError as error:
        raise UserError(f"{path} cannot be read as a table: {reason(error)}; {remedy}") from error
    missing = [name for name in columns if name not in table]
    if missing:
        raise UserError(f"{path} has no column {', '.join(missing)}; {remedy}")
    return table


def _refuse_other(path: Path, remedy: str, **expected: dict[str, Any]) -> dict[str, Any]:
    """Return the description in ``path``, or raise UserError if it tells of something else."""
    description = files.read_json(path)
    if not isinstance(description, dict):
        raise UserError(f"{path} describes nothing; {remedy}")
    for key, value in expected.items():
        if description.get(key) != value:
            raise UserError(f"{path} is of another {key} than the manifest; {remedy}")
    return description


def _peak_memory(benchmark: Path) -> float:
    content = files.read_bytes(benchmark)
    try:
        return float(pd.read_csv(io.BytesIO(content), sep="\t")["max_rss"].max())
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{benchmark} is not a benchmark of Snakemake's; delete it") from error


def _experiment(manifest: Path, content: dict[str, Any]) -> Experiment:
    protocol = Protocol(**content["protocol"])
    attack = Attack(**content["attack"]) if content["attack"] else None
    entries = [(entry["label"], Point.read(entry["point"])) for entry in content["runs"]]
    if not entries:
        raise UserError(f"{manifest} lists no runs")
    with_path = swept((label, point.sigma, point.weight) for label, point in entries)
    runs = tuple(
        Run(
            row=Row(label, point.weight if label in with_path else None),
            family=entry["family"],
            point=point,
            protocol=protocol,
            folder=Path(entry["folder"]),
            certificates=Path(entry["certificates"]),
            attack=attack,
            attacked=Path(entry["attacked"]) if entry["attacked"] else None,
            log=entry["log"],
            unpublished=tuple(entry["unpublished"]),
        )
        for (label, point), entry in zip(entries, content["runs"], strict=True)
    )
    _refuse_twice(manifest, runs)
    return Experiment(
        name=content["name"],
        title=content["title"],
        dataset=content["dataset"],
        arch=content["arch"],
        radius_step=content["radius_step"],
        protocol=protocol,
        attack=attack,
        configuration=content["configuration"],
        manifest=content,
        runs=runs,
        published=tuple(map(_target, content["published"])),
        missing=_missing(content["missing"]),
        unattacked=_missing(content["unattacked"]),
    )


def _target(entry: dict[str, Any]) -> Target:
    return Target(
        label=entry["label"],
        weight=entry["lambda"],
        sigma=entry["sigma"],
        settings=entry["settings"],
        log=entry["log"],
        numbers=tuple(Number(**number) for number in entry["numbers"]),
    )


def _missing(entries: Iterable[dict[str, Any]]) -> tuple[Missing, ...]:
    return tuple(
        Missing(
            entry["label"],
            Point.read(entry["point"]),
            Path(entry["folder"]),
            entry["reason"],
        )
        for entry in entries
    )


def _refuse_twice(manifest: Path, runs: tuple[Run, ...]) -> None:
    counts = Counter((run.row.title, run.point.sigma, run.point.seed) for run in runs)
    (title, sigma, seed), most = counts.most_common(1)[0]
    if most > 1:
        raise UserError(f"{manifest} lists {title} at sigma {sigma:g} with seed {seed} twice")
