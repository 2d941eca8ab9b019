"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_core import Component, hookimpl
from dp_pointnet.config import PointNetConfig

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    yield Component(
        kind="encoder",
        name="pointnet",
        target="dp_pointnet.encoder:PointNetEncoder",
        config=PointNetConfig,
        summary="a shared MLP and a maximum over points, as in 3D Diffusion Policy",
    )
