"""The packages that grow by a file: a module a method, network or data set."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType

from smoothcert.errors import UserError, reason, suggestion


@dataclass(frozen=True)
class Extensions:
    """The modules of a package that stand for one thing each, by the name of the file."""

    package: str
    """Its full name."""
    kind: str
    """What configurations call such a thing."""
    fault: Callable[[ModuleType], str | None]
    """Returns what keeps a module from being one, if anything does."""
    support: frozenset[str] = frozenset()
    """The modules that are none."""

    def names(self) -> list[str]:
        """Return the names of all."""
        found = pkgutil.iter_modules(sys.modules[self.package].__path__)
        return sorted(module.name for module in found if module.name not in self.support)

    def load(self, name: str) -> ModuleType:
        """Return the module ``name``.

        Raises UserError, with the nearest name, if there is none, or with the fault of its file.
        """
        if name not in self.names():
            raise UserError(f"unknown {self.kind} {name!r}{suggestion(name, self.names())}")
        full = f"{self.package}.{name}"
        try:
            module = importlib.import_module(full)
            fault = self.fault(module)
        except Exception as error:  # whatever the file's own code raises
            fault = f"cannot be loaded ({type(error).__name__}: {reason(error)})"
        if fault:
            raise UserError(f"{find_spec(full).origin}: {fault}")
        return module
