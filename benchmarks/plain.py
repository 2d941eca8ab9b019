"""The yardstick: the same computation as it is usually written, in eager PyTorch, with the same weights.

Convolutions are `torch.nn.Conv1d`, optimizer and average are torch's defaults and a loop over tensors, all steps of a
window are normalised and the observed ones encoded, known entries are written by boolean masks at every step, samplers
are the objects of diffusers, the loss is read at every step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import attrs
import diffusers
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from dp_core.kit.nn.time_embedding import SinusoidalPosEmb
from dp_core.kit.nn.vision import RandomCrop, center_crop

_FINAL_GROUPS = 8


class PlainUnet1D(nn.Module):
    """The U-Net of the paper; modules are named as ours, so that weights load.

    Args:
        config: options of our denoiser ``unet1d``.
    """

    def __init__(self, config: Any, *, input_dim: int, global_cond_dim: int) -> None:
        super().__init__()
        time_dim, kernel, dims = config.diffusion_step_embed_dim, config.kernel_size, (input_dim, *config.down_dims)

        def block(dim_in: int, dim_out: int) -> _ResidualBlock:
            return _ResidualBlock(dim_in, dim_out, time_dim + global_cond_dim, kernel, config.n_groups)

        self.diffusion_step_encoder = nn.Sequential(
            SinusoidalPosEmb(time_dim), nn.Linear(time_dim, 4 * time_dim), nn.Mish(), nn.Linear(4 * time_dim, time_dim)
        )
        self.mid_modules = nn.ModuleList([block(dims[-1], dims[-1]) for _ in range(2)])
        self.down_modules = nn.ModuleList()
        for level, (dim_in, dim_out) in enumerate(pairwise(dims), start=1):
            is_last = level == len(config.down_dims)
            resample = nn.Identity() if is_last else _Resample(nn.Conv1d(dim_out, dim_out, 3, stride=2, padding=1))
            self.down_modules.append(nn.ModuleList([block(dim_in, dim_out), block(dim_out, dim_out), resample]))
        self.up_modules = nn.ModuleList()
        for dim_out, dim_in in reversed(list(pairwise(dims[1:]))):
            resample = _Resample(nn.ConvTranspose1d(dim_out, dim_out, 4, stride=2, padding=1))
            self.up_modules.append(nn.ModuleList([block(2 * dim_in, dim_out), block(dim_out, dim_out), resample]))
        self.final_conv = nn.Sequential(
            _ConvBlock(dims[1], dims[1], kernel, _FINAL_GROUPS), nn.Conv1d(dims[1], input_dim, 1)
        )

    def forward(self, sample: Tensor, timestep: Tensor, global_cond: Tensor) -> Tensor:
        """Denoise (B, T, D) at times () or (B,) under the condition (B, G)."""
        x = sample.moveaxis(1, 2)  # (B, D, T)
        time = self.diffusion_step_encoder(timestep.expand(len(sample)))
        cond = torch.cat([time, global_cond], dim=-1)
        skips = []
        down: Any = self.down_modules
        for block0, block1, downsample in down:
            x = block1(block0(x, cond), cond)
            skips.append(x)
            x = downsample(x)
        for block in self.mid_modules:
            x = block(x, cond)
        up: Any = self.up_modules
        for block0, block1, upsample in up:
            x = torch.cat([x, skips.pop()], dim=1)
            x = upsample(block1(block0(x, cond), cond))
        return self.final_conv(x).moveaxis(1, 2)


class _ConvBlock(nn.Module):
    def __init__(self, dim_in: int, dim_out: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv1d(dim_in, dim_out, kernel, padding=kernel // 2), nn.GroupNorm(groups, dim_out), nn.Mish()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class _ResidualBlock(nn.Module):
    def __init__(self, dim_in: int, dim_out: int, cond_dim: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [_ConvBlock(dim_in, dim_out, kernel, groups), _ConvBlock(dim_out, dim_out, kernel, groups)]
        )
        self.cond_encoder = nn.Sequential(nn.Mish(), nn.Linear(cond_dim, 2 * dim_out))
        self.residual_conv = nn.Conv1d(dim_in, dim_out, 1) if dim_in != dim_out else nn.Identity()

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        scale, bias = self.cond_encoder(cond)[..., None].chunk(2, dim=1)
        hidden = scale * self.blocks[0](x) + bias
        return self.blocks[1](hidden) + self.residual_conv(x)


class _Resample(nn.Module):
    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class PlainPolicy(nn.Module):
    """A diffusion policy with the weights of one of ours, which conditions globally and scales features (FiLM).

    Takes images as floats in [0, 1]; draws what ours draws, in the same order.
    """

    def __init__(self, ours: Any) -> None:
        super().__init__()
        self.config = ours.config
        self.obs_encoder = copy.deepcopy(ours.obs_encoder)
        for name, module in list(self.obs_encoder.named_modules()):
            if isinstance(module, RandomCrop):
                self.obs_encoder.set_submodule(name, _GatherCrop(module.crop_shape))
        conditioning = ours.conditioning
        self.model = PlainUnet1D(
            ours.config.denoiser.config,
            input_dim=conditioning.trajectory_dim,
            global_cond_dim=conditioning.global_cond_dim,
        ).to(ours.device)
        self.model.load_state_dict(ours.model.state_dict())
        self.normalizer = copy.deepcopy(ours.normalizer)
        self.scheduler, self.num_inference_steps = make_scheduler(ours.config.scheduler)

    def compute_loss(self, batch: Mapping[str, Any]) -> Tensor:
        """Compute the mean squared error of the predicted noise, ()."""
        features = self._encode(batch["obs"])
        trajectory = self.normalizer["action"].normalize(batch["action"])
        known = torch.zeros_like(trajectory, dtype=torch.bool)
        noise = torch.randn(trajectory.shape, device=trajectory.device)
        steps = self.scheduler.config["num_train_timesteps"]
        timesteps = torch.randint(0, steps, (len(trajectory),), device=trajectory.device).long()
        noisy = self.scheduler.add_noise(trajectory, noise, timesteps)
        noisy[known] = trajectory[known]
        prediction = self.model(noisy, timesteps, global_cond=features)
        error = F.mse_loss(prediction, noise, reduction="none") * (~known).type(noise.dtype)
        return error.flatten(1).mean(1).mean()

    @torch.no_grad()
    def predict_action(self, obs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sample a chunk of actions."""
        features = self._encode(obs)
        steps, dim = self.config.horizon, self.normalizer["action"].scale.shape[0]
        data = torch.zeros(len(features), steps, dim, device=features.device)
        known = torch.zeros_like(data, dtype=torch.bool)
        trajectory = torch.randn(data.shape, device=data.device)
        self.scheduler.set_timesteps(self.num_inference_steps)
        for timestep in self.scheduler.timesteps:
            trajectory[known] = data[known]
            prediction = self.model(trajectory, timestep.to(data.device), global_cond=features)
            trajectory = self.scheduler.step(prediction, timestep, trajectory).prev_sample
        trajectory[known] = data[known]
        actions = self.normalizer["action"].unnormalize(trajectory)
        first = self.config.n_obs_steps - 1
        return {"action": actions[:, first : first + self.config.n_action_steps], "action_pred": actions}

    def _encode(self, obs: Mapping[str, Tensor]) -> Tensor:
        """All steps are normalised, the first To encoded: (B, To*Do)."""
        normalized = {key: self.normalizer[key].normalize(value) for key, value in obs.items()}
        observed = {key: value[:, : self.config.n_obs_steps].flatten(0, 1) for key, value in normalized.items()}
        return self.obs_encoder(observed).reshape(len(next(iter(obs.values()))), -1)


class _GatherCrop(nn.Module):
    """Random crops by indices of all pixels."""

    def __init__(self, crop_shape: tuple[int, int]) -> None:
        super().__init__()
        self.crop_shape = crop_shape

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, *crop_shape)."""
        if not self.training:
            return center_crop(images, self.crop_shape)
        count, channels, height, width = images.shape
        crop_height, crop_width = self.crop_shape
        top = (torch.rand(count, 1, device=images.device) * (height - crop_height)).long()
        left = (torch.rand(count, 1, device=images.device) * (width - crop_width)).long()
        rows = (top + torch.arange(crop_height, device=images.device))[:, None, :, None]
        columns = (left + torch.arange(crop_width, device=images.device))[:, None, None, :]
        images = images.gather(2, rows.expand(-1, channels, -1, width))
        return images.gather(3, columns.expand(-1, channels, crop_height, -1))


def make_scheduler(slot: Any) -> tuple[Any, int]:
    """Make diffusers' scheduler with the options of ours, ``ddpm`` or ``ddim``; also return its number of steps."""
    options = attrs.asdict(slot.config)
    options.pop("eta", None)
    steps = options.pop("num_inference_steps") or options["num_train_timesteps"]
    make: Any = {"ddpm": diffusers.DDPMScheduler, "ddim": diffusers.DDIMScheduler}[slot.component.name]
    return make(**options), steps


class PlainTraining:
    """Trains a policy that has ``compute_loss(batch)``, with the optimizer options of our config.

    Args:
        make_average: ``make_average(copy of the policy) -> step(policy)``; None for a loop over tensors.
    """

    def __init__(
        self,
        policy: Any,
        config: Any,
        device: torch.device,
        make_average: Callable[[nn.Module], Callable[[nn.Module], object]] | None = None,
    ) -> None:
        options = config.optimizer.config
        self.policy = policy.train()
        self._device = device
        self.optimizer = torch.optim.AdamW(
            policy.parameters(),
            lr=options.lr,
            betas=options.betas,
            eps=options.eps,
            weight_decay=options.weight_decay,
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 1.0)
        self._average = (make_average or PlainAverage)(copy.deepcopy(policy))

    def steps(self, batches: Sequence[Mapping[str, Any]]) -> float:
        """Train on each batch; return the mean loss."""
        losses = []
        for batch in batches:
            obs = {key: value.to(self._device, non_blocking=True) for key, value in batch["obs"].items()}
            action = batch["action"].to(self._device, non_blocking=True)
            loss = self.policy.compute_loss({"obs": obs, "action": action})
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self._schedule.step()
            self._average(self.policy)
            losses.append(loss.item())
        return sum(losses) / len(losses)


class PlainAverage:
    """Exponential moving average, tensor by tensor, with the decay of the paper's policies."""

    def __init__(self, average: nn.Module) -> None:
        self.average = average.eval().requires_grad_(False)
        self._step = 0

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> None:
        decay = min(max(0.0, 1 - max(self._step, 1) ** -0.75), 0.9999)
        for average, new in zip(self.average.parameters(), model.parameters(), strict=True):
            average.mul_(decay)
            average.add_(new.data.to(average.dtype), alpha=1 - decay)
        self._step += 1


class PlainWindows(Dataset[dict[str, Any]]):
    """One window at a time: images are kept as float32 (N, H, W, C), and scaled when they are asked for.

    Args:
        data: ``image`` uint8 (N, C, H, W), ``agent_pos`` (N, 2) and ``action`` (N, 2).
        indices: (n_windows, 4), see `dp_replay.sampler.create_indices`.
    """

    def __init__(self, data: Mapping[str, NDArray[Any]], indices: NDArray[np.int64], horizon: int) -> None:
        self.arrays = {key: value.astype(np.float32) for key, value in data.items() if key != "image"}
        self.arrays["image"] = np.ascontiguousarray(np.moveaxis(data["image"], 1, -1), dtype=np.float32)
        self._indices = indices
        self._horizon = horizon

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> dict[str, Any]:
        first, end, start, stop = self._indices[index]
        window = {}
        for key, array in self.arrays.items():
            values = np.zeros((self._horizon, *array.shape[1:]), np.float32)
            values[start:stop] = array[first:end]
            values[:start] = array[first]
            values[stop:] = array[end - 1]
            window[key] = values
        window["image"] = np.moveaxis(window["image"], -1, 1) / 255
        tensors = {key: torch.from_numpy(value) for key, value in window.items()}
        return {"obs": {"image": tensors["image"], "agent_pos": tensors["agent_pos"]}, "action": tensors["action"]}
