"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_core import Component, hookimpl
from dp_robomimic.config import RobomimicConfig

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    yield Component(
        kind="encoder",
        name="robomimic",
        target="dp_robomimic.encoder:RobomimicEncoder",
        config=RobomimicConfig,
        summary="ResNet-18 with spatial softmax per camera, as in the paper (robomimic)",
        requires=("robomimic", "torchvision"),
        install_hint="pip install --no-deps robomimic==0.3.0 && pip install 'dp-core[robomimic]'",
    )
