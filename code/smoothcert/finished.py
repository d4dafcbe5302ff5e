"""Which runs of an experiment are finished, and how far the others came."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from smoothcert.errors import UserError

TABLES = (
    "certificates.tsv.partial",
    "shard-*/certificates.tsv.partial",
    "shard-*/certificates.tsv",
)
"""Where a certification that is not finished has its rows, in one job or in shards."""
LOGS = ("certify.log", "shard-*.log", "merge.log")


def manifests(experiments: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return by name the manifests of the finished runs alone, with the others as ``missing``.

    A missing run tells its label, point, folder and, in one line, the reason. Published logs count
    as finished, and so does a run that is certified but not attacked, without its attack. Raises
    UserError if no experiment has a finished run.
    """
    found = {content["name"]: _only(content) for content in experiments}
    found = {name: content for name, content in found.items() if content["runs"]}
    if not found:
        raise UserError("partial: there is no finished run to report on; leave it out")
    return found


def _only(manifest: Mapping[str, Any]) -> dict[str, Any]:
    runs, missing = [], []
    for run in manifest["runs"]:
        if run["log"] or (Path(run["certificates"]) / "certificates.tsv").exists():
            attacked = run["attacked"] and (Path(run["attacked"]) / "attacked.tsv").exists()
            runs.append(run if attacked else {**run, "attacked": None})
        else:
            kept = {key: run[key] for key in ("label", "point", "folder")}
            missing.append({**kept, "reason": _reason(run)})
    return {**manifest, "runs": runs, "missing": missing}


def _reason(run: Mapping[str, Any]) -> str:
    """Return why a run has no certificates: its error, or how far it came."""
    folder, certificates = Path(run["folder"]), Path(run["certificates"])
    if not (folder / "model.pt").exists():
        begun = (folder / "resume.pt").exists()
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
    """Return the whole rows of a table; a killed job may have left a torn one."""
    return table.read_bytes().split(b"\n")[1:-1]


def _error(log: Path) -> str:
    """Return the last line of a log if it is an error, else nothing."""
    try:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1]
    except (OSError, IndexError):
        return ""
    # Our own errors say which command failed; Python's name their class.
    return last if last.startswith("smoothcert ") or "Error" in last.split(":")[0] else ""
