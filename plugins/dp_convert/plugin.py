"""What this plugin offers, besides the command ``dp-convert``."""

from __future__ import annotations

from collections.abc import Iterator

from dp_convert.config import LeRobotConfig
from dp_core import Component, hookimpl

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    yield Component(
        kind="encoder",
        name="lerobot",
        target="dp_convert.lerobot.encoder:LeRobotEncoder",
        config=LeRobotConfig,
        summary="the encoder of LeRobot's diffusion policy, for weights trained there",
        requires=("torchvision",),
        extra="timm",
    )
