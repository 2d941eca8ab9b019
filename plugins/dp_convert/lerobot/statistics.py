"""Expresses LeRobot's normalisation of each key as ours: ``x * scale + offset``, the same pair for both directions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from dp_core.errors import CheckpointError

_MIN_MAX = {"MIN_MAX": ("min", "max"), "QUANTILES": ("q01", "q99"), "QUANTILE10": ("q10", "q90")}
_SMALLEST_RANGE = 1e-4
"""Of a value that never changed. LeRobot divides by 1e-8, which float32 cannot undo."""
_EPS = 1e-8
"""LeRobot adds this to deviations."""


@attrs.frozen
class Statistic:
    """The normalisation of one key: normalised values are ``(x - centre) / half``."""

    centre: Tensor
    half: Tensor
    known: Mapping[str, Tensor]
    """Those of min, max, mean and std that the file has."""


class Statistics:
    """Finds the statistics of a checkpoint: in the preprocessor's file, or as buffers among the weights."""

    def __init__(
        self, config: Mapping[str, Any], weights: Mapping[str, Tensor], processor: Mapping[str, Tensor]
    ) -> None:
        self._modes = {
            **(config.get("input_normalization_modes") or {}),
            **(config.get("output_normalization_modes") or {}),
        }
        self._mapping = config.get("normalization_mapping") or {}
        self._weights = weights
        self._processor = processor

    def of(self, key: str, kind: str, where: Path) -> Statistic:
        """Find how LeRobot normalises ``key``, an observation of type ``kind`` or the action.

        Raises:
            CheckpointError: the file has not what that takes.
        """
        feature = "ACTION" if key == "action" else "VISUAL" if kind == "rgb" else "STATE"
        if key == "observation.environment_state":
            feature = "ENV"
        mode = str(self._modes.get(key) or self._mapping.get(feature) or "IDENTITY").upper()
        known = self._known(key)
        if mode == "IDENTITY":
            # What is not normalised at all keeps its shape to itself; one number does for every channel.
            size = next(iter(known.values())).shape if known else (1,)
            return Statistic(torch.zeros(size), torch.ones(size), known)
        wanted = ("mean", "std") if mode == "MEAN_STD" else _MIN_MAX.get(mode)
        if wanted is None:
            raise CheckpointError(f"{where}: '{key}' is normalised by '{mode}', which has no counterpart here")
        if missing := [name for name in wanted if name not in known]:
            raise CheckpointError(
                f"{where}: '{key}' is normalised by '{mode}', but there is no {' and '.join(missing)} of it, neither "
                "in policy_preprocessor.json's file nor in model.safetensors; without it the actions would be wrong"
            )
        low, high = (known[name] for name in wanted)
        if mode == "MEAN_STD":
            return Statistic(low, high + _EPS, known)
        range_ = high - low
        # A value that never changed is mapped to -1, and -1 to that value.
        range_ = torch.where(range_ == 0, _SMALLEST_RANGE, range_)
        return Statistic(low + range_ / 2, range_ / 2, known)

    def _known(self, key: str) -> dict[str, Tensor]:
        prefix = f"{key}."
        known = {name.removeprefix(prefix): value for name, value in self._processor.items() if name.startswith(prefix)}
        buffer = f"buffer_{key.replace('.', '_')}."
        for name, value in self._weights.items():
            owner, found, statistic = name.partition(buffer)
            if found and owner in ("normalize_inputs.", "unnormalize_outputs."):
                known.setdefault(statistic, value)
        return {name: value.float() for name, value in known.items() if torch.isfinite(value).all()}


def image_stats(key: str, statistic: Statistic) -> dict[str, Tensor]:
    """Make the statistics, (C, 1, 1) each, that our encoder `lerobot` normalises images with."""
    prefix = f"obs_encoder.image_stats.{key.replace('.', '_')}"
    return {f"{prefix}.mean": _per_channel(statistic.centre), f"{prefix}.std": _per_channel(statistic.half)}


def normalizer_field(key: str, statistic: Statistic, *, is_image: bool) -> dict[str, Tensor]:
    """Make the entries of our normalizer, (D,) each; it maps images to [-1, 1], and the encoder does the rest."""
    if is_image:
        centre, half, known = torch.tensor([0.5]), torch.tensor([0.5]), {"min": torch.zeros(1), "max": torch.ones(1)}
    else:
        centre, half, known = statistic.centre.flatten(), statistic.half.flatten(), dict(statistic.known)
    unknown = torch.full_like(centre, torch.nan)
    prefix = f"normalizer.params_dict.{key}"
    stats = {name: known.get(name, unknown).flatten() for name in ("max", "mean", "min", "std")}
    return {
        f"{prefix}.offset": -centre / half,
        f"{prefix}.scale": 1 / half,
        **{f"{prefix}.input_stats.{name}": value for name, value in stats.items()},
    }


def _per_channel(values: Tensor) -> Tensor:
    return values.reshape(-1, 1, 1)
