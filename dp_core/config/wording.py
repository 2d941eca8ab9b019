"""Words of messages about options: values as YAML has them, types as people call them, what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin


def join_path(path: str, name: str) -> str:
    """Extend a dotted path by the name of an option, or by an index in brackets."""
    return f"{path}.{name}" if path and name and not name.startswith("[") else path + name


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Suggest the choice nearest to ``word``, or list them all; the end of a message."""
    choices = list(choices)
    close = difflib.get_close_matches(word, choices, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; the options are {', '.join(choices)}" if choices else "; there are no options"


def not_one_of(value: Any, choices: tuple[Any, ...]) -> str:
    """Say that ``value`` is none of ``choices``, and which is nearest."""
    listed = ", ".join(show(choice) for choice in choices)
    close = difflib.get_close_matches(str(value), [str(choice) for choice in choices], n=1)
    return f"{show(value)} is not one of {listed}" + (f"; did you mean '{close[0]}'?" if close else "")


def show(value: Any) -> str:
    """Write a value as YAML does, where that differs from Python."""
    return {"None": "null", "True": "true", "False": "false"}.get(repr(value), repr(value))


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a string", Path: "a path"}


def describe(hint: Any) -> str:
    """Name a type as people do: ``a whole number``."""
    if hint is type(None):
        return "null"
    if get_origin(hint) in (list, tuple):
        return "a list"
    if get_origin(hint) in (dict, Mapping):
        return "a mapping"
    if get_origin(hint) is Literal:
        return " or ".join(show(choice) for choice in get_args(hint))
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))
