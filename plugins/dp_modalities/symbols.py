"""`Tokens` and `Text`: what no scale applies to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dp_core.errors import DataError, InputError
from dp_core.interfaces import BaseModality
from dp_core.kit.data.numbers import require_shape

if TYPE_CHECKING:
    from dp_modalities.config import TokensConfig

_SAYINGS = ("push the block", "open the drawer", "lift the can", "stop")


class Tokens(BaseModality):
    """Ids, stored as int64, which is also what the encoder is given."""

    config: TokensConfig
    is_scaled = False

    def __init__(self, config: TokensConfig, *, shape: tuple[int, ...]) -> None:
        super().__init__(config, shape=shape)
        self.expected = f"expected ids: whole numbers from 0 to {config.vocabulary_size - 1}, as vocabulary_size says"

    def stored(self, values: NDArray[Any], name: str, *, range_eps: float = 1e-4) -> NDArray[np.int64]:
        """Convert to int64."""
        require_shape(values, name, self.shape)
        if values.dtype.kind not in "iu":
            raise DataError(f"{name} is {values.dtype}; {self.expected}")
        if values.size and (values.min() < 0 or values.max() >= self.config.vocabulary_size):
            raise DataError(f"{name} has values from {values.min()} to {values.max()}; {self.expected}")
        return np.ascontiguousarray(values, dtype=np.int64)

    def accepts(self, dtype: torch.dtype) -> bool:
        return not (dtype.is_floating_point or dtype.is_complex or dtype == torch.bool)

    def limits(self, dtype: torch.dtype) -> tuple[float, float] | None:
        """Return the first and the last id."""
        return 0, self.config.vocabulary_size - 1

    def convert(self, values: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Make them int64."""
        return values.to(torch.int64)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw any ids."""
        return torch.randint(0, self.config.vocabulary_size, (count, *self.shape), generator=generator)


class Text(BaseModality):
    """Strings, stored in an array of Python's strings, equal ones once."""

    expected = "expected strings"
    is_scaled = False

    def stored(self, values: NDArray[Any], name: str, *, range_eps: float = 1e-4) -> NDArray[np.object_]:
        """Check that there are strings, (N,), and nothing else."""
        require_shape(values, name, self.shape)
        try:
            return _strings(values)
        except TypeError as error:
            raise DataError(f"{name} {error}; {self.expected}") from error

    def received(self, values: Any, name: str, device: torch.device | str = "cpu") -> NDArray[np.object_]:
        """Take an array or nested lists of strings, (B, T); they stay on the host."""
        try:
            return _strings(np.array(values, dtype=object) if isinstance(values, list | tuple) else values)
        except TypeError as error:
            raise InputError(f"{name} {error}; {self.expected}, (B, T) in an array of numpy or in lists") from error

    def limits(self, dtype: torch.dtype) -> tuple[float, float] | None:
        return None

    def convert(self, values: Any, dtype: torch.dtype = torch.float32) -> Any:
        """Leave them as they are."""
        return values

    def sample(self, count: int, generator: torch.Generator) -> NDArray[np.object_]:
        """Draw short sentences."""
        chosen = torch.randint(0, len(_SAYINGS), (count,), generator=generator).tolist()
        return np.array([_SAYINGS[index] for index in chosen], dtype=object)


def _strings(values: Any) -> NDArray[np.object_]:
    """Return an array of strings, of Python's own type.

    Raises:
        TypeError: there is something else in it.
    """
    if not isinstance(values, np.ndarray):
        raise TypeError(f"is a {type(values).__name__}")
    if values.dtype.kind not in "UTO":
        raise TypeError(f"is {values.dtype}")
    known: dict[str, str] = {}
    strings = np.empty(values.shape, dtype=object)
    for index, value in enumerate(values.flat):
        if not isinstance(value, str):
            raise TypeError(f"has {value!r} in it")
        strings.flat[index] = known.setdefault(str(value), str(value))
    return strings
