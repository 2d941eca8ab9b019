"""Scales images as pretrained networks expect them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""The mean of the pixels of ImageNet's training images, red, green and blue in [0, 1]."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""The deviation of the pixels of ImageNet's training images, red, green and blue in [0, 1]."""


class Standardize(nn.Module):
    """Scales images in [-1, 1] as a network was trained on them: in [0, 1], less ``mean``, divided by ``std``."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        """Take ``mean`` and ``std`` of each channel, for pixels in [0, 1]."""
        super().__init__()
        # Of pixels in [-1, 1].
        means, stds = torch.tensor([2 * value - 1 for value in mean]), torch.tensor([2 * value for value in std])
        self.register_buffer("mean", means[:, None, None], persistent=False)
        self.register_buffer("std", stds[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Scale images (N, C, H, W) in [-1, 1] channel by channel."""
        return (images - self.mean) / self.std
