"""How the pages are made: Jinja templates in which all but our own markup is escaped."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from smoothcert.analysis.verdicts import Kind, Outcome

_FOLDER = Path(__file__).parent
"""Of the templates, the style and the script."""

TONES = {
    **dict.fromkeys((Kind.REPRODUCED, Kind.IDENTICAL, Outcome.SUPPORTED), "good"),
    **dict.fromkeys((Kind.NOT_REPRODUCED, Kind.DIFFERS, Outcome.CONTRADICTED), "bad"),
}
"""How a verdict looks; others are open."""


def environment(folder: Path) -> Environment:
    """Return the environment of the templates of pages that lie in ``folder``.

    Everything that is not Markup is escaped.
    """
    found = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    found.filters.update(
        listing=_listing,
        link=lambda path: quote(Path(os.path.relpath(path, folder)).as_posix()),
        tone=lambda kind: TONES.get(kind, "open"),
    )
    return found


def read(name: str) -> Markup:
    """Return one of the pages' own files to stand in them as it is."""
    return Markup((_FOLDER / name).read_text(encoding="utf-8"))  # noqa: S704


def _listing(items: Iterable[Any], form: str = "{}") -> str:
    """Return ``a, b and c``, or ``a, x; b; and c`` where a comma stands in one of them."""
    words = [form.format(item) for item in items]
    comma, last = ("; ", "; and ") if any("," in word for word in words) else (", ", " and ")
    return last.join([comma.join(words[:-1]), words[-1]] if len(words) > 1 else words)
