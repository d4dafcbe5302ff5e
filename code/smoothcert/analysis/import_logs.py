"""Published certification logs as certificates.

A log becomes a certificate table of the same form as ours, so that every table and figure takes
it by the same path. It is the published run itself, not a repetition of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from smoothcert import datasets, files, records
from smoothcert.analysis import experiment, metrics
from smoothcert.analysis.experiment import Run
from smoothcert.analysis.soundness import refuse_impossible
from smoothcert.errors import UserError
from smoothcert.published.logs import VARIABLE
from smoothcert.run_files import CERTIFICATES, CERTIFICATES_DESCRIPTION
from smoothcert.smoothing.bounds import largest_radius


def import_logs(manifest: Path, logs: Path, output: Path) -> None:
    """Write the certificate tables of all runs of ``manifest`` that are published logs.

    ``logs`` is the folder of the logs. ``output`` is a JSON file, written last: each table with
    its log's name and SHA-256.

    Raises UserError if a pattern matches another number of logs than the entry has seeds, or if a
    log is damaged, lacks images of the subset, or has radii that contradict its sigma.
    """
    record = {}
    for run in experiment.load(manifest).runs:
        if run.log is not None:
            path = _log(run, logs)
            record[str(run.certificates)] = _import(run, path, logs)
    files.write_json(output, record)


def _log(run: Run, logs: Path) -> Path:
    """Return the run's log: of those that its pattern matches, in order, the seed-th."""
    # Authors write 0.50, 0.5 or, of whole numbers, 1.
    sigmas = {form.format(run.point.sigma) for form in ("{:.2f}", "{}", "{:g}")}
    patterns = [run.log["pattern"].replace("{sigma}", sigma) for sigma in sorted(sigmas)]
    found = sorted({path for pattern in patterns for path in logs.glob(pattern)})
    seeds = run.log["seeds"]
    if not found:
        raise UserError(
            f"no log matches {' or '.join(patterns)} in {logs}; the folder, which {VARIABLE} may "
            "name, must hold the logs as <dataset>/<method>/<log>"
        )
    if len(found) != len(seeds):
        raise UserError(
            f"{len(found)} logs match {' or '.join(patterns)} in {logs}, but {run.row.label} "
            f"has {len(seeds)} "
            f"seeds; set its seeds to {list(range(len(found)))} or mend its logs"
        )
    return found[seeds.index(run.point.seed)]


def _import(run: Run, path: Path, logs: Path) -> dict[str, str]:
    images = experiment.subset(run.point.dataset, run.protocol)
    everything = datasets.describe(run.point.dataset).test_images
    table = records.read_table(path, everything, partial=True)
    whole, acr = len(table) == everything, metrics.credited_radius(table).mean()
    table = table[table["idx"].isin(images)].reset_index(drop=True)
    if len(table) != len(images):
        raise UserError(
            f"{path} has {len(table)} of the {len(images)} images of subset {run.protocol.subset}; "
            "an incomplete log is never averaged: choose a subset that it covers"
        )
    refuse_impossible(path, table)
    _refuse_contradiction(path, table["radius"].to_numpy(), run)
    origin = {"log": str(path.relative_to(logs)), "sha256": files.sha256(path)}
    description: dict[str, Any] = {
        "point": run.point.content,
        "protocol": run.protocol.model_dump(mode="json"),
        "shard": "1/1",
        "images": len(images),
        "log_acr": acr if whole else None,
        "provenance": {"device": records.PUBLISHED_LOG, **origin},
    }
    files.make_folder(run.certificates)
    files.write_json(run.certificates / CERTIFICATES_DESCRIPTION, description)
    files.write_text(
        run.certificates / CERTIFICATES,
        table.to_csv(sep="\t", index=False, lineterminator="\n"),
    )
    return origin


def _refuse_contradiction(path: Path, radii: np.ndarray, run: Run) -> None:
    """Raise UserError if radii cannot come from n votes under the run's sigma.

    Unanimous votes give the largest radius, a multiple of sigma, at which images pile up. Noise
    levels differ by far more than a twentieth, and radii are rounded by less.
    """
    n, alpha, sigma = run.protocol.n, run.protocol.alpha, run.point.sigma
    cap = largest_radius(n, alpha, sigma)
    largest = radii.max()
    piled = np.sum(radii == largest) >= max(5, 0.02 * np.sum(radii > 0))
    if largest > 1.05 * cap or (piled and largest < 0.95 * cap):
        raise UserError(
            f"{path} is not of sigma {sigma:g}: its largest radius is {largest:g}, and {n} votes "
            f"at alpha {alpha:g} give {cap:.3f}"
        )
