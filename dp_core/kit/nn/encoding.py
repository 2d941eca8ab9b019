"""Builds encoders and runs them on windows of observations, whatever they see and give (`BaseEncoder`).

For policies, and for encoders that consist of others. Nothing here is a component, and nothing in core uses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dp_core.config.declared import WINDOW, sees
from dp_core.config.fields import Slot
from dp_core.interfaces import BaseEncoder


def build_encoder(encoder: Slot, *, shape_meta: Mapping[str, Any], n_obs_steps: int) -> BaseEncoder:
    """Build an encoder from its slot; one that sees windows is built with ``n_obs_steps`` besides."""
    window = {"n_obs_steps": n_obs_steps} if sees(encoder) == WINDOW else {}
    built: BaseEncoder = encoder.build(shape_meta=shape_meta, **window)
    return built


def encode_window(encoder: BaseEncoder, obs: Mapping[str, Any], *, sees_window: bool) -> Tensor:
    """Encode windows ``{key: (B, T, *shape)}``.

    Args:
        obs: tensors; what is none, such as text, is an array of numpy or B lists of T.
        sees_window: the encoder is given whole windows; otherwise one step after the other, as members of a batch.

    Returns:
        (B, S, ...), in which S is T where the encoder sees steps, and 1 where it sees windows; further dimensions are
        as the encoder gives them.
    """
    if sees_window:
        windows: Tensor = encoder({key: listed(value) for key, value in obs.items()})
        return windows[:, None]
    first = next(iter(obs.values()))
    n_steps = first.shape[1] if isinstance(first, Tensor) else len(first[0])
    steps: Tensor = encoder({key: fold_steps(value) for key, value in obs.items()})  # (B*T, ...)
    return steps.unflatten(0, (-1, n_steps))  # type: ignore[no-untyped-call]


def fold_steps(value: Any) -> Any:
    """Fold (B, T, *shape) to what encoders of steps are given, (B*T, *shape); what is no tensor, to a list."""
    return value.flatten(0, 1) if isinstance(value, Tensor) else [step for window in listed(value) for step in window]


def listed(value: Any) -> Any:
    """Return tensors and lists as they are, and arrays of numpy as lists."""
    return value if isinstance(value, Tensor | list) else value.tolist()
