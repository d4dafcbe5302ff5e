"""The data sets: one module each, found by its file name.

Importing this package or one of its modules loads no torch: the workflow's dry run reads what
the modules declare.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from smoothcert.datasets.base import Dataset, Description, misfit
from smoothcert.errors import UserError
from smoothcert.extensions import Extensions


def names() -> list[str]:
    """Return the names of all data sets: the modules of this package."""
    return _MODULES.names()


def describe(name: str) -> Description:
    """Return what is known of the data set ``name`` without loading it.

    Raises UserError, with the nearest name, if there is none, or with the fault of its file.
    """
    return _MODULES.load(name).DESCRIPTION


def load(name: str, data_dir: Path) -> Dataset:
    """Return the data set ``name``, downloading into ``data_dir`` what is absent.

    Raises UserError if the name is unknown, if the files are missing or corrupt, or if the images
    or labels are not as described.
    """
    module = _MODULES.load(name)
    data = module.load(data_dir)
    if fault := misfit(data, module.DESCRIPTION):
        raise UserError(f"{module.__file__}: {fault}")
    return data


def _fault(module: ModuleType) -> str | None:
    """Return what keeps a module from being a data set, if anything does."""
    if not isinstance(getattr(module, "DESCRIPTION", None), Description):
        return "no DESCRIPTION = Description(...), as data sets have"
    if not callable(getattr(module, "load", None)):
        return "no function load(data_dir), as data sets have"
    return module.DESCRIPTION.fault


_MODULES = Extensions(__name__, "dataset", _fault, support=frozenset({"base"}))
