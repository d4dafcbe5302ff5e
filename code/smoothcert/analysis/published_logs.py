"""Certification logs that authors published: where they lie, and how they become certificates.

A log becomes a certificate table of the same form as ours, so that every table and figure takes
it by the same path. It is the published run itself, not a repetition of it.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from smoothcert import datasets, files, records
from smoothcert.analysis import experiment
from smoothcert.analysis.experiment import Run
from smoothcert.analysis.soundness import refuse_impossible
from smoothcert.errors import UserError
from smoothcert.progress import say
from smoothcert.run_files import CERTIFICATES, CERTIFICATES_DESCRIPTION
from smoothcert.smoothing.bounds import largest_radius

NAME = "published-logs"
"""Their folder below data_dir."""
VARIABLE = "SMOOTHCERT_REFERENCE_LOGS"
"""Environment variable that names another folder."""

ARCHIVE = "https://codeload.github.com/jh-jeong/smoothing-consistency/tar.gz/{commit}"
# Folder of ours -> commit and file names of the repository of Jeong & Shin (MIT licence), below
# data/certify. The first form of the loss has its logs in the history alone.
RELEASED, SUPERSEDED = (
    "c015a899fff4f1fc0661353be98fb67043851258",
    "db701ac390049b9a4229196dbad9661963c2c91d",
)
SOURCES = {
    "mnist/gaussian": (RELEASED, ["mnist/cohen/noise_*"]),
    "mnist/stability": (RELEASED, ["mnist/stab/lbd_2/noise_*"]),
    "mnist/consistency": (
        RELEASED,
        [
            "mnist/consistency/cohen/num_2/lbd_10.0/eta_0.5/noise_0.25_[1-5]",
            "mnist/consistency/cohen/num_2/lbd_5.0/eta_0.5/noise_0.50_[1-5]",
            "mnist/consistency/cohen/num_2/lbd_5.0/eta_0.5/noise_1.00_[1-5]",
        ],
    ),
    "mnist/consistency_first_form": (
        SUPERSEDED,
        ["mnist/consistency/cohen/num_2/lbd_20.0/noise_*"],
    ),
}


def folder(data_dir: Path) -> Path:
    """Return the folder of the logs: SMOOTHCERT_REFERENCE_LOGS, or published-logs in data_dir."""
    return Path(os.environ.get(VARIABLE) or data_dir / NAME)


def misnamed() -> str | None:
    """Return what is wrong with the folder that the environment names, if anything is."""
    named = os.environ.get(VARIABLE)
    if not named or Path(named).is_dir():
        return None
    return f"{VARIABLE} names {named}, which is not a folder; mend it, or unset it for a download"


def fetch(data_dir: Path) -> dict[str, str]:
    """Return the logs with their SHA-256, downloaded from the authors' repository if absent.

    They lie as ``mnist/<method>/noise_<sigma>_<id>.tsv``. Raises UserError if the folder that the
    environment names does not exist, or if the download fails.
    """
    if fault := misnamed():
        raise UserError(fault)
    target = folder(data_dir)
    if not target.is_dir():
        _fetch_into(target)
    logs = sorted(path for path in target.rglob("*") if path.is_file())
    return {str(path.relative_to(target)): files.sha256(path) for path in logs}


def _fetch_into(target: Path) -> None:
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for commit in dict.fromkeys(commit for commit, _ in SOURCES.values()):
        _extract(_download(commit), commit, partial)
    partial.rename(target)


def _download(commit: str) -> bytes:
    address = ARCHIVE.format(commit=commit)
    say(f"downloading {address}")
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310
            return answer.read()
    except (urllib.error.URLError, OSError) as error:
        raise UserError(
            f"the published logs could not be downloaded from {address} ({error}); set {VARIABLE} "
            "to a folder that holds mnist/<method>/noise_<sigma>_<id>.tsv"
        ) from error


def _extract(archive: bytes, commit: str, target: Path) -> None:
    """Write the logs of one commit's archive into ``target`` under our names."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as content:
        members = [member for member in content if member.isfile()]
        for place, (origin, patterns) in SOURCES.items():
            if origin != commit:
                continue
            for member in members:
                path = Path(member.name)
                # Files named *_acc are curves that were sampled from their log.
                if any(path.match(pattern) for pattern in patterns) and "_acc" not in path.name:
                    _, sigma, run = path.name.split("_")
                    log = target / place / f"noise_{float(sigma):.2f}_{run}.tsv"
                    files.make_folder(log.parent)
                    files.write_bytes(log, content.extractfile(member).read())
            if not (target / place).is_dir():
                raise UserError(f"commit {commit} of the authors' repository has no {patterns[0]}")


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
