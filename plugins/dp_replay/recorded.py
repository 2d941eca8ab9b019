"""What users hand over as an episode, brought to arrays of numbers or of strings that are kept exactly, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from dp_core.errors import DataError

_LONGEST_NAME = 255
"""Bytes of a file's name."""


def as_recorded(values: Mapping[str, ArrayLike], where: str, *, once: bool = False) -> dict[str, NDArray[Any]]:
    """Copy values into arrays of their own; strings of any length into arrays of Python's strings.

    Tensors come without their gradient, those of bfloat16 as float32, which holds the same numbers.

    Args:
        where: the episode, for messages.
        once: the values are observed once in it, and not at each step; for messages.

    Raises:
        DataError: there are no values by key, a key cannot be the name of an array, or values cannot be one array.
    """
    try:
        by_key = dict(values)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{where}: {'once ' if once else ''}is {type(values).__name__}; expected arrays by key, such as "
            f"{{'{'goal' if once else 'action'}': array}}"
        ) from error
    for key in by_key:
        require_name(key, where)
    return {key: _as_array(value, f"{where}: '{key}'", "row" if once else "step") for key, value in by_key.items()}


def require_name(key: object, where: str) -> None:
    """Raise `DataError` unless ``key`` can be the name of an array in a file.

    zarr takes slashes for groups, loses some names in silence, and raises errors of its own for others.
    """
    if not isinstance(key, str):
        raise DataError(f"{where}: the key {key!r} is {type(key).__name__}; expected the name of an array, a string")
    usable = key.isprintable() and not {"/", "\\"} & set(key) and key.strip(".") and key != "zarr.json"
    if not usable or len(key.encode()) > _LONGEST_NAME:
        raise DataError(
            f"{where}: {key!r} cannot be the name of an array; expected at most {_LONGEST_NAME} bytes without slashes "
            "and control characters, not only dots, and not 'zarr.json'; rename it"
        )


def are_strings(array: NDArray[Any]) -> bool:
    return all(isinstance(value, str) for value in array.flat)


def require_text(array: NDArray[Any], name: str) -> None:
    """Raise `DataError` unless UTF-8 can hold all strings, which is how they are written."""
    for text in array.flat:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{name} has a text with {text[error.start]!r}, half of a character, which UTF-8 cannot hold; correct "
                "it, such as with text.encode(errors='replace').decode()"
            ) from error


def _as_array(values: ArrayLike, name: str, entry: str) -> NDArray[Any]:
    plain = _without_tensors(values, name)
    try:
        array = np.array(plain)
    except Exception as error:  # what is no array says so as it likes
        raise DataError(f"{name} {_unlike(plain, entry) or f'cannot be an array ({error})'}") from error
    return _as_strings(plain, array, name) if array.dtype.kind in "UTO" else array


def _as_strings(values: Any, array: NDArray[Any], name: str) -> NDArray[Any]:
    """Return an array of Python's strings, or ``array``, which is to be refused, if it has no strings."""
    # Not from the array: NumPy makes strings of numbers that are beside them, and drops NUL at the end.
    objects = np.array(values, dtype=object)
    entries = [entry.item() if isinstance(entry, np.ndarray) else entry for entry in objects.flat]
    types = sorted({"str" if isinstance(entry, str) else type(entry).__name__ for entry in entries})
    if len(types) > 1:
        raise DataError(f"{name} mixes {' and '.join(types)}; expected only numbers, or only strings")
    if set(types) <= {"str"}:
        objects.flat[:] = entries
        require_text(objects, name)
        return objects
    return array


def _without_tensors(values: Any, name: str) -> Any:
    """Replace tensors, also those in lists, by arrays."""
    if isinstance(values, (list, tuple)):
        return [_without_tensors(each, name) for each in values]
    if not isinstance(values, torch.Tensor):
        return values
    exact = values.float() if values.dtype == torch.bfloat16 else values
    try:
        return exact.numpy(force=True)
    except (TypeError, RuntimeError) as error:
        raise DataError(
            f"{name} is a tensor of {values.dtype}, {values.layout}, for which NumPy has no array; convert it, such as "
            "with tensor.float() or tensor.to_dense()"
        ) from error


def _unlike(values: Any, entry: str) -> str:
    """Say which step or row, an ``entry``, has another shape than the first; empty if it is not that."""
    shapes = [_shape(each) for each in values] if isinstance(values, list) else []
    remedy = f"all {entry}s must have one shape: pad or sample them to it"
    for index, shape in enumerate(shapes):
        if shape is None:
            return f"has parts of different shapes in {entry} {index}; {remedy}"
        if shape != shapes[0]:
            return f"has shape {shape} in {entry} {index}, and {shapes[0]} in {entry} 0; {remedy}"
    return ""


def _shape(values: Any) -> tuple[int, ...] | None:
    try:
        return np.shape(values)
    except ValueError:
        return None
