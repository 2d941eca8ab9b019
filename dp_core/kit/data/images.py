"""Converts images as people store them to the one form in which they travel: uint8, channels first."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dp_core.errors import DataError
from dp_core.observations import LARGEST, UNIT_TOLERANCE

Layout = Literal["CHW", "HWC"]
"""Where the channels of an image are: last, as files have them, or first, as networks do."""


class NotUnitRangeError(Exception):
    """Float images that were taken for [0, 1] exceed 1: they are stored as 0..255."""


def layout_of(name: str, stored: tuple[int, ...], expected: tuple[int, ...]) -> Layout:
    """Tell from the shape of one image whether channels come first or last.

    Args:
        name: of the data, for messages.
        expected: (C, H, W).

    Raises:
        DataError: it is neither (C, H, W) nor (H, W, C).
    """
    channels, height, width = expected
    if stored == (channels, height, width):
        return "CHW"
    if stored == (height, width, channels):
        return "HWC"
    raise DataError(
        f"{name} has images of shape {stored}; shape_meta says {expected}, expected that or {(height, width, channels)}"
    )


def convert_images(images: NDArray[Any], name: str, layout: Layout, unit_range: bool) -> NDArray[np.uint8]:
    """Convert (N, H, W, C) or (N, C, H, W) to uint8 (N, C, H, W).

    Takes what `dp_core.observations` takes for images, and beyond that, as files have them, floats in 0..255. Floats in
    [0, 1] are rounded to the nearest of 256 levels.

    Args:
        images: uint8; bool; other integers or floats with whole numbers in 0..255; or floats in [0, 1].
        name: of the data, for messages.
        unit_range: take floats for [0, 1].

    Raises:
        NotUnitRangeError: ``unit_range``, but there are larger values.
        DataError: values are neither.
    """
    channels_first = images if layout == "CHW" else np.moveaxis(images, -1, 1)
    if images.dtype == np.uint8:
        return channels_first
    if images.dtype == np.bool_:
        return channels_first * np.uint8(LARGEST)
    if images.dtype.kind not in "fiu":
        raise DataError(f"{name} has {images.dtype} images; expected numbers")
    if unit_range:
        low, high = images.min(), images.max()
        if high > 1 + UNIT_TOLERANCE:
            raise NotUnitRangeError
        if not low >= -UNIT_TOLERANCE or not high <= 1 + UNIT_TOLERANCE:  # so that NaN is found, too
            raise _bad_values(name, images)
        scaled: NDArray[np.uint8] = np.rint(channels_first * images.dtype.type(LARGEST)).astype(np.uint8)
        return scaled
    with np.errstate(invalid="ignore"):
        converted = channels_first.astype(np.uint8)
    if not np.array_equal(converted, channels_first):
        raise _bad_values(name, images)
    return converted


def as_images(images: NDArray[Any], name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Convert images (N, ``*shape``), channels first or last, as `convert_images` does; no copy if they are right.

    Raises:
        DataError: shape or values are others.
    """
    layout = layout_of(name, images.shape[1:], shape)
    try:
        converted = convert_images(images, name, layout, unit_range=images.dtype.kind == "f" and images.size > 0)
    except NotUnitRangeError:
        converted = convert_images(images, name, layout, unit_range=False)
    return np.ascontiguousarray(converted)


def _bad_values(name: str, images: NDArray[Any]) -> DataError:
    low, high = images.min(), images.max()
    return DataError(
        f"{name} has {images.dtype} images with values from {low:.6g} to {high:.6g}; "
        "expected uint8, whole numbers in 0..255, or [0, 1]"
    )
