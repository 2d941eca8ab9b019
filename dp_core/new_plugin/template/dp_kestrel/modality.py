"""`KestrelModality`: numbers over several powers of ten, small ones of which matter as much as large ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from dp_core.errors import DataError
from dp_core.interfaces import BaseModality
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from dp_kestrel.config import ModalityOptions


class KestrelModality(BaseModality):
    """Numbers of any shape, on a logarithmic scale beyond `unit`. Each entry is scaled by its own limits."""

    expected = "expected finite numbers"  # ends every message about values that are not
    config: ModalityOptions

    def stored(self, values: NDArray[Any], name: str, *, range_eps: float = 1e-4) -> NDArray[np.float32]:
        """Check what was recorded, (N, *shape), and keep it as float32."""
        if values.shape[1:] != self.shape or values.dtype.kind not in "biuf" or not np.isfinite(values).all():
            raise DataError(f"{name} is {values.dtype} {values.shape[1:]}; {self.expected} of shape {self.shape}")
        return np.ascontiguousarray(values, dtype=np.float32)

    def limits(self, dtype: torch.dtype) -> tuple[float, float] | None:
        """Return from where to where values are legal; a policy refuses others, NaN included."""
        return (-1e30, 1e30) if dtype.is_floating_point else None

    def convert(self, values: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Make them what is scaled and given to networks."""
        floats = values.to(dtype)
        return floats.sign() * (floats.abs() / self.config.unit).log1p()

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw (count, *shape) such as a sensor gives them, for tests of encoders and policies."""
        return 100 * torch.rand(count, *self.shape, generator=generator) - 50
