"""`probe`: tries a network on images of some size, and finds how much of them never reaches its features.

Patches and strides that an image does not fill leave out its last rows and columns without a word. Nothing here is a
component, and nothing in core uses it: it saves encoders from finding out once more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

import attrs
import torch
from torch import Tensor

Border = tuple[int, int]
"""The rows at the lower and the columns at the right border of an image."""
Network = Callable[[Tensor], Tensor]
"""A network that takes images (N, C, H, W) and gives features with N as the first dimension."""

_ROWS, _COLUMNS = 1, 2
"""Axes of an image (C, H, W)."""


@attrs.frozen
class Probe:
    """The finding of `probe` about a network and images of one shape."""

    feature_shape: tuple[int, ...]
    """The shape of the features of one image, without a batch dimension."""
    unseen: Border
    """The rows and columns at the end that no feature depends on; (0, 0) where the network sees images whole."""


def probe(network: Network, image_shape: tuple[int, ...]) -> Probe:
    """Run ``network``, in eval mode, on images of ``image_shape`` (C, H, W), and find what of them it never sees.

    NaN stays NaN on every way to the features: past ReLUs that are closed, and through residual branches that begin
    with factors of zero, where a gradient would end. One pass of an image with NaN in the lower right corner, the place
    that is left out first, shows that nothing is; only otherwise are there more passes. Draws no random numbers.
    """
    corner = torch.zeros(1, *image_shape)
    corner[..., -1, -1] = torch.nan
    features = _run(network, corner)
    is_whole = bool(features.isnan().any())
    unseen = (0, 0) if is_whole else (_unseen(network, image_shape, _ROWS), _unseen(network, image_shape, _COLUMNS))
    return Probe(tuple(features.shape[1:]), unseen)


def border_text(border: Border) -> str:
    """Name a border: "the last 4 rows and the last column"."""
    return " and ".join(
        f"the last {name}" if count == 1 else f"the last {count} {name}s"
        for count, name in zip(border, ("row", "column"), strict=True)
        if count
    )


def _unseen(network: Network, image_shape: tuple[int, ...], axis: int) -> int:
    size = image_shape[axis]

    def is_seen(width: int) -> bool:
        image = torch.zeros(image_shape)
        image.narrow(axis, size - width, width).fill_(torch.nan)
        return bool(_run(network, image[None]).isnan().any())

    return 0 if is_seen(1) else bisect_left(range(1, size + 1), True, key=is_seen)


def _run(network: Network, images: Tensor) -> Tensor:
    with torch.no_grad():
        return network(images)
