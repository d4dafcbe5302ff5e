"""Methods, networks and data sets: files that are none, or that fail, get one line."""

from __future__ import annotations

import re

import pytest

from smoothcert import datasets, methods, models
from smoothcert.errors import UserError
from smoothcert.models.classifier import Classifier


def fresh(arch: str) -> Classifier:
    """Return a network for the digits."""
    return models.build(models.Specification.of(arch, datasets.describe("digits")))


@pytest.mark.parametrize(
    ("package", "load", "message"),
    [
        (methods, methods.load, r"no class Objective\(Method\), as methods have"),
        (datasets, datasets.describe, r"no DESCRIPTION = Description\(...\), as data sets have"),
        (models, fresh, "no class Network, as architectures have"),
    ],
)
def test_a_stray_module_gets_one_line(tmp_path, monkeypatch, package, load, message):
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    for name, text in (("stray", ""), ("torn", "def f(:"), ("lost", "import nothere")):
        path = tmp_path / f"{name}{tmp_path.name}.py"  # a module of its own
        path.write_text(text, encoding="utf-8")
        fault = message if name == "stray" else r"cannot be loaded \(\w+Error: "
        with pytest.raises(UserError, match=f"^{re.escape(str(path))}: {fault}") as error:
            load(path.stem)
        assert "\n" not in str(error.value)
