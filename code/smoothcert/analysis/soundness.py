"""Whether a table of certificates tells what certificates can."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from smoothcert.errors import UserError
from smoothcert.records import ABSTAIN, AGAIN


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
    }
    if "count" in table:
        sound["count"] = (table["count"] >= 0) & (table["count"] <= table["n"])
    for name, rows in sound.items():
        if not rows.all():
            first = rows.idxmin()
            raise UserError(
                f"{path} has an impossible row (image {table['idx'][first]}, {name} "
                f"{table[name][first]:g}); delete it and {AGAIN}"
            )
