"""Rows that no certificate can have."""

import re

import pandas as pd
import pytest

from smoothcert.analysis.soundness import refuse_impossible
from smoothcert.errors import UserError
from smoothcert.records import ABSTAIN

SOUND = pd.DataFrame(
    {
        "idx": [0, 20, 40, 60],
        "label": [7, 2, 1, 3],
        "predict": [7, ABSTAIN, 4, 3],
        "radius": [0.953, 0.0, 0.3, 0.0],
        "correct": [1, 0, 0, 1],
        "count": [999, 400, 900, 501],
        "n": [1000, 1000, 1000, 1000],
        "time": [0.0, 0.1, 0.1, 0.1],
        "p_lower": [0.99, 0.37, 0.87, 0.45],
    }
)


def test_sound_rows_pass():
    refuse_impossible("table", SOUND)
    refuse_impossible("log", SOUND.drop(columns=["count", "n", "p_lower"]))


@pytest.mark.parametrize(
    ("image", "column", "value"),
    [
        (0, "radius", float("nan")),
        (0, "radius", float("inf")),
        (40, "radius", -1.0),
        (20, "radius", 0.2),
        (40, "predict", -2),
        (0, "correct", 2),
        (20, "correct", 1),
        (60, "correct", 0),
        (60, "count", 1001),
        (0, "count", -1),
        (40, "time", float("inf")),
        (20, "p_lower", 1.5),
        (20, "p_lower", -0.5),
    ],
)
def test_an_impossible_row_is_named(image, column, value):
    table = SOUND.copy()
    table.loc[table["idx"] == image, column] = value
    words = f"table has an impossible row (image {image}, {column} {value:g}); delete it and"
    with pytest.raises(UserError, match=re.escape(words)):
        refuse_impossible("table", table)
