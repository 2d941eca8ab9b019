"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_blockpush.config import BlockPushDatasetConfig, BlockPushRunnerConfig
from dp_core import Component, hookimpl

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    yield Component(
        kind="dataset",
        name="blockpush",
        target="dp_blockpush.dataset:BlockPushDataset",
        config=BlockPushDatasetConfig,
        summary="demonstrations of pushing two blocks into two targets",
        requires=("zarr",),
        extra="blockpush",
        data_commands={"download": "dp_blockpush.download_cli:main"},
    )
    yield Component(
        kind="runner",
        name="blockpush",
        target="dp_blockpush.runner:BlockPushRunner",
        config=BlockPushRunnerConfig,
        summary="evaluation in block pushing: how many of two blocks reach a target",
        requires=("imageio", "pybullet"),
        extra="blockpush",
    )
