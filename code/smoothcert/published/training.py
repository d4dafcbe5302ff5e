"""The training settings that the runs of a source share: config/published/training.yaml."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from pydantic import Field, ValidationError, model_validator

from smoothcert import yaml_files
from smoothcert.config_errors import explain
from smoothcert.errors import UserError, suggestion
from smoothcert.published import rows
from smoothcert.published.told import ELSEWHERE, misfit, plain
from smoothcert.settings import Section

FILE = "training.yaml"
"""Beside the files of published numbers."""


class Shared(Section):
    """What runs share; a key that is left out may have any value."""

    source: list[str] = Field(min_length=1)
    """Their publications, files of config/published."""

    dataset: str | None = None
    """Their data set."""

    arch: str | None = None
    """Their network."""

    method: list[str] | None = Field(None, min_length=1)
    """Their training objectives."""

    unless: list[str] = Field(default_factory=list)
    """Settings that say of a row that it was trained in another way."""

    settings: dict[str, int | float | str] = Field(min_length=1)
    """The settings, in the names and units of our parameters."""

    @model_validator(mode="after")
    def _settings_are_known(self) -> Shared:
        for place, also in (("settings", ()), ("unless", ELSEWHERE)):
            for key in getattr(self, place):
                for method in self.method or (None,):
                    if fault := misfit(key, method, also):
                        raise UserError(f"{place}: {fault}")
        return self

    def covers(self, dataset: str, arch: str, method: str) -> bool:
        """Return whether it is of such runs."""
        return (
            self.dataset in (None, dataset)
            and self.arch in (None, arch)
            and (self.method is None or method in self.method)
        )


class _File(Section):
    shared: list[Shared]


SECTIONS = {"": _File, "shared": Shared}
"""What each key of the file may hold; the empty key stands for the top level."""


def shared(
    source: str,
    dataset: str,
    arch: str,
    method: str,
    told: Iterable[str] = (),
    folder: Path = rows.FOLDER,
) -> dict[str, str]:
    """Return the training settings that the runs of a source share.

    ``told`` names settings of the run that may say that it was trained in another way. Raises
    UserError if the file is damaged or tells of runs of which the source has no row.
    """
    settings: dict[str, str] = {}
    for entry in _of(folder, source):
        if entry.covers(dataset, arch, method) and not set(entry.unless) & set(told):
            settings |= {key: plain(value) for key, value in entry.settings.items()}
    return settings


@cache
def _of(folder: Path, source: str) -> list[Shared]:
    """Return the entries of a source."""
    entries, numbers = [], rows.read(folder, source)
    for place, entry in enumerate(_read(folder)):
        if source not in entry.source:
            continue
        for method in entry.method or (None,):
            if not any(
                entry.covers(number.dataset, number.arch, number.method)
                and method in (None, number.method)
                for number in numbers
            ):
                told = " and ".join(filter(None, (entry.dataset, entry.arch, method)))
                raise UserError(f"{folder / FILE}: shared[{place}]: {source} has no row of {told}")
        entries.append(entry)
    return entries


@cache
def _read(folder: Path) -> list[Shared]:
    path = folder / FILE
    if not path.exists():
        return []
    try:
        entries = _File.model_validate(yaml_files.load(path, "shared")).shared
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, SECTIONS)}") from error
    known = rows.sources(folder)
    for place, entry in enumerate(entries):
        for name in entry.source:
            if name not in known:
                told = suggestion(name, known)
                raise UserError(f"{path}: shared[{place}].source: unknown source {name!r}{told}")
    return entries
