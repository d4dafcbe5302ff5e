"""Two sets of certificates side by side: cell by cell, and image by image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from smoothcert import records
from smoothcert.analysis import metrics
from smoothcert.analysis.soundness import refuse_beyond, refuse_impossible
from smoothcert.analysis.t_tests import Difference, Sample, difference, paired
from smoothcert.errors import UserError
from smoothcert.run_files import CERTIFICATES, CERTIFICATES_DESCRIPTION
from smoothcert.smoothing.protocol import read_protocol

CONFIDENCE = 0.95
"""Confidence level of the intervals."""
PROTOCOL = ("n0", "n", "alpha", "mode", "radius", "tolerance")
"""Settings of certification that both sides must share."""


@dataclass(frozen=True)
class Side:
    """A cell of one side: its runs' certificates, one table a seed, all of the same images."""

    paths: list[Path]
    tables: list[pd.DataFrame]
    protocol: dict | None
    """None for a log, which does not say."""

    @property
    def rounding(self) -> str:
        """Return how the radii are rounded: of our certificates, which hold votes, not at all."""
        if "count" in self.tables[0]:
            return ""
        radii = np.concatenate([table["radius"] for table in self.tables])
        return next(
            rounding
            for rounding in metrics.ROUNDINGS
            if np.array_equal(metrics.round_radii(radii, rounding), radii)
        )


def compare(left: Path, right: Path, images: int = 10) -> str:
    """Return the comparison as text.

    Either side is a table of certificates (.tsv; ours, which stands for its folder, or a published
    log) or a folder, below which every ``certificates.tsv`` counts. Runs in folders seed-* beside
    each other are seeds of one cell. Cells of equal paths are compared, or else the only cells of
    both sides. Beside a published log, radii are first rounded as the log's are. ``images`` is how
    many of the images that differ most are listed.

    Raises UserError if ``images`` is negative, if a side holds no certificates, if nothing pairs,
    or if the two are of different protocols or images: such numbers are not comparable.
    """
    if images < 0:
        raise UserError(f"--images must be 0 or more, not {images}")
    a, b = dict(_cells(left)), dict(_cells(right))
    lines = [
        f"A: {left}",
        f"B: {right}",
        f"Differences are B - A. Of {CONFIDENCE:.0%} intervals, those over seeds are by Welch's "
        "method, those over images by the paired t test; none is adjusted for their number.",
    ]
    if len(a) == len(b) == 1:
        return "\n".join([*lines, "", *_pair("", *a.values(), *b.values(), images)]) + "\n"
    common = [name for name in a if name in b]
    if not common:
        raise UserError(f"{left} and {right} have no cell in common; name two cells, or two tables")
    for name in common:
        lines += ["", *_pair(name, a[name], b[name], images)]
    lines += [f"only in A: {name}" for name in a if name not in b]
    lines += [f"only in B: {name}" for name in b if name not in a]
    return "\n".join(lines) + "\n"


def _cells(path: Path) -> Iterator[tuple[str, Side]]:
    """Yield the cells of a side: a name that both sides would give it, and its runs."""
    if path.name == CERTIFICATES and path.with_name(CERTIFICATES_DESCRIPTION).exists():
        path = path.parent
    if path.is_file():
        table = records.read_table(path)
        refuse_impossible(path, table)
        yield path.name, Side([path], [table], None)
        return
    groups = defaultdict(list)
    for table in sorted(path.rglob(CERTIFICATES)):
        folder = table.parent.relative_to(path)
        parts = ["seed-*" if part.startswith("seed-") else part for part in folder.parts]
        groups["/".join(parts)].append(table.parent)
    if not groups:
        raise UserError(
            f"{path} is no table of certificates, and there is none below it"
            f"{records.hint_of_attack(path)}"
        )
    for name, folders in groups.items():
        tables, found = map(list, zip(*map(records.read, folders), strict=True))
        for folder, table, its in zip(folders, tables, found, strict=True):
            refuse_impossible(folder / CERTIFICATES, table)
            refuse_beyond(folder, table, its)
        settings = [
            {**read_protocol(folder, its["protocol"]).model_dump(), "sigma": its["point"]["sigma"]}
            for folder, its in zip(folders, found, strict=True)
        ]
        for folder, its in zip(folders, settings, strict=True):
            for key in (*PROTOCOL, "sigma"):
                if its[key] != settings[0][key]:
                    raise UserError(
                        f"{folders[0]} has {key} {settings[0][key]} and {folder} {its[key]}: they "
                        "are no seeds of one cell"
                    )
        yield name, Side(folders, tables, settings[0])


def _pair(name: str, a: Side, b: Side, images: int) -> Iterator[str]:
    whole = {"A": len(a.tables[0]), "B": len(b.tables[0])}
    a, b = _on(b, a), _on(a, b)
    _refuse_incomparable(name, a, b)
    count = len(a.tables[0])
    yield f"{name or 'A and B'}: {count:,} images, {len(a.tables)} and {len(b.tables)} seeds"
    for side, had in whole.items():
        if had > count:
            yield f"  {had - count:,} images are in {side} alone and left out"
    if not (a.protocol and b.protocol):
        yield "  a log does not tell n0, n and alpha: see to it that they are the same"
    for rounding in {side.rounding for side in (a, b)} - {""}:
        yield f"  radii are rounded to {rounding}, as the log's are"
        a, b = (_rounded(side, rounding) for side in (a, b))
    quantities = {
        "ACR": metrics.credited_radius,
        "clean accuracy": lambda table: metrics.certified(table, [0.0])[:, 0].astype(float),
        "abstention": lambda table: (table["predict"] == records.ABSTAIN).to_numpy(float),
    }
    if any(metrics.evaluated_only(side.tables[0]) for side in (a, b)):
        del quantities["abstention"]  # mode evaluate does not tell abstentions from mistakes
    for title, values in quantities.items():
        left, right = (np.array([values(table) for table in side.tables]) for side in (a, b))
        over, basis = _difference(left, right)
        low, high = over.interval(CONFIDENCE)
        verdict = "differs" if low > 0 or high < 0 else "no difference shown"
        interval = f"[{low:+.4f}, {high:+.4f}] {basis}: "
        if not over.has_error:
            interval = ""
            verdict = "equal values tell no error" if count > 1 else "one image tells no error"
        yield (
            f"  {title:<14}  A {left.mean():.4f}  B {right.mean():.4f}  "
            f"difference {over.value:+.4f} {interval}{verdict}"
        )
    yield from _images(a, b, images)


def _on(other: Side, side: Side) -> Side:
    """Return the side; of a log, only the other side's images."""
    if side.protocol is not None:
        return side
    images = other.tables[0]["idx"]
    tables = [t[t["idx"].isin(images)].reset_index(drop=True) for t in side.tables]
    return replace(side, tables=tables)


def _rounded(side: Side, rounding: str) -> Side:
    tables = [t.assign(radius=metrics.round_radii(t["radius"], rounding)) for t in side.tables]
    return replace(side, tables=tables)


def _difference(left: np.ndarray, right: np.ndarray) -> tuple[Difference, str]:
    """Return B - A from values (seeds, images), and what its error is over."""
    over = difference(Sample.of(right.mean(1)), Sample.of(left.mean(1)))
    if over is None:
        return paired(right.mean(0) - left.mean(0)), "over images, the seeds' own error left out"
    return over, "over seeds"


def _images(a: Side, b: Side, images: int) -> Iterator[str]:
    """Yield how many images differ, and those whose mean radius differs most."""
    left, right = (
        np.mean([metrics.credited_radius(table) for table in side.tables], 0) for side in (a, b)
    )
    change = right - left
    order = np.argsort(-np.abs(change), kind="stable")[:images]
    yield (
        f"  images: {int((change > 0).sum()):,} with a larger radius in B, "
        f"{int((change < 0).sum()):,} with a smaller one, {int((change == 0).sum()):,} alike"
    )
    index = a.tables[0]["idx"].to_numpy()
    label = a.tables[0]["label"].to_numpy()
    for i in order[change[order] != 0]:
        yield (
            f"    image {index[i]} (label {label[i]}): radius x correct "
            f"{left[i]:.4f} -> {right[i]:.4f} ({change[i]:+.4f})"
        )


def _refuse_incomparable(name: str, a: Side, b: Side) -> None:
    place = f"{name}: " if name else ""
    first = a.tables[0]
    if first.empty:
        raise UserError(f"{place}{a.paths[0]} and {b.paths[0]} have no image in common")
    for side in (a, b):
        if side.protocol and side.protocol["mode"] == "radius":
            raise UserError(
                f"{place}{side.paths[0]} was certified in mode radius, which tells neither ACR nor "
                "clean accuracy; compare certificates of another mode"
            )
        for path, table in zip(side.paths, side.tables, strict=True):
            if table["idx"].tolist() != first["idx"].tolist():
                raise UserError(
                    f"{place}{path} has other images than {a.paths[0]}; certify one subset"
                )
            if table["label"].tolist() != first["label"].tolist():
                raise UserError(
                    f"{place}{path} has other labels than {a.paths[0]}: they are of different data "
                    "sets"
                )
    if a.protocol and b.protocol:
        for key in PROTOCOL:
            if a.protocol[key] != b.protocol[key]:
                raise UserError(
                    f"{place}A has {key} {a.protocol[key]} and B {b.protocol[key]}: "
                    "certificates of different protocols are not comparable"
                )
