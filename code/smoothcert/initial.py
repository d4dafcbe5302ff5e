"""Weights to start training from: those of another run, or of any checkpoint of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smoothcert import checkpoint
from smoothcert.errors import UserError
from smoothcert.models.classifier import Classifier


def start_from(classifier: Classifier, path: Path, head: str) -> dict[str, Any]:
    """Load the network's weights from the checkpoint at ``path``; return a record of it.

    With ``head`` new, the last linear layer keeps its fresh weights (Salman et al. 2019, section
    4.2: pre-training). The normalisation stays that of the classifier's own data set.

    Raises UserError if the checkpoint is of another architecture or, unless the head is new, of
    another number of classes.
    """
    source = checkpoint.load(path)
    ours, theirs = classifier.specification, source.classifier.specification
    if (ours.arch, ours.channels) != (theirs.arch, theirs.channels):
        raise UserError(
            f"init_from: {path} holds a {theirs.arch} for {theirs.channels} channels, not a "
            f"{ours.arch} for {ours.channels}"
        )
    if head == "kept" and ours.classes != theirs.classes:
        raise UserError(
            f"init_from: {path} tells {theirs.classes} classes apart, not {ours.classes}; set "
            "training.init_head to new"
        )
    state = source.classifier.network.state_dict()
    if head == "new":
        fresh = classifier.network.state_dict()
        state |= {key: fresh[key] for key in state if key.startswith(f"{classifier.head}.")}
    classifier.network.load_state_dict(state)
    return {"path": str(path), "sha256": source.sha256, "provenance": source.provenance}
