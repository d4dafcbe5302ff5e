"""The one exception for what a user can cause and mend, and the words for its causes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pydantic import ValidationError


class UserError(ValueError):
    """A mistake or a condition outside the program, told in one line that says what to do.

    A ValueError, so that validators of settings may raise it.
    """


class UnreadableError(UserError):
    """A file that the system cannot read now: it is not damaged, and must not be replaced."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest known name, or the list of all of them."""
    known = sorted(known)
    nearest = difflib.get_close_matches(name, known, n=1)
    if nearest:
        return f"; did you mean {nearest[0]!r}?"
    return f"; known: {', '.join(map(repr, known))}"


def reason(error: Exception) -> str:
    """Return the cause of an error as one line: of pydantic's, the key and its fault."""
    if not isinstance(error, ValidationError):
        return (str(error) or type(error).__name__).splitlines()[0]
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"{place}: unknown key"
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
