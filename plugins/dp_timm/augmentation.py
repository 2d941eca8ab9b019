"""Prepares images for the model: sizes, augmentation of each sample on its own, normalisation."""

from __future__ import annotations

import math
from statistics import fmean
from typing import TYPE_CHECKING

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from dp_core.kit.nn.image_statistics import Standardize
from dp_core.kit.nn.vision import RandomCrop

if TYPE_CHECKING:
    from dp_timm.backbone import ImageStatistics
    from dp_timm.config import ColorJitterOptions, TimmConfig

_GRAY = (0.2989, 0.587, 0.114)
"""Shares of red, green and blue in the brightness of a pixel (ITU-R BT.601)."""


def create_transform(config: TimmConfig, image_shape: tuple[int, ...], statistics: ImageStatistics) -> nn.Sequential:
    """Make what turns images (N, C, H, W) in [-1, 1] of ``image_shape`` (C, H, W) into what the model takes.

    Resize, crop, rotate, change colours, normalise. What is random is so in ``train()`` mode, for each sample; in
    ``eval()`` mode the centre is cut out, and the rest left alone.
    """
    steps: list[nn.Module] = []
    size = config.resize_shape or (image_shape[1], image_shape[2])
    if size != image_shape[1:]:
        steps.append(torchvision.transforms.Resize(size, antialias=True))
    if config.crop_shape:
        steps.append(RandomCrop(config.crop_shape))
    if config.crop_ratio:
        height, width = (max(int(side * config.crop_ratio), 1) for side in size)
        steps += [RandomCrop((height, width)), torchvision.transforms.Resize(size, antialias=True)]
    if config.random_rotation:
        steps.append(RandomRotation(config.random_rotation))
    if config.color_jitter:
        steps.append(ColorJitter(config.color_jitter))
    if config.image_normalization != "as_is":
        mean, std = statistics if config.image_normalization == "data_config" else ((0.0,), (1.0,))
        if len(mean) != image_shape[0]:  # depth, or several images stacked
            mean, std = (fmean(mean),) * image_shape[0], (fmean(std),) * image_shape[0]
        steps.append(Standardize(mean, std))
    return nn.Sequential(*steps)


class RandomRotation(nn.Module):
    """Turns every image around its centre by an angle of its own, in ``train()`` mode; corners become black.

    Images are (N, C, H, W) in [-1, 1].
    """

    def __init__(self, degrees: float) -> None:
        super().__init__()
        self.degrees = degrees

    def forward(self, images: Tensor) -> Tensor:
        """Turn images (N, C, H, W) in training; leave them as they are in evaluation."""
        return rotate(images, _spread(images, self.degrees)) if self.training else images


class ColorJitter(nn.Module):
    """Changes brightness, contrast, saturation and hue of every image, in ``train()`` mode.

    Images are (N, 3, H, W) in [-1, 1]. Amounts are distributed as in torchvision's class of this name, but drawn for
    each image; changes are made in this order.
    """

    def __init__(self, options: ColorJitterOptions) -> None:
        super().__init__()
        self.options = options

    def forward(self, images: Tensor) -> Tensor:
        """Change the colours of images (N, 3, H, W) in training; leave them as they are in evaluation."""
        if not self.training:
            return images
        options, pixels = self.options, (images + 1) / 2
        pixels = adjust_brightness(pixels, _factor(images, options.brightness))
        pixels = adjust_contrast(pixels, _factor(images, options.contrast))
        pixels = adjust_saturation(pixels, _factor(images, options.saturation))
        pixels = adjust_hue(pixels, _spread(images, options.hue))
        return pixels * 2 - 1


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turn ``images`` (N, C, H, W) in [-1, 1] counter-clockwise by ``degrees`` (N, 1, 1, 1); what is outside is -1."""
    height, width = images.shape[-2:]
    angles = degrees.flatten() * (math.pi / 180)
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    # Coordinates are in [-1, 1] along both sides, which may differ in length.
    rows = [torch.stack([cos, -sin * height / width, zero], -1), torch.stack([sin * width / height, cos, zero], -1)]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images + 1, grid, align_corners=False) - 1


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply pixels in [0, 1] by ``factor`` (N, 1, 1, 1)."""
    return (images * factor).clamp(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply what distinguishes pixels in [0, 1] from the mean brightness by ``factor`` (N, 1, 1, 1)."""
    mean = _gray(images).mean(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, factor).clamp(0, 1)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply what distinguishes channels in [0, 1] from a pixel's brightness by ``factor`` (N, 1, 1, 1)."""
    return torch.lerp(_gray(images), images, factor).clamp(0, 1)


def adjust_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the colours of pixels in [0, 1] by ``shift`` (N, 1, 1, 1), in parts of the colour circle."""
    red, green, blue = images.split(1, dim=1)
    value, least = images.amax(dim=1, keepdim=True), images.amin(dim=1, keepdim=True)
    chroma = value - least
    divisor = chroma.where(chroma > 0, 1)
    # Sixths of the circle, from the channel that is the largest; grey has the hue 0, and no chroma to show it.
    hue = torch.where(value == red, (green - blue) / divisor, 4 + (red - green) / divisor)
    hue = torch.where((value == green) & (value != red), 2 + (blue - red) / divisor, hue)
    hue = hue + 6 * shift
    channels = [(start + hue) % 6 for start in (5, 3, 1)]
    return torch.cat([value - chroma * torch.minimum(k, 4 - k).clamp(0, 1) for k in channels], dim=1)


def _gray(images: Tensor) -> Tensor:
    shares = torch.tensor(_GRAY, device=images.device, dtype=images.dtype)
    return (images * shares[:, None, None]).sum(dim=1, keepdim=True)


def _spread(images: Tensor, amount: float) -> Tensor:
    """One number in [-amount, amount] for each image, (N, 1, 1, 1)."""
    return (torch.rand(len(images), 1, 1, 1, device=images.device) * 2 - 1) * amount


def _factor(images: Tensor, amount: float) -> Tensor:
    """One number in [1 - amount, 1 + amount], and not below 0, for each image, (N, 1, 1, 1)."""
    low, high = max(1 - amount, 0), 1 + amount
    return low + torch.rand(len(images), 1, 1, 1, device=images.device) * (high - low)
