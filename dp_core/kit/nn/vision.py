"""Parts that image encoders share: cameras to features, crops, spatial softmax, group instead of batch normalisation.

Nothing here is a component, and nothing in core uses it: it saves plugins from writing it once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn


def encode_cameras(
    obs: Mapping[str, Tensor],
    transforms: nn.ModuleDict,
    networks: nn.Module | Sequence[nn.Module],
    low_dim: Iterable[str],
) -> Tensor:
    """Compute the features of one time step: those of each camera, then the low-dimensional keys as they are.

    Args:
        obs: see `BaseEncoder.forward`.
        transforms: see `run_networks`.
        networks: see `run_networks`; each gives (N, D).
        low_dim: keys of (N, *shape), in the order of the features.

    Returns:
        Features (N, Do).
    """
    features = run_networks(obs, transforms, networks)
    return torch.cat([*features, *(obs[key].reshape(len(obs[key]), -1) for key in low_dim)], dim=-1)


def run_networks(
    obs: Mapping[str, Tensor], transforms: nn.ModuleDict, networks: nn.Module | Sequence[nn.Module]
) -> Sequence[Tensor]:
    """Run networks on the images of all cameras, first transformed; return what they give, by camera.

    Args:
        obs: images (N, C, H, W) by key, one for each of ``transforms``.
        transforms: by camera, in the order of the result; each takes images (N, C, H, W).
        networks: one for all cameras, which sees their images, transformed to one size, in one pass: what it computes
            over a batch, such as statistics, is of all cameras. Or one for each, which may be the same module again:
            it sees one camera after the other.
    """
    images = [transform(obs[key]) for key, transform in transforms.items()]
    if not isinstance(networks, nn.Module):
        return [network(image) for network, image in zip(networks, images, strict=True)]
    results: tuple[Tensor, ...] = networks(torch.cat(images)).chunk(len(images))
    return results


class RandomCrop(nn.Module):
    """Crops every image at a random place of its own in ``train()`` mode, and at the centre in ``eval()`` mode.

    Has no parameters and draws from torch's global generator of the images' device. As `random_crop` never draws the
    last offset, no crop contains the last row or column of an image that is larger than it both ways.
    """

    def __init__(self, crop_shape: tuple[int, int]) -> None:
        super().__init__()
        self.crop_shape = crop_shape

    def forward(self, images: Tensor) -> Tensor:
        """Crop images (N, C, H, W) to (N, C, *crop_shape); images of that size pass unchanged and without a draw."""
        if images.shape[-2:] == self.crop_shape:
            return images
        return random_crop(images, self.crop_shape) if self.training else center_crop(images, self.crop_shape)

    def extra_repr(self) -> str:
        """Return the size, for ``print``."""
        return f"{self.crop_shape}"


def random_crop(images: Tensor, crop_shape: tuple[int, int]) -> Tensor:
    """Cut (N, C, *crop_shape) out of ``images`` (N, C, H, W), each at its own place.

    Draws N numbers for the rows, then N for the columns. As in the original, the offset is ``floor(u * (H - h))``
    with u in [0, 1), so the last possible one never occurs.
    """
    count, _, height, width = images.shape
    top = (torch.rand(count, 1, device=images.device) * (height - crop_shape[0])).long()
    left = (torch.rand(count, 1, device=images.device) * (width - crop_shape[1])).long()
    cut = _crops_by_slices if images.device.type == "cpu" else _crops_by_index
    return cut(images, top, left, crop_shape)


def _crops_by_slices(images: Tensor, top: Tensor, left: Tensor, crop_shape: tuple[int, int]) -> Tensor:
    """On a CPU ten times faster than the other."""
    height, width = crop_shape
    corners = zip(top.flatten().tolist(), left.flatten().tolist(), strict=True)
    slices = [image[:, y : y + height, x : x + width] for image, (y, x) in zip(images, corners, strict=True)]
    return torch.stack(slices)


def _crops_by_index(images: Tensor, top: Tensor, left: Tensor, crop_shape: tuple[int, int]) -> Tensor:
    """One kernel, and nothing that waits for the device."""
    samples = torch.arange(images.shape[0], device=images.device)[:, None, None, None]
    channels = torch.arange(images.shape[1], device=images.device)[:, None, None]
    rows = top + torch.arange(crop_shape[0], device=images.device)  # (N, h)
    columns = left + torch.arange(crop_shape[1], device=images.device)  # (N, w)
    return images[samples, channels, rows[:, None, :, None], columns[:, None, None, :]]


def center_crop(images: Tensor, crop_shape: tuple[int, int]) -> Tensor:
    """Cut the middle (..., *crop_shape) out of ``images`` (..., H, W); odd margins are split as torchvision does."""
    height, width = crop_shape
    top = round((images.shape[-2] - height) / 2)
    left = round((images.shape[-1] - width) / 2)
    return images[..., top : top + height, left : left + width]


class SpatialSoftmax(nn.Module):
    """Locates each of ``num_kp`` learnt features in the image (Finn et al., ICRA 2016, "deep spatial autoencoders").

    A 1 x 1 convolution gives one map per keypoint; its softmax over the pixels is a distribution, whose mean is the
    keypoint: x and y in [-1, 1], from the left upper to the right lower corner.
    """

    def __init__(self, in_channels: int, num_kp: int) -> None:
        super().__init__()
        self.maps = nn.Conv2d(in_channels, num_kp, kernel_size=1)
        self.output_dim = 2 * num_kp

    def forward(self, features: Tensor) -> Tensor:
        """Compute keypoints (N, 2 * num_kp) from maps (N, C, H, W): x, y of the first keypoint, of the second, ..."""
        maps = self.maps(features)
        probability = maps.flatten(2).softmax(-1).unflatten(-1, maps.shape[-2:])  # (N, K, H, W)
        x = probability.sum(2) @ _coordinates(maps.shape[-1], maps)
        y = probability.sum(3) @ _coordinates(maps.shape[-2], maps)
        return torch.stack([x, y], dim=-1).flatten(1)


def _coordinates(size: int, like: Tensor) -> Tensor:
    return torch.linspace(-1, 1, size, device=like.device, dtype=like.dtype)


def group_norm(channels: int) -> nn.GroupNorm:
    """Make a group normalisation with 16 channels a group, or more where ``channels`` cannot be divided so."""
    groups = max(count for count in range(1, max(channels // 16, 1) + 1) if channels % count == 0)
    return nn.GroupNorm(groups, channels)


def replace_batch_norm(
    module: nn.Module, replacement: Callable[[nn.BatchNorm2d], nn.Module] = lambda old: group_norm(old.num_features)
) -> nn.Module:
    """Replace every `nn.BatchNorm2d` in ``module``, in place, by group normalisation, and return ``module``.

    An exponential average of the weights that keeps its buffers would normalise with the statistics of another network
    (Chi et al., "visual encoder"); one that copies them has those of the latest weights, not of its own.
    """
    if isinstance(module, nn.BatchNorm2d):
        return replacement(module)
    for name, child in module.named_children():
        setattr(module, name, replace_batch_norm(child, replacement))
    return module
