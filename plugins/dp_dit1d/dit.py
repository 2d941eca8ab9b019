"""`DiT1D`: a diffusion transformer (Peebles and Xie, ICCV 2023) over the steps of a trajectory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dp_core.errors import InputError
from dp_core.interfaces import BaseDenoiser
from dp_core.interfaces.scheduler import DenoiseStep
from dp_core.kit.nn.time_embedding import SinusoidalPosEmb, check_end_timestep
from dp_dit1d.blocks import Block, Head, KeysValues, Modulation, Rotation

if TYPE_CHECKING:
    from dp_dit1d.config import DiT1DConfig

INIT_STD = 0.02


class DiT1D(BaseDenoiser):
    """Denoises a trajectory, one token per step, all of which see each other.

    Time and ``global_cond`` together shift, scale and gate every block; ``local_cond`` is added to the steps, and all
    steps attend to ``tokens``. Starts as the function that is zero everywhere.
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
        token_dim: int | None = None,
        n_tokens: int = 0,
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
        has_tokens = token_dim is not None
        self.token_emb = nn.Linear(token_dim, n_emb) if token_dim is not None else None
        self.token_pos = nn.Parameter(torch.zeros(1, n_tokens, n_emb)) if has_tokens else None
        is_learned = config.position == "learned"
        self.pos_emb = nn.Parameter(torch.zeros(1, horizon, n_emb)) if is_learned else None
        # Rotary positions tell distances only: a trajectory of equal steps would come out as equal steps. One more
        # token, before the first step, is the origin that distances can be taken from.
        self.origin = nn.Parameter(torch.zeros(1, 1, n_emb)) if not is_learned else None
        self.blocks = nn.ModuleList(
            [Block(n_emb, config.n_head, config.p_drop, attends_to_tokens=has_tokens) for _ in range(config.n_layer)]
        )
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
        tokens: Tensor | None = None,
        attended: Sequence[KeysValues] | None = None,
    ) -> Tensor:
        """Denoise a trajectory (B, T, D); see `BaseDenoiser`.

        Args:
            attended: what ``tokens`` are projected to in each block, where that is known already, see `prepare`.

        Raises:
            InputError: conditions or times are not those it was built with, or a trajectory with learned positions is
                longer than the horizon.
        """
        if attended is None:
            self._check_tokens(tokens)
            attended = self._project(tokens)
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
        for block, keys_values in zip_longest(self.blocks, attended):
            x = block(x, cond, rotation, keys_values)
        return self.head(x[:, -sample.shape[1] :], cond)  # (B, T, D)

    def prepare(
        self,
        timesteps: Tensor,
        local_cond: Tensor | None = None,
        global_cond: Tensor | None = None,
        end_timesteps: Tensor | None = None,
        tokens: Tensor | None = None,
    ) -> DenoiseStep:
        """Project tokens for all blocks once; see `BaseDenoiser.prepare`."""
        self._check_tokens(tokens)
        attended = self._project(tokens)

        def denoise(sample: Tensor, i: int) -> Tensor:
            end = None if end_timesteps is None else end_timesteps[i]
            prediction: Tensor = self(
                sample, timesteps[i], local_cond, global_cond, end_timestep=end, attended=attended
            )
            return prediction

        return denoise

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

    def _project(self, tokens: Tensor | None) -> list[KeysValues]:
        """What tokens (B, L, token_dim) are in each block; nothing where there are none."""
        if self.token_emb is None or tokens is None:
            return []
        embedded = self.token_emb(tokens) + self.token_pos
        return [block.cross_attention.project(embedded) for block in self._blocks()]

    def _blocks(self) -> Iterator[Block]:
        for block in self.blocks:
            assert isinstance(block, Block)
            yield block

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for parameter in (self.pos_emb, self.origin, self.token_pos):
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

    def _check_tokens(self, tokens: Tensor | None) -> None:
        if (tokens is None) != (self.token_emb is None):
            found, built = ("are missing", "with") if tokens is None else ("were given", "without")
            raise InputError(f"dit1d: 'tokens' {found}; the network was built {built} them")


def _mlp(input_dim: int, n_emb: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(input_dim, n_emb), nn.SiLU(), nn.Linear(n_emb, n_emb))
