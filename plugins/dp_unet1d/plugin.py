"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_core import Component, hookimpl
from dp_unet1d.config import UNet1DConfig

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    yield Component(
        kind="denoiser",
        name="unet1d",
        target="dp_unet1d.unet:ConditionalUnet1D",
        config=UNet1DConfig,
        summary="1-D U-Net over time, conditioned by FiLM, as in the paper's CNN policies",
    )
