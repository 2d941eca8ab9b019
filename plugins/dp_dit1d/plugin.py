"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_core import Component, hookimpl
from dp_dit1d.config import DiT1DConfig

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    yield Component(
        kind="denoiser",
        name="dit1d",
        target="dp_dit1d.dit:DiT1D",
        config=DiT1DConfig,
        summary="diffusion transformer over time, modulated by time and observations (adaLN-zero)",
    )
