"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_core import Component, hookimpl
from dp_multi_image.config import MultiImageConfig

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    yield Component(
        kind="encoder",
        name="multi_image",
        target="dp_multi_image.encoder:MultiImageEncoder",
        config=MultiImageConfig,
        summary="a ResNet of torchvision per camera or shared, as in the original's image policies",
        requires=("torchvision",),
        extra="torchvision",
    )
