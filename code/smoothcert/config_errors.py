"""Mistakes in a configuration, told in one line."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ValidationError

from smoothcert import methods
from smoothcert.errors import UserError, suggestion

LISTS = ("list_type", "tuple_type")
"""Pydantic's errors where a list is expected."""

ONE_VALUE = ("bool_type", "float_type", "int_type", "literal_error", "string_type")
"""Those where a list may stand for one value."""

TYPES = ("Wanted", "float", "int", "str")
"""Those of a union, which pydantic names in an error's place."""

PLACES = {"experiments": "the experiment", "": "the top level"}
"""What the text calls a key's section, if not by its key."""

Sections = Mapping[str, type[BaseModel]]
"""What each key of a file may hold; the empty key stands for the top level."""


def explain(error: ValidationError, sections: Sections) -> str:
    """Return pydantic's first error as one line: the key, what is wrong, the nearest name.

    Of a value that may be of several types, every type has its error: the one farthest within
    the value is that of the type which was meant.
    """
    errors = [(_place(one["loc"]), one) for one in error.errors()]
    key = errors[0][0]
    place, first = max(
        (one for one in errors if one[0].startswith(key)), key=lambda one: len(one[0])
    )
    if first["type"] == "missing":
        # A key that was misspelt is missing too.
        place, first = next((e for e in errors if e[1]["type"] == "extra_forbidden"), errors[0])
    if first["type"] == "extra_forbidden":
        return f"{place}: unknown key{_instead(first['loc'], sections)}"
    if first["type"] == "missing":
        return f"{place}: this key is required"
    if first["type"] == "union_tag_not_found":
        return f"{place}.method: this key is required"
    if first["type"] == "union_tag_invalid":
        return f"{place}.method: {_not_loaded(first['ctx']['tag'])}"
    value = first["input"]
    if first["type"] in ("model_type", "model_attributes_type", "dict_type", *LISTS):
        several = first["type"] in LISTS
        if value is None:
            return f"{place} is empty: leave it out or give it {'a list' if several else 'keys'}"
        expected = f"a list, as [{value}]" if several else f"keys with values, not {value!r}"
        return f"{place}: expects {expected}"
    if isinstance(value, list) and first["type"] in ONE_VALUE:
        return f"{place}: takes one value, not a list{_several(first['loc'])}"
    message = first["msg"].removeprefix("Value error, ")
    if isinstance(value, str | int | float) and first["type"] != "value_error":
        message += f", not {value!r}"
    return f"{place}: {message}" if place else message


def _several(location: tuple[str | int, ...]) -> str:
    """Return how several values of a method's setting are run, if it is one."""
    if not {"parameters", "training"} & set(location):
        return ""
    return (
        "; only lambda sweeps over a list: give each value an entry of its own under methods, with "
        "a label"
    )


def _not_loaded(name: str) -> str:
    """Return why a method is not among those that a configuration may name."""
    if name not in methods.names():
        return f"unknown method {name!r}{suggestion(name, methods.names())}"
    try:
        methods.load(name)
    except UserError as error:
        return str(error)
    return f"method {name} cannot be configured: its Objective is no Method with sound fields"


def _place(location: tuple[str | int, ...]) -> str:
    """Return ``experiments[0].methods[1].training.lr`` for pydantic's location of an error."""
    place = ""
    for before, part in zip((None, *location), location, strict=False):
        if isinstance(part, int):
            place += f"[{part}]"
        elif not _is_tag(before, part):
            place += f".{part}"
    return place.removeprefix(".")


def _is_tag(before: str | int | None, part: str) -> bool:
    """Return whether a part of a location names one type of a union, and no key."""
    if isinstance(before, int):
        return part in methods.names()
    return part in TYPES or part.startswith(("constrained-", "list[", "literal["))


def _instead(location: tuple[str | int, ...], sections: Sections) -> str:
    """Return what to write instead of the unknown key at the end of a location, or where."""
    *above, key = (part for part in location if isinstance(part, str))
    if "published" in above:
        return suggestion(key, _keys(sections["published"]))
    method = next((part for part in above if part in methods.names()), None)
    # What attacks take from certification is sought there first.
    shared = ("certification", "training", "margin", "experiments", "")
    places = {n: (PLACES.get(n, n), sections[n]) for n in shared if n in sections}
    if method:
        own = {
            "parameters": ("parameters", methods.load(method)),
            method: ("its method", sections["methods"]),
        }
        places = own | places
    # Parameters of methods have the attack's names too, but for epsilons.
    if "attack" in sections and (not method or key == "epsilons"):
        places["attack"] = ("attack", sections["attack"])
    last = above[-1] if above else ""
    _, here = places.pop(last, (last, sections.get(last)))
    for place, section in places.values():
        if key in _keys(section):
            return f"; it belongs to {place}"
    if not _keys(here):
        return f"; method {method} has no parameters"
    return suggestion(key, _keys(here))


def _keys(section: type[BaseModel]) -> set[str]:
    """Return the keys that a section may hold."""
    return {field.alias or name for name, field in section.model_fields.items()}
