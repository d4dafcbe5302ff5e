"""What a table is made of: columns, cells and blocks of them, with the numbers that they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Cell:
    """A formatted value."""

    text: str
    spread: str = ""
    """What stands behind the ± sign."""
    best: bool = False


@dataclass(frozen=True)
class Column:
    """A column's heading; numbers stand to the right, words to the left."""

    heading: str
    words: bool = False


@dataclass(frozen=True)
class Block:
    """Rows under one heading."""

    heading: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Table:
    """A table: ``data`` holds the numbers, ``blocks`` show them."""

    notes: Sequence[str]
    """Sentences below the title, as on the meaning of the spread."""
    blocks: Sequence[Block]
    data: pd.DataFrame
