"""Options of the modalities, which stand beside `shape` and `type` in `shape_meta`, and the shapes that are legal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import attrs
from attrs.validators import ge, gt

from dp_core import option

Shape = tuple[int, ...]


@attrs.frozen(kw_only=True)
class RgbConfig:
    """Pictures (C, H, W): uint8 or other whole numbers in 0..255, bool, or floats in [0, 1]."""

    is_image: ClassVar[bool] = True

    def check(self, shape: Shape, key: str) -> Iterable[tuple[str, str]]:
        """Yield shapes that are no image, and keys that no encoder can have."""
        if "." in key:
            name = key.replace(".", "_")
            yield "", f"the key of a camera names a part of the encoder and has no dots; write '{name}'"
        if len(shape) != 3:
            yield "shape", f"expected [channels, height, width] for an image, got {list(shape)}"


@attrs.frozen(kw_only=True)
class DepthConfig:
    """Depth images (1, H, W): whole numbers, such as uint16 millimetres, or floats in metres."""

    is_image: ClassVar[bool] = True

    scale: float = option(0.001, help="metres in a unit of depth in whole numbers; floats are metres", validator=gt(0))

    def check(self, shape: Shape, key: str) -> Iterable[tuple[str, str]]:
        """Yield shapes that are no image, and keys that no encoder can have."""
        if "." in key:
            name = key.replace(".", "_")
            yield "", f"the key of a camera names a part of the encoder and has no dots; write '{name}'"
        if len(shape) != 3 or shape[0] != 1:
            yield "shape", f"expected [1, height, width] for a depth image, got {list(shape)}"


@attrs.frozen(kw_only=True)
class LowDimConfig:
    """Finite numbers of any type and any shape, ``[]`` for a single one. Each entry means something of its own."""


@attrs.frozen(kw_only=True)
class PointsConfig:
    """Point clouds (P, 3 + C): x, y and z of P points in one unit, then C further channels, such as colours."""

    def check(self, shape: Shape) -> Iterable[tuple[str, str]]:
        """Yield shapes that are no list of points in space."""
        if len(shape) != 2 or shape[1] < 3:
            yield "shape", f"expected [points, 3 or more], x, y and z first, got {list(shape)}"


@attrs.frozen(kw_only=True)
class TokensConfig:
    """Ids of any shape, whole numbers from 0 on: words of a sentence, classes of objects."""

    vocabulary_size: int = option(help="how many different ids there are; they are 0 to one less", validator=ge(1))


@attrs.frozen(kw_only=True)
class TextConfig:
    """Strings, one at each step: what the robot is told to do. Goes to the encoder as it is."""

    def check(self, shape: Shape) -> Iterable[tuple[str, str]]:
        """Yield any shape but that of a single string."""
        if shape:
            yield "shape", f"expected [], one string at each step, got {list(shape)}"
