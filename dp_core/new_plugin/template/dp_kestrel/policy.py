"""`KestrelPolicy`: a network that predicts a chunk of actions at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from dp_core.interfaces import BasePolicy, Generators
from dp_core.normalizer import LinearNormalizer
from dp_core.observations import ObservationCheck
from torch import Tensor, nn
from torch.nn.functional import mse_loss

if TYPE_CHECKING:
    from dp_kestrel.config import PolicyOptions


class KestrelPolicy(BasePolicy):
    """Behaviour cloning by regression: the features of To observations become Tp actions; the loss is their error."""

    def __init__(self, config: PolicyOptions, *, shape_meta: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self._keys = list(shape_meta["obs"])
        self._action_dim = shape_meta["action"]["shape"][0]
        self.encoder = config.encoder.build(shape_meta=shape_meta)
        self.head = nn.Sequential(
            nn.Linear(config.n_obs_steps * self.encoder.output_dim, config.hidden_size),
            nn.SiLU(),
            nn.Linear(config.hidden_size, config.horizon * self._action_dim),
        )
        self._shape_meta = shape_meta
        self.normalizer = LinearNormalizer(shape_meta)  # filled with the statistics of the data by set_normalizer

    def compute_loss(self, batch: dict[str, Any], generator: torch.Generator | None = None) -> Tensor:
        """Return the mean squared error of normalised actions, a scalar; see `BasePolicy`."""
        # Windows may reach to the horizon; the first To steps are observed.
        seen = {key: batch["obs"][key][:, : self.config.n_obs_steps] for key in self._keys}
        return mse_loss(self._predict(seen), self.normalizer["action"].normalize(batch["action"]))

    @torch.no_grad()
    def predict_action(self, obs: dict[str, Tensor], generator: Generators = None) -> dict[str, Tensor]:
        """Act on ``{key: (B, To, *shape)}`` in raw units; nothing is drawn."""
        self.name_ignored(obs, self._shape_meta)
        seen = {key: obs[key][:, -self.config.n_obs_steps :] for key in self._keys}  # the last step is now
        check = ObservationCheck(seen, self._shape_meta)  # on a GPU it looks while the host works on
        actions = self.normalizer["action"].unnormalize(self._predict(seen))
        check.finish()
        now = self.config.n_obs_steps - 1
        return {"action": actions[:, now : now + self.config.n_action_steps], "action_pred": actions}

    def _predict(self, seen: dict[str, Tensor]) -> Tensor:
        normalized = self.normalizer.normalize(seen)
        batch_size = len(seen[self._keys[0]])
        features = self.encoder({key: value.flatten(0, 1) for key, value in normalized.items()})  # (B * To, Do)
        actions = self.head(features.reshape(batch_size, -1))
        return actions.reshape(batch_size, self.config.horizon, self._action_dim)
