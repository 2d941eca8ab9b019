"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_core import Component, hookimpl
from dp_transformer.config import TransformerConfig

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    yield Component(
        kind="denoiser",
        name="transformer",
        target="dp_transformer.transformer:TransformerForDiffusion",
        config=TransformerConfig,
        summary="causal transformer with cross-attention to time and observations, as in the paper's DP-T",
    )
