"""Fingerprints of the code behind each stage: they change when its meaning does.

A stage's fingerprint covers the modules that its entry modules import, directly or not, within
this package. Each module counts as its syntax tree, without comments, docstrings and the other
bare strings that document attributes. Methods, data sets and architectures are found by name at
run time, which no import statement shows; a stage therefore names the ones it uses. Modules on
which no result depends, such as messages, do not count.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

from smoothcert.point import Point

PACKAGE = Path(__file__).parent
RESOURCES = {".html", ".css", ".js"}
"""Suffixes of the files that modules read beside Python's own."""
WITHOUT_EFFECT = {Path(f"{name}.py") for name in ("errors", "fingerprint", "gpus", "progress")}
"""Modules of the package on which no result depends."""


def of_data(dataset: str) -> str:
    """Return the fingerprint of preparing ``dataset``."""
    return fingerprint(f"smoothcert.datasets.{dataset}")


def of_training(point: Point) -> str:
    """Return the fingerprint of training ``point``."""
    return fingerprint(
        "smoothcert.train",
        f"smoothcert.datasets.{point.dataset}",
        f"smoothcert.methods.{point.method}",
        f"smoothcert.models.{point.arch}",
    )


def of_certification(dataset: str, arch: str) -> str:
    """Return the fingerprint of certifying a classifier of ``arch`` on ``dataset``."""
    return of_evaluation("smoothcert.smoothing.certify", dataset, arch)


def of_attack(dataset: str, arch: str) -> str:
    """Return the fingerprint of attacking a classifier of ``arch`` on ``dataset``."""
    return of_evaluation("smoothcert.smoothing.attack", dataset, arch)


def of_evaluation(module: str, dataset: str, arch: str) -> str:
    """Return the fingerprint of what ``module`` does with a classifier of ``arch``."""
    return fingerprint(module, f"smoothcert.datasets.{dataset}", f"smoothcert.models.{arch}")


def of_stage(*modules: str) -> str:
    """Return the fingerprint of an analysis stage, whose entries are ``smoothcert.<module>``."""
    return fingerprint(*(f"smoothcert.{module}" for module in modules))


@cache
def fingerprint(*modules: str) -> str:
    """Return 16 hexadecimal digits for the code of ``modules`` and all that they import.

    Templates, styles and scripts in the folder of an imported module count by content.
    """
    total = hashlib.sha256()
    for path in sorted(_closure(modules)):
        total.update(f"{path.relative_to(PACKAGE)}\0".encode())
        total.update(_meaning(path))
    return total.hexdigest()[:16]


def _closure(modules: tuple[str, ...]) -> set[Path]:
    found: set[Path] = set()
    waiting = [path for module in modules for path in _files(module)]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [p for module in _imports(path) for p in _files(module)]
    return found


@cache
def _files(module: str) -> list[Path]:
    """Return the module's file, its packages' ``__init__`` files and the resources beside it."""
    names = module.split(".")[1:]
    folders = [PACKAGE.joinpath(*names[:depth]) for depth in range(len(names) + 1)]
    files = [folder / "__init__.py" for folder in folders]
    files.append(folders[-1].with_suffix(".py"))
    files += [path for path in folders[-1].parent.glob("*") if path.suffix in RESOURCES]
    return [
        path for path in files if path.is_file() and path.relative_to(PACKAGE) not in WITHOUT_EFFECT
    ]


@cache
def _imports(path: Path) -> list[str]:
    if path.suffix != ".py":
        return []
    found = []
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(path, node)
            # ``from package import name`` may import a module or an attribute of the package.
            found += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return [name for name in found if name.split(".")[0] == "smoothcert"]


def _absolute(path: Path, node: ast.ImportFrom) -> str:
    """Return the module that an import in ``path`` names, also by dots: ``from .base import``."""
    if not node.level:
        return node.module
    package = (PACKAGE.name, *path.relative_to(PACKAGE).parent.parts)
    return ".".join([*package[: len(package) + 1 - node.level], *filter(None, [node.module])])


@cache
def _meaning(path: Path) -> bytes:
    if path.suffix != ".py":
        return path.read_bytes()
    # The tree stays without its strings, which imports do not need.
    return ast.unparse(_WithoutStrings().visit(_tree(path))).encode()


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


class _WithoutStrings(ast.NodeTransformer):
    """Drops strings that stand alone as statements: they document and do nothing."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return node
