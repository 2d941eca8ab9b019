"""`DiscreteScheduler`: what samplers of a noise process in discrete steps share."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections import deque

import torch
from torch import Tensor

from dp_core.errors import InputError
from dp_core.interfaces import BaseScheduler, Inpaint
from dp_core.interfaces.scheduler import Denoise, prepared
from dp_schedulers.config import DiscreteOptions
from dp_schedulers.inpaint import with_known
from dp_schedulers.noise import data_shares
from dp_schedulers.steps import Step, number_of_steps

logger = logging.getLogger(__name__)


class DiscreteScheduler(BaseScheduler):
    """Mixes data and noise as ``sqrt(a_t) x0 + sqrt(1 - a_t) noise``, with ``a_t`` the ``alphas_cumprod`` of diffusers.

    A sampling step is a sum with coefficients that are known before the first (`Step`), computed once in double
    precision. They are plain numbers: the device waits for none of them.
    """

    def __init__(self, config: DiscreteOptions) -> None:
        self.config = config
        self.alphas = data_shares(config).double()
        """(num_train_timesteps,), float64: the share of the data in the variance."""
        self._rates: dict[torch.device, tuple[Tensor, Tensor]] = {}
        self._tables: dict[tuple[int, torch.device], tuple[Tensor, list[Step]]] = {}

    @property
    def largest_sample(self) -> float | None:
        """What the clean trajectory is clipped to."""
        return self.config.clip_sample_range if self.config.clip_sample else None

    @property
    def num_inference_steps(self) -> int:
        """Network calls of one `sample`, unless it is told otherwise."""
        return self.config.num_inference_steps or self.config.num_train_timesteps

    @abstractmethod
    def times(self, count: int) -> Tensor:
        """The times that ``count`` steps visit, (count,), int64, falling."""

    @abstractmethod
    def steps(self, times: Tensor) -> list[Step]:
        """The step that is taken at each of ``times``."""

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

        Warns, once, of a number of steps that the options would be warned of.

        Raises:
            InputError: that number of steps is not possible.
        """
        count = number_of_steps(num_inference_steps, self.num_inference_steps)
        times, steps = self._table(count, torch.device(device))
        denoise_step = prepared(denoise, times)
        limit = self.largest_sample
        past: deque[Tensor] = deque(maxlen=max(len(step.clean) for step in steps))
        sample = torch.randn(shape, generator=generator, device=device, dtype=dtype)
        for i, step in enumerate(steps):
            sample = with_known(sample, inpaint)
            prediction = denoise_step(sample, i)
            clean = step.clean_from(sample, prediction)
            past.appendleft(clean if limit is None else clean.clamp_(-limit, limit))
            sample = step.advance(sample, prediction, past, generator)
        return with_known(sample, inpaint)

    def _table(self, count: int, device: torch.device) -> tuple[Tensor, list[Step]]:
        if (count, device) not in self._tables:
            for option, message in self.config.sampling_problems(count):
                raise InputError(f"{option}: {message}")
            if count != self.num_inference_steps:  # of that one, who structured the options was warned
                for option, message in self.config.sampling_advice(count):
                    logger.warning("%s: %s", option, message)
            times = self.times(count)
            self._tables[count, device] = times.to(device), self.steps(times)
        return self._tables[count, device]

    def _mixture(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Shares of data and noise at ``timesteps`` (B,), (B, 1, 1)."""
        rates = self._rates.get(like.device)
        if rates is None:
            alphas = self.alphas.float()
            rates = alphas.sqrt().to(like.device), (1 - alphas).sqrt().to(like.device)
            self._rates[like.device] = rates
        signal, sigma = (rate[timesteps].to(like.dtype)[:, None, None] for rate in rates)
        return signal, sigma
