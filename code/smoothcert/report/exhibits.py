"""The tables and figures that lie in an experiment's folders, as the page shows them."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from smoothcert import files
from smoothcert.analysis.figures import FIGURE_FORMATS, FIGURES
from smoothcert.analysis.figures.style import INK, PAPER
from smoothcert.analysis.metrics import ACR
from smoothcert.analysis.render import TABLE_FORMATS, read_fragment
from smoothcert.analysis.tables import TABLES
from smoothcert.analysis.verdicts import Kind, Outcome
from smoothcert.errors import UserError

OUTCOMES = (Outcome.SUPPORTED, Outcome.CONTRADICTED, Outcome.UNDECIDED, Outcome.NOT_COMPARABLE,
            Outcome.NOT_RUN)  # fmt: skip
"""In the order in which they are counted."""


@dataclass(frozen=True)
class Exhibit:
    """A table or a figure as the page shows it."""

    name: str
    title: str
    caption: str
    """Of a figure; a table has notes of its own."""
    markup: Markup
    files: list[Path]


@dataclass(frozen=True)
class Tally:
    """How often each verdict stands in a table, for a part of its rows."""

    title: str
    table: str
    counts: dict[str, int]


def tables(folder: Path) -> dict[str, Exhibit]:
    """Return the tables in ``folder`` in their order, or raise UserError if one is missing."""
    found = {}
    for name, title in TABLES.items():
        fragment = Markup(read_fragment(folder / f"{name}.html"))  # noqa: S704
        paths = [folder / f"{name}.{suffix}" for suffix in TABLE_FORMATS]
        found[name] = Exhibit(name, title, "", fragment, paths)
    return found


def figures(folder: Path, names: Iterable[str]) -> dict[str, Exhibit]:
    """Return the figures ``names`` in ``folder``, or raise UserError if one is missing."""
    found = {}
    for name in names:
        paths = [folder / f"{name}.{suffix}" for suffix in FIGURE_FORMATS]
        drawing = Markup(_inline(folder / f"{name}.svg", name))  # noqa: S704
        kind = FIGURES[name]
        found[name] = Exhibit(name, kind.title, kind.caption, drawing, paths)
    return found


def tallies(folder: Path) -> list[Tally]:
    """Return how often each verdict stands in the tables of verdicts and of claims in ``folder``.

    A run has one ACR and accuracies at many radii, which go together: they are counted apart. What
    has no row is left out. Raises UserError if a table is not ours.
    """
    verdicts = read_numbers(folder / "verdicts.csv", "metric", "verdict")
    is_acr = verdicts["metric"] == ACR
    # A claim has a row for each of its comparisons.
    claims = read_numbers(folder / "claims.csv", "id", "outcome").drop_duplicates("id")
    parts = (
        ("Published ACRs", "verdicts", verdicts["verdict"][is_acr], Kind),
        ("Published accuracies and abstentions", "verdicts", verdicts["verdict"][~is_acr], Kind),
        ("Claims", "claims", claims["outcome"], OUTCOMES),
    )
    return [
        Tally(title, table, {str(kind): n for kind in kinds if (n := int((column == kind).sum()))})
        for title, table, column, kinds in parts
        if len(column)
    ]


def read_numbers(path: Path, *columns: str) -> pd.DataFrame:
    """Return the numbers of a table that was written as CSV.

    Raises UserError if it is missing or damaged, or lacks one of ``columns``.
    """
    try:
        content = files.read_bytes(path)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; write the tables first") from error
    try:
        table = pd.read_csv(io.BytesIO(content))
        table[list(columns)]
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} is damaged; write the tables anew") from error
    return table


def _inline(path: Path, name: str) -> str:
    """Return a drawn SVG to stand in the page: in its colours and with ids of its own."""
    try:
        text = files.read_bytes(path).decode(errors="replace")
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; draw the figures first") from error
    if "<svg" not in text:
        raise UserError(f"{path} is not an SVG; draw the figures anew")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'(\bid="|\bhref="#|url\(#)', rf"\g<1>{name}-", text)
    # Two decimals of a point are more than a screen or a printer shows.
    text = re.sub(r'\bd="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text)
    text = text.replace("<svg", '<svg aria-hidden="true"', 1)
    return text.replace(INK, "currentColor").replace(PAPER, "none")
