"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_core import Component, hookimpl
from dp_pusht.config import PushTDatasetConfig, PushTRunnerConfig

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    yield Component(
        kind="dataset",
        name="pusht",
        target="dp_pusht.dataset:PushTDataset",
        config=PushTDatasetConfig,
        summary="demonstrations of Push-T, images or keypoints",
        requires=("cv2", "pygame", "pymunk", "zarr"),
        extra="pusht",
        data_commands={"download": "dp_pusht.download_cli:main", "expert": "dp_pusht.expert_cli:main"},
    )
    yield Component(
        kind="runner",
        name="pusht",
        target="dp_pusht.runner:PushTRunner",
        config=PushTRunnerConfig,
        summary="evaluation in the Push-T environment",
        requires=("cv2", "gymnasium", "imageio", "pygame", "pymunk", "shapely"),
        extra="pusht",
    )
