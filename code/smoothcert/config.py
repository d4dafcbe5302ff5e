"""The workflow's configuration: every key with its type, range, default and description.

``workflow/schemas/config.schema.json`` is generated from these classes (``make schema``).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from smoothcert import datasets, methods, models, yaml_files
from smoothcert.config_errors import explain
from smoothcert.errors import UserError, suggestion
from smoothcert.methods.base import Method
from smoothcert.published import Wanted
from smoothcert.settings import Section, Training
from smoothcert.smoothing.protocol import Evaluation, Protocol
from smoothcert.smoothing.settings import Attack, AttackSettings, Votes


def _two_decimals(sigma: float) -> float:
    """Refuse a noise level that its two decimals in a path would not tell from another."""
    # JSON schema's multipleOf would do, but fails on 0.07 or 0.29 in floating point.
    if round(sigma, 2) != sigma:
        raise UserError(f"a noise level has at most two decimals, not {sigma!r}")
    return sigma


FIRST = "experiments"
"""The key that every file of a configuration has."""

Sigma = Annotated[float, Field(gt=0, lt=100), AfterValidator(_two_decimals)]


def _one_line(name: str) -> str:
    """Return a name with single spaces, as tables show it."""
    words = " ".join(name.split())
    if not words:
        raise UserError("white space alone is no name")
    return words


Name = Annotated[str, Field(min_length=1), AfterValidator(_one_line)]
Seed = Annotated[int, Field(ge=0, lt=10**9)]
Lambda = Annotated[float, Field(ge=0)]


class Entry(Section):
    """One method of an experiment: a row of its tables, a line of its curves."""

    method: str
    """The training objective: a module of code/smoothcert/methods."""

    label: Name | None = None
    """Name in tables and figures; entries of one label share a row. Default: the method's title."""

    family: Name | None = None
    """Name of the entries among which the best at each radius is sought. Default: the label."""

    lambda_: Lambda | list[Lambda] = Field(0, alias="lambda")
    """Weight of the regularizer, or a list of weights to sweep. Required where the method has one;
    0 where it has none."""

    sigmas: list[Sigma] | None = Field(None, min_length=1)
    """Noise levels of this entry. Default: the experiment's."""

    seeds: list[Seed] | None = None
    """Seeds of this entry; none, as [], runs nothing. Default: the experiment's."""

    parameters: Method
    """The method's own parameters."""

    training: Training = Field(default_factory=Training)
    """Training settings of this entry, on top of the experiment's."""

    logs: str | None = Field(None, min_length=1)
    """Published certification logs that stand for this entry's runs: a pattern of file names below
    the folder of the logs, in which {sigma} is the noise level. One log a seed, in order."""

    published: Wanted | Literal["none"] | None = None
    """Published numbers that this entry is to repeat: what tells them from others, on top of the
    experiment's published; or none. Default: those of its method, if the experiment names any."""

    unpublished: tuple[str, ...] = ()
    """Settings that the reproduced source does not state: a guess. Changes no run."""

    @field_validator("logs")
    @classmethod
    def _logs_lie_below_their_folder(cls, pattern: str | None) -> str | None:
        try:
            any(Path(os.devnull).glob(pattern or "*"))  # finds nothing
        except (ValueError, IndexError, NotImplementedError) as error:
            raise UserError("no pattern of file names below the folder of the logs") from error
        return pattern

    @model_validator(mode="after")
    def _unpublished_are_settings(self) -> Entry:
        known = {"lambda", *type(self.parameters).model_fields, *Training.model_fields}
        for key in self.unpublished:
            if key not in known:
                raise UserError(f"unpublished: {key!r} is no setting{suggestion(key, known)}")
        return self

    @model_validator(mode="after")
    def _lambda_has_a_meaning(self) -> Entry:
        regularized = self.parameters.regularized
        if not self.lambdas:
            raise UserError("lambda is an empty list, which runs nothing; give it a weight")
        if not regularized and self.lambdas != [0]:
            raise UserError(f"method {self.method} has no regularizer: leave lambda out")
        if regularized and "lambda_" not in self.model_fields_set:
            raise UserError(f"method {self.method} needs lambda, the weight of its regularizer")
        return self

    @property
    def lambdas(self) -> list[float]:
        """Return the weights as a list."""
        return self.lambda_ if isinstance(self.lambda_, list) else [self.lambda_]

    @property
    def title(self) -> str:
        """Return the label, or the method's title, marked if its runs are published logs."""
        mark = ", published log" if self.logs else ""
        return self.label or f"{self.parameters.title}{mark}"


def _entry_type(name: str) -> type[Entry]:
    """Return Entry with the parameters of the method ``name``."""
    objective = methods.load(name)
    return create_model(
        f"Entry_{name}",
        __base__=Entry,
        __doc__=objective.__doc__,
        # Made here, it has no docstrings in a source, for which pydantic would search long.
        __cls_kwargs__={"use_attribute_docstrings": False},
        method=(Literal[name], Field(description=f"The training objective: {objective.title}.")),
        parameters=(
            objective,
            Field(default_factory=objective, description="The method's own parameters."),
        ),
    )


def _entry_types() -> Iterator[type[Entry]]:
    """Yield the types of the methods whose modules can be loaded.

    One that is just being written stops nothing but an entry that names it.
    """
    for name in methods.names():
        with contextlib.suppress(Exception):
            yield _entry_type(name)


AnyEntry = Annotated[reduce(or_, _entry_types()), Field(discriminator="method")]


class Margin(Section):
    """How far a number may lie from the published one and still be the same for practice."""

    acr: float = Field(0.005, gt=0, lt=1)
    """Of an average certified radius: share of the published one."""

    share: float = Field(0.01, gt=0, lt=1)
    """Of accuracies and rates of abstention: absolute; 0.01 is one percentage point. At most half
    the distance of the published one from 0 or 1."""


class Experiment(Section):
    """One report: a data set, noise levels, seeds and methods under one protocol."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=100)
    """Folder of the report below reports/: lower-case letters, digits and dashes."""

    title: str = ""
    """Heading of the report. Default: the name."""

    dataset: str
    """The data set: a module of code/smoothcert/datasets."""

    arch: str
    """The network: a module of code/smoothcert/models that takes the data set's images."""

    sigmas: list[Sigma] = Field(min_length=1)
    """Standard deviations of the noise, on the [0, 1] pixel scale, in steps of 0.01."""

    seeds: list[Seed] = Field([0], min_length=1)
    """Seeds of training and certification; each gives one run a cell."""

    training: Training = Field(default_factory=Training)
    """Training settings that the methods share."""

    certification: Protocol = Field(default_factory=Protocol)
    """The certification protocol."""

    attack: AttackSettings | None = None
    """Attacks on the classifiers that are certified, on the same images. n and alpha are those of
    certification, unless they are given. Default: none."""

    radius_step: float = Field(0.25, gt=0)
    """Distance of the radii at which tables list certified accuracy."""

    published: Wanted | None = None
    """Published numbers to compare with, as source: jeong2020rebuttal. Default: none."""

    margin: Margin = Field(default_factory=Margin)
    """Largest differences that count as reproduced."""

    methods: list[AnyEntry] = Field(min_length=1)
    """The methods to compare."""

    @model_validator(mode="before")
    @classmethod
    def _share_training(cls, content: Any) -> Any:
        """Give each entry the experiment's training settings beneath its own."""
        if not isinstance(content, dict) or not isinstance(content.get("methods"), list):
            return content
        shared = content.get("training") or {}

        def merged(entry: Any) -> Any:
            own = entry.get("training", {}) if isinstance(entry, dict) else None
            if not isinstance(own, dict) or not isinstance(shared, dict):
                return entry
            return {**entry, "training": {**shared, **own}}

        return {**content, "methods": [merged(entry) for entry in content["methods"]]}

    @model_validator(mode="before")
    @classmethod
    def _share_votes(cls, content: Any) -> Any:
        """Give the attack as many votes as certification, and its level, beneath its own."""
        if not isinstance(content, dict):
            return content
        shared, attack = (content.get(key) for key in ("certification", "attack"))
        if not isinstance(shared, dict) or not isinstance(attack, dict):
            return content
        votes = {key: shared[key] for key in Votes.model_fields if key in shared}
        return {**content, "attack": {**votes, **attack}}

    @field_validator("dataset")
    @classmethod
    def _known_dataset(cls, name: str) -> str:
        if name not in datasets.names():
            raise UserError(f"unknown dataset {name!r}{suggestion(name, datasets.names())}")
        return name

    @field_validator("arch")
    @classmethod
    def _known_arch(cls, name: str) -> str:
        if name not in models.names():
            raise UserError(f"unknown arch {name!r}{suggestion(name, models.names())}")
        return name

    @field_validator("sigmas", "seeds")
    @classmethod
    def _distinct(cls, values: list) -> list:
        if len(set(values)) < len(values):
            raise UserError("a value stands twice")
        return values

    @model_validator(mode="after")
    def _sound(self) -> Experiment:
        data = datasets.describe(self.dataset)
        models.refuse_other_size(self.arch, data.size)
        self.certification.indices(data.test_images)
        if self.certification.mode == "radius":
            raise UserError(
                "mode radius gives neither ACR nor curves, which experiments compare; use it with "
                "smoothcert certify"
            )
        return self

    @property
    def attacking(self) -> Attack | None:
        """Return the attacks with the images and the arithmetic that certification shares."""
        if self.attack is None:
            return None
        shared = self.certification.model_dump(include=set(Evaluation.model_fields))
        return Attack(**shared, **self.attack.model_dump())

    @property
    def heading(self) -> str:
        """Return the title, or the name."""
        return self.title or self.name


class _Experiments(Section):
    """What a file holds whose name stands in the list of experiments."""

    experiments: list[Experiment] = Field(min_length=1)
    """The reports to make. The name of a file (.yaml) stands for the experiments in it."""

    @field_validator(
        "experiments",
        mode="before",
        json_schema_input_type=Annotated[list[Experiment | str], Field(min_length=1)],
    )
    @classmethod
    def _from_files(cls, experiments: Any, about: ValidationInfo) -> Any:
        if not isinstance(experiments, list):
            return experiments
        above = about.context or ()
        return [
            experiment
            for item in experiments
            for experiment in (_experiments_in(item, above) if isinstance(item, str) else [item])
        ]


class Config(_Experiments):
    """The whole configuration. A preset replaces ``experiments``; the other keys merge."""

    data_dir: str = "data"
    """Folder of the data sets, in torchvision's layout; what is absent is downloaded there, but for
    ImageNet."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where training, certification and attacks run: auto takes a GPU where there is one."""

    threads: int = Field(1, ge=1)
    """CPU threads of each training, certification and attack."""

    shards: int = Field(1, ge=1)
    """Jobs that share the test images of each certification."""

    partial: bool = False
    """Report on the finished runs alone: train, certify and attack nothing, whatever has changed
    since, and list what is missing."""

    @field_validator("experiments")
    @classmethod
    def _distinct_names(cls, experiments: list[Experiment]) -> list[Experiment]:
        names = [experiment.name for experiment in experiments]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"two experiments are called {name!r}")
        return experiments


SECTIONS = {
    "": Config,
    "experiments": Experiment,
    "methods": Entry,
    "training": Training,
    "certification": Protocol,
    "attack": AttackSettings,
    "margin": Margin,
    "published": Wanted,
}
"""What each key of a configuration may hold; the empty key stands for the top level."""


def _experiments_in(name: str, above: tuple[str, ...]) -> list[Experiment]:
    """Return the experiments of the file ``name``, which the files ``above`` lead to.

    Raises UserError, which names it.
    """
    if name in above:
        raise UserError(f"{' -> '.join((*above, name))}: files that list each other")
    content = yaml_files.load(Path(name), FIRST)
    others = sorted(map(str, content.keys() - {FIRST}))
    if others:
        raise UserError(f"{name} sets {others[0]} too, which only files on the command line can")
    try:
        return _Experiments.model_validate(content, context=(*above, name)).experiments
    except ValidationError as error:
        raise UserError(f"{name}: {explain(error, SECTIONS)}") from error
