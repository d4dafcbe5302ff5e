"""Which runs of an experiment are finished, and how far the others came."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from smoothcert import files
from smoothcert.errors import UserError
from smoothcert.run_files import (
    ATTACKED,
    ATTACKED_DESCRIPTION,
    CERTIFICATES,
    CERTIFICATES_DESCRIPTION,
    MODEL,
    TRAINING_LOG,
    TRAINING_STATE,
)

TABLES = (
    f"{CERTIFICATES}.partial",
    f"shard-*/{CERTIFICATES}.partial",
    f"shard-*/{CERTIFICATES}",
)
"""Where a certification that is not finished has its rows, in one job or in shards."""
LOGS = ("certify.log", "shard-*.log", "merge.log")


def manifests(experiments: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return by name the manifests of the finished runs alone, with the others as ``missing``.

    A missing run tells its label, point, folder and, in one line, the reason. Published logs count
    as finished, and so does a run that is certified but not attacked: it stands among both the
    runs, without its attack, and the ``unattacked``. Raises UserError if no experiment has a
    finished run.
    """
    found = {content["name"]: _only(content) for content in experiments}
    found = {name: content for name, content in found.items() if content["runs"]}
    if not found:
        raise UserError("partial: there is no finished run to report on; leave it out")
    return found


def _only(manifest: Mapping[str, Any]) -> dict[str, Any]:
    runs, missing, unattacked = [], [], []
    for run in manifest["runs"]:
        kept = {key: run[key] for key in ("label", "point", "folder")}
        if not run["log"] and (reason := _uncertified(run)):
            missing.append({**kept, "reason": reason})
        elif run["attacked"] and (reason := _unattacked(run)):
            unattacked.append({**kept, "folder": run["attacked"], "reason": reason})
            runs.append({**run, "attacked": None})
        else:
            runs.append(run)
    return {**manifest, "runs": runs, "missing": missing, "unattacked": unattacked}


def _unattacked(run: Mapping[str, Any]) -> str | None:
    """Return why a certified run lacks its attack, if it does."""
    folder = Path(run["attacked"])
    if not (folder / ATTACKED).exists():
        # Each image has a row for each epsilon.
        images = {row.split(b"\t")[0] for row in _rows(folder / f"{ATTACKED}.partial")}
        begun = f"attack not finished: {len(images):,} images so far"
        return _error(folder / "attack.log") or (begun if images else "attack not begun")
    try:
        attacked, certified = map(_weights, (folder / ATTACKED_DESCRIPTION, _description(run)))
    except UserError as error:
        return str(error)
    return None if attacked == certified else "attack on other weights than the certificates"


def _uncertified(run: Mapping[str, Any]) -> str | None:
    """Return why a run lacks the certificates of its present weights, if it does."""
    model = Path(run["folder"], MODEL)
    if not Path(run["certificates"], CERTIFICATES).exists():
        return _unfinished(run) or "trained, certification not begun"
    try:
        certified = _weights(_description(run))
    except UserError as error:
        return str(error)
    if not Path(run["folder"], TRAINING_LOG).exists():
        return f"{TRAINING_LOG} is gone"
    # A report needs no weights: they may be gone.
    if not model.exists() or files.sha256(model) == certified:
        return None
    return _unfinished(run) or "certificates of other weights than the present ones"


def _description(run: Mapping[str, Any]) -> Path:
    return Path(run["certificates"], CERTIFICATES_DESCRIPTION)


def _weights(description: Path) -> str:
    """Return the checksum of the weights that a description tells of, or raise UserError."""
    try:
        return files.read_json(description)["model"]["sha256"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{description} does not tell the weights; delete its folder") from error


def _unfinished(run: Mapping[str, Any]) -> str | None:
    """Return the error of a run without certificates, or how far it came, if it began."""
    folder, certificates = Path(run["folder"]), Path(run["certificates"])
    if not (folder / MODEL).exists():
        begun = (folder / TRAINING_STATE).exists()
        return _error(folder / "train.log") or (
            "training not finished" if begun else "training not begun"
        )
    tables = [path for pattern in TABLES for path in certificates.glob(pattern)]
    # An image may stand in several: in a shard's and in one of a try without shards.
    images = {row.split(b"\t")[0] for path in tables for row in _rows(path)}
    begun = f"certification not finished: {len(images):,} images so far" if tables else None
    logs = [path for pattern in LOGS for path in sorted(certificates.glob(pattern))]
    return next(filter(None, map(_error, logs)), begun)


def _rows(table: Path) -> list[bytes]:
    """Return the whole rows of a table, if it is there; a killed job may have left a torn one."""
    return files.read_bytes(table).split(b"\n")[1:-1] if table.exists() else []


def _error(log: Path) -> str:
    """Return the last line of a log if it is an error, else nothing."""
    try:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1]
    except (OSError, IndexError):
        return ""
    # Our own errors say which command failed; Python's name their class.
    return last if last.startswith("smoothcert ") or "Error" in last.split(":")[0] else ""
