"""The training objectives: one module a method, found by its file name.

This package must import without torch, because the workflow's dry run reads the methods'
parameters; the modules therefore import torch inside their functions.
"""

from __future__ import annotations

import importlib.util
import pkgutil

from smoothcert.errors import UserError, suggestion
from smoothcert.methods.base import Method
from smoothcert.settings import reason


def names() -> list[str]:
    """Return the names of all methods: the modules of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def load(name: str) -> type[Method]:
    """Return the class of the method ``name``.

    Raises UserError, with the nearest name, if there is none, or with the fault of its file.
    """
    if name not in names():
        raise UserError(f"unknown method {name!r}{suggestion(name, names())}")
    try:
        objective = getattr(importlib.import_module(f"{__name__}.{name}"), "Objective", None)
        fault = _fault(objective)
    except Exception as error:  # whatever the file's own code raises
        fault = f"cannot be loaded ({type(error).__name__}: {reason(error)})"
    if fault:
        raise UserError(f"{importlib.util.find_spec(f'{__name__}.{name}').origin} {fault}")
    return objective


def _fault(objective: object) -> str | None:
    """Return what keeps a module's Objective from being a method, if anything does."""
    if not (isinstance(objective, type) and issubclass(objective, Method)):
        return "has no class Objective(Method), as methods have"
    if not hasattr(objective, "title"):
        return 'gives Objective no title; write title = "...", without an annotation'
    if objective.loss is Method.loss:
        return "gives Objective no loss; define it as methods/base.py says"
    # Raises if a field's type is not known, as one that is imported for type checkers alone.
    objective.model_rebuild()
    return None
