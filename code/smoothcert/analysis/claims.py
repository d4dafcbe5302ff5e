"""What the papers say in words, as data: comparisons of cells that our runs can decide."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from smoothcert import datasets, methods, models, published, yaml_files
from smoothcert.config_errors import explain
from smoothcert.errors import UserError, suggestion
from smoothcert.published.told import misfit, plain
from smoothcert.settings import Section

if TYPE_CHECKING:
    from smoothcert.config import Experiment

FILE = Path(__file__).parents[3] / "config" / "claims.yaml"
ID = r"^[a-z0-9][a-z0-9-]*$"


def _one_of(what: str, names: Callable[[], list[str]]) -> AfterValidator:
    def known(name: str) -> str:
        if name not in names():
            raise UserError(f"unknown {what} {name!r}{suggestion(name, names())}")
        return name

    return AfterValidator(known)


Source = Annotated[str, _one_of("source", published.sources)]
"""A file of config/published."""


class Cell(Section):
    """A method with its settings, at the noise level of the comparison."""

    method: Annotated[str, _one_of("method", methods.names)]
    """The training objective."""

    lambda_: float | None = Field(None, alias="lambda")
    """Weight of the regularizer; may be left out where only one was run."""

    settings: dict[str, float | str] = Field(default_factory=dict)
    """Further settings of the method and its training that tell this cell from others."""

    published: Source | None = None
    """The publication of its numbers, if it is another one than the claim's."""

    @model_validator(mode="after")
    def _settings_are_of_the_method(self) -> Cell:
        for key in self.settings:
            if fault := misfit(key, self.method):
                raise UserError(f"settings: {fault}")
        return self

    def __str__(self) -> str:
        named = {} if self.lambda_ is None else {"lambda": self.lambda_}
        told = ", ".join(f"{key} {plain(value)}" for key, value in (named | self.settings).items())
        return f"{self.method} ({told})" if told else self.method


class Comparison(Section):
    """One cell against one or several others, at one or several noise levels."""

    left: Cell
    """The cell that the claim is about."""

    relation: Literal["above", "below", "equal", "steady"]
    """above, below: by more than threshold. equal: within threshold. steady: the deviation over
    seeds is below threshold times the difference."""

    right: list[Cell] = Field(min_length=1)
    """What it is compared with, one by one."""

    sigmas: list[float] = Field(min_length=1)
    """Noise levels; the relation must hold at each."""

    metric: Literal["acr", "certified_accuracy", "abstention"] = "acr"
    """The metric."""

    radius: float | None = Field(None, ge=0)
    """Of a certified accuracy; 0 is the clean accuracy."""

    add_abstention: bool = False
    """Whether abstentions are added: as if every abstention were right."""

    threshold: float = Field(0, ge=0)
    """In the unit of the metric, shares in [0, 1]; of steady a factor."""

    @model_validator(mode="after")
    def _sound(self) -> Comparison:
        if (self.radius is None) == (self.metric == "certified_accuracy"):
            raise UserError("metric certified_accuracy, and no other, needs radius")
        if self.relation in ("equal", "steady") and not self.threshold:
            raise UserError(f"relation {self.relation} needs a threshold above 0")
        return self


class Claim(Section):
    """A sentence of a paper or an author response."""

    id: str = Field(pattern=ID)
    """Lower-case letters, digits and dashes."""

    text: str = Field(min_length=1)
    """The claim in our words."""

    source: str = Field(min_length=1)
    """Who makes it, and where."""

    published: Source
    """The publication of the numbers that it is about, a file of config/published: runs that are
    trained or certified in another way say nothing of it."""

    dataset: Annotated[str, _one_of("dataset", datasets.names)]
    """The data set."""

    arch: Annotated[str, _one_of("arch", models.names)]
    """The network."""

    comparisons: list[Comparison] = Field(min_length=1)
    """What it says about numbers; all must hold."""

    @property
    def sources(self) -> set[str]:
        """Return the publications of all numbers that it is about."""
        cells = [cell for one in self.comparisons for cell in (one.left, *one.right)]
        return {self.published, *filter(None, (cell.published for cell in cells))}


class _Claims(Section):
    claims: list[Claim]

    @model_validator(mode="after")
    def _distinct(self) -> _Claims:
        names = [claim.id for claim in self.claims]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"two claims have the id {name}")
        return self


SECTIONS = {"": _Claims, "claims": Claim, "comparisons": Comparison, "left": Cell, "right": Cell}
"""What each key of the file may hold; the empty key stands for the top level."""


def read(path: Path = FILE) -> list[Claim]:
    """Return the claims, or raise UserError with one line that names what is wrong."""
    content = yaml_files.load(path, "claims")
    try:
        return _Claims.model_validate(content).claims
    except ValidationError as error:
        raise UserError(f"{path}: {_by_id(explain(error, SECTIONS), content)}") from error


def check(experiments: Iterable[Experiment]) -> None:
    """Raise UserError if the claims, or the numbers of those on an experiment, cannot be read.

    The tables read them, after all training.
    """
    about = {(experiment.dataset, experiment.arch) for experiment in experiments}
    for claim in read():
        if (claim.dataset, claim.arch) in about:
            for source in claim.sources:
                published.find(published.Query(source=source))


def _by_id(message: str, content: dict[str, Any]) -> str:
    """Return the message with a claim's id, if it is sound, in place of its number."""
    place = re.match(r"claims\[(\d+)\][.:] ?", message)
    claim = content["claims"][int(place[1])] if place else None
    name = claim.get("id") if isinstance(claim, dict) else None
    if not (isinstance(name, str) and re.fullmatch(ID, name)):
        return message
    return f"claim {name}: {message[place.end() :]}"
