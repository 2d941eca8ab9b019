"""`TemporalEncoder`: self-attention over the steps of the window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dp_core.interfaces import BaseEncoder
from dp_core.kit.nn.encoding import build_encoder, encode_window

if TYPE_CHECKING:
    from dp_temporal.config import TemporalConfig

_INIT_STD = 0.02


class TemporalEncoder(BaseEncoder):
    """Encodes every step, lets the steps attend to each other, and gives what the current one, the last, has seen.

    A plain concatenation of the steps, which policies make otherwise, grows with their number; this does not, so that
    long histories stay affordable.
    """

    def __init__(self, config: TemporalConfig, *, shape_meta: dict[str, Any], n_obs_steps: int) -> None:
        super().__init__()
        self.encoder = build_encoder(config.encoder, shape_meta=shape_meta, n_obs_steps=n_obs_steps)
        self.output_dim = config.n_emb
        self.projection = nn.Linear(self.encoder.output_dim, config.n_emb)
        self.positions = nn.Parameter(_INIT_STD * torch.randn(n_obs_steps, config.n_emb))
        layer = nn.TransformerEncoderLayer(
            config.n_emb, config.n_head, 4 * config.n_emb, config.p_drop, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, config.n_layer, nn.LayerNorm(config.n_emb), False)

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        """Encode a window {key: (B, To, *shape)} as features (B, Do); see `BaseEncoder`."""
        steps = self.projection(encode_window(self.encoder, obs, sees_window=False))  # (B, To, n_emb)
        features: Tensor = self.layers(steps + self.positions)[:, -1]
        return features
