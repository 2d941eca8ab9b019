"""`LowdimMaskGenerator`: which entries of a trajectory of actions and features are known."""

from __future__ import annotations

import torch
from torch import Tensor

from dp_core.interfaces import ModuleAttrMixin


class LowdimMaskGenerator(ModuleAttrMixin):
    """Makes masks for trajectories whose entries are an action followed by an observation feature."""

    def __init__(
        self,
        action_dim: int,
        obs_dim: int,
        *,
        max_n_obs_steps: int = 2,
        fix_obs_steps: bool = True,
        action_visible: bool = False,
    ) -> None:
        """Say what is known.

        Args:
            max_n_obs_steps: observations are known up to this step.
            fix_obs_steps: False draws the number of known observations, from 1 to ``max_n_obs_steps``, per sample.
            action_visible: actions before the last known observation are known as well.
        """
        super().__init__()
        self.action_dim = action_dim
        self.obs_dim = obs_dim
        self.max_n_obs_steps = max_n_obs_steps
        self.fix_obs_steps = fix_obs_steps
        self.action_visible = action_visible

    def forward(self, shape: tuple[int, ...], seed: int | None = None) -> Tensor:
        """Make a mask of ``shape`` (B, T, Da + Do), bool, True where a value is known.

        Equal arguments give equal masks: where numbers are drawn they come from a generator of their own, which
        without a seed always starts the same.
        """
        batch_size, n_steps, dim = shape
        assert dim == self.action_dim + self.obs_dim, f"{dim} is not {self.action_dim} + {self.obs_dim}"
        steps = torch.arange(n_steps, device=self.device)[None, :, None]
        is_action = torch.arange(dim, device=self.device) < self.action_dim
        n_obs = self._n_obs_steps(batch_size, seed)[:, None, None]
        mask = ~is_action & (steps < n_obs)
        return mask | (is_action & (steps < n_obs - 1)) if self.action_visible else mask

    def _n_obs_steps(self, batch_size: int, seed: int | None) -> Tensor:
        if self.fix_obs_steps:
            return torch.full((batch_size,), self.max_n_obs_steps, device=self.device)
        generator = torch.Generator(self.device)
        if seed is not None:
            generator.manual_seed(seed)
        return torch.randint(1, self.max_n_obs_steps + 1, (batch_size,), generator=generator, device=self.device)
