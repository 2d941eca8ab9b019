"""Converts recorded numbers to float32, and refuses what would not survive that."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp_core.errors import DataError
from dp_core.normalizer.precision import coarse_entries, constant_entries

logger = logging.getLogger(__name__)


def require_shape(values: NDArray[Any], name: str, shape: tuple[int, ...]) -> None:
    """Refuse values that are not (N, *shape).

    Args:
        name: of the data, for messages.

    Raises:
        DataError: they are not.
    """
    if values.shape[1:] != shape:
        raise DataError(f"{name} has shape {values.shape[1:]} in each step; shape_meta says {shape}")


def finite_float32(values: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Convert numbers (N, ...) to float32; no copy where they are that already.

    Raises:
        DataError: they are no numbers, or not finite.
    """
    if values.dtype.kind in "OUT":
        raise DataError(f"{name} has strings; expected numbers; of sentences, the type in shape_meta is text")
    if values.dtype.kind not in "fiub":
        raise DataError(f"{name} is {values.dtype}; expected numbers")
    with np.errstate(over="ignore"):  # becomes infinite, and is found below
        converted = np.ascontiguousarray(values, dtype=np.float32)
    finite = np.isfinite(converted).reshape(len(converted), -1).all(axis=1)
    if not finite.all():
        raise DataError(f"{name} has NaN or infinite values, first in step {np.argmin(finite)}; fix or remove them")
    return converted


def require_resolved(values: NDArray[Any], rounded: NDArray[np.float32], name: str, *, range_eps: float = 1e-4) -> None:
    """Refuse what float32 cannot resolve, and say which entries it made constant, as nobody else sees it later.

    Args:
        values: (N, *shape), as they were recorded. Each entry of ``shape`` is looked at by itself.
        rounded: the same in float32.
        range_eps: entries with a smaller range are constants, however coarse.

    Raises:
        DataError: an entry is too far from zero for its range.
    """
    if not len(values) or np.can_cast(values.dtype, np.float32):
        return
    low, high = values.min(axis=0), values.max(axis=0)
    if problem := coarse_entries(low, high, range_eps):
        raise DataError(f"{name}: {problem}")
    vanished = rounded.min(axis=0) == rounded.max(axis=0)
    if remark := constant_entries(low, np.where(vanished, high, low), range_eps):
        logger.warning("%s: %s", name, remark)
