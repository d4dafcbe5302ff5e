"""The data sets: one module each, found by its file name.

Importing this package or one of its modules loads no torch: the workflow's dry run reads what
the modules declare.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from smoothcert.datasets.base import Dataset, Description, misfit
from smoothcert.errors import UserError, suggestion


def names() -> list[str]:
    """Return the names of all data sets: the modules of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def describe(name: str) -> Description:
    """Return what is known of the data set ``name`` without loading it."""
    return _module(name).DESCRIPTION


def load(name: str, data_dir: Path) -> Dataset:
    """Return the data set ``name``, downloading into ``data_dir`` what is absent.

    Raises UserError if the name is unknown, if the files are missing or corrupt, or if the images
    or labels are not as described.
    """
    module = _module(name)
    data = module.load(data_dir)
    if fault := misfit(data, module.DESCRIPTION):
        raise UserError(f"{module.__file__}: {fault}")
    return data


def _module(name: str):
    if name not in names():
        raise UserError(f"unknown dataset {name!r}{suggestion(name, names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    if not isinstance(getattr(module, "DESCRIPTION", None), Description):
        raise UserError(
            f"{module.__file__} has no DESCRIPTION = Description(...), as data sets have"
        )
    if fault := module.DESCRIPTION.fault:
        raise UserError(f"{module.__file__}: {fault}")
    return module
