"""`Rgb` and `Depth`: what cameras see."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dp_core.errors import DataError, InputError
from dp_core.interfaces import BaseModality
from dp_core.kit.data.images import as_images, layout_of
from dp_core.kit.data.numbers import finite_float32
from dp_core.normalizer import SingleFieldLinearNormalizer
from dp_core.observations import FINITE, IMAGES

if TYPE_CHECKING:
    from dp_modalities.config import DepthConfig

_BLOCK = 256
"""Images whose statistics are computed at a time, so that a recording is never in memory as float64."""


class Rgb(BaseModality):
    """Images (C, H, W), stored as uint8. All are scaled alike: black is -1, white is 1."""

    expected = IMAGES.expected

    def stored(self, values: NDArray[Any], name: str, *, range_eps: float = 1e-4) -> NDArray[np.uint8]:
        """Convert to uint8, channels first; see `dp_core.kit.data.images.convert_images` for what may be recorded."""
        return as_images(values, name, self.shape)

    def limits(self, dtype: torch.dtype) -> tuple[float, float] | None:
        return IMAGES.limits(dtype)

    def convert(self, values: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Bring whole numbers to [0, 1]."""
        return IMAGES.convert(values, dtype)

    def fit(self, values: Any, *, range_eps: float = 1e-4) -> SingleFieldLinearNormalizer:
        """Map [0, 1] to [-1, 1], whatever was recorded."""
        return SingleFieldLinearNormalizer.create_image()

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw uint8 noise."""
        return torch.randint(0, 256, (count, *self.shape), generator=generator, dtype=torch.uint8)


class Depth(BaseModality):
    """Depth (1, H, W). Whole numbers are stored as they are, in 16 bits where they fit; floats are metres.

    One scale for all pixels, by the limits of the recording: a metre is the same everywhere in the image.
    """

    expected = (
        "expected depth: whole numbers of units from 0 on, with metres in a unit as 'scale' in shape_meta, or finite "
        "floats from 0 on, in metres; give pixels without a reading the value 0"
    )
    config: DepthConfig

    def stored(self, values: NDArray[Any], name: str, *, range_eps: float = 1e-4) -> NDArray[Any]:
        """Check depth (N, 1, H, W), (N, H, W, 1) or (N, H, W); whole numbers stay exact, floats become float32."""
        if values.shape[1:] == self.shape[1:]:
            values = values[:, None]
        if layout_of(name, values.shape[1:], self.shape) == "HWC":
            values = np.moveaxis(values, -1, 1)
        if values.dtype.kind not in "iuf":
            raise DataError(f"{name} is {values.dtype}; {self.expected}")
        if values.dtype.kind == "f":
            values = finite_float32(values, name)
        low, high = (values.min(), values.max()) if values.size else (0, 0)
        whole = next((t for t in (np.uint8, np.uint16, np.int32) if high <= np.iinfo(t).max), None)
        if low < 0 or (values.dtype.kind != "f" and whole is None):
            raise DataError(f"{name} is {values.dtype} with values from {low:.6g} to {high:.6g}; {self.expected}")
        if values.dtype.kind == "f" or values.dtype in (np.uint8, np.uint16, np.int32):
            return np.ascontiguousarray(values)
        return np.ascontiguousarray(values, dtype=whole)

    def limits(self, dtype: torch.dtype) -> tuple[float, float] | None:
        """Return 0 and whatever is finite."""
        return None if dtype == torch.uint8 else (0.0, FINITE[1])

    def accepts(self, dtype: torch.dtype) -> bool:
        return not dtype.is_complex and dtype != torch.bool

    def convert(self, values: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Bring whole numbers to metres."""
        return values.to(dtype) if values.is_floating_point() else values.to(dtype) * self.config.scale

    def fit(self, values: Any, *, range_eps: float = 1e-4) -> SingleFieldLinearNormalizer:
        """Map the limits over all images and pixels to [-1, 1]."""
        return SingleFieldLinearNormalizer.create_range(self._statistics(values), range_eps=range_eps)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw noise of up to 5000 units."""
        return torch.randint(0, 5000, (count, *self.shape), generator=generator).to(torch.uint16)

    def _statistics(self, values: Tensor) -> dict[str, list[float]]:
        """Compute statistics in metres over all of (N, 1, H, W), as lists of one."""
        if not len(values):
            raise InputError("normalizer: there is no data to fit; expected at least one sample")
        low, high, total, squares = math.inf, -math.inf, 0.0, 0.0
        for start in range(0, len(values), _BLOCK):
            block = self.convert(values[start : start + _BLOCK]).double()
            low, high = min(low, float(block.min())), max(high, float(block.max()))
            total, squares = total + float(block.sum()), squares + float(block.square().sum())
        count = values.numel()
        mean = total / count
        deviation = math.sqrt(max(0.0, squares - count * mean**2) / max(1, count - 1))
        return {"min": [low], "max": [high], "mean": [mean], "std": [deviation]}
