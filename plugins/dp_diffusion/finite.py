"""Finds the encoder that returns NaN, before the weights are NaN too and nobody can tell where it began."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dp_core.border import fault
from dp_core.errors import ComponentError
from dp_core.observations import Raw


class FiniteFeatures:
    """Looks at the features that an encoder returns: on a CPU at all, on a GPU at the first since it was renewed.

    A GPU would have to be waited for at every step. Most encoders that return NaN do so from the first batch on.
    """

    def __init__(self) -> None:
        self._has_looked = False

    def renew(self) -> None:
        """Look once more, also on a GPU."""
        self._has_looked = False

    def check(self, encoder: nn.Module, features: Tensor, obs: Mapping[str, Raw]) -> None:
        """Refuse features that are not finite, unless that is not the encoder's doing.

        It is not where its own weights are not finite, since training has diverged then, and when it acts on
        observations that are not finite, which `ObservationCheck` reports.

        Args:
            features: of any shape; of a row each.
            obs: normalised, what the encoder was given, ``{key: (B, T, *shape)}``.

        Raises:
            ComponentError: they hold NaN or infinity. Names the encoder, and the keys, which were finite or not.
        """
        if self._has_looked and features.device.type != "cpu":
            return
        self._has_looked = True
        # A sum takes one pass and is not finite if a number is not; that of finite ones may overflow.
        if math.isfinite(features.detach().sum()) or _is_finite(features):
            return
        if (failure := _failure(encoder, features, obs)) is not None:
            raise failure


def _failure(encoder: nn.Module, features: Tensor, obs: Mapping[str, Raw]) -> ComponentError | None:
    finite = [key for key, value in obs.items() if _is_finite(value)]
    others = [key for key in obs if key not in finite]
    has_diverged = not all(map(_is_finite, encoder.parameters()))
    if has_diverged or (others and not encoder.training):
        return None
    n_bad = int((~features.detach().flatten(1).isfinite()).any(dim=1).sum())
    what = f"returned NaN or infinity in {n_bad} of {len(features)} rows"
    if finite:
        what += f", for finite values of {_with_sizes(finite, obs)}"
    if others:
        what += f"; it was given NaN or infinity in {_with_sizes(others, obs)}"
    return fault(encoder, what)


def _is_finite(values: Raw) -> bool:
    return not isinstance(values, Tensor) or bool(torch.isfinite(values.detach()).all())


def _with_sizes(keys: list[str], obs: Mapping[str, Raw]) -> str:
    return ", ".join(f"'{key}' {tuple(obs[key].shape[2:])}" for key in keys)
