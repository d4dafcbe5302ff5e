"""What the files of a run are called. Descriptions tell what the table beside them is of."""

from __future__ import annotations

MODEL = "model.pt"
TRAINING_LOG = "train.tsv"
TRAINING_STATE = "resume.pt"
"""That after the last whole epoch, until training is finished."""
CERTIFICATES, CERTIFICATES_DESCRIPTION = "certificates.tsv", "certificates.json"
SUMMARY = "summary.json"
ATTACKED, ATTACKED_DESCRIPTION = "attacked.tsv", "attacked.json"
