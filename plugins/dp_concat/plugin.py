"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_concat.config import ConcatConfig
from dp_core import Component, hookimpl

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    yield Component(
        kind="encoder",
        name="concat",
        target="dp_concat.encoder:ConcatEncoder",
        config=ConcatConfig,
        summary="several encoders side by side, each for its own observations",
    )
