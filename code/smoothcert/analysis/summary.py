"""The summary of one run: its metrics, costs and origin in one JSON file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from smoothcert import datasets, files, records
from smoothcert.analysis import metrics
from smoothcert.analysis.experiment import read_training
from smoothcert.analysis.soundness import refuse_beyond, refuse_impossible
from smoothcert.errors import UserError
from smoothcert.run_files import CERTIFICATES, MODEL, SUMMARY, TRAINING_LOG
from smoothcert.smoothing import modes
from smoothcert.smoothing.protocol import read_protocol

RADIUS_STEP = 0.05
"""Distance of the radii at which certified accuracy is listed."""


def summarize(certificates: Path) -> str:
    """Write ``summary.json`` into the folder ``certificates``.

    Returns its head as a line: ACR, clean accuracy and abstentions, with their standard errors.

    Shares lie in [0, 1], radii on the [0, 1] pixel scale; standard errors are over images;
    ``training`` is null where no training log lies beside the folder, as of a converted classifier,
    or that of other weights.
    Raises UserError if the certificates are missing or damaged, or the training log is damaged.
    """
    if certificates.is_file():
        raise UserError(f"{certificates} is a file; name the folder of the certificates")
    table, description = records.read(certificates)
    refuse_impossible(certificates / CERTIFICATES, table)
    if description["shard"] != "1/1":
        raise UserError(
            f"{certificates} holds shard {description['shard']}: merge the shards first"
        )
    known = read_protocol(certificates, description["protocol"])
    if known.mode == "radius":
        raise UserError(
            f"{certificates} is of mode radius, which knows no ACR: the mean of its column "
            "correct, over all rows, is the certified accuracy at that radius"
        )
    point, protocol = description["point"], description["protocol"]
    images = datasets.describe(point["dataset"]).test_images
    if table["idx"].tolist() != list(known.indices(images)):
        raise UserError(
            f"{certificates} has other images than subset {protocol['subset']}; certify again"
        )
    refuse_beyond(certificates, table, description)
    cap = modes.of(known, point["sigma"]).largest_radius(point["sigma"])
    radii = metrics.radii(RADIUS_STEP, cap)
    estimate = metrics.over_seeds([metrics.image_values(table, radii, protocol["n"])])
    quantities = metrics.quantities(radii)
    means = dict(zip(quantities, map(_known, estimate.mean.tolist()), strict=True))
    errors = dict(zip(quantities, map(_known, estimate.standard_error.tolist()), strict=True))

    def metric(name: str, quantity: metrics.Quantity) -> dict[str, float | None]:
        return {name: means[quantity], f"{name}_standard_error": errors[quantity]}

    clean, *curve = (q for q in quantities if q.metric == metrics.CERTIFIED)
    summary: dict[str, Any] = {
        "point": point,
        "protocol": protocol,
        "images": len(table),
        **metric("acr", metrics.Quantity(metrics.ACR)),
        **metric("clean_accuracy", clean),
        **metric("abstention", metrics.Quantity(metrics.ABSTENTION)),
        "radius_cap": cap,
        **metric("share_at_cap", metrics.Quantity(metrics.AT_CAP)),
        "certified_accuracy": [
            {"radius": q.radius, "share": means[q], "standard_error": errors[q]} for q in curve
        ],
        "p_lower_quantiles": {
            f"{q:g}": _known(v) for q, v in metrics.p_lower_quantiles(table).items()
        },
        "certification": {
            "seconds": float(table["time"].sum()),
            "seconds_per_image": float(table["time"].mean()),
            "provenance": description["provenance"],
        },
        "training": _training(certificates.parent, description),
    }
    files.write_json(certificates / SUMMARY, summary)
    head = {"ACR": "acr", "clean accuracy": "clean_accuracy", "abstained": "abstention"}
    return "  ".join(
        f"{title} {_words(summary[name], summary[f'{name}_standard_error'])}"
        for title, name in head.items()
    )


def _training(folder: Path, description: dict[str, Any]) -> dict[str, Any] | None:
    """Return costs and outcome of the training whose log is in ``folder``, if it is known."""
    model = description.get("model")
    converted = "converted_from" in description["point"]
    if not model or converted or not (folder / TRAINING_LOG).exists():
        return None
    present = folder / MODEL
    if present.exists() and files.sha256(present) != model["sha256"]:
        return None  # trained again since: the log is of other weights
    log = read_training(folder)
    last = log.iloc[-1]
    return {
        "seconds": float(log["seconds"].sum()),
        "epochs": len(log),
        "final_loss": float(last["loss"]),
        "final_noisy_accuracy": float(last["noisy_accuracy"]),
        "provenance": model["provenance"],
    }


def _known(value: float) -> float | None:
    """Return the value, or None for NaN: a single image has no error, and JSON no NaN."""
    return None if math.isnan(value) else value


def _words(value: float | None, error: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:.4f}" if error is None else f"{value:.4f} ± {error:.4f}"
