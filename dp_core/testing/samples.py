"""Random inputs of the right shapes, and small helpers around random numbers. All drawn from fixed seeds.

What a key of ``shape_meta`` holds is drawn by its modality, unless an author says it.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dp_core.interfaces import modality_of
from dp_core.normalizer import LinearNormalizer, SingleFieldLinearNormalizer
from dp_core.shape_meta import action_dim, obs_type
from dp_core.training.random_state import RandomState, seed_everything

Sample = Callable[[int, torch.Generator], Any]
"""``sample(count, generator) -> (count, *shape)``: what an author says that a key holds, raw and normalised alike."""
Samples = Mapping[str, Sample]
"""By key; all others are drawn by their modality."""

UNUSUAL_SEED = 20_221
"""One that nobody else seeds a global generator with, so that it shows whether somebody does."""
_LARGE = 1000.0
"""How far beyond their usual range values are that are large, but legal."""
_N_FITTED = 64
"""Samples that the normalizer of other modalities than numbers is fitted to."""


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Seed all global generators with ``seed`` inside the block, and put their state back at its end."""
    of_python, of_numpy = random.getstate(), np.random.get_state()  # as they are: this is done for every output
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            seed_everything(seed)
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


def random_states() -> dict[str, Any]:
    """Return the states of the global generators, by the name of what draws from them."""
    return {name: state for name, state in RandomState().state_dict().items() if name != "cuda"}


def generator(seed: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """Make a generator on ``device``, seeded with ``seed``."""
    return torch.Generator(device).manual_seed(seed)


def extremes(type_: str, values: Any, *, is_normalized: bool) -> Iterator[tuple[str, Tensor]]:
    """Yield what is legal for a key and seldom seen, each with a name, in the shape and the type of ``values``.

    Args:
        type_: of the key; nothing is known to be extreme of others than images and numbers.
        values: usual ones, as its modality draws them.
        is_normalized: as an encoder receives them; else raw.
    """
    if type_ == "rgb":
        low, high = (-1, 1) if is_normalized else (0, 255)
        yield "an image that is all black", torch.full_like(values, low)
        yield "an image that is all white", torch.full_like(values, high)
    elif type_ == "low_dim":
        yield "zeros", torch.zeros_like(values)
        yield "ones", torch.ones_like(values)
        yield f"values {_LARGE:g} times as large as usual", values * _LARGE


def normalized_obs(
    shape_meta: Mapping[str, Any], count: int, seed: int = 0, samples: Samples | None = None
) -> dict[str, Any]:
    """Draw what an encoder receives, ``{key: (count, *shape)}``, from the modality of each key.

    Of images and numbers, float32 in [-1, 1]; of tokens, int64; of text, a list of ``count`` strings.
    """
    draw, own = generator(seed), samples or {}
    return {
        key: own[key](count, draw) if key in own else modality_of(shape_meta, key).normalized_sample(count, draw)
        for key in shape_meta["obs"]
    }


def raw_obs(
    shape_meta: Mapping[str, Any], batch_size: int, n_steps: int, seed: int = 0, samples: Samples | None = None
) -> dict[str, Any]:
    """Draw what a policy observes, ``{key: (B, n_steps, *shape)}``, from the modality of each key.

    Of images, uint8; of low-dimensional keys, float32 in [0, 100].
    """
    draw, own = generator(seed), samples or {}
    obs = {}
    for key in shape_meta["obs"]:
        sample = own[key] if key in own else modality_of(shape_meta, key).sample
        values = sample(batch_size * n_steps, draw)
        obs[key] = values.reshape(batch_size, n_steps, *values.shape[1:])
    return obs


def raw_batch(
    shape_meta: Mapping[str, Any], batch_size: int, horizon: int, seed: int = 0, samples: Samples | None = None
) -> dict[str, Any]:
    """Draw what a policy is trained on: observations (B, horizon, *shape) as `raw_obs`, actions (B, horizon, Da).

    Actions are float32 in [0, 100].
    """
    draw = generator(seed + 1)
    return {
        "obs": raw_obs(shape_meta, batch_size, horizon, seed, samples),
        "action": 100 * torch.rand(batch_size, horizon, action_dim(shape_meta), generator=draw),
    }


def normalizer_for(
    shape_meta: Mapping[str, Any], action_offset: float = 0.0, samples: Samples | None = None
) -> LinearNormalizer:
    """Make the normalizer of data that `raw_batch` draws, with actions in [0, 100] + ``action_offset``."""
    normalizer = LinearNormalizer(shape_meta)
    for key in shape_meta["obs"]:
        modality = modality_of(shape_meta, key)
        if not modality.is_scaled:
            continue
        if key in (samples or {}):
            normalizer[key] = SingleFieldLinearNormalizer.create_identity()
        elif obs_type(shape_meta, key) == "low_dim":
            normalizer[key] = _range_field(torch.Size(modality.shape).numel())
        else:
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
