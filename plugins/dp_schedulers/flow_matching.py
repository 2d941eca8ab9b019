"""`FlowMatching`: rectified flow (Liu et al. 2023): flow matching (Lipman et al. 2023) along straight paths."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dp_core.interfaces import BaseScheduler, Generators, Inpaint, draw_noise
from dp_core.interfaces.scheduler import Denoise
from dp_schedulers.sampling import number_of_steps, with_known

if TYPE_CHECKING:
    from dp_schedulers.config import FlowMatchingConfig

Velocity = Callable[[Tensor, int], Tensor]
"""``velocity(x (B, T, D), step) -> (B, T, D)`` at the time where that step begins; after the last, in its middle."""


class FlowMatching(BaseScheduler):
    """Mix data and noise as ``x_t = (1 - t) x0 + t noise``; the network learns the velocity ``v = noise - x0``.

    Sampling integrates ``dx_t / dt = v(x_t, t)`` from the noise at t = 1 to the data at t = 0 (Liu et al. 2023,
    equation 1, who count t the other way). All timesteps handed in or out are ``t * timestep_scale``: denoisers embed
    times such that they tell whole numbers apart, not tenths.
    """

    def __init__(self, config: FlowMatchingConfig) -> None:
        self.config = config
        self._draw = _DRAWS[config.timestep_sampling]
        self._advance, self._arrive = _SOLVERS[config.solver]

    def sample_timesteps(
        self, batch_size: int, device: torch.device, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw times from 0 (data) to timestep_scale (noise), (B,), float32, on ``device``."""
        return self._draw(batch_size, device, generator) * self.config.timestep_scale

    def add_noise(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Mix x_t, (B, T, D), in the dtype of ``x0``.

        Args:
            x0: (B, T, D), normalised to [-1, 1], floating point.
            noise: (B, T, D), standard normal.
            timesteps: (B,), float32, from 0 (data) to timestep_scale (noise), on the device of ``x0``.
        """
        t = (timesteps / self.config.timestep_scale).to(x0.dtype)[:, None, None]
        return (1 - t) * x0 + t * noise

    def target(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return the velocity, (B, T, D), which is the same at all times; see `add_noise` for arguments."""
        return noise - x0

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

        Draws the initial noise, nothing else. All steps are equally long. Calls ``denoise`` once a step with 'euler',
        twice with 'heun', with times of shape (), float32.

        Raises:
            InputError: less than one step.
        """
        count = number_of_steps(num_inference_steps, self.config.num_inference_steps)
        # All times at once: the device then need not wait for each. The last is that of `_midpoint`.
        times = torch.linspace(self.config.timestep_scale, 0, count + 1, device=device)
        times[-1] = times[-2] / 2

        def velocity(x: Tensor, step: int) -> Tensor:
            return denoise(with_known(x, inpaint), times[step])

        sample = draw_noise(shape, generator, device=device, dtype=dtype)
        for step in range(count - 1):
            sample = self._advance(velocity, sample, step, 1 / count)
        sample = self._arrive(velocity, sample, count - 1, 1 / count)
        return with_known(sample, inpaint)


def _euler(velocity: Velocity, x: Tensor, step: int, length: float) -> Tensor:
    """With h for the length: x_(t - h) = x_t - h v(x_t, t)."""
    return x - length * velocity(x, step)


def _heun(velocity: Velocity, x: Tensor, step: int, length: float) -> Tensor:
    """x_(t - h) = x_t - h (v(x_t, t) + v(x_t - h v(x_t, t), t - h)) / 2; Karras et al. 2022, algorithm 1."""
    here = velocity(x, step)
    ahead = velocity(x - length * here, step + 1)
    return x - length * (here + ahead) / 2


def _midpoint(velocity: Velocity, x: Tensor, step: int, length: float) -> Tensor:
    """x_(t - h) = x_t - h v(x_t - h / 2 v(x_t, t), t - h / 2).

    The last step of 'heun', of second order, too: at its end, t = 0, x_t says nothing of the noise, so that no network
    can tell the velocity.
    """
    return x - length * velocity(x - length / 2 * velocity(x, step), step + 1)


_SOLVERS = {"euler": (_euler, _euler), "heun": (_heun, _midpoint)}
"""For all steps but the last, and for the last."""


def _uniform(size: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
    return torch.rand(size, device=device, generator=generator)


def _logit_normal(size: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Most in the middle, where the velocity is hardest to tell (Esser et al. 2024, standard normal)."""
    return torch.randn(size, device=device, generator=generator).sigmoid()


def _beta(size: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Beta(1.5, 1), most near the noise (Black et al. 2024, who count t the other way); by its inverse, u^(1 / 1.5)."""
    return torch.rand(size, device=device, generator=generator) ** (1 / 1.5)


_DRAWS = {"uniform": _uniform, "logit_normal": _logit_normal, "beta": _beta}
