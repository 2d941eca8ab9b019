"""Checks what a policy is handed: a wrong key or shape is reported by its name, before it becomes a matrix error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dp_core.errors import InputError
from dp_core.shape_meta import action_dim, obs_shape


def select_obs(
    obs: Mapping[str, Tensor], shape_meta: Mapping[str, Any], n_steps: int, purpose: str
) -> dict[str, Tensor]:
    """Take the first ``n_steps`` of every key of `shape_meta`; other keys are ignored.

    Args:
        obs: ``{key: (B, T, *shape)}``.
        purpose: what needs that many steps, for the message.

    Raises:
        InputError: a key is missing, or has another shape or too few steps.
    """
    return {key: _steps(key, obs, obs_shape(shape_meta, key), n_steps, purpose) for key in shape_meta["obs"]}


def check_action(action: Tensor, shape_meta: Mapping[str, Any], horizon: int) -> None:
    """Raise InputError unless ``action`` is (B, Tp, Da)."""
    expected = (horizon, action_dim(shape_meta))
    if tuple(action.shape[1:]) != expected or action.ndim != 3:
        raise InputError(
            f"batch: 'action' has shape {tuple(action.shape)}; expected (B, {horizon}, {expected[1]}), "
            "the horizon of the policy and the action of shape_meta"
        )


def _steps(key: str, obs: Mapping[str, Tensor], shape: tuple[int, ...], n_steps: int, purpose: str) -> Tensor:
    if key not in obs:
        found = ", ".join(f"'{name}'" for name in obs) or "nothing"
        raise InputError(f"obs: '{key}' is missing, found {found}; give every key of shape_meta")
    value = obs[key]
    if tuple(value.shape[2:]) != shape or value.ndim != 2 + len(shape):
        expected = ", ".join(["B", "T", *map(str, shape)])
        raise InputError(f"obs: '{key}' has shape {tuple(value.shape)}; expected ({expected}), as shape_meta says")
    if value.shape[1] < n_steps:
        raise InputError(f"obs: '{key}' has {value.shape[1]} steps; {purpose} needs {n_steps}")
    return value[:, :n_steps]
