"""Configuration files: reading their YAML, and laying one over another as Snakemake does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from smoothcert.errors import UserError

DEFAULT = Path("config", "config.yaml")
"""The workflow's own configuration, over which Snakemake lays those of its command line."""


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


def load(path: Path, first: str = "experiments") -> dict[str, Any]:
    """Return the keys of a configuration file, which nothing has checked yet.

    Raises UserError if it cannot be read, is not a mapping, whose ``first`` key it then names, or
    holds a key twice.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            content = yaml.load(stream, _Loader)  # noqa: S506, safe like its base
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a mapping of keys; start it with {first}:")
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
