"""Certificate tables: their columns, how they grow, and how they are read back."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from smoothcert import files, growing
from smoothcert.errors import UnreadableError, UserError, reason
from smoothcert.growing import GrowingTable
from smoothcert.progress import say
from smoothcert.run_files import ATTACKED, CERTIFICATES, CERTIFICATES_DESCRIPTION

ABSTAIN = -1
"""The ``predict`` of an image that is not certified."""

PUBLISHED_LOG = "published log"
"""The device of certificates that were taken over from one."""

AGAIN = "certify again, or fetch it again if it is a published log"
"""What to do without a sound table."""
PUBLISHED_COLUMNS = ("idx", "label", "predict", "radius", "correct", "time")
"""The columns of the published logs, which come first in ours."""


@dataclass(frozen=True)
class Certificate:
    """One image's row."""

    idx: int
    """Index among the test images."""
    label: int
    predict: int
    """Certified class, or -1 for an abstention."""
    radius: float
    """Certified L2 radius on the [0, 1] pixel scale; 0 for an abstention."""
    correct: int
    """1 if ``predict`` is the label, else 0."""
    time: float
    """Seconds."""
    top: int
    """Class that the n0 votes chose."""
    count0: int
    """Votes for ``top`` among the n0 that chose it."""
    n0: int
    count: int
    """Votes for ``top`` among the n fresh ones."""
    n: int
    """Fresh votes that were counted; 0 where mode evaluate left the estimate out."""
    p_lower: float
    """Lower confidence bound on p_A, the probability of ``top``."""
    mode: str
    """Mode of certification."""
    batch: int
    """Noisy copies in one forward pass; fewer than usual where memory ran out."""


class _Told(BaseModel):
    """What a description tells at least; it may tell more."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Point(_Told):
    dataset: str
    arch: str
    sigma: float = Field(gt=0)


class _Protocol(_Told):
    subset: str
    n: int


class _Model(_Told):
    sha256: str
    provenance: dict[str, Any]


class _Description(_Told):
    point: _Point
    protocol: _Protocol
    shard: str
    images: int
    provenance: dict[str, Any]
    # A published log has none of these.
    model: _Model | None = None
    test_images: int = 0
    identity: str = ""


COLUMNS = tuple(field.name for field in fields(Certificate))


class PartialTable(GrowingTable):
    """A certificate table while it is written."""

    def __init__(self, folder: Path, description: dict[str, Any]):
        super().__init__(folder, "certificates", COLUMNS, description)
        self._radii: list[float] = []
        self._abstentions = 0
        self.done: set[int] = set()
        """Indices of the images whose rows are written."""
        try:
            rows = _parse(self.path)
        except UnreadableError:
            raise
        except UserError as error:
            raise UserError(
                f"{self.path} is damaged; delete it, and its images are certified again"
            ) from error
        for row in rows.itertuples():
            self._count(row.idx, row.radius, row.correct, row.predict)

    def append(self, certificate: Certificate) -> None:
        """Write one row, or raise UserError."""
        self.write([astuple(certificate)])
        self._count(certificate.idx, certificate.radius, certificate.correct, certificate.predict)

    def take_over(self, tables: Iterable[Path], indices: set[int]) -> None:
        """Copy the rows of ``indices`` from tables of the same identity."""
        before = len(self.done)
        for path in tables:
            try:
                if path.name == CERTIFICATES:
                    rows, _ = read(path.parent)
                else:
                    rows = _parse(path, unfinished=True)
            except UserError as error:
                say(f"not taken over: {error}")
                continue
            wanted = rows[rows["idx"].isin(indices - self.done)].drop_duplicates("idx")
            for row in wanted[list(COLUMNS)].itertuples(index=False):
                self.append(Certificate(*row))
        if len(self.done) > before:
            say(f"took over {len(self.done) - before} rows of the same weights and protocol")

    def summary(self) -> str:
        """Return what is known so far, with its standard error, in the terms of the mode."""
        protocol = self._description["protocol"]
        values, name = np.array(self._radii), "ACR"
        if protocol["mode"] == "radius":  # which tells nothing of other radii
            values, name = values > 0, f"certified accuracy at {protocol['radius']:g}"
        spread = f" ± {values.std(ddof=1) / len(values) ** 0.5:.4f}" if len(values) > 1 else ""
        abstained = f"  abstained {self._abstentions / len(values):.1%}"
        if protocol["mode"] == "evaluate":  # which does not tell abstentions from mistakes
            abstained = ""
        return f"{name} {values.mean():.4f}{spread}{abstained}"

    def _count(self, index: int, radius: float, correct: int, predict: int) -> None:
        self.done.add(index)
        self._radii.append(radius * correct)
        self._abstentions += predict == ABSTAIN


def is_finished(folder: Path, description: dict[str, Any], replace: bool = False) -> bool:
    """Return whether ``folder`` holds the finished table that the description tells of.

    Raises UserError if it holds a damaged one, or that of other weights, settings or devices,
    unless it is to be replaced.
    """
    if (folder / CERTIFICATES).exists():
        try:
            read(folder)
        except UnreadableError:
            raise
        except UserError:
            if replace:
                return False
            raise
    return growing.is_finished(folder / CERTIFICATES, description, replace)


def siblings(folder: Path, description: dict[str, Any]) -> list[Path]:
    """Return the tables whose rows have the description's identity, finished ones first.

    They lie in folders up to two below ``folder``.
    """
    found = []
    for unfinished in ("", ".partial"):
        name = f"{CERTIFICATES_DESCRIPTION}{unfinished}"
        for path in sorted([*folder.glob(f"*/{name}"), *folder.glob(f"*/*/{name}")]):
            try:
                same = files.read_json(path)["identity"] == description["identity"]
            except (UserError, KeyError, TypeError):
                continue
            if same:
                found.append(path.with_name(f"{CERTIFICATES}{unfinished}"))
    return found


def read(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the finished certificates in ``folder``, sorted by image, and their description.

    Raises UserError if a file is missing or damaged, or if an image of the subset has no row or
    several.
    """
    about = folder / CERTIFICATES_DESCRIPTION
    try:
        description = files.read_json(about)
    except UnreadableError:
        raise
    except UserError as error:
        if (folder / CERTIFICATES).exists():
            raise UserError(f"{error}; delete the folder and {AGAIN}") from error
        raise UserError(f"{error}{hint_of_attack(folder)}") from error
    try:
        _Description.model_validate(description)
    except ValidationError as error:
        raise UserError(f"{about}: {reason(error)}; delete it and {AGAIN}") from error
    return read_table(folder / CERTIFICATES, description["images"]), description


def hint_of_attack(path: Path) -> str:
    """Return, for the end of a message, that a folder or table is of attacks, if it is."""
    if path.name != ATTACKED and not (path / ATTACKED).exists():
        return ""
    return "; this is the output of smoothcert attack: name that of smoothcert certify"


def read_table(path: Path, images: int | None = None, partial: bool = False) -> pd.DataFrame:
    """Return the certificates of ``images`` images, or of any number, of ours or a published log.

    The columns are at least those of the published logs, ``time`` in seconds, whatever its form.
    Raises UserError if the file is missing or damaged or if rows are duplicate or, unless
    ``partial`` tables are allowed, missing.
    """
    table = _parse(path)
    duplicates = table["idx"][table["idx"].duplicated()]
    if len(duplicates):
        raise UserError(
            f"{path} has {len(duplicates)} duplicate rows (one for image {duplicates.iloc[0]}); "
            f"delete it and {AGAIN}"
        )
    if images not in (None, len(table)) and not (partial and len(table) < images):
        raise UserError(
            f"{path} has {len(table)} rows for {images} images; an incomplete table is never "
            f"averaged; delete it and {AGAIN}"
        )
    return table.sort_values("idx", ignore_index=True)


def _parse(path: Path, unfinished: bool = False) -> pd.DataFrame:
    """Return the rows of a table; of an ``unfinished`` one, the last may be torn."""
    try:
        content = growing.whole_lines(path) if unfinished else files.read_bytes(path)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; {AGAIN}") from error
    try:
        table = pd.read_csv(io.BytesIO(content), sep="\t", dtype={"time": str})
    except ValueError as error:
        remedy = f"delete it and {AGAIN}" if ".tsv" in path.suffixes else "name a .tsv, or a folder"
        raise UserError(f"{path} cannot be read as a table ({reason(error)}); {remedy}") from error
    missing = [name for name in PUBLISHED_COLUMNS if name not in table]
    if missing:
        raise UserError(
            f"{path} is no table of certificates: it has no column {', '.join(missing)}"
            f"{hint_of_attack(path)}"
        )
    try:
        clock = table["time"].str.contains(":", na=False)
        if clock.any():  # published logs write h:mm:ss
            seconds = pd.to_timedelta(table["time"][clock]).dt.total_seconds()
            table.loc[clock, "time"] = seconds.astype(str)
        whole = [
            name for name in COLUMNS if name in table and Certificate.__annotations__[name] == "int"
        ]
        real = [name for name in ("radius", "time", "p_lower") if name in table]
        table = table.astype(dict.fromkeys(whole, "int64") | dict.fromkeys(real, "float64"))
    except (ValueError, TypeError, AttributeError) as error:
        known = [name for name in COLUMNS if name in table]
        (torn,) = table[known].isna().any(axis=1).to_numpy().nonzero()
        where = f"line {torn[0] + 2}" if len(torn) else reason(error)
        raise UserError(f"{path} has a damaged row ({where}); delete it and {AGAIN}") from error
    return table
