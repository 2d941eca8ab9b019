"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_cnn.config import CnnConfig
from dp_core import Component, hookimpl

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    yield Component(
        kind="encoder",
        name="cnn",
        target="dp_cnn.encoder:CnnEncoder",
        config=CnnConfig,
        summary="a few convolutions per camera, for training without a GPU",
    )
