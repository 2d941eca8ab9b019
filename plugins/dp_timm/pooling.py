"""Turns feature maps into one vector per image: the ways of UMI, and spatial softmax.

Names of parameters are UMI's (Chi et al., "Universal Manipulation Interface", RSS 2024).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn
from torch.nn import functional as F

from dp_core.kit.nn.vision import SpatialSoftmax

if TYPE_CHECKING:
    from dp_timm.config import Aggregation, TimmConfig

MapSize = tuple[int, int]
"""A height and width of feature maps."""

_HEAD_CHANNELS = 64
_TRANSFORMER_HEADS = 4
_TRANSFORMER_LAYERS = 4


class FeatureAggregation(nn.Module):
    """Turns feature maps into vectors, those of all cameras by the same parameters.

    A base class, because in UMI's state dicts the parameters are the encoder's own. What is learnt per place belongs to
    maps of one size; for cameras whose maps have another it is interpolated, as usual for vision transformers.
    """

    position_embedding: Tensor

    def init_aggregation(self, config: TimmConfig, channels: int, map_size: MapSize) -> int:
        """Make what ``config.feature_aggregation`` needs for maps of ``channels``; return the size of a vector."""
        self._aggregation: Aggregation | None = config.feature_aggregation
        self._map_size = map_size
        places = math.prod(map_size)
        match self._aggregation:
            case "soft_attention":
                self.attention = nn.Sequential(nn.Linear(channels, 1, bias=False), nn.Softmax(dim=1))
            case "spatial_embedding":
                self.spatial_embedding = nn.Parameter(torch.randn(places, channels))
            case "transformer":
                if config.position_encording == "learnable":
                    self.position_embedding = nn.Parameter(torch.randn(places + 1, channels))
                else:
                    self.register_buffer("position_embedding", sinusoidal(places + 1, channels), persistent=False)
                # Without ``batch_first``, as in UMI, first tokens attend to first tokens: all images give the same.
                layer = nn.TransformerEncoderLayer(
                    channels, heads(channels, _TRANSFORMER_HEADS), batch_first=config.transformer_batch_first
                )
                self.aggregation_transformer = nn.TransformerEncoder(
                    layer, _TRANSFORMER_LAYERS, enable_nested_tensor=config.transformer_batch_first
                )
            case "attention_pool_2d":
                self.attention_pool_2d = AttentionPool2d(channels, map_size)
            case "spatial_softmax":
                self.spatial_softmax = SpatialSoftmax(channels, config.num_kp)
                return self.spatial_softmax.output_dim
        return channels

    def aggregate(self, maps: Tensor) -> Tensor:
        """Turn feature maps (N, C, H, W) into vectors (N, D), D as `init_aggregation` returned it."""
        size = (maps.shape[-2], maps.shape[-1])
        # Contiguous, because torch rounds products of others in two ways: weights that require a gradient or do not.
        tokens = maps.flatten(2).transpose(1, 2).contiguous()  # (N, H*W, C)
        match self._aggregation:
            case "avg":
                return tokens.mean(dim=1)
            case "max":
                return tokens.amax(dim=1)
            case "soft_attention":
                return (tokens * self.attention(tokens)).sum(dim=1)
            case "spatial_embedding":
                return (tokens * resized(self.spatial_embedding, self._map_size, size)).mean(dim=1)
            case "transformer":
                tokens = F.pad(tokens, (0, 0, 1, 0))  # (N, 1 + H*W, C): the first collects
                tokens = tokens + resized(self.position_embedding, self._map_size, size)
                collected: Tensor = self.aggregation_transformer(tokens)[:, 0]
                return collected
            case "attention_pool_2d":
                pooled: Tensor = self.attention_pool_2d(maps)
                return pooled
            case "spatial_softmax":
                keypoints: Tensor = self.spatial_softmax(maps)
                return keypoints
        raise AssertionError(self._aggregation)


class AttentionPool2d(nn.Module):
    """Pools maps by attention of their mean to every place (Radford et al., "CLIP", ICML 2021)."""

    def __init__(self, channels: int, map_size: MapSize) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(math.prod(map_size) + 1, channels) / channels**0.5)
        self.k_proj = nn.Linear(channels, channels)
        self.q_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Linear(channels, channels)
        self._map_size = map_size
        self._num_heads = heads(channels, channels // _HEAD_CHANNELS)

    def forward(self, maps: Tensor) -> Tensor:
        """Pool maps (N, C, H, W) to vectors (N, C)."""
        tokens = maps.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)  # (N, 1 + H*W, C)
        tokens = tokens + resized(self.positional_embedding, self._map_size, (maps.shape[-2], maps.shape[-1]))
        query, key, value = (
            projected.unflatten(-1, (self._num_heads, -1)).transpose(1, 2)  # (N, heads, places, C / heads)
            for projected in (self.q_proj(tokens[:, :1]), self.k_proj(tokens), self.v_proj(tokens))
        )
        attended = F.scaled_dot_product_attention(query, key, value)
        features: Tensor = self.c_proj(attended.transpose(1, 2).flatten(1))
        return features


def heads(channels: int, wanted: int) -> int:
    """Return ``wanted``, or the next smaller number of heads of attention that divides ``channels``."""
    return max(count for count in range(1, max(wanted, 1) + 1) if channels % count == 0)


def sinusoidal(count: int, channels: int) -> Tensor:
    """Make UMI's position embeddings (count, channels): sine and cosine by turns, of ever longer waves."""
    rates = torch.exp(torch.arange(0, channels, 2) * (-math.log(2 * count) / channels))
    angles = torch.arange(count)[:, None] * rates  # (count, channels / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :channels]


def resized(embedding: Tensor, map_size: MapSize, wanted: MapSize) -> Tensor:
    """Resample what is learnt per place of maps of ``map_size`` (H, W) for maps of another size.

    Args:
        embedding: (H*W, C), or (1 + H*W, C) whose first entry is of no place.
        map_size: H, W.
        wanted: h, w.

    Returns:
        (h*w, C), or (1 + h*w, C).
    """
    if wanted == map_size:
        return embedding
    n_first = len(embedding) - math.prod(map_size)
    return resample_abs_pos_embed(embedding[None], list(wanted), list(map_size), num_prefix_tokens=n_first)[0]
