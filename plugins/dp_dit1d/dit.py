"""`DiT1D`: a diffusion transformer (Peebles and Xie, ICCV 2023) over the steps of a trajectory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dp_core.errors import InputError
from dp_core.interfaces import BaseDenoiser
from dp_core.kit.nn.time_embedding import SinusoidalPosEmb, check_end_timestep
from dp_dit1d.blocks import Block, Head, Modulation, Rotation

if TYPE_CHECKING:
    from dp_dit1d.config import DiT1DConfig

INIT_STD = 0.02


class DiT1D(BaseDenoiser):
    """Denoises a trajectory, one token per step, all of which see each other.

    Time and ``global_cond`` together shift, scale and gate every block; ``local_cond`` is added to the tokens. Starts
    as the function that is zero everywhere.
    """

    def __init__(
        self,
        config: DiT1DConfig,
        *,
        input_dim: int,
        horizon: int,
        n_obs_steps: int,
        global_cond_dim: int | None,
        local_cond_dim: int | None = None,
        has_end_timestep: bool = False,
    ) -> None:
        super().__init__()
        n_emb = config.n_emb
        self.horizon = horizon
        self.head_dim = n_emb // config.n_head
        self.input_emb = nn.Linear(input_dim, n_emb)
        self.time_emb = SinusoidalPosEmb(n_emb)
        self.time_mlp = _mlp(n_emb, n_emb)
        self.global_emb = _mlp(global_cond_dim, n_emb) if global_cond_dim is not None else None
        self.local_emb = nn.Linear(local_cond_dim, n_emb) if local_cond_dim is not None else None
        is_learned = config.position == "learned"
        self.pos_emb = nn.Parameter(torch.zeros(1, horizon, n_emb)) if is_learned else None
        # Rotary positions tell distances only: a trajectory of equal steps would come out as equal steps. One more
        # token, before the first step, is the origin that distances can be taken from.
        self.origin = nn.Parameter(torch.zeros(1, 1, n_emb)) if not is_learned else None
        self.blocks = nn.ModuleList([Block(n_emb, config.n_head, config.p_drop) for _ in range(config.n_layer)])
        self.head = Head(n_emb, input_dim)
        self.step_length_mlp = _mlp(n_emb, n_emb) if has_end_timestep else None
        self._initialise()

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        local_cond: Tensor | None = None,
        global_cond: Tensor | None = None,
        *,
        end_timestep: Tensor | None = None,
    ) -> Tensor:
        """Denoise a trajectory (B, T, D); see `BaseDenoiser`.

        Raises:
            InputError: conditions or times are not those it was built with, or a trajectory with learned positions is
                longer than the horizon.
        """
        self._check_inputs(sample, local_cond, global_cond)
        check_end_timestep(end_timestep, self.step_length_mlp is not None, "dit1d")
        cond = self._condition(timestep, end_timestep, global_cond, sample)
        x = self.input_emb(sample)  # (B, T, E)
        if self.local_emb is not None and local_cond is not None:
            x = x + self.local_emb(local_cond)
        rotation = None
        if self.pos_emb is not None:
            x = x + self.pos_emb[:, : x.shape[1]]
        if self.origin is not None:
            x = torch.cat([self.origin.expand(len(x), -1, -1), x], dim=1)  # (B, 1 + T, E)
            rotation = Rotation.of_positions(x.shape[1], self.head_dim, x)
        for block in self.blocks:
            x = block(x, cond, rotation)
        return self.head(x[:, -sample.shape[1] :], cond)  # (B, T, D)

    def no_weight_decay(self) -> set[str]:
        """Name biases and positions: everything but matrices."""
        return {name for name, parameter in self.named_parameters() if parameter.ndim != 2}

    def _condition(
        self, timestep: Tensor, end_timestep: Tensor | None, global_cond: Tensor | None, sample: Tensor
    ) -> Tensor:
        cond = self.time_mlp(self.time_emb(timestep.expand(len(sample))).to(sample.dtype))
        if self.step_length_mlp is not None and end_timestep is not None:
            length = (timestep - end_timestep).expand(len(sample))
            cond = cond + self.step_length_mlp(self.time_emb(length).to(sample.dtype))
        if self.global_emb is not None and global_cond is not None:
            cond = cond + self.global_emb(global_cond)
        return cond  # (B, E)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for parameter in (self.pos_emb, self.origin):
            if parameter is not None:
                nn.init.normal_(parameter, std=INIT_STD)
        for module in self.modules():
            if isinstance(module, Modulation):
                nn.init.zeros_(module.linear.weight)
        nn.init.zeros_(self.head.linear.weight)

    def _check_inputs(self, sample: Tensor, local_cond: Tensor | None, global_cond: Tensor | None) -> None:
        if self.pos_emb is not None and sample.shape[1] > self.horizon:
            raise InputError(
                f"dit1d: the trajectory has {sample.shape[1]} steps; at most {self.horizon}, the horizon it was built "
                "with, have a learned position"
            )
        for name, cond, embedding in (
            ("global_cond", global_cond, self.global_emb),
            ("local_cond", local_cond, self.local_emb),
        ):
            if (cond is None) != (embedding is None):
                found, built = ("is missing", "with") if cond is None else ("was given", "without")
                raise InputError(f"dit1d: '{name}' {found}; the network was built {built} it")


def _mlp(input_dim: int, n_emb: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(input_dim, n_emb), nn.SiLU(), nn.Linear(n_emb, n_emb))
