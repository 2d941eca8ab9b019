"""`MeanFlow`: average velocities, so that one step leads from noise to data (Geng et al. 2025, "Mean Flows")."""

from __future__ import annotations

import warnings
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from dp_core.errors import InputError
from dp_core.interfaces import BaseScheduler, Generators, Inpaint, draw_noise
from dp_core.interfaces.scheduler import Denoise, prepared
from dp_schedulers.sampling import number_of_steps, with_known

if TYPE_CHECKING:
    from dp_schedulers.config import MeanFlowConfig


class MeanFlow(BaseScheduler):
    """Mix data and noise as ``x_t = (1 - t) x0 + t noise``, as `FlowMatching`; the network learns average velocities.

    Where flow matching learns the velocity v(x_t, t) at one time, the network here learns its average u(x_t, r, t) on
    the path from t down to r, which is the whole way: x_r = x_t - (t - r) u (Geng et al. 2025).
    With r = t the two are the same. Timesteps handed in or out are ``t * timestep_scale``, and so is r, the
    ``end_timestep``.
    """

    def __init__(self, config: MeanFlowConfig) -> None:
        self.config = config

    def sample_timesteps(
        self, batch_size: int, device: torch.device, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw times t from 0 (data) to timestep_scale (noise), (B,), float32, on ``device``."""
        return self._intervals(batch_size, device, generator)[0] * self.config.timestep_scale

    def add_noise(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Mix x_t, (B, T, D), in the dtype of ``x0``; arguments as of `FlowMatching.add_noise`."""
        t = (timesteps / self.config.timestep_scale).to(x0.dtype)[:, None, None]
        return (1 - t) * x0 + t * noise

    def target(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return the velocity, (B, T, D): what the network has to predict where a step ends where it begins.

        It is also the average of any step, where all data are ``x0``; `loss` learns the others.
        """
        return noise - x0

    def loss(
        self,
        denoise: Denoise,
        x0: Tensor,
        generator: torch.Generator | None = None,
        known: Inpaint | None = None,
        *,
        input_perturbation: float = 0.0,
    ) -> Tensor:
        """Return the loss of a batch, a scalar of at least 0; see `BaseScheduler.loss` and `_weighted`.

        The target follows from the network's own change along the path (the MeanFlow identity)::

            u(x_t, r, t) = v - (t - r) d/dt u(x_t, r, t),  d/dt u = v du/dx + du/dt,  v = noise - x0

        Only the left side is learnt. Draws noise, what perturbs it, and times, in this order.

        Raises:
            InputError: the denoiser cannot be differentiated forward.
        """
        noise = torch.randn(x0.shape, generator=generator, device=x0.device, dtype=x0.dtype)
        added = noise
        if input_perturbation:
            added = noise + input_perturbation * torch.empty_like(noise).normal_(generator=generator)
        t, r = self._intervals(len(x0), x0.device, generator)
        x_t = self.add_noise(x0, added, t * self.config.timestep_scale)
        velocity = self.target(x0, noise, t)
        average, change = self._average_and_change(denoise, x_t, velocity, r, t, known)
        error = (average - (velocity - (t - r)[:, None, None] * change)).square()
        if known is not None:
            error = error.masked_fill(known.mask, 0)
        return self._weighted(error.flatten(1).mean(1))

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

        Draws the initial noise, nothing else. All steps are equally long; calls ``denoise`` once a step, with both
        times of shape (), float32.

        Raises:
            InputError: less than one step.
        """
        count = number_of_steps(num_inference_steps, self.config.num_inference_steps)
        times = torch.linspace(self.config.timestep_scale, 0, count + 1, device=device)
        denoise_step = prepared(denoise, times[:-1], times[1:])
        sample = draw_noise(shape, generator, device=device, dtype=dtype)
        for step in range(count):
            sample = with_known(sample, inpaint)
            sample = sample - denoise_step(sample, step) / count
        return with_known(sample, inpaint)

    def _intervals(self, size: int, device: torch.device, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Draw t and r with r at most t, each (B,), float32 from 0 to 1.

        Both are logit-normal, and r is set to t in a share of the batch: there the network learns flow matching.
        """
        draws = torch.randn(2, size, device=device, generator=generator)
        first, second = (self.config.time_mean + self.config.time_std * draws).sigmoid()
        t, r = torch.maximum(first, second), torch.minimum(first, second)
        is_interval = torch.rand(size, device=device, generator=generator) < self.config.interval_ratio
        return t, torch.where(is_interval, r, t)

    def _average_and_change(
        self, denoise: Denoise, x_t: Tensor, velocity: Tensor, r: Tensor, t: Tensor, known: Inpaint | None
    ) -> tuple[Tensor, Tensor]:
        """Compute u(x_t, r, t), with gradients, and d/dt u on the way along ``velocity``, without; each (B, T, D)."""
        _load_forward_mode()
        scale = self.config.timestep_scale
        is_learning = torch.is_grad_enabled()
        with (
            sdpa_kernel(SDPBackend.MATH),  # fused kernels of attention have no derivative in forward mode,
            torch.enable_grad(),  # nor have the fused layers that torch takes without gradients,
            torch.compiler.set_stance("force_eager"),  # nor has what is compiled
            forward_ad.dual_level(),
        ):
            x = with_known(forward_ad.make_dual(x_t, velocity), known)
            time = forward_ad.make_dual(t * scale, torch.full_like(t, scale))
            try:
                average, change = forward_ad.unpack_dual(denoise(x, time, r * scale))
            except NotImplementedError as error:
                reason = str(error).partition(". ")[0].rstrip(".")
                raise InputError(
                    f"mean_flow: the denoiser has no derivative in forward mode, which the loss needs: {reason}; "
                    "choose another denoiser, or 'flow_matching' for the scheduler"
                ) from error
        change = torch.zeros_like(average) if change is None else change.detach()
        return average if is_learning else average.detach(), change

    def _weighted(self, error: Tensor) -> Tensor:
        """Return a scalar whose gradient is that of the mean of ``error / (error + c)**p`` with a constant divisor.

        That is the paper's adaptive weighting. Its integral is returned, which has the same gradient and
        tells how well the network does, where the weighted error would be about 1 however small it is: the error itself
        for p = 0, and log(1 + error / c) for p = 1.

        Args:
            error: (B,), the mean squared error of each member.
        """
        c, rest = self.config.adaptive_eps, 1 - self.config.adaptive_power
        if rest == 0:
            return (error / c).log1p().mean()
        return (c**rest * torch.expm1(rest * (error / c).log1p()) / rest).mean()


@cache
def _load_forward_mode() -> None:
    """Have torch load what it needs for its first Jacobian-vector product, and warn of nothing that is torch's own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script`", FutureWarning)
        with forward_ad.dual_level():
            forward_ad.make_dual(torch.zeros(()), torch.ones(()))
