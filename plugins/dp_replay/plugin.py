"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_core import Component, hookimpl
from dp_replay.config import ReplayConfig

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    yield Component(
        kind="dataset",
        name="replay",
        target="dp_replay.dataset:ReplayFileDataset",
        config=ReplayConfig,
        summary="your own demonstrations, in a zarr replay buffer",
        requires=("zarr",),
        extra="replay",
    )
