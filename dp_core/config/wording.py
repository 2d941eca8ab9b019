"""Words of messages about options: values as YAML has them, types as people call them, what was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from dp_core.errors import did_you_mean, quoted

_MOST_PLACES = 3


def join_path(path: str, name: str) -> str:
    """Extend a dotted path by the name of an option, or by an index in brackets."""
    return f"{path}.{name}" if path and name and not name.startswith("[") else path + name


def unknown_option(name: str, options: Iterable[str], elsewhere: Iterable[str] = ()) -> str:
    """Say that ``name`` is no option; suggest which one was meant, or list them all.

    Args:
        options: those that there are in its place.
        elsewhere: dotted paths of those that there are in other places. One that is called ``name`` was meant, rather
            than one in its place with a similar name: who writes ``lr`` forgot ``optimizer``.
    """
    if glued := missing_space(name):
        return f"unknown option; {glued}"
    options, elsewhere = list(options), sorted(elsewhere, key=lambda path: path.count("."))
    same = [path for path in elsewhere if path.rpartition(".")[2] == name]
    if same:
        return f"unknown option; did you mean {quoted(same[:_MOST_PLACES], ' or ')}?"
    known = f"the options are {', '.join(options)}" if options else "there are no options"
    return f"unknown option; {did_you_mean(name, options, known)}"


def missing_space(key: object) -> str:
    """Say what to write instead of ``{name:mixer}``, a key without a value to YAML; empty for other keys."""
    name, colon, value = str(key).partition(":")
    return f"write '{name}: {value}', with a space after the colon" if colon and name and value else ""


def not_one_of(value: Any, choices: tuple[Any, ...]) -> str:
    """Write the message that ``value`` is none of ``choices``, and which is nearest."""
    listed = ", ".join(show(choice) for choice in choices)
    hint = did_you_mean(str(value), map(str, choices))
    return f"{show(value)} is not one of {listed}" + (f"; {hint}" if hint else "")


def name_of(block: Any) -> str:
    """Return the name in a block of a config, in quotes; empty if it has none."""
    name = block.get("name") if isinstance(block, Mapping) else block
    return f"'{name}'" if isinstance(name, str) else ""


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
