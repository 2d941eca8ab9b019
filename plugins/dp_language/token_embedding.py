"""`TokenEmbeddingEncoder`: learnt vectors of ids."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dp_core.interfaces import BaseEncoder
from dp_core.shape_meta import obs_shape

if TYPE_CHECKING:
    from dp_language.config import TokenEmbeddingConfig


class TokenEmbeddingEncoder(BaseEncoder):
    """A table of vectors for every key, whose entries are looked up by id.

    The vectors of a key are laid side by side, so that their order counts, and go through one layer; or each is a
    token. Features are in the order of `shape_meta`.
    """

    def __init__(self, config: TokenEmbeddingConfig, *, shape_meta: dict[str, Any]) -> None:
        super().__init__()
        counts = {key: math.prod(obs_shape(shape_meta, key)) for key in shape_meta["obs"]}
        self.tables = nn.ModuleDict(
            {
                key: nn.Embedding(spec["vocabulary_size"], config.embedding_dim)
                for key, spec in shape_meta["obs"].items()
            }
        )
        self.projections: nn.ModuleDict | None = None
        if config.as_tokens:
            self.output_dim, self.n_tokens = config.embedding_dim, sum(counts.values())
            return
        self.output_dim = len(counts) * config.feature_dimension
        self.projections = nn.ModuleDict(
            {key: nn.Linear(count * config.embedding_dim, config.feature_dimension) for key, count in counts.items()}
        )

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        """Encode ids {key: (N, *shape)}, int64, as features (N, Do), or as tokens (N, L, Do); see `BaseEncoder`."""
        vectors = {key: table(_legal(obs[key], table)) for key, table in self.tables.items()}  # (N, L, D)
        if self.projections is None:
            return torch.cat(list(vectors.values()), dim=1)
        return torch.cat([self.projections[key](value.flatten(1)) for key, value in vectors.items()], dim=-1)


def _legal(ids: Tensor, table: nn.Module) -> Tensor:
    """Keep a GPU from stopping the process at an id that is out of range, which is refused once it has acted.

    On a CPU it was refused before. Returns ids (N, L or more).
    """
    assert isinstance(table, nn.Embedding)
    ids = ids.reshape(len(ids), -1)
    return ids if ids.device.type == "cpu" else ids.clamp(0, table.num_embeddings - 1)
