"""The options with which `smoothcert` makes an artefact: for the rules, and to repeat it by hand.

The machine is left out: where the data lies and what computes changes no setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smoothcert.point import Point
from smoothcert.smoothing.protocol import Protocol
from smoothcert.smoothing.settings import Attack


def options(settings: Mapping[str, Any]) -> list[str]:
    """Return ``--key=value`` for each setting that has a value; a list's values follow its key."""
    found = []
    for key, value in settings.items():
        option = f"--{key.replace('_', '-')}"
        if isinstance(value, list):
            found += [option, *map(str, value)]
        elif value is not None:
            found.append(f"{option}={value}")
    return found


def train(point: Point) -> list[str]:
    """Return the options of `smoothcert train` for the point."""
    content = point.content
    settings = content.pop("training") | content.pop("parameters")
    return options(content | settings)


def evaluate(settings: Protocol | Attack) -> list[str]:
    """Return the options of `smoothcert certify` or `smoothcert attack` for its settings."""
    return options(settings.model_dump())
