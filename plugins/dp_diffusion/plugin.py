"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_core import Component, hookimpl
from dp_diffusion.config import DiffusionConfig

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    yield Component(
        kind="policy",
        name="diffusion",
        target="dp_diffusion.policy:DiffusionPolicy",
        config=DiffusionConfig,
        summary="Diffusion Policy (Chi et al. 2023): any encoder, denoiser and scheduler",
    )
