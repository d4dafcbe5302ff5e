"""YAML files that people write: read with care, so that a mistake gets one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from smoothcert import files
from smoothcert.errors import UserError


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


def load(path: Path, first: str) -> dict[str, Any]:
    """Return the keys of a file, which nothing has checked yet.

    Raises UserError if it cannot be read, is not a mapping, whose ``first`` key it then names, or
    holds a key twice.
    """
    try:
        text = files.read_bytes(path)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    try:
        content = yaml.load(text.decode(), _Loader)  # noqa: S506, safe like its base
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a mapping of keys; start it with {first}:")
    return content
