"""`LowDim` and `Points`: numbers with and without a scale of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dp_core.errors import InputError
from dp_core.interfaces import BaseModality
from dp_core.kit.data.numbers import finite_float32, require_resolved, require_shape
from dp_core.normalizer import SingleFieldLinearNormalizer
from dp_core.normalizer.precision import coarse_entries
from dp_core.observations import NUMBERS

_N_COORDINATES = 3


class LowDim(BaseModality):
    """Joint angles, positions, forces: numbers, stored as float32. Each entry is scaled by its own limits."""

    expected = NUMBERS.expected

    def stored(self, values: NDArray[Any], name: str, *, range_eps: float = 1e-4) -> NDArray[np.float32]:
        """Convert to float32, unless that loses what matters."""
        require_shape(values, name, self.shape)
        converted = finite_float32(values, name)
        require_resolved(values, converted, name, range_eps=range_eps)
        return converted

    def limits(self, dtype: torch.dtype) -> tuple[float, float] | None:
        return NUMBERS.limits(dtype)

    def convert(self, values: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Change the type alone."""
        return NUMBERS.convert(values, dtype)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw float32 in [0, 100]."""
        return 100 * torch.rand(count, *self.shape, generator=generator)


class Points(BaseModality):
    """Points (P, 3 + C), stored as float32. Cubes stay cubes: the longest of the three sides is mapped to [-1, 1].

    The limits are those of all points of the recording; x, y and z are centred each by itself. Of further channels,
    each is scaled by its own limits.
    """

    expected = NUMBERS.expected

    def stored(self, values: NDArray[Any], name: str, *, range_eps: float = 1e-4) -> NDArray[np.float32]:
        """Convert to float32, unless that loses what matters of all points."""
        require_shape(values, name, self.shape)
        converted = finite_float32(values, name)
        channels = self.shape[1]
        require_resolved(values.reshape(-1, channels), converted.reshape(-1, channels), name, range_eps=range_eps)
        return converted

    def limits(self, dtype: torch.dtype) -> tuple[float, float] | None:
        return NUMBERS.limits(dtype)

    def convert(self, values: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Change the type alone."""
        return NUMBERS.convert(values, dtype)

    def fit(self, values: Any, *, range_eps: float = 1e-4) -> SingleFieldLinearNormalizer:
        """Fit (3 + C,) scales and offsets, the first three scales alike."""
        each = SingleFieldLinearNormalizer.create_fit(values, last_n_dims=1, range_eps=range_eps)
        stats = each.input_stats
        low, high = stats["min"][:_N_COORDINATES], stats["max"][:_N_COORDINATES]
        centre, half = (low + high) / 2, float((high - low).max()) / 2
        if problem := coarse_entries((centre - half).numpy(), (centre + half).numpy(), range_eps):
            raise InputError(f"normalizer: {problem}")
        scale, offset = each.scale.clone(), each.offset.clone()
        scale[:_N_COORDINATES] = 1.0 if 2 * half < range_eps else 1 / half
        offset[:_N_COORDINATES] = -centre * scale[:_N_COORDINATES]
        return SingleFieldLinearNormalizer.create_manual(scale, offset, stats, remark=each.remark)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw float32 in [0, 1]."""
        return torch.rand(count, *self.shape, generator=generator)
