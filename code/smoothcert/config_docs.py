"""The configuration's schema and its tables of keys, written from the settings classes.

``python -m smoothcert.config_docs`` (``make schema``) rewrites both files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from smoothcert import files, methods
from smoothcert.config import Config, Entry
from smoothcert.errors import UserError

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.json"
README = ROOT / "config" / "README.md"
MARKS = "<!-- keys: written by `make schema` -->\n", "<!-- end of keys -->\n"

_Schema = dict[str, Any]

_BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minLength": "of length ≥ {}",
    "maxLength": "of length ≤ {}",
    "pattern": "matching `{}`",
}


def schema() -> str:
    """Return the JSON schema of the configuration as text."""
    return json.dumps(Config.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def readme(text: str) -> str:
    """Return ``text`` with the tables of all keys between the two marks.

    Raises ValueError if a mark is missing, and UserError if a key is not described or a method's
    file is faulty.
    """
    begin, end = MARKS
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{_tables()}\n{end}{after}"


def _tables() -> str:
    # First, because the schema lacks a method whose file is faulty, and does not say why.
    objectives = {name: methods.load(name) for name in methods.names()}
    whole = Config.model_json_schema()
    parts = whole["$defs"]
    sections = {
        "Top level": whole,
        "Experiment": parts["Experiment"],
        "Method": _merged([parts[f"Entry_{name}"] for name in objectives]),
        "Training": parts["Training"],
        "Certification": parts["Protocol"],
        "Attack": parts["AttackSettings"],
        "Published": parts["Wanted"],
        "Margin": parts["Margin"],
    }
    for name, objective in objectives.items():
        sections[f"Parameters of {name}"] = objective.model_json_schema()
    return "\n".join(_section(title, content) for title, content in sections.items())


def _merged(entries: list[_Schema]) -> _Schema:
    """Return one schema for the methods' entries: their keys are the same, some types differ."""
    fields = {field.alias or name: field for name, field in Entry.model_fields.items()}
    properties = {
        key: {
            **first,
            "anyOf": [entry["properties"][key] for entry in entries],
            "description": fields[key].description,
        }
        for key, first in entries[0]["properties"].items()
    }
    return {**entries[0], "description": Entry.__doc__, "properties": properties}


def _section(title: str, content: _Schema) -> str:
    lines = [f"### {title}", "", _description(title, content), ""]
    if content["properties"]:
        lines += ["| Key | Value | Default | Meaning |", "|---|---|---|---|"]
    for key, value in content["properties"].items():
        required = key in content.get("required", [])
        # A key without a default that is not required is a section, whose keys have theirs.
        default = "required" if required else f"`{json.dumps(value.get('default', {}))}`"
        meaning = " ".join(_description(f"{title}: {key}", value).split())
        lines.append(f"| `{key}` | {_kind(value)} | {default} | {meaning} |")
    if not content["properties"]:
        lines.append("No parameters.")
    return "\n".join(lines) + "\n"


def _description(what: str, content: _Schema) -> str:
    if "description" not in content:
        raise UserError(f"{what} has no description; write it as a docstring")
    return content["description"]


def _kind(value: _Schema) -> str:
    """Return the type and range of a value in words."""
    if "anyOf" in value or "oneOf" in value:
        return _either(_kind(one) for one in value.get("anyOf") or value["oneOf"])
    if "$ref" in value:
        return _link(value["$ref"].rpartition("/")[2])
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return _either(f"`{one}`" for one in value["enum"])
    if value["type"] == "array":
        return f"list{' (not empty)' if value.get('minItems') else ''}: {_kind(value['items'])}"
    if value["type"] == "null":
        return ""
    bounds = (words.format(value[key]) for key, words in _BOUNDS.items() if key in value)
    return " ".join([value["type"], ", ".join(bounds)]).strip()


def _either(kinds: Iterable[str]) -> str:
    return " or ".join(kind for kind in dict.fromkeys(kinds) if kind)


def _link(part: str) -> str:
    """Return a link to the section of one of the schema's parts."""
    if part.startswith("Entry_"):
        return "[method](#method)"
    if part.endswith("__Objective"):
        name = part.split("__")[-2]
        return f"[of {name}](#parameters-of-{name})"
    name = {"Protocol": "certification", "AttackSettings": "attack", "Wanted": "published"}.get(
        part, part.lower()
    )
    return f"[{name}](#{name})"


if __name__ == "__main__":
    try:
        texts = {SCHEMA: schema(), README: readme(README.read_text(encoding="utf-8"))}
    except UserError as error:
        sys.exit(str(error))
    for path, text in texts.items():
        files.write_text(path, text)
