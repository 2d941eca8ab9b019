"""`DiscreteScheduler`: what samplers of a noise process in discrete steps share."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Sequence

import attrs
import numpy as np
import torch
from torch import Tensor

from dp_core.errors import InputError
from dp_core.interfaces import BaseScheduler, Generators, Inpaint, draw_noise
from dp_core.interfaces.scheduler import Denoise, prepared
from dp_schedulers.betas import betas
from dp_schedulers.config import DiscreteOptions, SpacedOptions
from dp_schedulers.prediction import target
from dp_schedulers.sampling import number_of_steps, with_known

logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Step:
    """Lead from x_t to x_s, where s is the next time that is visited and less noisy, by sums with known weights.

    From the network's output, x0 is computed and perhaps clipped. Then, with x0' and so on of the steps before, and
    fresh noise z ~ N(0, I)::

        x_s = of_x_t x_t + of_output output + of_x0[0] x0 + of_x0[1] x0' + ... + std z
    """

    x0_weights: tuple[float, float]
    """Weights of x_t and of the output in x0, see `prediction.x0_weights`."""
    of_x0: tuple[float, ...]
    """Weights of x0 and of those of the steps before, latest first."""
    of_x_t: float
    of_output: float = 0.0
    """Weight of what the network returned, beside its part in x0."""
    std: float | None = None
    """Standard deviation of the fresh noise; None where none is drawn."""

    def x0_from(self, x_t: Tensor, output: Tensor) -> Tensor:
        """Compute the x0 that the network means, not clipped, a new tensor (B, T, D)."""
        of_x_t, of_output = self.x0_weights
        return (x_t * of_x_t).add_(output, alpha=of_output)

    def advance(self, x_t: Tensor, output: Tensor, x0s: Sequence[Tensor], generator: Generators) -> Tensor:
        """Compute x_s, a new tensor (B, T, D).

        Args:
            x0s: x0 (B, T, D) of this step and of those before, latest first; perhaps more than the step has weights.
        """
        x_s = x_t * self.of_x_t
        for weight, x0 in zip(self.of_x0, x0s, strict=False):
            x_s.add_(x0, alpha=weight)
        if self.of_output:
            x_s.add_(output, alpha=self.of_output)
        if self.std is not None:
            z = draw_noise(x_t.shape, generator, device=x_t.device, dtype=x_t.dtype)
            x_s.add_(z, alpha=self.std)
        return x_s


class DiscreteScheduler(BaseScheduler):
    """Mix data and noise as ``x_t = sqrt(a_t) x0 + sqrt(1 - a_t) noise``, with ``a_t = alphas_cumprod[t]``.

    That is equation 4 of Ho et al. 2020. Times are whole numbers t from 0, with the least noise, to
    num_train_timesteps - 1. A sampling step is a sum with weights that are known before the first (`Step`), computed
    once in double precision. They are plain numbers: the device waits for none of them.
    """

    def __init__(self, config: DiscreteOptions) -> None:
        self.config = config
        self.alphas_cumprod = _alphas_cumprod(config).double()
        """(num_train_timesteps,), float64, falling, between 0 and 1."""
        self._rates: dict[torch.device, tuple[Tensor, Tensor]] = {}
        self._tables: dict[tuple[int, torch.device], tuple[Tensor, list[Step]]] = {}

    @property
    def largest_sample(self) -> float | None:
        """Return what x0 is clipped to, in normalised units; None where it is not."""
        return self.config.clip_sample_range if self.config.clip_sample else None

    @property
    def num_inference_steps(self) -> int:
        """Return the network calls of one `sample` that asks for no number of its own."""
        return self.config.num_inference_steps or self.config.num_train_timesteps

    @abstractmethod
    def times(self, count: int) -> Tensor:
        """Choose the times that ``count`` steps visit, (count,), int64, falling, in 0..num_train_timesteps - 1."""

    @abstractmethod
    def steps(self, times: Tensor) -> list[Step]:
        """Compute the step that is taken at each of ``times`` (count,), int64, falling; the last arrives at x0."""

    def sample_timesteps(
        self, batch_size: int, device: torch.device, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw times evenly from 0..num_train_timesteps - 1, both included, (B,), int64, on ``device``."""
        return torch.randint(0, self.config.num_train_timesteps, (batch_size,), device=device, generator=generator)

    def add_noise(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Mix x_t, (B, T, D), in the dtype of ``x0``.

        Args:
            x0: (B, T, D), normalised to [-1, 1], floating point.
            noise: (B, T, D), standard normal.
            timesteps: (B,), int64, in 0..num_train_timesteps - 1, on the device of ``x0``.
        """
        of_x0, of_noise = self._mixture(timesteps, x0)
        return of_x0 * x0 + of_noise * noise

    def target(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return what the network has to predict of x_t, (B, T, D); see `prediction`, and `add_noise` for arguments."""
        return target(self.config.prediction_type, x0, noise, lambda: self._mixture(timesteps, x0))

    def sample(
        self,
        denoise: Denoise,
        shape: tuple[int, ...],
        num_inference_steps: int | None = None,
        generator: Generators = None,
        inpaint: Inpaint | None = None,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Generate trajectories (B, T, D), normalised, on ``device`` and of ``dtype``; see `BaseScheduler`.

        Draws the initial noise, then what each step adds. Calls ``denoise`` once a step, with a time of shape (),
        int64. Warns, once, of a number of steps that the options would be warned of.

        Raises:
            InputError: that number of steps is not possible.
        """
        count = number_of_steps(num_inference_steps, self.num_inference_steps)
        times, steps = self._table(count, torch.device(device))
        denoise_step = prepared(denoise, times)
        limit = self.largest_sample
        x0s: deque[Tensor] = deque(maxlen=max(len(step.of_x0) for step in steps))
        sample = draw_noise(shape, generator, device=device, dtype=dtype)
        for i, step in enumerate(steps):
            sample = with_known(sample, inpaint)
            output = denoise_step(sample, i)
            x0 = step.x0_from(sample, output)
            x0s.appendleft(x0 if limit is None else x0.clamp_(-limit, limit))
            sample = step.advance(sample, output, x0s, generator)
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
        """Look up sqrt(a_t) and sqrt(1 - a_t) at ``timesteps`` (B,), each (B, 1, 1), dtype and device of ``like``."""
        rates = self._rates.get(like.device)
        if rates is None:
            # Roots of float32, and rounded only then, as in diffusers: training gets the same bits.
            a = self.alphas_cumprod.float()
            rates = a.sqrt().to(like.device), (1 - a).sqrt().to(like.device)
            self._rates[like.device] = rates
        of_x0, of_noise = (rate[timesteps].to(like.dtype)[:, None, None] for rate in rates)
        return of_x0, of_noise


def _alphas_cumprod(options: DiscreteOptions) -> Tensor:
    """Compute alphas_cumprod to the bit of diffusers, (num_train_timesteps,), float32, falling.

    diffusers itself takes longer to import than torch does.
    """
    # Only float32 from the start gives the bits of diffusers; `betas` in float64 would differ in the last.
    count, start, end = options.num_train_timesteps, options.beta_start, options.beta_end
    if options.beta_schedule == "linear":
        beta = torch.linspace(start, end, count, dtype=torch.float32, device="cpu")
    elif options.beta_schedule == "scaled_linear":
        beta = torch.linspace(start**0.5, end**0.5, count, dtype=torch.float32, device="cpu") ** 2
    else:
        beta = torch.tensor(betas(options.beta_schedule, count, start, end), dtype=torch.float32, device="cpu")
    return (1 - beta).cumprod(0)


def spaced_times(config: SpacedOptions, count: int) -> Tensor:
    """Choose ``count`` evenly spaced times, (count,), int64, falling, in 0..num_train_timesteps - 1.

    Those of diffusers, except that one step visits the last time with every spacing: at time 0, which it visits there
    with two of them, there is no noise to remove, and what is drawn to start from would be the result.
    """
    total = config.num_train_timesteps
    times: np.ndarray
    if config.timestep_spacing == "leading":
        times = config.first_time(count) - np.arange(count) * (total // count)
    elif config.timestep_spacing == "trailing":
        # By rounding errors, the range may have one number too many, which is close to 0.
        times = np.round(np.arange(total, 0, -total / count)[:count]) - 1
    else:
        times = np.linspace(0, total - 1, count).round()[::-1] if count > 1 else np.array([total - 1])
    return torch.from_numpy(times.astype(np.int64))
