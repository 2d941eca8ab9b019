"""Checks what a policy is handed: a wrong key or shape is reported by its name, before it becomes a matrix error."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dp_core.errors import InputError, did_you_mean, quoted
from dp_core.interfaces import modality_of
from dp_core.observations import Raw
from dp_core.shape_meta import action_dim, keys_once_per_episode, obs_shape


def first_steps(
    obs: Mapping[str, Any], shape_meta: Mapping[str, Any], n_steps: int, device: torch.device, hint: str = ""
) -> dict[str, Raw]:
    """Take what is observed of training windows: the first ``n_steps`` of every key of `shape_meta`.

    Args:
        obs: ``{key: (B, T, *shape)}``, or (B, *shape) of what is observed once in an episode; other keys are ignored.
        device: of the policy; arrays of numbers are brought there, tensors are left where they are.
        hint: what to do about too few steps, for the message.

    Raises:
        InputError: a key is missing, has another shape or too few steps, or batch sizes differ.
    """
    return {key: value[:, :n_steps] for key, value in _checked(obs, shape_meta, n_steps, device, hint).items()}


def last_steps(
    obs: Mapping[str, Any], shape_meta: Mapping[str, Any], n_steps: int, device: torch.device
) -> dict[str, Raw]:
    """Take what is observed of a history that ends now: the last ``n_steps``; otherwise as `first_steps`.

    Raises:
        InputError: as in `first_steps`; or what is observed once in an episode changes within the history.
    """
    given = _checked(obs, shape_meta, n_steps, device)
    for key in keys_once_per_episode(shape_meta):
        if _changes(given[key]):
            raise InputError(
                f"obs: '{key}' is observed once in an episode (when: episode), and its steps differ; give that of the "
                "beginning of the episode, with or without steps"
            )
    return {key: value[:, value.shape[1] - n_steps :] for key, value in given.items()}


def _checked(
    obs: Mapping[str, Any], shape_meta: Mapping[str, Any], n_steps: int, device: torch.device, hint: str = ""
) -> dict[str, Raw]:
    if not isinstance(obs, Mapping):
        raise InputError(f"obs: is a {type(obs).__name__}; expected {{key: values}} with every key of shape_meta")
    checked: dict[str, Raw] = {}
    once = keys_once_per_episode(shape_meta)
    for key in shape_meta["obs"]:
        if key not in obs:
            found = quoted(obs) or "nothing"
            hint = did_you_mean(key, [str(name) for name in obs if name not in shape_meta["obs"]])
            remedy = f"{hint} " if hint else ""
            raise InputError(f"obs: '{key}' is missing, found {found}; {remedy}give every key of shape_meta")
        value = modality_of(shape_meta, key).received(obs[key], f"obs: '{key}'", device)
        if key in once and value.ndim == 1 + len(obs_shape(shape_meta, key)):
            value = _repeated(value, n_steps)
        _check_shape(key, value, obs_shape(shape_meta, key))
        if value.shape[1] < n_steps:
            found = f"obs: '{key}' has {value.shape[1]} steps, expected at least {n_steps}"
            raise InputError(f"{found}; {hint}" if hint else found)
        checked[key] = value
    if len({len(value) for value in checked.values()}) > 1:
        sizes = ", ".join(f"'{key}' {len(value)}" for key, value in checked.items())
        raise InputError(f"obs: batch sizes differ: {sizes}; give every key the same")
    return checked


def _repeated(value: Raw, n_steps: int) -> Raw:
    """Show (B, *shape) at each of some steps, (B, n_steps, *shape), without a copy."""
    shape = (len(value), n_steps, *value.shape[1:])
    return value[:, None].expand(shape) if isinstance(value, Tensor) else np.broadcast_to(value[:, None], shape)


def _changes(value: Raw) -> bool:
    """Tell whether steps of (B, T, *shape) differ; of what is on a GPU, which would be waited for, no."""
    if not isinstance(value, Tensor):
        return bool((value != value[:, :1]).any())
    # NaN is unequal to itself, and reported as what it is.
    return value.device.type == "cpu" and bool(((value != value[:, :1]) & (value == value)).any())


def check_sampled(trajectory: Tensor, normalized: Callable[[], Mapping[str, Raw]]) -> None:
    """Refuse normalised actions that are not finite. Waits for the device.

    Args:
        normalized: gives the observations that they come of, for the message.

    Raises:
        InputError: there are NaN or infinite ones, though all observations are finite: arithmetic has overflown.
    """
    if math.isfinite(trajectory.sum()) or bool(trajectory.isfinite().all()):  # the sum is faster, and may overflow
        return
    scaled = {key: value for key, value in normalized().items() if isinstance(value, Tensor)}
    reach = ", ".join(f"'{key}' {float(value.abs().max()):.3g}" for key, value in scaled.items())
    raise InputError(
        "predict_action: the actions are not finite, though all observations are, whose largest magnitudes, scaled as "
        f"in training to about 1, are {reach}; check the units of what is far above"
    )


def check_action(action: Tensor, shape_meta: Mapping[str, Any], horizon: int) -> None:
    """Raise InputError unless ``action`` is (B, Tp, Da)."""
    dim = action_dim(shape_meta)
    if action.ndim != 3 or tuple(action.shape[1:]) != (horizon, dim):
        raise InputError(
            f"batch: 'action' has shape {tuple(action.shape)}; expected (B, {horizon}, {dim}), "
            "as horizon and shape_meta say"
        )


def check_prefix(prefix: Tensor, batch_size: int, n_action_steps: int, dim: int) -> None:
    """Raise InputError unless ``prefix`` is (B, K, Da) with K at most Ta."""
    if prefix.ndim != 3 or (prefix.shape[0], prefix.shape[2]) != (batch_size, dim) or prefix.shape[1] > n_action_steps:
        raise InputError(
            f"fixed_action_prefix: has shape {tuple(prefix.shape)}; expected ({batch_size}, K, {dim}) with K at most "
            f"n_action_steps {n_action_steps}"
        )


def _check_shape(key: str, value: Raw, shape: tuple[int, ...]) -> None:
    if value.ndim != 2 + len(shape) or tuple(value.shape[2:]) != shape:
        expected = ", ".join(["B", "T", *map(str, shape)])
        is_channels_last = len(shape) == 3 and tuple(value.shape[2:]) == (*shape[1:], shape[0])
        hint = "; put channels first: permute(0, 1, 4, 2, 3)" if is_channels_last else ""
        raise InputError(
            f"obs: '{key}' has shape {tuple(value.shape)}; expected ({expected}), as shape_meta says{hint}"
        )
