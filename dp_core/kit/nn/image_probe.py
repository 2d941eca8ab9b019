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
"""Rows at the lower and columns at the right border of an image."""
Network = Callable[[Tensor], Tensor]
"""Takes images (N, C, H, W), gives features with N as the first dimension."""

_ROWS, _COLUMNS = 1, 2
"""Axes of an image (C, H, W)."""


@attrs.frozen
class Probe:
    """The finding of `probe` about a network and images of one shape."""

    feature_shape: tuple[int, ...]
    """Shape of the features of one image, without a batch dimension."""
    unseen: Border
    """Rows and columns at the end that no feature depends on; (0, 0) where the network sees images whole."""


def probe(network: Network, image_shape: tuple[int, ...]) -> Probe:
    """Run ``network``, which is in eval mode, on images of ``image_shape`` (C, H, W).

    What is not a number stays so on every way to the features: past ReLUs that are shut, and through residual branches
    that begin with factors of zero, where a gradient would end. At the place that is left out first, the lower right
    corner, it shows in one pass of one image, without random numbers, that none is; only otherwise there are more.
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
