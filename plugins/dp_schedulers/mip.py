"""`MIP`: the minimal iterative policy, a regression in two steps (Pan et al. 2025, "Much Ado About Noising")."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dp_core.interfaces import BaseScheduler, Generators, Inpaint
from dp_core.interfaces.scheduler import Denoise, prepared
from dp_schedulers.sampling import number_of_steps, with_known

if TYPE_CHECKING:
    from dp_schedulers.config import MIPConfig


class MIP(BaseScheduler):
    """Predict x0 from nothing, then once more from the first prediction; the network learns x0 both times.

    With t* for ``t_star`` and pi for the network (Pan et al. 2025, arXiv:2512.01809; they count times from noise to
    data, so that their 0 is our timestep_scale)::

        learnt   |pi(0, 0) - x0|**2 + |pi(t* x0 + (1 - t*) noise, t*) - x0|**2
        sampled  x = pi(0, 0), then pi(t* x, t*)

    The authors' code divides the terms by t***2 and (1 - t*)**2, which has the same minimum, but leaves the first step
    far behind in short runs, and does not multiply what the second step is given by t*. No noise is drawn while
    sampling: equal observations give equal actions, which is the mean of the demonstrated ones, moved towards a mode by
    the second step. The paper's finding is that control rarely needs more.
    """

    def __init__(self, config: MIPConfig) -> None:
        self.config = config

    @property
    def _late(self) -> float:
        """The time of the second step."""
        return (1 - self.config.t_star) * self.config.timestep_scale

    def sample_timesteps(
        self, batch_size: int, device: torch.device, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw one of the two times, timestep_scale or (1 - t_star) of it, (B,), float32, on ``device``."""
        is_first = torch.rand(batch_size, device=device, generator=generator) < 0.5
        return torch.where(is_first, self.config.timestep_scale, self._late)

    def add_noise(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Mix what a step is given, (B, T, D), in the dtype of ``x0``: zeros at timestep_scale.

        Args:
            x0: (B, T, D), normalised, floating point.
            noise: (B, T, D), standard normal.
            timesteps: (B,), float32, on the device of ``x0``.
        """
        t = (timesteps / self.config.timestep_scale).to(x0.dtype)[:, None, None]
        return (1 - t) * x0 + torch.where(t < 1, t, 0) * noise

    def target(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return the clean trajectory, (B, T, D), whatever the time."""
        return x0

    def loss(
        self,
        denoise: Denoise,
        x0: Tensor,
        generator: torch.Generator | None = None,
        known: Inpaint | None = None,
        *,
        input_perturbation: float = 0.0,
    ) -> Tensor:
        """Return the loss of both steps of a batch, a scalar; see `BaseScheduler.loss`. Calls ``denoise`` twice.

        Draws noise, and what perturbs it, in this order.
        """
        noise = torch.randn(x0.shape, generator=generator, device=x0.device, dtype=x0.dtype)
        if input_perturbation:
            noise = noise + input_perturbation * torch.empty_like(noise).normal_(generator=generator)
        losses = []
        for time in (self.config.timestep_scale, self._late):
            timesteps = torch.full((len(x0),), time, device=x0.device)
            given = with_known(self.add_noise(x0, noise, timesteps), known)
            error = (denoise(given, timesteps) - x0).square()
            if known is not None:
                error = error.masked_fill(known.mask, 0)
            losses.append(error.mean())
        return losses[0] + losses[1]

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
        """Predict trajectories (B, T, D), normalised, on ``device`` and of ``dtype``; see `BaseScheduler`.

        Draws nothing. Calls ``denoise`` once a step, with a time of shape (), float32.

        Raises:
            InputError: less than one step.
        """
        count = number_of_steps(num_inference_steps, self.config.num_inference_steps)
        times = torch.full((count,), self._late, device=device)
        times[:1].fill_(self.config.timestep_scale)
        denoise_step = prepared(denoise, times)
        sample = denoise_step(with_known(torch.zeros(shape, device=device, dtype=dtype), inpaint), 0)
        for step in range(1, count):
            sample = denoise_step(with_known(self.config.t_star * sample, inpaint), step)
        return with_known(sample, inpaint)
