"""`ConditionalUnet1D`: a U-Net along time (Janner et al. 2022), conditioned by FiLM (Chi et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dp_core.errors import InputError
from dp_core.interfaces import BaseDenoiser
from dp_core.interfaces.scheduler import DenoiseStep
from dp_core.kit.nn.time_embedding import SinusoidalPosEmb, check_end_timestep
from dp_unet1d.blocks import (
    ConditionalResidualBlock1D,
    Conv1dBlock,
    Downsample1d,
    Upsample1d,
    conv1d,
)
from dp_unet1d.config import FINAL_GROUPS, length_problem
from dp_unet1d.matmul_conv import Conv1d

if TYPE_CHECKING:
    from dp_unet1d.config import UNet1DConfig


class ConditionalUnet1D(BaseDenoiser):
    """Denoises a trajectory of any length that its levels can halve; ``horizon`` and ``n_obs_steps`` shape nothing.

    Parameter names, the order of registration (of optimizer states) and that of construction (of random
    initialisation) are the original's.
    """

    def __init__(
        self,
        config: UNet1DConfig,
        *,
        input_dim: int,
        horizon: int,
        n_obs_steps: int,
        global_cond_dim: int | None,
        local_cond_dim: int | None = None,
        has_end_timestep: bool = False,
    ) -> None:
        super().__init__()
        self._stride = config.stride
        self._has_global_cond = global_cond_dim is not None

        time_dim = config.diffusion_step_embed_dim
        block = partial(
            ConditionalResidualBlock1D,
            cond_dim=time_dim + (global_cond_dim or 0),
            kernel_size=config.kernel_size,
            n_groups=config.n_groups,
            cond_predict_scale=config.cond_predict_scale,
        )
        first, last = config.down_dims[0], config.down_dims[-1]
        steps_down = list(pairwise((input_dim, *config.down_dims)))
        steps_up = [(upper, lower) for lower, upper in reversed(steps_down[1:])]

        diffusion_step_encoder = _time_encoder(time_dim)
        local_cond_encoder = None
        if local_cond_dim is not None:
            # The original has a second one, for the way up, that its forward never reaches. Unused here as well: it is
            # kept because weights are stored with it, and frozen: distributed training fails for what gets no gradient.
            local_cond_encoder = nn.ModuleList([block(local_cond_dim, first), block(local_cond_dim, first)])
            local_cond_encoder[1].requires_grad_(False)
        mid_modules = nn.ModuleList([block(last, last), block(last, last)])
        down_modules = nn.ModuleList()
        for level, (dim_in, dim_out) in enumerate(steps_down):
            is_last = level == len(steps_down) - 1
            blocks = [block(dim_in, dim_out), block(dim_out, dim_out)]
            resample = nn.Identity() if is_last else Downsample1d(dim_out)
            down_modules.append(nn.ModuleList([*blocks, resample]))
        up_modules = nn.ModuleList()
        for dim_in, dim_out in steps_up:
            # Twice the channels: the features from below, and those of the same level on the way down.
            up_modules.append(nn.ModuleList([block(2 * dim_in, dim_out), block(dim_out, dim_out), Upsample1d(dim_out)]))
        final_conv = nn.Sequential(
            Conv1dBlock(first, first, config.kernel_size, FINAL_GROUPS), conv1d(first, input_dim, 1)
        )

        self.mid_modules = mid_modules
        self.diffusion_step_encoder = diffusion_step_encoder
        self.local_cond_encoder = local_cond_encoder
        self.up_modules = up_modules
        self.down_modules = down_modules
        self.final_conv = final_conv
        # The original has no such thing. Of the time that a step takes, added to what is known of its start.
        self.step_length_encoder = _time_encoder(time_dim) if has_end_timestep else None

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        local_cond: Tensor | None = None,
        global_cond: Tensor | None = None,
        films: Sequence[Tensor] | None = None,
        *,
        end_timestep: Tensor | None = None,
    ) -> Tensor:
        """Denoise a trajectory (B, T, D); see `BaseDenoiser`.

        Args:
            end_timestep: () or (B,), for a network that was built with it.
            films: what times and condition are projected to in each block, where that is known already, see `prepare`.

        Raises:
            InputError: the length of the trajectory cannot be halved at every level, or a condition or second time is
                missing.
        """
        self._check_inputs(sample, local_cond, global_cond)
        if films is None:
            length = None if end_timestep is None else (timestep - end_timestep).expand(sample.shape[0])
            cond = self._encode_time(timestep.expand(sample.shape[0]), length, sample.dtype)
            if global_cond is not None:
                cond = torch.cat([cond, global_cond], dim=-1)
            films = [block.film(cond) for block in self._blocks()]

        film = iter(films)
        x = sample.transpose(1, 2)  # (B, D, T)
        local = None
        if self.local_cond_encoder is not None and local_cond is not None:
            local = self.local_cond_encoder[0](local_cond.transpose(1, 2), next(film))  # (B, first channels, T)
        skips = []
        for level, (block0, block1, downsample) in enumerate(_levels(self.down_modules)):
            x = block0(x, next(film))
            if level == 0 and local is not None:
                x = x + local
            x = block1(x, next(film))
            skips.append(x)
            x = downsample(x)
        for block in self.mid_modules:
            x = block(x, next(film))
        for block0, block1, upsample in _levels(self.up_modules):
            x = torch.cat([x, skips.pop()], dim=1)
            x = upsample(block1(block0(x, next(film)), next(film)))
        return self.final_conv(x).transpose(1, 2)  # (B, T, D)

    def prepare(  # type: ignore[override]  # it takes no tokens, and is given none
        self,
        timesteps: Tensor,
        local_cond: Tensor | None = None,
        global_cond: Tensor | None = None,
        end_timesteps: Tensor | None = None,
    ) -> DenoiseStep:
        """Project times, each (N,), and condition to all blocks once; see `BaseDenoiser.prepare`."""
        weight: Any = self.diffusion_step_encoder[1].weight
        lengths = None if end_timesteps is None else timesteps - end_timesteps
        time = self._encode_time(timesteps, lengths, weight.dtype)
        parts = [block.film_parts(time, global_cond) for block in self._blocks()]

        def denoise(sample: Tensor, i: int) -> Tensor:
            films = [
                of_time[i].expand(len(sample), -1) if of_rest is None else of_time[i] + of_rest
                for of_time, of_rest in parts
            ]
            prediction: Tensor = self(sample, timesteps[i], local_cond, global_cond, films)
            return prediction

        return denoise

    def prepare_inference(self) -> None:
        """Pack convolutions for the processor; see `BaseDenoiser`."""
        for module in self.modules():
            if isinstance(module, Conv1d):
                module.pack()

    def _blocks(self) -> Iterator[Any]:
        """All conditioned blocks that a forward reaches, in its order."""
        if self.local_cond_encoder is not None:
            yield self.local_cond_encoder[0]
        for block0, block1, _ in _levels(self.down_modules):
            yield from (block0, block1)
        yield from self.mid_modules
        for block0, block1, _ in _levels(self.up_modules):
            yield from (block0, block1)

    def _encode_time(self, timesteps: Tensor, lengths: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Encode times (N,), and the lengths (N,) of the steps that begin there, to (N, time_dim)."""
        check_end_timestep(lengths, self.step_length_encoder is not None, "unet1d")
        encoded = _encoded(self.diffusion_step_encoder, timesteps, dtype)
        if self.step_length_encoder is None or lengths is None:
            return encoded
        return encoded + _encoded(self.step_length_encoder, lengths, dtype)

    def _check_inputs(self, sample: Tensor, local_cond: Tensor | None, global_cond: Tensor | None) -> None:
        if message := length_problem(sample.shape[1], self._stride):
            raise InputError(f"unet1d: the length of the trajectory {message}")
        for name, cond, is_expected in (
            ("global_cond", global_cond, self._has_global_cond),
            ("local_cond", local_cond, self.local_cond_encoder is not None),
        ):
            if (cond is not None) != is_expected:
                found, built = ("is missing", "with") if is_expected else ("was given", "without")
                raise InputError(f"unet1d: '{name}' {found}; the network was built {built} it")


def _time_encoder(time_dim: int) -> nn.Sequential:
    return nn.Sequential(
        SinusoidalPosEmb(time_dim), nn.Linear(time_dim, 4 * time_dim), nn.Mish(), nn.Linear(4 * time_dim, time_dim)
    )


def _encoded(encoder: nn.Sequential, times: Tensor, dtype: torch.dtype) -> Tensor:
    embed, *layers = encoder
    encoded: Tensor = embed(times).to(dtype)
    for layer in layers:
        encoded = layer(encoded)
    return encoded


def _levels(modules: nn.ModuleList) -> Iterator[tuple[nn.Module, nn.Module, nn.Module]]:
    """Two residual blocks and a change of length, level by level."""
    for level in modules:
        assert isinstance(level, nn.ModuleList)
        block0, block1, resample = level
        yield block0, block1, resample
