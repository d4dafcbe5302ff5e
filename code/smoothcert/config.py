"""The workflow's configuration: every key with its type, range, default and description.

``workflow/schemas/config.schema.json`` is generated from these classes (``make schema``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from itertools import product
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from smoothcert import datasets, methods, models, published
from smoothcert.errors import UserError, suggestion
from smoothcert.methods.base import Method
from smoothcert.point import Point
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


Sigma = Annotated[float, Field(gt=0, lt=100), AfterValidator(_two_decimals)]
Seed = Annotated[int, Field(ge=0, lt=10**9)]
Lambda = Annotated[float, Field(ge=0)]

LISTS = ("list_type", "tuple_type")
"""Pydantic's errors where a list is expected."""

DEFAULT = Path("config", "config.yaml")
"""The workflow's own configuration, over which Snakemake lays those of its command line."""

RESULTS = "results"
"""Folder of all runs, in the workflow's working folder."""


class Entry(Section):
    """One method of an experiment: a row of its tables, a line of its curves."""

    method: str
    """The training objective: a module of code/smoothcert/methods."""

    label: str | None = Field(None, min_length=1)
    """Name in tables and figures; entries of one label share a row. Default: the method's title."""

    family: str | None = Field(None, min_length=1)
    """Name of the entries among which the best at each radius is sought. Default: the label."""

    lambda_: Lambda | list[Lambda] = Field(0, alias="lambda")
    """Weight of the regularizer, or a list of weights to sweep. Required where the method has one;
    0 where it has none."""

    sigmas: list[Sigma] = Field([], validate_default=False)
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
        method=(Literal[name], Field(description=f"The training objective: {objective.title}.")),
        parameters=(
            objective,
            Field(default_factory=objective, description="The method's own parameters."),
        ),
    )


AnyEntry = Annotated[
    reduce(or_, (_entry_type(name) for name in methods.names())), Field(discriminator="method")
]


@dataclass(frozen=True)
class Run:
    """A point of an experiment under the label of its row."""

    label: str
    family: str
    point: Point
    log: dict[str, Any] | None
    """For a run that is a published log: the pattern of file names, and the entry's seeds."""
    unpublished: tuple[str, ...]
    """Settings of the point that the reproduced source does not state."""


class Margin(Section):
    """How far a number may lie from the published one and still be the same for practice."""

    acr: float = Field(0.005, gt=0, lt=1)
    """Of an average certified radius: share of the published one."""

    share: float = Field(0.01, gt=0, lt=1)
    """Of accuracies and rates of abstention: absolute; 0.01 is one percentage point. At most half
    of what the published one is away from 0 or 1."""


class _ByName(dict[str, "Experiment"]):
    """The experiments of a configuration by name, which each of them refers to.

    Experiments are equal whatever stands beside them; comparing it would also never end.
    """

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByName)


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

    _all: _ByName = PrivateAttr(default_factory=lambda: _ByName())
    """The configuration's experiments, to find what init_from names."""

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
        cells: dict[tuple, dict[int, tuple]] = {}
        for run in self.runs():
            point = run.point
            seeds = cells.setdefault((run.label, point.sigma, point.weight), {})
            settings = (replace(point, seed=0), run.log is None)
            place = (
                f"two runs labelled {run.label!r} share sigma {point.sigma:g}, lambda "
                f"{point.weight:g}"
            )
            if any(settings != other for other in seeds.values()):
                raise UserError(f"{place}, but not all settings; label them apart")
            if point.seed in seeds:
                raise UserError(f"{place} and seed {point.seed}; leave one out")
            seeds[point.seed] = settings
        if not cells:
            raise UserError("seeds: no method has one, so that nothing would run; give one a seed")
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

    @property
    def manifest(self) -> dict[str, Any]:
        """Return what the experiment consists of, for the analysis: protocol, settings, runs."""
        attack = self.attacking
        runs = [
            {
                "label": run.label,
                "family": run.family,
                "point": run.point.content,
                "folder": self._folder(run),
                "certificates": f"{self._folder(run)}/{self.certification.folder}",
                "attacked": f"{self._folder(run)}/{attack.folder}"
                if attack and not run.log
                else None,
                "log": run.log,
                "unpublished": list(run.unpublished),
            }
            for run in self.runs()
        ]
        return {
            "name": self.name,
            "title": self.heading,
            "dataset": self.dataset,
            "arch": self.arch,
            "radius_step": self.radius_step,
            "protocol": self.certification.model_dump(mode="json"),
            "attack": attack.model_dump(mode="json") if attack else None,
            "configuration": self.model_dump(mode="json"),
            "runs": runs,
            "published": list(self._published()),
        }

    def _published(self) -> Iterator[dict[str, Any]]:
        """Yield the published numbers of each cell, in the order of the methods.

        Raises UserError if none or several published numbers are meant by one of a cell.
        """
        for entry in self.methods:
            wanted = [one for one in (self.published, entry.published) if one is not None]
            if not wanted or entry.published == "none":
                continue
            for sigma, weight in product(entry.sigmas or self.sigmas, entry.lambdas):
                cell = {"dataset": self.dataset, "arch": self.arch, "sigma": sigma}
                meant = published.combine({"method": entry.method}, *wanted, cell)
                settings = {
                    **entry.training.model_dump(mode="json"),
                    **entry.parameters.model_dump(mode="json"),
                    "lambda": weight,
                }
                try:
                    numbers = published.numbers(meant, settings)
                except UserError as error:
                    raise UserError(f"experiment {self.name}, {entry.title}: {error}") from error
                yield {
                    "label": entry.title,
                    "lambda": weight,
                    "sigma": sigma,
                    "settings": settings,
                    "log": entry.logs is not None,
                    "numbers": [asdict(number) for number in numbers],
                }

    def _folder(self, run: Run) -> str:
        """Return the folder of a run; imported logs lie beside the trained runs."""
        below = f"published-logs/{self.name}/" if run.log else ""
        return f"{RESULTS}/{below}{run.point.folder}"

    def runs(self) -> Iterator[Run]:
        """Yield every run, in the order of the methods.

        Raises UserError if an init_from names no run of the configuration, leads back to itself,
        or names one of another arch or, unless init_head is new, number of classes.
        """
        for entry in self.methods:
            seeds = self.seeds if entry.seeds is None else entry.seeds
            log = {"pattern": entry.logs, "seeds": seeds} if entry.logs else None
            family = entry.family or entry.title
            for sigma, weight, seed in product(entry.sigmas or self.sigmas, entry.lambdas, seeds):
                point = self._point(entry, sigma, weight, seed, ())
                yield Run(entry.title, family, point, log, entry.unpublished)

    def _point(
        self, entry: Entry, sigma: float, weight: float, seed: int, followers: tuple[str, ...]
    ) -> Point:
        """Return the entry's point; ``followers`` are the entries that start from it."""
        training = entry.training
        # While the experiments are still being read, _all is empty, and nothing needs the folders.
        if self._all and training.init_from and not training.init_from.endswith(".pt"):
            name = f"{self.name}/{entry.title}"
            if name in followers:
                raise UserError(f"init_from leads in a circle: {' -> '.join((*followers, name))}")
            source = self._source(entry, sigma, weight, seed, (*followers, name))
            model = f"{RESULTS}/{source.folder}/model.pt"
            training = training.model_copy(update={"init_from": model})
        return Point(
            dataset=self.dataset,
            arch=self.arch,
            method=entry.method,
            sigma=sigma,
            weight=weight,
            seed=seed,
            training=training,
            parameters=entry.parameters,
        )

    def _source(
        self, entry: Entry, sigma: float, weight: float, seed: int, followers: tuple[str, ...]
    ) -> Point:
        """Return the point that the entry's init_from names."""
        place = f"experiment {self.name}, {entry.title}: init_from {entry.training.init_from!r}"
        names = [f"{name}/{one.title}" for name, e in self._all.items() for one in e.methods]
        if entry.training.init_from not in names:
            raise UserError(
                f"{place} is neither a run as EXPERIMENT/LABEL nor a checkpoint file (.pt)"
                f"{suggestion(entry.training.init_from, names)}"
            )
        name, _, label = entry.training.init_from.partition("/")
        experiment = self._all[name]
        found = [
            (one, weight if len(one.lambdas) > 1 else one.lambdas[0])
            for one in experiment.methods
            if one.title == label
            and sigma in (one.sigmas or experiment.sigmas)
            and (len(one.lambdas) == 1 or weight in one.lambdas)
            and seed in (experiment.seeds if one.seeds is None else one.seeds)
            and not one.logs
        ]
        if len(found) != 1:
            raise UserError(
                f"{place} has {'no run' if not found else 'several runs'} with sigma {sigma:g}, "
                f"seed {seed} and lambda {weight:g}"
            )
        point = experiment._point(found[0][0], sigma, found[0][1], seed, followers)
        if point.arch != self.arch:
            raise UserError(f"{place} is a {point.arch}, not a {self.arch}")
        classes = [datasets.describe(one.dataset).classes for one in (experiment, self)]
        if classes[0] != classes[1] and entry.training.init_head == "kept":
            raise UserError(
                f"{place} tells {classes[0]} classes apart, not {classes[1]}; set init_head to new"
            )
        return point


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
    """Jobs that share the test images of each certification; going back to 1 certifies anew."""

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

    @model_validator(mode="after")
    def _names_are_found(self) -> Config:
        """Look up what experiments name: runs to start from, and published numbers."""
        for experiment in self.experiments:
            experiment._all.update({one.name: one for one in self.experiments})
        for experiment in self.experiments:
            list(experiment.runs())
            list(experiment._published())
        return self


def read(content: dict[str, Any]) -> Config:
    """Return the validated configuration.

    Raises UserError with one line that names the first wrong key and what to write instead.
    """
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise UserError(f"config: {explain(error)}") from error


def points(settings: Config) -> list[Point]:
    """Return the points that are trained, as often as experiments name them."""
    runs = (run for experiment in settings.experiments for run in experiment.runs())
    return [run.point for run in runs if not run.log]


def made(settings: Config) -> set[str]:
    """Return the files of the models that the runs of the configuration make."""
    return {f"{RESULTS}/{point.folder}/model.pt" for point in points(settings)}


def refuse_absent_files(settings: Config) -> None:
    """Raise UserError if a file that training reads is not there and no run makes it.

    Snakemake would say so too, but not which key names the file.
    """
    models = made(settings)
    for point in points(settings):
        for key in ("init_from", "extra_images"):
            file = getattr(point.training, key)
            if file and file not in models and not Path(file).exists():
                raise UserError(f"config: {key} of {point}: {file} does not exist")


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML's readers keep the last without a word."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):  # as in {{...}}
                raise yaml.MarkedYAMLError(None, None, "a key is no plain word", key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(None, None, f"{key.value} stands twice", key.start_mark)
            seen.add(key.value)
        return node


def load(path: Path) -> dict[str, Any]:
    """Return the keys of a configuration file, which nothing has checked yet.

    Raises UserError if it cannot be read, is not a mapping, or holds a key twice.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            content = yaml.load(stream, _Loader)  # noqa: S506, safe like its base
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a mapping of keys; start it with experiments:")
    return content


def merged(paths: Sequence[Path]) -> dict[str, Any]:
    """Return the content of the files, merged as Snakemake does: dicts merge, lists are replaced.

    Where the workflow's own file is there, it comes first, as for Snakemake.

    Raises UserError if a file cannot be read or is not a mapping.
    """
    content: dict[str, Any] = load(DEFAULT) if DEFAULT.exists() else {}
    for path in paths:
        _lay_over(content, load(path))
    return content


def _lay_over(content: dict[str, Any], overlay: dict[str, Any]) -> None:
    for key, value in overlay.items():
        if isinstance(value, dict) and isinstance(content.get(key), dict):
            _lay_over(content[key], value)
        else:
            content[key] = value


def _experiments_in(name: str, above: tuple[str, ...]) -> list[Experiment]:
    """Return the experiments of the file ``name``, which the files ``above`` lead to.

    Raises UserError, which names it.
    """
    if name in above:
        raise UserError(f"{' -> '.join((*above, name))}: files that list each other")
    content = load(Path(name))
    others = sorted(map(str, content.keys() - {"experiments"}))
    if others:
        raise UserError(f"{name} sets {others[0]} too, which only files on the command line can")
    try:
        return _Experiments.model_validate(content, context=(*above, name)).experiments
    except ValidationError as error:
        raise UserError(f"{name}: {explain(error)}") from error


def explain(error: ValidationError) -> str:
    """Return pydantic's first error as one line: the key, what is wrong, the nearest name.

    Of a value that may be of several types, every type has its error: the one farthest within
    the value is that of the type which was meant.
    """
    errors = [(_place(one["loc"]), one) for one in error.errors()]
    key = errors[0][0]
    place, first = max(
        (one for one in errors if one[0].startswith(key)), key=lambda one: len(one[0])
    )
    if first["type"] == "missing":
        # A key that was misspelt is missing too.
        place, first = next((e for e in errors if e[1]["type"] == "extra_forbidden"), errors[0])
    if first["type"] == "extra_forbidden":
        return f"{place}: unknown key{_instead(first['loc'])}"
    if first["type"] == "missing":
        return f"{place}: this key is required"
    if first["type"] == "union_tag_not_found":
        return f"{place}.method: this key is required"
    if first["type"] == "union_tag_invalid":
        name = first["ctx"]["tag"]
        return f"{place}.method: unknown method {name!r}{suggestion(name, methods.names())}"
    value = first["input"]
    if first["type"] in ("model_type", "model_attributes_type", "dict_type", *LISTS):
        several = first["type"] in LISTS
        if value is None:
            return f"{place} is empty: leave it out or give it {'a list' if several else 'keys'}"
        expected = f"a list, as [{value}]" if several else f"keys with values, not {value!r}"
        return f"{place}: expects {expected}"
    message = first["msg"].removeprefix("Value error, ")
    if isinstance(value, str | int | float) and first["type"] != "value_error":
        message += f", not {value!r}"
    return f"{place}: {message}" if place else message


def _place(location: tuple[str | int, ...]) -> str:
    """Return ``experiments[0].methods[1].training.lr`` for pydantic's location of an error."""
    place = ""
    for before, part in zip((None, *location), location, strict=False):
        if isinstance(part, int):
            place += f"[{part}]"
        elif not _is_tag(before, part):
            place += f".{part}"
    return place.removeprefix(".")


def _is_tag(before: str | int | None, part: str) -> bool:
    """Return whether a part of a location names one type of a union, and no key."""
    if isinstance(before, int):
        return part in methods.names()
    return part == "Wanted" or part.startswith(("constrained-", "list[", "literal["))


def _instead(location: tuple[str | int, ...]) -> str:
    """Return what to write instead of the unknown key at the end of a location, or where."""
    *above, key = (part for part in location if isinstance(part, str))
    if "published" in above:
        return suggestion(key, _keys(Wanted))
    method = next((part for part in above if part in methods.names()), None)
    sections: dict[str, tuple[str, type[BaseModel]]] = {
        # What attacks take from certification is sought there first.
        "certification": ("certification", Protocol),
        "training": ("training", Training),
        "margin": ("margin", Margin),
        "experiments": ("the experiment", Experiment),
        "": ("the top level", Config),
    }
    if method:
        own = {"parameters": ("parameters", methods.load(method)), method: ("its method", Entry)}
        sections = own | sections
    if not method or key == "epsilons":  # parameters of methods have the other names too
        sections["attack"] = ("attack", AttackSettings)
    _, here = sections.pop(above[-1] if above else "")
    for place, section in sections.values():
        if key in _keys(section):
            return f"; it belongs to {place}"
    if not _keys(here):
        return f"; method {method} has no parameters"
    return suggestion(key, _keys(here))


def _keys(section: type[BaseModel]) -> set[str]:
    """Return the keys that a section may hold."""
    return {field.alias or name for name, field in section.model_fields.items()}
