"""What certification and PREDICT share: the sampler of a classifier, and what describes a table."""

from __future__ import annotations

from typing import Any

import torch

from smoothcert import fingerprint, growing
from smoothcert.checkpoint import Checkpoint
from smoothcert.datasets.base import Dataset
from smoothcert.device import name
from smoothcert.provenance import provenance
from smoothcert.smoothing.protocol import Evaluation
from smoothcert.smoothing.sampling import Sampler
from smoothcert.smoothing.shards import WHOLE, Shard


def sampler_of(checkpoint: Checkpoint, settings: Evaluation, device: torch.device) -> Sampler:
    """Return what counts a classifier's votes, under the noise that it was trained with."""
    point = checkpoint.point
    return Sampler(
        checkpoint.classifier,
        point.sigma,
        point.seed,
        device,
        settings.precision,
        settings.backend,
    )


def describe(
    module: str,
    checkpoint: Checkpoint,
    data: Dataset,
    settings: Evaluation,
    evaluation: dict[str, str],
    device: torch.device,
    shard: Shard = WHOLE,
) -> dict[str, Any]:
    """Return what stands beside a table that ``module`` makes.

    ``evaluation`` tells the arithmetic. Raises UserError if the subset reaches beyond the test
    images or if the classifier was trained on another version of the data.
    """
    checkpoint.refuse_other_data(data)
    point, images = checkpoint.point, len(data.test_labels)
    code = fingerprint.of_evaluation(module, point.dataset, point.arch)
    description = {
        "point": point.content,
        "protocol": settings.model_dump(mode="json"),
        "shard": str(shard),
        "images": len(shard.of(settings.indices(images))),
        "test_images": images,
        "model": {"sha256": checkpoint.sha256, "provenance": checkpoint.provenance},
        "evaluation": evaluation,
        "provenance": provenance(device, code, data.checksum),
    }
    return {**description, "identity": growing.identity(description, name(device))}
