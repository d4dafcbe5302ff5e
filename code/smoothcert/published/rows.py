"""The files of published numbers: one a source, in config/published, a number a row."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from smoothcert import files
from smoothcert.errors import UserError, suggestion
from smoothcert.published.number import METRICS, SHARES, Number
from smoothcert.published.told import ELSEWHERE, SELECTION, misfit
from smoothcert.smoothing.protocol import SUBSET

FOLDER = Path(__file__).parents[3] / "config" / "published"

COLUMNS = (
    "dataset", "arch", "method", "settings", "sigma", "metric", "radius", "subset", "images", "n",
    "alpha", "radii", "value", "std", "seeds", "table", "note",
)  # fmt: skip

WHOLE = ("images", "n", "seeds")
"""Columns of whole numbers."""

ROUNDINGS = ("3 digits", "4 decimals", "")
"""How radii may have been rounded: as ``metrics.round_radii`` can, whose module needs pandas."""

NEAR_NOTATION = re.compile(r"(all|every|\d+)\W*\d*", re.IGNORECASE)
"""What is no description in words but a mistyped notation, as ``every 20`` or ``500 - 999``."""


def sources(folder: Path = FOLDER) -> list[str]:
    """Return the names of the publications."""
    return sorted(path.stem for path in folder.glob("*.csv"))


@cache
def read(folder: Path, source: str) -> tuple[Number, ...]:
    """Return the numbers of a source, in the order of its file, with the settings of their rows.

    Raises UserError if the file is damaged.
    """
    path = folder / f"{source}.csv"
    try:
        text = io.StringIO(files.read_bytes(path).decode(), newline="")
        return tuple(_entries(path, csv.DictReader(text)))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text") from error


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
    number = Number(
        source=source,
        **{key: row[key] for key in ("dataset", "arch", "method", "metric", "subset", "radii")},
        settings=_settings(row["method"], row["settings"]),
        **{key: _number(row, key) for key in ("sigma", "radius", "alpha", "std", *WHOLE)},
        printed=row["value"],
        table=row["table"],
        note=row["note"],
    )
    if number.std is not None and number.seeds == 1:
        raise UserError(
            f"std: {row['std']!r}, but seeds is 1, and one run has no deviation; correct seeds, or "
            "leave std empty"
        )
    return number


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
    elif column == "alpha":
        sound, meant = 0 < number < 1, "probability above 0 and below 1, as 0.001"
    elif column == "sigma":
        sound, meant = 0 < number < math.inf, "number above 0"
    elif column in ("value", "std") and row["metric"] in SHARES:
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
    found = SUBSET.fullmatch(subset)
    backwards = found and found[2] and int(found[2]) > int(found[3])
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
        if fault := misfit(key, method, also=(*SELECTION, *ELSEWHERE)):
            raise UserError(f"settings: {fault}")
        if key in settings:
            raise UserError(f"settings: {key!r} is given twice")
        settings[key] = value
    return settings
