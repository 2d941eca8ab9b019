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
    """Build an encoder with what it is to be built with: one that sees windows is told their steps."""
    window = {"n_obs_steps": n_obs_steps} if sees(encoder) == WINDOW else {}
    built: BaseEncoder = encoder.build(shape_meta=shape_meta, **window)
    return built


def encode_window(encoder: BaseEncoder, obs: Mapping[str, Tensor], *, sees_window: bool) -> Tensor:
    """Encode windows ``{key: (B, T, *shape)}``.

    Args:
        sees_window: the encoder is given whole windows; otherwise one step after the other, as members of a batch.

    Returns:
        (B, S, ...), in which S is T where the encoder sees steps, and 1 where it sees windows; further dimensions are
        as the encoder gives them.
    """
    if sees_window:
        return encoder(dict(obs))[:, None]
    n_steps = next(iter(obs.values())).shape[1]
    steps: Tensor = encoder({key: value.flatten(0, 1) for key, value in obs.items()})  # (B*T, ...)
    return steps.unflatten(0, (-1, n_steps))  # type: ignore[no-untyped-call]
