"""Random inputs of the right shapes, and small helpers around random numbers. All drawn from fixed seeds."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dp_core.interfaces import modality_of
from dp_core.normalizer import LinearNormalizer, SingleFieldLinearNormalizer
from dp_core.shape_meta import action_dim, obs_type

_N_FITTED = 64
"""Samples that the normalizer of other modalities than numbers is fitted to."""


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Seed torch's global generators with ``seed`` inside the block, and put their state back at its end."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def generator(seed: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """Make a generator on ``device``, seeded with ``seed``."""
    return torch.Generator(device).manual_seed(seed)


def normalized_obs(shape_meta: Mapping[str, Any], count: int, seed: int = 0) -> dict[str, Any]:
    """Draw what an encoder receives, ``{key: (count, *shape)}``, from the modality of each key.

    Of images and numbers, float32 in [-1, 1]; of tokens, int64; of text, a list of ``count`` strings.
    """
    draw = generator(seed)
    return {key: modality_of(shape_meta, key).normalized_sample(count, draw) for key in shape_meta["obs"]}


def raw_obs(shape_meta: Mapping[str, Any], batch_size: int, n_steps: int, seed: int = 0) -> dict[str, Any]:
    """Draw what a policy observes, ``{key: (B, n_steps, *shape)}``, from the modality of each key.

    Of images, uint8; of low-dimensional keys, float32 in [0, 100].
    """
    draw = generator(seed)
    drawn = {key: modality_of(shape_meta, key).sample(batch_size * n_steps, draw) for key in shape_meta["obs"]}
    return {key: sample.reshape(batch_size, n_steps, *sample.shape[1:]) for key, sample in drawn.items()}


def raw_batch(shape_meta: Mapping[str, Any], batch_size: int, horizon: int, seed: int = 0) -> dict[str, Any]:
    """Draw what a policy is trained on: observations (B, horizon, *shape) as `raw_obs`, actions (B, horizon, Da).

    Actions are float32 in [0, 100].
    """
    draw = generator(seed + 1)
    return {
        "obs": raw_obs(shape_meta, batch_size, horizon, seed),
        "action": 100 * torch.rand(batch_size, horizon, action_dim(shape_meta), generator=draw),
    }


def normalizer_for(shape_meta: Mapping[str, Any], action_offset: float = 0.0) -> LinearNormalizer:
    """Make the normalizer of data that `raw_batch` draws, with actions in [0, 100] + ``action_offset``."""
    normalizer = LinearNormalizer(shape_meta)
    for key in shape_meta["obs"]:
        modality = modality_of(shape_meta, key)
        if obs_type(shape_meta, key) == "low_dim":
            normalizer[key] = _range_field(torch.Size(modality.shape).numel())
        elif modality.is_scaled:
            sample = np.asarray(modality.sample(_N_FITTED, generator()))
            normalizer[key] = modality.fit(torch.from_numpy(modality.stored(sample, f"a sample of '{key}'")))
    normalizer["action"] = _range_field(action_dim(shape_meta), action_offset)
    return normalizer


def clone(tree: Any) -> Any:
    """Copy nested dictionaries of tensors, sharing no memory."""
    if isinstance(tree, Mapping):
        return {key: clone(value) for key, value in tree.items()}
    return tree.clone() if isinstance(tree, Tensor) else copy.copy(tree)


def differences(tree: Any, other: Any, path: str = "") -> Iterator[str]:
    """Yield dotted names of what differs at all in two trees of dictionaries, lists, tensors and plain values."""
    if isinstance(tree, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys([*tree, *other]):
            here = f"{path}.{key}" if path else str(key)
            if key not in tree or key not in other:
                yield here
            else:
                yield from differences(tree[key], other[key], here)
    elif isinstance(tree, list | tuple) and isinstance(other, list | tuple) and len(tree) == len(other):
        for index, (item, its_other) in enumerate(zip(tree, other, strict=True)):
            yield from differences(item, its_other, f"{path}[{index}]")
    elif not _is_same(tree, other):
        yield path or "the value"


def _is_same(value: Any, other: Any) -> bool:
    if isinstance(value, Tensor) and isinstance(other, Tensor):
        return value.dtype == other.dtype and torch.equal(value.nan_to_num(), other.nan_to_num())
    if isinstance(value, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(value, other)
    return type(value) is type(other) and bool(value == other or value != value)


def _range_field(size: int, offset: float = 0.0) -> SingleFieldLinearNormalizer:
    low = torch.full((size,), offset)
    stats = {"min": low, "max": low + 100, "mean": low + 50, "std": torch.full((size,), 29.0)}
    return SingleFieldLinearNormalizer.create_range(stats)
