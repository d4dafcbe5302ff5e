"""One published number."""

from __future__ import annotations

from dataclasses import dataclass

OF_CERTIFY = ("acr", "certified_accuracy", "abstention")
"""Metrics of CERTIFY."""

SHARES = (*OF_CERTIFY[1:], "predict_accuracy", "predict_abstention")
"""Metrics whose values lie in [0, 1]."""

METRICS = (OF_CERTIFY[0], *SHARES, "train_seconds_per_epoch", "train_hours_total")


@dataclass(frozen=True)
class Number:
    """One published number. None stands for what does not apply or is not known."""

    source: str
    """Key of the publication: the name of the file."""
    dataset: str
    arch: str
    method: str
    settings: dict[str, str]
    """What the source tells of the training, in the names of our parameters."""
    sigma: float | None
    """None for the best over several noise levels."""
    metric: str
    radius: float | None
    subset: str
    """In the protocol's notation where it has one, else in words."""
    images: int | None
    n: int | None
    alpha: float | None
    radii: str
    """How the certified radii behind it were rounded; see ``metrics.round_radii``."""
    printed: str
    """The value with the decimals that were printed."""
    std: float | None
    """Sample standard deviation over seeds."""
    seeds: int
    table: str
    """The table, or the log, in the authors' repository."""
    note: str

    @property
    def value(self) -> float:
        """Return the value; shares lie in [0, 1]."""
        return float(self.printed)

    @property
    def rounding(self) -> float:
        """Return half a unit of the last printed digit: how far off the true value may be."""
        return 0.5 * 10.0 ** -len(self.printed.partition(".")[2])

    @property
    def best_of(self) -> str | None:
        """Return of how many runs it is the best on the test set: a number, or ``unstated``."""
        return self.settings.get("best_of")
