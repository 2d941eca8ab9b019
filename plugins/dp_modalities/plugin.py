"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from dp_core import Component, hookimpl
from dp_modalities.config import DepthConfig, LowDimConfig, PointsConfig, RgbConfig, TextConfig, TokensConfig

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    yield Component(
        kind="modality",
        name="rgb",
        target="dp_modalities.images:Rgb",
        config=RgbConfig,
        summary="pictures, scaled to [-1, 1] by the range of their data type",
    )
    yield Component(
        kind="modality",
        name="depth",
        target="dp_modalities.images:Depth",
        config=DepthConfig,
        summary="depth images in metres or whole units; one scale for the whole image",
    )
    yield Component(
        kind="modality",
        name="low_dim",
        target="dp_modalities.numbers:LowDim",
        config=LowDimConfig,
        summary="numbers of any rank; each entry is scaled by its own limits",
    )
    yield Component(
        kind="modality",
        name="points",
        target="dp_modalities.numbers:Points",
        config=PointsConfig,
        summary="point clouds; one scale for x, y and z, so that geometry keeps its shape",
    )
    yield Component(
        kind="modality",
        name="tokens",
        target="dp_modalities.symbols:Tokens",
        config=TokensConfig,
        summary="integer ids, not scaled",
    )
    yield Component(
        kind="modality",
        name="text",
        target="dp_modalities.symbols:Text",
        config=TextConfig,
        summary="strings, given to the encoder as they are",
    )
