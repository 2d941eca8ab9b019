"""`ConcatEncoder`: other encoders side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dp_core.config.declared import TOKENS, WINDOW, gives, sees
from dp_core.errors import DpError
from dp_core.interfaces import BaseEncoder
from dp_core.kit.nn.encoding import build_encoder, encode_window
from dp_core.shape_meta import subset

if TYPE_CHECKING:
    from dp_concat.config import ConcatConfig


class ConcatEncoder(BaseEncoder):
    """Gives every part its own keys, and puts what they give side by side, in the order of the parts.

    Vectors are concatenated as they are. If any part gives tokens, all do: each part's tokens are projected to one
    size, and a vector is one token. If any part sees the window, the others are given its steps, and their features of
    all steps are taken, oldest first. Learning rates of the parts' weights are the parts' own business.
    """

    def __init__(self, config: ConcatConfig, *, shape_meta: dict[str, Any], n_obs_steps: int = 1) -> None:
        super().__init__()
        self._keys = config.keys_of_parts(shape_meta["obs"])
        self._sees_window = config.sees == WINDOW
        self._parts_see_window = {name: sees(part.encoder) == WINDOW for name, part in config.parts.items()}
        self.parts = nn.ModuleDict()
        sizes, counts = {}, {}
        for name, part in config.parts.items():
            given = subset(shape_meta, self._keys[name])
            encoder = build_encoder(part.encoder, shape_meta=given, n_obs_steps=n_obs_steps)
            _add(self.parts, name, encoder)
            n_steps = n_obs_steps if self._sees_window and not self._parts_see_window[name] else 1
            sizes[name] = encoder.output_dim
            counts[name] = n_steps * (encoder.n_tokens if gives(part.encoder) == TOKENS else 1)
        if config.gives != TOKENS:
            self.projections = None
            self.output_dim = sum(sizes[name] * counts[name] for name in sizes)
            return
        of_first = next(sizes[name] for name, part in config.parts.items() if gives(part.encoder) == TOKENS)
        self.output_dim = config.token_dim or of_first
        self.n_tokens = sum(counts.values())
        self.projections = nn.ModuleDict({name: nn.Linear(size, self.output_dim) for name, size in sizes.items()})

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        """Encode normalised observations, of a step or of the window; see `BaseEncoder`."""
        features = {name: self._features(name, obs) for name in self.parts}
        if self.projections is None:
            return torch.cat([each.flatten(1) for each in features.values()], dim=-1)
        tokens = [self.projections[name](each.flatten(1, -2)) for name, each in features.items()]
        return torch.cat(tokens, dim=1)  # (N, L, token_dim)

    def _features(self, name: str, obs: dict[str, Tensor]) -> Tensor:
        """What a part gives, (N, S, Do) or (N, S, L, Do), with S the steps of the window where the part sees steps."""
        encoder = self.parts[name]
        assert isinstance(encoder, BaseEncoder)
        given = {key: obs[key] for key in self._keys[name]}
        if self._sees_window:
            return encode_window(encoder, given, sees_window=self._parts_see_window[name])
        return encoder(given)[:, None]


def _add(modules: nn.ModuleDict, name: str, module: nn.Module) -> None:
    try:
        modules[name] = module
    except KeyError as error:
        raise DpError(f"encoder 'concat': no part can be called '{name}', a word that torch uses; rename it") from error
