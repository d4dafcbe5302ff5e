"""A look at a checkpoint before it is certified, attacked or compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoothcert import datasets
from smoothcert.doctor.data_files import missing
from smoothcert.doctor.findings import Finding, Findings
from smoothcert.errors import UserError

if TYPE_CHECKING:
    from smoothcert.checkpoint import Checkpoint


def examine(path: Path, sigma: float | None, data_dir: Path) -> list[Finding]:
    """Return the findings on the checkpoint at ``path``."""
    from smoothcert import checkpoint

    try:
        found = list(foreign(path, checkpoint.read(path)))
        if found:
            return found
        trained = checkpoint.load(path)
    except UserError as error:
        return [Finding("error", str(error))]
    return [*noise(trained, sigma), *origin(trained), *data(trained, data_dir)]


def foreign(path: Path, content: Any) -> Findings:
    """Say how a file that is not ours becomes a checkpoint; raise UserError if it cannot."""
    from smoothcert import checkpoint, convert

    if isinstance(content, dict) and content.get("format") == checkpoint.FORMAT:
        return
    convert.weights(path, content)
    arch = "" if convert.stated_arch(content) else "--arch, "
    yield Finding(
        "error",
        f"{path} is not a smoothcert checkpoint; smoothcert convert writes one with its weights, "
        f"given {arch}--dataset, --normalize and --sigma",
    )


def noise(trained: Checkpoint, sigma: float | None) -> Findings:
    """Warn if the classifier is to be smoothed with other noise than its training's."""
    own = trained.point.sigma
    if sigma is not None and sigma != own:
        yield Finding(
            "warning",
            f"trained with noise of sigma {own:g}, which certify, predict and attack smooth with "
            f"too, and not with {sigma:g}; to smooth with {sigma:g}, train with it",
        )


def origin(trained: Checkpoint) -> Findings:
    """Note what is not known of a converted classifier; warn if code or torch differ from now."""
    import torch

    from smoothcert import checkpoint, fingerprint

    point, record = trained.point, trained.provenance
    if isinstance(point, checkpoint.Conversion):
        yield Finding(
            "note",
            f"converted from {point.converted_from} (sha256 {point.sha256}), normalize "
            f"{point.normalize}, sigma {point.sigma:g}: as stated at its conversion; nothing in "
            "the file tells whether that is right, nor what data it was trained on",
        )
        return
    if record.get("code") != fingerprint.of_training(point):
        yield Finding(
            "warning",
            f"trained by other code than the present (smoothcert {record.get('smoothcert')}, "
            f"commit {record.get('commit')}); train again to compare it with new runs",
        )
    if record.get("torch") != str(torch.__version__):
        yield Finding(
            "warning",
            f"trained with torch {record.get('torch')}, not {torch.__version__}, which may round "
            "otherwise; install that version, or train again, to compare it with new runs",
        )


def data(trained: Checkpoint, data_dir: Path) -> Findings:
    """Find data that differ from the training's; note data that are not there yet."""
    name = trained.point.dataset
    absent = list(missing(name, data_dir, "--data-dir"))
    if absent:
        yield from absent
        return
    try:
        trained.refuse_other_data(datasets.load(name, data_dir))
    except UserError as error:
        yield Finding("error", str(error))
