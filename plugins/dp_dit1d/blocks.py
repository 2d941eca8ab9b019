"""The parts of the diffusion transformer. Tokens are (B, T, E), the condition that modulates them (B, E)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROTARY_BASE = 100.0
"""The base of rotary frequencies: trajectories have tens of steps, not the thousands of a text; at 100 the slowest
pair turns once in 600 steps.
"""


class Rotation(NamedTuple):
    """Angles of rotary positions (Su et al. 2021)."""

    cos: Tensor
    """The cosines, (T, half of a head's size)."""
    sin: Tensor

    @classmethod
    def of_positions(cls, n_tokens: int, head_dim: int, like: Tensor) -> Rotation:
        """Compute the rotation of positions 0 to ``n_tokens`` - 1, on the device and with the dtype of ``like``."""
        frequencies = ROTARY_BASE ** (-torch.arange(0, head_dim, 2, device=like.device) / head_dim)
        angles = torch.arange(n_tokens, device=like.device)[:, None] * frequencies
        return cls(angles.cos().to(like.dtype), angles.sin().to(like.dtype))

    def __call__(self, heads: Tensor) -> Tensor:
        """Turn every pair of values of ``heads`` (B, n_head, T, head_dim) by the angle of its position."""
        first, second = heads.chunk(2, dim=-1)
        return torch.cat([first * self.cos - second * self.sin, first * self.sin + second * self.cos], dim=-1)


class Attention(nn.Module):
    """Self-attention in which every token sees all."""

    def __init__(self, n_emb: int, n_head: int, p_drop: float) -> None:
        super().__init__()
        self.n_head = n_head
        self.p_drop = p_drop
        self.qkv = nn.Linear(n_emb, 3 * n_emb)
        self.out = nn.Linear(n_emb, n_emb)

    def forward(self, x: Tensor, rotation: Rotation | None) -> Tensor:
        """Attend among tokens (B, T, E), their positions given by ``rotation`` if there is one; return (B, T, E)."""
        qkv = self.qkv(x).unflatten(-1, (3, self.n_head, -1))  # (B, T, 3, n_head, head_dim)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (B, n_head, T, head_dim) each
        if rotation is not None:
            query, key = rotation(query), rotation(key)
        heads = F.scaled_dot_product_attention(query, key, value, dropout_p=self.p_drop if self.training else 0.0)
        return self.out(heads.transpose(1, 2).flatten(2))


class KeysValues(NamedTuple):
    """What is attended to across: tokens, projected for one block."""

    keys: Tensor
    """(B, n_head, L, head_dim)."""
    values: Tensor


class CrossAttention(nn.Module):
    """Attention of the steps of a trajectory to tokens of observations."""

    def __init__(self, n_emb: int, n_head: int, p_drop: float) -> None:
        super().__init__()
        self.n_head = n_head
        self.p_drop = p_drop
        self.query = nn.Linear(n_emb, n_emb)
        self.key_value = nn.Linear(n_emb, 2 * n_emb)
        self.out = nn.Linear(n_emb, n_emb)

    def project(self, tokens: Tensor) -> KeysValues:
        """Project tokens (B, L, E), which are the same at every step of the sampling."""
        projected = self.key_value(tokens).unflatten(-1, (2, self.n_head, -1))  # (B, L, 2, n_head, head_dim)
        return KeysValues(*projected.permute(2, 0, 3, 1, 4))

    def forward(self, x: Tensor, attended: KeysValues) -> Tensor:
        """Attend from (B, T, E) to projected tokens; return (B, T, E)."""
        query = self.query(x).unflatten(-1, (self.n_head, -1)).transpose(1, 2)  # (B, n_head, T, head_dim)
        heads = F.scaled_dot_product_attention(query, *attended, dropout_p=self.p_drop if self.training else 0.0)
        return self.out(heads.transpose(1, 2).flatten(2))


class Modulation(nn.Module):
    """Predicts shifts, scales and gates from the condition (adaLN-zero, Peebles and Xie, ICCV 2023).

    Starts as zeros: normalised tokens pass unchanged, and what is gated adds nothing.
    """

    def __init__(self, n_emb: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.linear = nn.Linear(n_emb, count * n_emb)

    def forward(self, cond: Tensor) -> tuple[Tensor, ...]:
        """Predict ``count`` tensors (B, 1, E) from the condition (B, E)."""
        return self.linear(F.silu(cond))[:, None].chunk(self.count, dim=-1)


class Block(nn.Module):
    """Attention, then an MLP, each between a modulated normalisation and a gate; between them attention to tokens.

    What is for tokens exists only where there are any.
    """

    def __init__(self, n_emb: int, n_head: int, p_drop: float, *, attends_to_tokens: bool = False) -> None:
        super().__init__()
        self.modulation = Modulation(n_emb, 6)
        self.norm1 = nn.LayerNorm(n_emb, elementwise_affine=False)
        self.attention = Attention(n_emb, n_head, p_drop)
        if attends_to_tokens:
            self.cross_modulation = Modulation(n_emb, 3)
            self.cross_norm = nn.LayerNorm(n_emb, elementwise_affine=False)
            self.cross_attention = CrossAttention(n_emb, n_head, p_drop)
        self.norm2 = nn.LayerNorm(n_emb, elementwise_affine=False)
        self.mlp = nn.Sequential(
            nn.Linear(n_emb, 4 * n_emb), nn.GELU(approximate="tanh"), nn.Dropout(p_drop), nn.Linear(4 * n_emb, n_emb)
        )

    def forward(self, x: Tensor, cond: Tensor, rotation: Rotation | None, attended: KeysValues | None = None) -> Tensor:
        """Transform (B, T, E) under the condition (B, E), and what tokens were projected to; return (B, T, E)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(cond)
        x = x + gate1 * self.attention(modulated(self.norm1(x), shift1, scale1), rotation)
        if attended is not None:
            shift, scale, gate = self.cross_modulation(cond)
            x = x + gate * self.cross_attention(modulated(self.cross_norm(x), shift, scale), attended)
        return x + gate2 * self.mlp(modulated(self.norm2(x), shift2, scale2))


class Head(nn.Module):
    """The last modulated normalisation, and the projection to the trajectory. Starts as zeros."""

    def __init__(self, n_emb: int, output_dim: int) -> None:
        super().__init__()
        self.modulation = Modulation(n_emb, 2)
        self.norm = nn.LayerNorm(n_emb, elementwise_affine=False)
        self.linear = nn.Linear(n_emb, output_dim)

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        """Project tokens (B, T, E), modulated by the condition (B, E), to a trajectory (B, T, D)."""
        return self.linear(modulated(self.norm(x), *self.modulation(cond)))


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Scale and shift normalised tokens (B, T, E) by (B, 1, E) each; a scale of 0 leaves them unchanged."""
    return x * (1 + scale) + shift
