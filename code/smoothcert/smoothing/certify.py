"""CERTIFY (Cohen et al. 2019, section 3.2.2), image by image, resumable."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor

from smoothcert import files, fingerprint
from smoothcert.checkpoint import Checkpoint
from smoothcert.datasets.base import Dataset, to_unit
from smoothcert.device import describe
from smoothcert.errors import UserError
from smoothcert.progress import Progress, say
from smoothcert.provenance import provenance
from smoothcert.records import ABSTAIN, Certificate, PartialTable
from smoothcert.smoothing.bounds import certified_radius, lower_bound
from smoothcert.smoothing.protocol import Protocol
from smoothcert.smoothing.sampling import Sampler


def certify(
    model: Path,
    checkpoint: Checkpoint,
    data: Dataset,
    protocol: Protocol,
    folder: Path,
    device: torch.device,
) -> None:
    """Certify the protocol's images; write ``certificates.tsv`` and ``.json`` into ``folder``.

    The smoothing noise is the training noise and its seed the run's. Rows are written as they
    come; a killed call continues after its last whole row, provided that weights, protocol, data
    and code are the same; otherwise the old rows are set aside.

    Raises UserError if the subset reaches beyond the test images, or if the classifier was
    trained on another version of the data.
    """
    point = checkpoint.point
    if checkpoint.provenance["data"] != data.checksum:
        raise UserError(
            f"{model} was trained on other {point.dataset} data than these: their checksums "
            "differ; train again, or set data_dir to the data it was trained on"
        )
    try:
        indices = protocol.indices(len(data.test_images))
    except ValueError as error:
        raise UserError(str(error)) from error
    record = provenance(
        device, fingerprint.of_certification(point.dataset, point.arch), data.checksum
    )
    sampler = Sampler(checkpoint.classifier, point.sigma, point.seed, device)
    description = {
        "point": point.content,
        "protocol": protocol.model_dump(mode="json"),
        "model": {"sha256": files.sha256(model), "provenance": checkpoint.provenance},
        "precision": "fp32",
        "batch": sampler.batch,
        "provenance": record,
    }
    identity = files.digest(
        [
            *(description[key] for key in ("model", "protocol", "precision", "batch")),
            *(record[key] for key in ("code", "data")),
            device.type,
        ]
    )
    table = PartialTable(folder, {**description, "identity": identity, "images": len(indices)})
    say(f"certifying {point} on {describe(device)}")
    progress = Progress(len(indices), "image", done=len(table.done))
    for index in indices:
        if index in table.done:
            continue
        image = to_unit(data.test_images[index].to(device))
        label = int(data.test_labels[index])
        table.append(_certificate(sampler, image, index, label, protocol, point.sigma))
        progress.step(table.summary())
    progress.close()
    table.finish()


def _certificate(
    sampler: Sampler, image: Tensor, index: int, label: int, protocol: Protocol, sigma: float
) -> Certificate:
    """Return the certificate of one image.

    The class is chosen by n0 votes (the lowest index among equals) and its probability is
    bounded by n fresh ones. Choosing and estimating with the same votes would void the bound.
    """
    started = time.perf_counter()
    chosen = sampler.count(image, index, "choose", protocol.n0)
    top = int(chosen.argmax())
    count = int(sampler.count(image, index, "estimate", protocol.n)[top])
    p_lower = float(lower_bound(count, protocol.n, protocol.alpha))
    certified = p_lower >= 0.5
    return Certificate(
        idx=index,
        label=label,
        predict=top if certified else ABSTAIN,
        radius=float(certified_radius(p_lower, sigma)) if certified else 0.0,
        correct=int(certified and top == label),
        time=round(time.perf_counter() - started, 4),
        top=top,
        count0=int(chosen[top]),
        n0=protocol.n0,
        count=count,
        n=protocol.n,
        p_lower=p_lower,
    )
