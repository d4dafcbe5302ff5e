"""A configuration: read from its files, which are laid over one another as Snakemake does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from smoothcert import runs, yaml_files
from smoothcert.config import FIRST, SECTIONS, Config
from smoothcert.config_errors import explain
from smoothcert.errors import UserError

DEFAULT = Path("config", "config.yaml")
"""The workflow's own configuration, over which Snakemake lays those of its command line."""


def load(path: Path) -> dict[str, Any]:
    """Return the keys of a configuration file, which nothing has checked yet.

    Raises UserError if it cannot be read, is not a mapping or holds a key twice.
    """
    return yaml_files.load(path, FIRST)


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


def read(content: dict[str, Any]) -> Config:
    """Return the validated configuration; what its experiments name has been found.

    Raises UserError with one line that names the first wrong key and what to write instead.
    """
    try:
        settings = Config.model_validate(content)
        for experiment in settings.experiments:
            runs.refuse_clashes(experiment)
            runs.manifest(settings, experiment)
    except ValidationError as error:
        raise UserError(f"config: {explain(error, SECTIONS)}") from error
    except UserError as error:
        raise UserError(f"config: {error}") from error
    return settings
