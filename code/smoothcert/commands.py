"""The options with which `smoothcert` makes an artefact: for the rules, and to repeat it by hand.

The machine is left out: where the data lies and what computes changes no setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smoothcert.point import Point
from smoothcert.smoothing.protocol import Protocol


def options(settings: Mapping[str, Any]) -> list[str]:
    """Return ``--key=value`` for each setting that has a value."""
    given = {key: value for key, value in settings.items() if value is not None}
    return [f"--{key.replace('_', '-')}={value}" for key, value in given.items()]


def train(point: Point) -> list[str]:
    """Return the options of `smoothcert train` for the point."""
    content = point.content
    settings = content.pop("training") | content.pop("parameters")
    return options(content | settings)


def certify(protocol: Protocol) -> list[str]:
    """Return the options of `smoothcert certify` for the protocol."""
    return options(protocol.model_dump())
