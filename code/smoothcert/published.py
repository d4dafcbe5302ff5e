"""The literature's numbers: the rows of config/published, and how one of them is found."""

from __future__ import annotations

import csv
import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from smoothcert import methods
from smoothcert.errors import UserError, suggestion
from smoothcert.settings import Section, Training

FOLDER = Path(__file__).parents[2] / "config" / "published"

COLUMNS = (
    "dataset", "arch", "method", "settings", "sigma", "metric", "radius", "subset", "images", "n",
    "alpha", "radii", "value", "std", "seeds", "table", "note",
)  # fmt: skip

WHOLE = ("images", "n", "seeds")
"""Columns of whole numbers."""

OF_CERTIFY = ("acr", "certified_accuracy", "abstention")
"""Metrics of CERTIFY."""

SHARES = (*OF_CERTIFY[1:], "predict_accuracy", "predict_abstention")
"""Metrics whose values lie in [0, 1]."""

METRICS = (OF_CERTIFY[0], *SHARES, "train_seconds_per_epoch", "train_hours_total")

ROUNDINGS = ("3 digits", "4 decimals", "")
"""How radii may have been rounded: as ``metrics.round_radii`` can, whose module needs pandas."""

NOTATION = re.compile(r"all|every-[1-9]\d*|(\d+)-(\d+)")
"""Of a subset, as ``smoothing.protocol`` has it, which needs scipy."""

NEAR_NOTATION = re.compile(r"(all|every|\d+)\W*\d*", re.IGNORECASE)
"""What is no description in words but a mistyped notation, as ``every 20`` or ``500 - 999``."""

N0 = 100
"""Votes that choose the class: the same in all publications, so that no column holds it."""

PROTOCOL = {"n0": N0, "n": 100_000, "alpha": 0.001}
"""How the papers certify; n and alpha are a source's own where its rows tell them."""

SELECTION = ("best_of", "best_at")
"""Keys of the settings that say how the run was chosen, not how it was trained."""

ELSEWHERE = ("train_sigma", "pretrain", "self_training", "self_training_weight")
"""Keys of the settings that tell of a training for which our methods have no setting."""


@dataclass(frozen=True)
class Number:
    """One published number. None stands for what does not apply or is not known."""

    source: str
    """Key of the publication: the name of the file."""
    dataset: str
    arch: str
    method: str
    settings: dict[str, str]
    """What the source tells of the training, in the names of our parameters."""
    sigma: float | None
    """None for the best over several noise levels."""
    metric: str
    radius: float | None
    subset: str
    """In the protocol's notation where it has one, else in words."""
    images: int | None
    n: int | None
    alpha: float | None
    radii: str
    """How the certified radii behind it were rounded; see ``metrics.round_radii``."""
    printed: str
    """The value with the decimals that were printed."""
    std: float | None
    """Sample standard deviation over seeds."""
    seeds: int
    table: str
    """The table, or the log, in the authors' repository."""
    note: str

    @property
    def value(self) -> float:
        """Return the value; shares lie in [0, 1]."""
        return float(self.printed)

    @property
    def rounding(self) -> float:
        """Return half a unit of the last printed digit: how far off the true value may be."""
        return 0.5 * 10.0 ** -len(self.printed.partition(".")[2])

    @property
    def best_of(self) -> str | None:
        """Return of how many runs it is the best on the test set: a number, or ``unstated``."""
        return self.settings.get("best_of")


class Wanted(Section):
    """Which published numbers of a cell are meant; a key that is left out may have any value."""

    source: str | None = None
    """The publication: a file of config/published, as jeong2020rebuttal."""

    method: str | None = None
    """The training objective."""

    metric: str | None = None
    """The metric: acr, certified_accuracy, abstention ..."""

    radius: float | None = None
    """The radius of a certified accuracy; 0 is the clean accuracy."""

    subset: str | None = None
    """The test images, as all or every-20."""

    seeds: int | None = None
    """The number of runs behind it."""

    table: str | None = None
    """A part of the name of the table or log."""

    settings: dict[str, float | str] = Field(default_factory=dict)
    """Training settings as the source tells them, as form: first."""


class Query(Wanted):
    """What identifies a published number; a key that is left out may have any value."""

    dataset: str | None = None
    """The data set."""

    arch: str | None = None
    """The network."""

    sigma: float | None = None
    """The noise level."""

    def __str__(self) -> str:
        asked = self.model_dump(exclude_none=True, exclude={"settings"}) | self.settings
        return ", ".join(f"{key} {_plain(value)}" for key, value in asked.items()) or "any key"


def sources(folder: Path = FOLDER) -> list[str]:
    """Return the names of the publications."""
    return sorted(path.stem for path in folder.glob("*.csv"))


def find(wanted: Query, folder: Path = FOLDER) -> list[Number]:
    """Return the published numbers that match, in the order of the files.

    Raises UserError if the source is unknown or a file is damaged.
    """
    known = sources(folder)
    if wanted.source is not None and wanted.source not in known:
        raise UserError(f"unknown source {wanted.source!r}{suggestion(wanted.source, known)}")
    names = known if wanted.source is None else [wanted.source]
    return [entry for name in names for entry in _read(folder, name) if _matches(entry, wanted)]


def one(wanted: Query, folder: Path = FOLDER) -> Number:
    """Return the one published number that matches.

    Raises UserError if there is none, or several: then it says which key would narrow them.
    """
    entries = find(wanted, folder)
    if not entries:
        raise UserError(_absent(wanted, folder))
    if len(entries) > 1:
        key, values = _distinguishing(entries)
        raise UserError(
            f"{len(entries)} published numbers have {wanted}: add {key}, which is one of {values}"
        )
    return entries[0]


def combine(*wanted: Wanted | dict[str, Any]) -> Query:
    """Return what all of them ask for; later ones win."""
    content: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for part in wanted:
        keys = part if isinstance(part, dict) else part.model_dump(exclude_unset=True)
        settings |= keys.get("settings", {})
        content |= keys
    return Query(**{**content, "settings": settings})


def numbers(wanted: Query, settings: dict[str, Any], folder: Path = FOLDER) -> list[Number]:
    """Return the published numbers of one cell: one for each metric and radius.

    Of several, those are meant whose method's settings are all among ``settings``, ours: runs that
    are trained for fewer epochs have the same numbers beside them. Raises UserError if nothing
    matches, or several numbers of one metric.
    """
    groups: dict[tuple, list[Number]] = {}
    for entry in find(wanted, folder):
        groups.setdefault((entry.metric, entry.radius), []).append(entry)
    if not groups:
        raise UserError(f"{_absent(wanted, folder)}; published: none leaves the method out")
    found = []
    for (metric, radius), entries in groups.items():
        ours = [entry for entry in entries if _is_of_method(settings, entry)]
        for candidates in (entries, ours):
            if len(candidates) == 1:
                found += candidates
                break
        else:
            found.append(one(combine(wanted, {"metric": metric, "radius": radius}), folder))
    return found


def protocol(
    source: str, dataset: str, arch: str, method: str, folder: Path = FOLDER
) -> dict[str, Any]:
    """Return how a source certified a method: n and alpha as its rows have them, if all agree.

    Without rows of the method, all rows of the source count; where they disagree, ``PROTOCOL``.
    """
    cell = Query(source=source, dataset=dataset, arch=arch, method=method)
    rows = _certified(find(cell, folder)) or _certified(find(Query(source=source), folder))
    told = {key: {getattr(row, key) for row in rows} - {None} for key in ("n", "alpha")}
    return PROTOCOL | {key: min(values) for key, values in told.items() if len(values) == 1}


def _certified(rows: Iterable[Number]) -> list[Number]:
    """Return the rows that are of CERTIFY, not of PREDICT or training."""
    return [row for row in rows if row.metric in OF_CERTIFY]


def refuse_unknown_setting(method: str, key: str, also: Iterable[str] = ()) -> None:
    """Raise UserError if a method of ours has no such setting; of others nothing is known."""
    names = _setting_names(method)
    known = names.union(also)
    if names and key not in known:
        told = suggestion(key, known)
        raise UserError(f"settings: {key!r} is no setting of method {method}{told}")


@cache
def _setting_names(method: str) -> frozenset[str]:
    """Return the names of a method's settings, of training too; none if we cannot load it."""
    try:
        objective = methods.load(method)
    except UserError:  # not ours, or just being written
        return frozenset()
    weight = {"lambda"} if objective.regularized else set()
    return frozenset(weight | objective.model_fields.keys() | Training.model_fields.keys())


def shared_training(
    source: str,
    dataset: str,
    arch: str,
    method: str,
    told: Iterable[str] = (),
    folder: Path = FOLDER,
) -> dict[str, str]:
    """Return the training settings that the runs of a source share.

    ``told`` names settings of the run that may say that it was trained in another way.
    """
    settings: dict[str, str] = {}
    for common in _training(folder):
        mine = (
            source in common["source"]
            and common.get("dataset", dataset) == dataset
            and common.get("arch", arch) == arch
            and method in common.get("method", [method])
        )
        if mine and not set(common.get("unless", [])) & set(told):
            settings |= {key: _plain(value) for key, value in common["settings"].items()}
    return settings


def differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> tuple[str, ...]:
    """Return, in words, which of their settings are others than ours; of None or "" is none."""
    return tuple(
        f"{key} (ours {ours.get(key)}, theirs {value})"
        for key, value in theirs.items()
        if value not in (None, "") and not same(ours.get(key), value)
    )


def _is_of_method(settings: dict[str, Any], entry: Number) -> bool:
    others = {*SELECTION, *Training.model_fields}
    told = {key: value for key, value in entry.settings.items() if key not in others}
    return all(same(settings.get(key), value) for key, value in told.items())


@cache
def _read(folder: Path, source: str) -> tuple[Number, ...]:
    path = folder / f"{source}.csv"
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            return tuple(_trained(e, folder) for e in _entries(path, csv.DictReader(handle)))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text") from error


@cache
def _training(folder: Path) -> list[dict[str, Any]]:
    """Return the training settings that the runs of a source share."""
    path = folder / "training.yaml"
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else []
    except yaml.YAMLError as error:
        raise UserError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error


def _trained(entry: Number, folder: Path) -> Number:
    """Return the entry with the training settings that its source's runs share."""
    cell = (entry.source, entry.dataset, entry.arch, entry.method)
    shared = shared_training(*cell, entry.settings, folder)
    return dataclasses.replace(entry, settings={**shared, **entry.settings})


def _entries(path: Path, rows: csv.DictReader) -> Iterator[Number]:
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise UserError(f"{path} must have the columns {', '.join(COLUMNS)}")
    for row in rows:
        try:
            yield _entry(path.stem, row)
        except UserError as error:
            raise UserError(f"{path}, line {rows.line_num}, {error}") from error


def _entry(source: str, row: dict[str, str]) -> Number:
    """Return the number in a row, or raise UserError that begins with the column at fault."""
    # DictReader keeps surplus cells in a list under None, and None stands for missing ones.
    cells = len(row.pop(None, ())) + sum(cell is not None for cell in row.values())
    if cells != len(COLUMNS):
        raise UserError(
            f"{cells} cells where the header has {len(COLUMNS)}; a cell with a comma needs quotes"
        )
    for column, known in (("metric", METRICS), ("radii", ROUNDINGS)):
        if row[column] not in known:
            told = suggestion(row[column], filter(None, known))
            raise UserError(f"{column}: unknown {column} {row[column]!r}{told}")
    _refuse_radius(row["metric"], row["radius"])
    _refuse_subset(row["subset"])
    _number(row, "value")
    return Number(
        source=source,
        **{key: row[key] for key in ("dataset", "arch", "method", "metric", "subset", "radii")},
        settings=_settings(row["method"], row["settings"]),
        **{key: _number(row, key) for key in ("sigma", "radius", "alpha", "std", *WHOLE)},
        printed=row["value"],
        table=row["table"],
        note=row["note"],
    )


def _number(row: dict[str, str], column: str) -> Any:
    text, whole = row[column], column in WHOLE
    if not text and column not in ("value", "seeds"):
        return None
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        number = math.nan
    if whole:
        sound, meant = number >= 1, "whole number above 0"
    elif column == "alpha" or (column in ("value", "std") and row["metric"] in SHARES):
        sound, meant = 0 <= number <= 1, "share in [0, 1], as 0.7 for 70%"
    else:
        sound, meant = 0 <= number < math.inf, "number from 0 up"
    if not sound:
        raise UserError(f"{column}: {text!r} is no {meant}")
    return number


def _refuse_radius(metric: str, radius: str) -> None:
    if radius and metric != "certified_accuracy":
        raise UserError(f"radius: {radius!r} means nothing to metric {metric}; leave it empty")
    if not radius and metric == "certified_accuracy":
        raise UserError("radius: '', but certified_accuracy needs one; 0 is the clean accuracy")


def _refuse_subset(subset: str) -> None:
    found = NOTATION.fullmatch(subset)
    backwards = found and found[1] and int(found[1]) > int(found[2])
    words = " " in subset and not NEAR_NOTATION.fullmatch(subset)
    if backwards or not (found or words or not subset):
        raise UserError(
            f"subset: {subset!r} is not all, every-K or FIRST-LAST (as in 500-999), nor several "
            "words"
        )


def _settings(method: str, text: str) -> dict[str, str]:
    settings = {}
    for part in filter(None, text.split(";")):
        key, _, value = part.partition("=")
        if not (key and value):
            raise UserError(f"settings: {part!r} is not key=value, as in m=2;lambda=10")
        refuse_unknown_setting(method, key, also=(*SELECTION, *ELSEWHERE))
        if key in settings:
            raise UserError(f"settings: {key!r} is given twice")
        settings[key] = value
    return settings


def _matches(entry: Number, wanted: Query) -> bool:
    # The keys that tell most rows apart come first: this runs for each of some thousand rows.
    for key in ("sigma", "radius", "metric", "method", "dataset", "arch", "subset", "seeds"):
        asked = getattr(wanted, key)
        if asked is not None and asked != getattr(entry, key):
            return False
    if wanted.table is not None and wanted.table not in entry.table:
        return False
    return all(same(entry.settings.get(key), value) for key, value in wanted.settings.items())


def same(left: Any, right: Any) -> bool:
    """Return whether two settings agree: as numbers if both are numbers, else as text.

    One that is absent agrees with none.
    """
    try:
        return float(left) == float(right)
    except (TypeError, ValueError):
        return _plain(left) == _plain(right)


def _absent(wanted: Query, folder: Path) -> str:
    return f"no published number has {wanted}{_nearest(wanted, folder)}"


def _nearest(wanted: Query, folder: Path) -> str:
    """Return the values that one key has where all the others match, if it alone is at fault."""
    asked = wanted.model_dump(exclude_none=True, exclude={"settings", "table"})
    for key in reversed(asked):
        others = find(wanted.model_copy(update={key: None}), folder)
        values = _distinct(getattr(entry, key) for entry in others)
        values = [value for value in values if value != "none"]
        if values:
            return f"; {key} is one of {', '.join(values[:8])}"
    return ""


def _distinguishing(entries: list[Number]) -> tuple[str, str]:
    """Return the key that tells the entries apart best, and its values."""
    settings = dict.fromkeys(key for entry in entries for key in entry.settings)
    columns = {
        key: [getattr(entry, key) for entry in entries]
        for key in ("dataset", "arch", "method", "sigma", "metric", "radius", "source", "subset")
    }
    columns |= {f"settings.{key}": [e.settings.get(key) for e in entries] for key in settings}
    columns |= {key: [getattr(entry, key) for entry in entries] for key in ("seeds", "table")}
    distinct = {key: _distinct(values) for key, values in columns.items()}
    # max takes the first of equals; the names of tables are long and hence the last resort.
    key = max(
        distinct, key=lambda key: (len(distinct[key]) > 1, key != "table", len(distinct[key]))
    )
    more = ", ..." if len(distinct[key]) > 6 else ""
    return key, ", ".join(distinct[key][:6]) + more


def _distinct(values: Any) -> list[str]:
    return list(dict.fromkeys(_plain(value) for value in values))


def _plain(value: Any) -> str:
    if value is None or value != value:  # NaN is what a table makes of None
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
