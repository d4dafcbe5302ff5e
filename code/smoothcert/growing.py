"""Tables that grow image by image: a kill loses nothing, and the next call continues."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from smoothcert import files
from smoothcert.errors import UnreadableError, UserError
from smoothcert.progress import say


class GrowingTable:
    """``NAME.tsv`` while it is written: ``NAME.tsv.partial``, with its description beside it.

    Each image has ``per_image`` rows, whose first column is its index. The description tells whose
    rows they are, as ``place`` reads it; rows of others are set aside. A context manager: while it
    is open, no other process writes the same table.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        columns: Sequence[str],
        description: dict[str, Any],
        per_image: int = 1,
    ):
        self._folder, self._name, self._per_image = folder, name, per_image
        self._description = description
        self.path = folder / f"{name}.tsv.partial"
        """Of the rows while they grow."""
        self._about = folder / f"{name}.json.partial"
        files.make_folder(folder)
        self._lock = files.lock(folder / f"{name}.lock")
        if self.path.exists() and (fault := self._fault(columns)):
            aside = files.set_aside(self.path)
            say(f"{self.path} is {fault}: set aside as {aside.name}")
        if self.path.exists():
            self._images = self._whole()
            say(f"continuing after {self._images} images in {self.path}")
        else:
            files.write_json(self._about, description)
            files.write_text(self.path, "\t".join(columns) + "\n")
            self._images = 0
        self._handle = self._open()

    def __enter__(self) -> GrowingTable:
        return self

    def __exit__(self, *exception: object) -> None:
        self._handle.close()
        self._lock.close()

    def write(self, rows: Iterable[Sequence[object]]) -> None:
        """Write the rows of one image, so that a kill right after it loses nothing.

        Raises UserError if the file cannot be written; the rows of the images before it stay.
        """
        text = "".join("\t".join(map(str, row)) + "\n" for row in rows).encode()
        try:
            if self._handle.write(text) < len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise UserError(
                f"cannot write {self.path}: {error.strerror}; its rows of {self._images} images "
                "are kept, and the same command continues after them"
            ) from error
        self._images += 1

    def finish(self, **outcome: object) -> None:
        """Write the table, sorted by image, and its description, with ``outcome`` added to it."""
        self._handle.close()
        header, *rows = files.read_bytes(self.path).decode().splitlines(keepends=True)
        rows.sort(key=lambda row: int(row.split("\t", 1)[0]))  # not always written in that order
        table, about = (self._folder / f"{self._name}.{suffix}" for suffix in ("tsv", "json"))
        # An old table must not stand beside the new description if this is the last we do.
        table.unlink(missing_ok=True)
        files.write_json(about, {**self._description, **outcome})
        files.write_text(table, header + "".join(rows))
        self.path.unlink()
        self._about.unlink()

    def _fault(self, columns: Sequence[str]) -> str | None:
        """Return why the rows that are there cannot be continued, if so."""
        if not _is_of(self._about, self._description):
            return "of other weights, settings or devices"
        header, *rows = self._lines()
        header_is_ours = header == "\t".join(columns).encode() + b"\n"
        if header_is_ours and all(row.split(b"\t", 1)[0].isdigit() for row in rows):
            return None
        return "damaged"

    def _lines(self) -> list[bytes]:
        """Return the header and the whole lines below it."""
        return whole_lines(self.path).splitlines(keepends=True) or [b""]

    def _whole(self) -> int:
        """Drop a torn last line and the rows of a torn last image; return how many images stay."""
        header, *rows = self._lines()
        images = len(rows) // self._per_image
        whole = header + b"".join(rows[: images * self._per_image])
        if len(whole) != self.path.stat().st_size:
            files.write_bytes(self.path, whole)
        return images

    def _open(self) -> io.FileIO:
        try:
            # Unbuffered: a written row is in the file, and a failed one is not tried again.
            return self.path.open("ab", buffering=0)
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}") from error


def whole_lines(table: Path) -> bytes:
    """Return what a table holds without a torn last line, as a kill or a full disk may leave it."""
    content = files.read_bytes(table)
    return content[: content.rfind(b"\n") + 1]


def is_finished(table: Path, description: dict[str, Any], replace: bool = False) -> bool:
    """Return whether ``table`` is there, and the one that the description tells of.

    Raises UserError if it is that of other weights, settings or devices, unless they are to be
    replaced.
    """
    if not table.exists():
        return False
    if _is_of(table.with_suffix(".json"), description):
        return True
    if replace:
        return False
    raise UserError(
        f"{table} is of other weights, settings, code or devices; choose another folder, or "
        "delete it (certify, predict and attack do so with --replace)"
    )


def _is_of(about: Path, description: dict[str, Any]) -> bool:
    try:
        return place(files.read_json(about)) == place(description)
    except UnreadableError:
        raise
    except (UserError, KeyError, TypeError):
        return False


def place(description: dict[str, Any]) -> tuple[str, str, str]:
    """Return which rows a table holds: their identity, the subset and the shard."""
    return description["identity"], description["protocol"]["subset"], description["shard"]


def identity(description: dict[str, Any], device: str) -> str:
    """Return a digest of all that decides the rows of an image, whatever the other images.

    ``device`` is the kind of device, which may round another way than others.
    """
    protocol = {key: value for key, value in description["protocol"].items() if key != "subset"}
    origin = description["provenance"]
    return files.digest(
        [
            protocol,
            description["model"],
            description["evaluation"],
            origin["code"],
            origin["data"],
            device,
        ]
    )
