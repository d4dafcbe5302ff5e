"""Parts of a subset that jobs of their own certify, and how they become one table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from smoothcert import records
from smoothcert.errors import UserError
from smoothcert.growing import place
from smoothcert.progress import say
from smoothcert.records import Certificate, PartialTable
from smoothcert.smoothing.protocol import read_protocol


@dataclass(frozen=True)
class Shard:
    """Shard ``number`` (1-based) of ``total``."""

    number: int
    total: int

    @classmethod
    def read(cls, text: str) -> Shard:
        """Return shard K of N from ``K/N``, or raise UserError."""
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise UserError(f"shard {text!r} is not K/N with 1 <= K <= N")
        return cls(int(match[1]), int(match[2]))

    def of(self, indices: range) -> range:
        """Return this shard's indices: every N-th, so that hard images spread evenly."""
        return indices[self.number - 1 :: self.total]

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


WHOLE = Shard(1, 1)


def merge(shards: Sequence[Path], folder: Path, replace: bool = False) -> None:
    """Write into ``folder`` the table of the whole subset from its finished ``shards``.

    Where ``folder`` holds this very table already, nothing is done. Where it holds another one that
    is to be replaced, that stays until this one is finished.

    Raises UserError if the shards are of different weights, settings or models of device, if
    their rows are not exactly those of the subset, each once, or if ``folder`` holds another table
    that is not to be replaced.
    """
    tables, descriptions = zip(*(records.read(shard) for shard in shards), strict=True)
    first = descriptions[0]
    for shard, description in zip(shards, descriptions, strict=True):
        if not description.keys() >= {"identity", "test_images"}:
            raise UserError(f"{shard} holds no shard: smoothcert certify --shard writes one")
        if place(description)[:2] != place(first)[:2]:
            devices = {about["provenance"]["device"] for about in (description, first)}
            told = f" (of {' and '.join(sorted(devices))})" if len(devices) > 1 else ""
            raise UserError(
                f"{shard} and {shards[0]} are of different weights, settings or devices{told}; "
                "delete the folder of one of them and certify it again"
            )
    indices = set(read_protocol(shards[0], first["protocol"]).indices(first["test_images"]))
    rows = pd.concat(tables, ignore_index=True).sort_values("idx", ignore_index=True)
    faults = {
        "two rows": rows["idx"][rows["idx"].duplicated()],
        "no row": indices - set(rows["idx"]),
        "a foreign row": set(rows["idx"]) - indices,
    }
    for what, images in faults.items():
        if len(images):
            raise UserError(
                f"the shards in {shards[0].parent} hold {what} for {len(images)} images (image "
                f"{min(images)}, for one); pass each shard once, or certify again"
            )
    description = {**first, "shard": str(WHOLE), "images": len(indices)}
    if records.is_finished(folder, description, replace):
        say(f"{folder} holds these certificates already")
        return
    with PartialTable(folder, description) as table:
        # A killed merge, or a killed job for the whole, may have left some of the rows.
        for row in rows[~rows["idx"].isin(table.done)][list(records.COLUMNS)].itertuples(
            index=False
        ):
            table.append(Certificate(*row))
        table.finish()
