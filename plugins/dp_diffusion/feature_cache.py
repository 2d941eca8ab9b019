"""`FeatureCache`: what consecutive calls see twice is encoded once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from dp_core.observations import Raw

Obs = dict[str, Raw]
Encode = Callable[[Obs], Tensor]
"""``encode({key: (B, T, *shape)}) -> (B, T, Do)``, each step for itself."""


def _form(value: Raw) -> tuple[object, ...]:
    return value.shape, value.dtype, getattr(value, "device", None)


def _is_same(value: Raw, other: Raw) -> bool:
    if isinstance(value, Tensor) and isinstance(other, Tensor):
        return torch.equal(value, other)
    return np.array_equal(value, other)


def _copy(value: Raw) -> Raw:
    return value.clone() if isinstance(value, Tensor) else value.copy()


class FeatureCache:
    """Keeps the observations and the features of the last call.

    Steps are recognised by their values, and features are forgotten when a parameter or buffer of ``modules``, on which
    they depend, was replaced or written to. Fused optimizers write without a trace, so call `clear` when training.
    """

    def __init__(self, *modules: nn.Module) -> None:
        self._modules = modules
        self.clear()

    def __getstate__(self) -> dict[str, object]:
        # Copies encode for themselves; and torch pickles depth of 16 bits, but cannot read it again.
        return {"_modules": self._modules, "_obs": {}, "_features": None, "_version": ()}

    def clear(self) -> None:
        """Forget."""
        self._obs: Obs = {}
        self._features: Tensor | None = None
        self._version: tuple[object, ...] = ()

    def features(self, obs: Obs, encode: Encode) -> Tensor:
        """Return features (B, To, Do) of ``obs`` ``{key: (B, To, *shape)}``; calls ``encode`` for new steps only."""
        n_known, n_steps = self._count_known(obs), next(iter(obs.values())).shape[1]
        parts = []
        if self._features is not None and n_known:
            parts.append(self._features[:, -n_known:])
        if n_known < n_steps:
            parts.append(encode({key: value[:, n_known:] for key, value in obs.items()}))
        features = torch.cat(parts, dim=1)
        self._obs = {key: _copy(value) for key, value in obs.items()}  # callers reuse their buffers
        self._features, self._version = features, self._current_version()
        return features

    def _count_known(self, obs: Obs) -> int:
        """Count the first steps of ``obs`` that are the last steps of the call before."""
        if self._features is None or self._version != self._current_version():
            return 0
        # The same numbers of another data type may be another image.
        if any(_form(value) != _form(self._obs[key]) for key, value in obs.items()):
            return 0
        counts = range(self._features.shape[1], 0, -1)
        return next((count for count in counts if self._is_known(obs, count)), 0)

    def _is_known(self, obs: Obs, count: int) -> bool:
        return all(_is_same(value[:, :count], self._obs[key][:, -count:]) for key, value in obs.items())

    def _current_version(self) -> tuple[object, ...]:
        """Changes with every write to a tensor, and when tensors are replaced."""
        tensors = [t for module in self._modules for t in (*module.parameters(), *module.buffers())]
        return tuple((t.data_ptr(), t.dtype, 0 if t.is_inference() else t._version) for t in tensors)
