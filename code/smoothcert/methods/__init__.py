"""The training objectives: one module a method, found by its file name.

This package must import without torch, because the workflow's dry run reads the methods'
parameters; the modules therefore import torch inside their functions.
"""

from __future__ import annotations

from types import ModuleType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

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
    faults = (_parameter_fault(name, field) for name, field in objective.model_fields.items())
    return next(filter(None, faults), None)


def _parameter_fault(name: str, field: FieldInfo) -> str | None:
    """Return what keeps a field from being an option and a part of tables, if anything does."""
    if not _is_plain(field.annotation):
        return f"parameter {name} must be a bool, int, float, str or Literal, alone or with None"
    # On the command line None cannot be given: the option is left out.
    optional = NoneType in get_args(field.annotation) and not field.is_required()
    if optional and field.default is not None:
        return f"parameter {name} may be None, so its default must be None"
    return None


def _is_plain(kind: Any) -> bool:
    """Return whether the values of a type are plain, so that they can be compared and hashed."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return all(map(_is_plain, parts))
    if origin is Annotated:
        return _is_plain(parts[0])
    return origin is Literal or kind in (bool, int, float, str, NoneType)


_MODULES = Extensions(__name__, "method", _fault, support=frozenset({"base"}))
