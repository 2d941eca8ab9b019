"""From images as people store them to the one form in which they travel: uint8, channels first."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dp_core.errors import DataError

Layout = Literal["CHW", "HWC"]


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

    Args:
        images: uint8; other integers or floats with whole numbers in 0..255; or floats in [0, 1].
        name: of the data, for messages.
        unit_range: take floats for [0, 1].

    Raises:
        NotUnitRangeError: ``unit_range``, but there are larger values.
        DataError: values are neither.
    """
    channels_first = images if layout == "CHW" else np.moveaxis(images, -1, 1)
    if images.dtype == np.uint8:
        return channels_first
    if unit_range:
        low, high = images.min(), images.max()
        if high > 1:
            raise NotUnitRangeError
        if not low >= 0 or not high <= 1:  # so that NaN is found, too
            raise _bad_values(name, images)
        scaled: NDArray[np.uint8] = np.rint(channels_first * images.dtype.type(255)).astype(np.uint8)
        return scaled
    with np.errstate(invalid="ignore"):
        converted = channels_first.astype(np.uint8)
    if not np.array_equal(converted, channels_first):
        raise _bad_values(name, images)
    return converted


def _bad_values(name: str, images: NDArray[Any]) -> DataError:
    low, high = images.min(), images.max()
    return DataError(
        f"{name} has {images.dtype} images with values from {low:.6g} to {high:.6g}; "
        "expected uint8, whole numbers in 0..255, or [0, 1]"
    )
