"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_core import Component, hookimpl
from dp_lowdim.config import LowdimConfig

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    yield Component(
        kind="encoder",
        name="lowdim",
        target="dp_lowdim.encoder:LowdimEncoder",
        config=LowdimConfig,
        summary="concatenates low-dimensional observations; nothing to learn",
    )
