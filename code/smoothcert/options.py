"""Options of the command line: those that commands share, and one for each setting of a section."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Literal, NoReturn, get_args, get_origin

from pydantic import ValidationError

from smoothcert import config
from smoothcert.config_errors import explain
from smoothcert.errors import UserError
from smoothcert.settings import Section


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and takes no option by a part of its name."""

    def __init__(self, **settings):
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Exit with the message and where to read more."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def add_output(command: argparse.ArgumentParser, what: str) -> None:
    """Add the option that says where to write ``what``."""
    command.add_argument("--output", type=Path, required=True, help=what)


DATA = "folder of the data sets; what is absent is downloaded there, but for ImageNet"


def add_data_dir(command: argparse.ArgumentParser, what: str = DATA) -> None:
    """Add the option that names the folder of the data sets; ``what`` says what it holds."""
    command.add_argument(
        "--data-dir",
        type=Path,
        default=Path("data"),
        metavar="DIR",
        help=f"{what} (default: data)",
    )


def add_machine(
    command: argparse.ArgumentParser, device: str | None = "auto", threads: int | None = 1
) -> None:
    """Add the options that say where to compute; None stands for the configuration's value."""
    command.add_argument(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default=device,
        help=f"auto takes a GPU where there is one (default: {device or 'as configured'})",
    )
    command.add_argument(
        "--threads",
        type=int,
        default=threads,
        help=f"CPU threads (default: {threads or 'as configured'})",
    )


def add_model(command: argparse.ArgumentParser, section: type[Section], title: str) -> None:
    """Add the options of a command that evaluates a model."""
    command.add_argument("model", type=Path, help="model.pt of a trained run, or a converted one")
    add_section(command, section, title)
    add_data_dir(command)
    add_machine(command)
    add_replace(command)


TABLE = "table of other weights, settings, code or devices, or a damaged one"


def add_replace(command: argparse.ArgumentParser, what: str = TABLE) -> None:
    """Add the option to replace what is finished; ``what`` says which output that is."""
    command.add_argument(
        "--replace",
        action="store_true",
        help=f"replace a finished {what}; it stays until the new one is finished",
    )


def add_experiment(command: argparse.ArgumentParser) -> None:
    """Add the argument that names an experiment's manifest."""
    command.add_argument(
        "experiment", type=Path, help="experiment.json, which the workflow writes beside its report"
    )


def add_section(command: argparse.ArgumentParser, section: type[Section], title: str) -> None:
    """Add an option for every field of a settings section, with its description and default.

    Raises UserError if the command has an option of a field's name already.
    """
    group = command.add_argument_group(f"{title} settings")
    for name, field in section.model_fields.items():
        kind = field.annotation
        choices = get_args(kind) if get_origin(kind) is Literal else None
        several = get_origin(kind) is list
        kind = next((one for one in get_args(kind) if one is not type(None)), kind)
        kind = getattr(kind, "__origin__", kind)  # what Annotated annotates
        kind = _truth if kind is bool else kind
        default = "none" if field.default is None else field.default
        default = "required" if field.is_required() else f"default: {default}"
        try:
            group.add_argument(
                f"--{name.replace('_', '-')}",
                dest=_dest(section, name),
                type=type(choices[0]) if choices else kind,
                choices=choices,
                nargs="+" if several else None,
                required=field.is_required(),
                default=field.default,
                metavar=None if choices else name.upper().removesuffix("S" if several else ""),
                help=f"{field.description or ''} ({default})".strip().replace("%", "%%"),
            )
        except argparse.ArgumentError as error:
            raise UserError(
                f"{title} cannot have a setting {name}, which {command.prog} has already; rename it"
            ) from error


def read_section(options: argparse.Namespace, section: type[Section]) -> Section:
    """Return the section that the options fill, or raise a UserError that names one."""
    try:
        values = {name: getattr(options, _dest(section, name)) for name in section.model_fields}
        return section(**values)
    except ValidationError as error:
        raise UserError(explain(error, config.SECTIONS)) from error


def _dest(section: type[Section], name: str) -> str:
    """Return where the value of a section's option is kept, apart from all others'."""
    return f"{section.__module__}.{name}"


def finite(text: str) -> float:
    """Return the number that an option gives, neither nan nor infinite."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number")
    return number


def _truth(text: str) -> bool:
    """Return the truth that an option gives, as YAML and Python write it."""
    known = {"true": True, "false": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return known[text.lower()]
