"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_core import Component, hookimpl
from dp_timm.config import TimmConfig

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    yield Component(
        kind="encoder",
        name="timm",
        target="dp_timm.encoder:TimmEncoder",
        config=TimmConfig,
        summary="any image backbone of timm, pretrained or not",
        requires=("timm", "torchvision"),
        extra="timm",
    )
