"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_core import Component, hookimpl
from dp_r3m.config import R3MConfig

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    yield Component(
        kind="encoder",
        name="r3m",
        target="dp_r3m.encoder:R3MEncoder",
        config=R3MConfig,
        summary="ResNet-18, 34 or 50 with the weights of R3M, trained on videos of people",
        requires=("torchvision",),
        extra="torchvision",
    )
