"""The training objectives: one module a method, found by its file name.

This package must import without torch, because the workflow's dry run reads the methods'
parameters; the modules therefore import torch inside their functions.
"""

from __future__ import annotations

from types import ModuleType

from smoothcert.extensions import Extensions
from smoothcert.methods.base import Method


def names() -> list[str]:
    """Return the names of all methods: the modules of this package."""
    return _MODULES.names()


def load(name: str) -> type[Method]:
    """Return the class of the method ``name``.

    Raises UserError, with the nearest name, if there is none, or with the fault of its file.
    """
    return _MODULES.load(name).Objective


def _fault(module: ModuleType) -> str | None:
    """Return what keeps a module's Objective from being a method, if anything does."""
    objective = getattr(module, "Objective", None)
    if not (isinstance(objective, type) and issubclass(objective, Method)):
        return "no class Objective(Method), as methods have"
    if not hasattr(objective, "title"):
        return 'Objective has no title; write title = "...", without an annotation'
    if objective.loss is Method.loss:
        return "Objective has no loss; define it as methods/base.py says"
    # Raises if a field's type is not known, as one that is imported for type checkers alone.
    objective.model_rebuild()
    return None


_MODULES = Extensions(__name__, "method", _fault, support=frozenset({"base"}))
