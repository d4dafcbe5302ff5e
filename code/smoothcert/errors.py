"""The one exception for what a user can cause and mend, and how nearest names are suggested."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake or a condition outside the program, told in one line that says what to do.

    A ValueError, so that validators of settings may raise it.
    """


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest known name, or the list of all of them."""
    known = sorted(known)
    nearest = difflib.get_close_matches(name, known, n=1)
    if nearest:
        return f"; did you mean {nearest[0]!r}?"
    return f"; known: {', '.join(map(repr, known))}"
