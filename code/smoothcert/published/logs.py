"""Certification logs that authors published: where they lie, and how they are downloaded."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import zlib
from pathlib import Path

from smoothcert import files
from smoothcert.errors import UserError, reason
from smoothcert.progress import say

NAME = "published-logs"
"""Their folder below data_dir."""
VARIABLE = "SMOOTHCERT_REFERENCE_LOGS"
"""Environment variable that names another folder."""

ELSE = f"set {VARIABLE} to a folder that holds mnist/<method>/noise_<sigma>_<id>.tsv"
"""What to do where the logs cannot be downloaded."""

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
        address = ARCHIVE.format(commit=commit)
        content = _download(address)
        try:
            _extract(content, commit, partial)
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise UserError(
                f"{address} sent no whole archive ({reason(error)}); try again, or {ELSE}"
            ) from error
    partial.rename(target)


def _download(address: str) -> bytes:
    import http.client  # slow, and every command imports this module for the folder's name
    import urllib.request

    say(f"downloading {address}")
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310
            return answer.read()
    except (http.client.HTTPException, OSError) as error:
        raise UserError(
            f"the published logs could not be downloaded from {address} ({reason(error)}); {ELSE}"
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
