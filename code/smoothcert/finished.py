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
        if not (run["log"] or _is_certified(run)):
            missing.append({**kept, "reason": _reason(run)})
        elif run["attacked"] and (reason := _unattacked(run)):
            unattacked.append({**kept, "folder": run["attacked"], "reason": reason})
            runs.append({**run, "attacked": None})
        else:
            runs.append(run)
    return {**manifest, "runs": runs, "missing": missing, "unattacked": unattacked}


def _unattacked(run: Mapping[str, Any]) -> str | None:
    """Return why a certified run lacks its attack, if it does."""
    folder, certificates = Path(run["attacked"]), Path(run["certificates"])
    if not (folder / ATTACKED).exists():
        # Each image has a row for each epsilon.
        images = {row.split(b"\t")[0] for row in _rows(folder / f"{ATTACKED}.partial")}
        begun = f"attack not finished: {len(images):,} images so far"
        return _error(folder / "attack.log") or (begun if images else "attack not begun")
    weights = [
        files.read_json(path).get("model", {}).get("sha256")
        for path in (folder / ATTACKED_DESCRIPTION, certificates / CERTIFICATES_DESCRIPTION)
    ]
    return None if weights[0] == weights[1] else "attack on other weights than the certificates"


def _is_certified(run: Mapping[str, Any]) -> bool:
    """Return whether a run has the certificates of its present weights."""
    model, certificates = Path(run["folder"], MODEL), Path(run["certificates"])
    if not (certificates / CERTIFICATES).exists():
        return False
    # A report needs no weights: they may be gone.
    description = files.read_json(certificates / CERTIFICATES_DESCRIPTION)
    return not model.exists() or files.sha256(model) == description.get("model", {}).get("sha256")


def _reason(run: Mapping[str, Any]) -> str:
    """Return why a run has no certificates: its error, or how far it came."""
    folder, certificates = Path(run["folder"]), Path(run["certificates"])
    if not (folder / MODEL).exists():
        begun = (folder / TRAINING_STATE).exists()
        return _error(folder / "train.log") or (
            "training not finished" if begun else "training not begun"
        )
    tables = [path for pattern in TABLES for path in certificates.glob(pattern)]
    if tables:
        # An image may stand in several: in a shard's and in one of a try without shards.
        images = {row.split(b"\t")[0] for path in tables for row in _rows(path)}
        begun = f"certification not finished: {len(images):,} images so far"
    else:
        begun = "trained, certification not begun"
    logs = [path for pattern in LOGS for path in sorted(certificates.glob(pattern))]
    return next(filter(None, map(_error, logs)), begun)


def _rows(table: Path) -> list[bytes]:
    """Return the whole rows of a table, if it is there; a killed job may have left a torn one."""
    return table.read_bytes().split(b"\n")[1:-1] if table.exists() else []


def _error(log: Path) -> str:
    """Return the last line of a log if it is an error, else nothing."""
    try:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1]
    except (OSError, IndexError):
        return ""
    # Our own errors say which command failed; Python's name their class.
    return last if last.startswith("smoothcert ") or "Error" in last.split(":")[0] else ""
