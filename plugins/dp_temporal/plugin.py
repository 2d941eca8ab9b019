"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_core import Component, hookimpl
from dp_temporal.config import TemporalConfig

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    yield Component(
        kind="encoder",
        name="temporal",
        target="dp_temporal.encoder:TemporalEncoder",
        config=TemporalConfig,
        summary="attention over the observed steps, on top of an encoder of one step",
    )
