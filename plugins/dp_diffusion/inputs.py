"""Checks what a policy is handed: a wrong key or shape is reported by its name, before it becomes a matrix error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dp_core.errors import InputError, did_you_mean, quoted
from dp_core.interfaces import modality_of
from dp_core.observations import Raw
from dp_core.shape_meta import action_dim, obs_shape


def first_steps(
    obs: Mapping[str, Any], shape_meta: Mapping[str, Any], n_steps: int, device: torch.device, hint: str = ""
) -> dict[str, Raw]:
    """Take what is observed of training windows: the first ``n_steps`` of every key of `shape_meta`.

    Args:
        obs: ``{key: (B, T, *shape)}``; other keys are ignored.
        device: of the policy; arrays of numbers are brought there, tensors are left where they are.
        hint: what to do about too few steps, for the message.

    Raises:
        InputError: a key is missing, has another shape or too few steps, or batch sizes differ.
    """
    return {key: value[:, :n_steps] for key, value in _checked(obs, shape_meta, n_steps, device, hint).items()}


def last_steps(
    obs: Mapping[str, Any], shape_meta: Mapping[str, Any], n_steps: int, device: torch.device
) -> dict[str, Raw]:
    """Take what is observed of a history that ends now: the last ``n_steps``; otherwise as `first_steps`."""
    given = _checked(obs, shape_meta, n_steps, device)
    return {key: value[:, value.shape[1] - n_steps :] for key, value in given.items()}


def _checked(
    obs: Mapping[str, Any], shape_meta: Mapping[str, Any], n_steps: int, device: torch.device, hint: str = ""
) -> dict[str, Raw]:
    if not isinstance(obs, Mapping):
        raise InputError(f"obs: is a {type(obs).__name__}; expected {{key: values}} with every key of shape_meta")
    checked: dict[str, Raw] = {}
    for key in shape_meta["obs"]:
        if key not in obs:
            found = quoted(obs) or "nothing"
            hint = did_you_mean(key, [str(name) for name in obs if name not in shape_meta["obs"]])
            remedy = f"{hint} " if hint else ""
            raise InputError(f"obs: '{key}' is missing, found {found}; {remedy}give every key of shape_meta")
        value = modality_of(shape_meta, key).received(obs[key], f"obs: '{key}'", device)
        _check_shape(key, value, obs_shape(shape_meta, key))
        if value.shape[1] < n_steps:
            found = f"obs: '{key}' has {value.shape[1]} steps, expected at least {n_steps}"
            raise InputError(f"{found}; {hint}" if hint else found)
        checked[key] = value
    if len({len(value) for value in checked.values()}) > 1:
        sizes = ", ".join(f"'{key}' {len(value)}" for key, value in checked.items())
        raise InputError(f"obs: batch sizes differ: {sizes}; give every key the same")
    return checked


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
