"""`DiscreteScheduler`: what samplers of a noise process in discrete steps share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dp_core.errors import InputError
from dp_core.interfaces import BaseScheduler, Inpaint
from dp_core.interfaces.scheduler import Denoise
from dp_schedulers.config import DiscreteOptions, SpacedOptions
from dp_schedulers.inpaint import with_known


class DiscreteScheduler(BaseScheduler):
    """Mixes data and noise as ``sqrt(a_t) x0 + sqrt(1 - a_t) noise``, with ``a_t`` the ``alphas_cumprod`` of diffusers.

    The scheduler of diffusers stays on the CPU: its arithmetic on single numbers then costs the device no wait. What
    training needs of it is kept on each device that asks.
    """

    def __init__(self, config: DiscreteOptions, process: Any, step_options: Mapping[str, float] | None = None) -> None:
        """Wrap ``process``, a scheduler of diffusers; ``step_options`` are what its ``step`` takes beside the usual."""
        self.config = config
        self._process = process
        self._step_options = dict(step_options or {})
        self._rates: dict[torch.device, tuple[Tensor, Tensor]] = {}

    @property
    def num_inference_steps(self) -> int:
        """Network calls of one `sample`, unless it is told otherwise."""
        return self.config.num_inference_steps or self.config.num_train_timesteps

    def sample_timesteps(
        self, batch_size: int, device: torch.device, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw times in 0..num_train_timesteps - 1, (B,), int64."""
        return torch.randint(0, self.config.num_train_timesteps, (batch_size,), device=device, generator=generator)

    def add_noise(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Corrupt; see `BaseScheduler`."""
        signal, sigma = self._mixture(timesteps, x0)
        return signal * x0 + sigma * noise

    def target(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the network has to predict; see `BaseScheduler`. Velocity is that of Salimans and Ho 2022."""
        if self.config.prediction_type == "epsilon":
            return noise
        if self.config.prediction_type == "sample":
            return x0
        signal, sigma = self._mixture(timesteps, x0)
        return signal * noise - sigma * x0

    def sample(
        self,
        denoise: Denoise,
        shape: tuple[int, ...],
        num_inference_steps: int | None = None,
        generator: torch.Generator | None = None,
        inpaint: Inpaint | None = None,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Generate; see `BaseScheduler`. Draws the initial noise, then what each step adds.

        Raises:
            InputError: that number of steps is not possible.
        """
        count = num_inference_steps or self.num_inference_steps
        for option, message in self.config.sampling_problems(count):
            raise InputError(f"{option}: {message}")
        times = self._start(count)
        sample = torch.randn(shape, generator=generator, device=device, dtype=dtype)
        for time, time_on_device in zip(times.tolist(), times.to(device), strict=True):
            sample = with_known(sample, inpaint)
            sample = self._step(denoise(sample, time_on_device), time, sample, generator)
        return with_known(sample, inpaint)

    def _start(self, count: int) -> Tensor:
        """Prepare for ``count`` steps; the times they visit, (count,), int64, on the CPU."""
        self._process.set_timesteps(count)
        times: Tensor = self._process.timesteps
        return times

    def _step(self, prediction: Tensor, time: int, sample: Tensor, generator: torch.Generator | None) -> Tensor:
        """Go from ``time`` to the next, (B, T, D)."""
        step: tuple[Tensor, ...] = self._process.step(
            prediction, time, sample, generator=generator, return_dict=False, **self._step_options
        )
        return step[0]

    def _mixture(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Shares of data and noise at ``timesteps`` (B,), (B, 1, 1)."""
        rates = self._rates.get(like.device)
        if rates is None:
            alphas = self._process.alphas_cumprod
            rates = alphas.sqrt().to(like.device), (1 - alphas).sqrt().to(like.device)
            self._rates[like.device] = rates
        signal, sigma = (rate[timesteps].to(like.dtype)[:, None, None] for rate in rates)
        return signal, sigma


def noise_options(config: DiscreteOptions) -> dict[str, Any]:
    """The arguments of schedulers of diffusers that say how noise grows."""
    return {
        "num_train_timesteps": config.num_train_timesteps,
        "beta_schedule": config.beta_schedule,
        "beta_start": config.beta_start,
        "beta_end": config.beta_end,
    }


def diffusers_options(config: SpacedOptions) -> dict[str, Any]:
    """The arguments that are named as our options."""
    return {
        **noise_options(config),
        "prediction_type": config.prediction_type,
        "clip_sample": config.clip_sample,
        "clip_sample_range": config.clip_sample_range,
        "timestep_spacing": config.timestep_spacing,
    }
