"""Whether a table of certificates tells what certificates can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smoothcert.errors import UserError
from smoothcert.records import ABSTAIN, AGAIN, PUBLISHED_LOG
from smoothcert.run_files import CERTIFICATES
from smoothcert.smoothing import modes
from smoothcert.smoothing.protocol import read_protocol


def refuse_impossible(path: Path, table: pd.DataFrame) -> None:
    """Raise UserError, which names ``path``, for the first row that no certificate can have.

    ``table`` is what ``records.read_table`` returned.
    """
    predict, radius = table["predict"], table["radius"]
    abstained = predict == ABSTAIN
    sound = {
        "predict": predict >= ABSTAIN,
        "radius": np.isfinite(radius) & (radius >= 0) & ~(abstained & (radius > 0)),
        "correct": table["correct"] == (predict == table["label"]),
        "time": np.isfinite(table["time"]),
    }
    if "p_lower" in table:
        sound["p_lower"] = (table["p_lower"] >= 0) & (table["p_lower"] <= 1)
    if "count" in table:
        sound["count"] = (table["count"] >= 0) & (table["count"] <= table["n"])
    for name, rows in sound.items():
        if not rows.all():
            first = rows.idxmin()
            raise UserError(
                f"{path} has an impossible row (image {table['idx'][first]}, {name} "
                f"{table[name][first]:g}); delete it and {AGAIN}"
            )


def refuse_beyond(folder: Path, table: pd.DataFrame, description: dict[str, Any]) -> None:
    """Raise UserError for a radius that the protocol of the certificates in ``folder`` rules out.

    ``table`` and ``description`` are what ``records.read`` returned.
    """
    protocol = read_protocol(folder, description["protocol"])
    sigma = description["point"]["sigma"]
    cap, largest = modes.of(protocol, sigma).largest_radius(sigma), table["radius"].max()
    # Logs round to three digits.
    log = description["provenance"].get("device") == PUBLISHED_LOG
    if largest > cap * (1.005 if log else 1 + 1e-6):
        raise UserError(
            f"{folder / CERTIFICATES} has a radius of {largest:g}, and n {protocol.n} allows "
            f"{cap:.4f}; certify again, or mend sigma and n of the configuration"
        )
