"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_core import Component, hookimpl
from dp_kitchen.config import KitchenDatasetConfig, KitchenRunnerConfig

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    yield Component(
        kind="dataset",
        name="kitchen",
        target="dp_kitchen.dataset:KitchenDataset",
        config=KitchenDatasetConfig,
        summary="demonstrations of the Franka kitchen, as arrays or as .mjl logs",
        requires=("zarr",),
        extra="kitchen",
        data_commands={"download": "dp_kitchen.download_cli:main"},
    )
    yield Component(
        kind="runner",
        name="kitchen",
        target="dp_kitchen.runner:KitchenRunner",
        config=KitchenRunnerConfig,
        summary="evaluation in the Franka kitchen: how many of seven tasks are done",
        requires=("gymnasium_robotics", "imageio", "mujoco"),
        extra="kitchen",
    )
