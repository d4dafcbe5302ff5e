"""The literature's numbers: how one of those in config/published is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field

from smoothcert.errors import UserError, suggestion
from smoothcert.published import training
from smoothcert.published.number import OF_CERTIFY, Number
from smoothcert.published.rows import FOLDER, read, sources
from smoothcert.published.told import SELECTION, plain, same
from smoothcert.settings import Section, Training

N0 = 100
"""Votes that choose the class: the same in all publications, so that no column holds it."""

PROTOCOL = {"n0": N0, "n": 100_000, "alpha": 0.001}
"""How the papers certify; n and alpha are a source's own where its rows tell them."""


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
        return ", ".join(f"{key} {plain(value)}" for key, value in asked.items()) or "any key"


def find(wanted: Query, folder: Path = FOLDER) -> list[Number]:
    """Return the published numbers that match, in the order of the files.

    Raises UserError if the source is unknown or a file is damaged.
    """
    known = sources(folder)
    if wanted.source is not None and wanted.source not in known:
        raise UserError(f"unknown source {wanted.source!r}{suggestion(wanted.source, known)}")
    names = known if wanted.source is None else [wanted.source]
    return [entry for name in names for entry in _read(folder, name) if _matches(entry, wanted)]


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
        chosen = entries if len(entries) == 1 else ours
        if len(chosen) != 1:
            raise UserError(
                _ambiguous(combine(wanted, {"metric": metric, "radius": radius}), entries)
            )
        found += chosen
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


def _is_of_method(settings: dict[str, Any], entry: Number) -> bool:
    others = {*SELECTION, *Training.model_fields}
    told = {key: value for key, value in entry.settings.items() if key not in others}
    return all(same(settings.get(key), value) for key, value in told.items())


@cache
def _read(folder: Path, source: str) -> tuple[Number, ...]:
    """Return the numbers of a source, with the training settings that its runs share."""
    return tuple(_trained(number, folder) for number in read(folder, source))


def _trained(number: Number, folder: Path) -> Number:
    cell = (number.source, number.dataset, number.arch, number.method)
    shared = training.shared(*cell, number.settings, folder)
    return dataclasses.replace(number, settings={**shared, **number.settings})


def _matches(entry: Number, wanted: Query) -> bool:
    # The keys that tell most rows apart come first: this runs for each of some thousand rows.
    for key in ("sigma", "radius", "metric", "method", "dataset", "arch", "subset", "seeds"):
        asked = getattr(wanted, key)
        if asked is not None and asked != getattr(entry, key):
            return False
    if wanted.table is not None and wanted.table not in entry.table:
        return False
    return all(same(entry.settings.get(key), value) for key, value in wanted.settings.items())


def _ambiguous(wanted: Query, entries: list[Number]) -> str:
    key, values = _distinguishing(entries)
    return f"{len(entries)} published numbers have {wanted}: add {key}, which is one of {values}"


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
    return list(dict.fromkeys(plain(value) for value in values))
