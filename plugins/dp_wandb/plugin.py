"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_core import Component, hookimpl
from dp_wandb.config import WandbConfig

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    """Describe the one callback."""
    yield Component(
        kind="callback",
        name="wandb",
        target="dp_wandb.callback:WandbLogger",
        config=WandbConfig,
        summary="metrics and videos to Weights & Biases; offline unless told otherwise",
        requires=("wandb",),
        extra="wandb",
    )
