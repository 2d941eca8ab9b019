"""`FromEnvironment`: text that stands where a config asks the environment, until an option says what it has to be."""

from __future__ import annotations

from typing import Any, Self


class FromEnvironment(str):
    """The text of an environment variable, or of the default for one that is not set.

    Variables have no types: ``SEED=7`` is the number 7 for an option that is a number, and text for one that is text.
    """

    origin: str
    """For messages: which variable, and whether it was its default."""
    reading: Any
    """The text, read as YAML."""

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
