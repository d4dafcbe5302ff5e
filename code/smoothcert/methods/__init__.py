"""The training objectives: one module a method, found by its file name.

This package must import without torch, because the workflow's dry run reads the methods'
parameters; the modules therefore import torch inside their functions.
"""

from __future__ import annotations

import importlib
import pkgutil

from smoothcert.errors import UserError, suggestion
from smoothcert.methods.base import Method


def names() -> list[str]:
    """Return the names of all methods: the modules of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def load(name: str) -> type[Method]:
    """Return the class of the method ``name``.

    Raises UserError, with the nearest name, if there is none, or if its module lacks the class.
    """
    if name not in names():
        raise UserError(f"unknown method {name!r}{suggestion(name, names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    if not hasattr(getattr(module, "Objective", None), "title"):
        raise UserError(f"{module.__file__} has no class Objective with a title, as methods have")
    return module.Objective
