"""`FromEnvironment`: text from the environment in a config, until the type of its option says how to read it."""

from __future__ import annotations

from typing import Any, Self


class FromEnvironment(str):
    """The text of an environment variable, or of the default for one that is not set.

    Variables have no types: ``SEED=7`` is the number 7 for an option that is a number, and text for one that is text.
    """

    origin: str
    """The variable that the text comes from, and whether it is the default, for messages."""
    reading: Any
    """The value that the text has as YAML."""

    def __new__(cls, text: str, origin: str, reading: Any) -> Self:
        value = super().__new__(cls, text)
        value.origin = origin
        value.reading = reading
        return value


def without_marks(value: Any) -> Any:
    """Replace everything from the environment by what it is as YAML, for options that may be anything."""
    if isinstance(value, FromEnvironment):
        return value.reading
    if isinstance(value, dict):
        return {key: without_marks(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_marks(item) for item in value]
    return value
