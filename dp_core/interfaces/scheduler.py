"""`BaseScheduler`: how training corrupts actions, what the network has to predict, how sampling goes back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from dp_core.interfaces.noise import Generators


class Denoise(Protocol):
    """The denoiser with its conditioning bound. It may have a method ``prepare``, see `prepared`."""

    def __call__(self, sample: Tensor, timestep: Tensor, end_timestep: Tensor | None = None) -> Tensor:
        """Predict from ``sample`` (B, T, D), at ``timestep`` () or (B,), what the scheduler asks for, (B, T, D).

        Args:
            end_timestep: () or (B,), the time that a step from ``timestep`` is to lead to; only for schedulers whose
                config class names it in ``needs``, see `BaseScheduler`.
        """


DenoiseStep = Callable[[Tensor, int], Tensor]
"""``denoise(sample (B, T, D), i) -> (B, T, D)``: the same at the i-th of the times that `prepared` received."""


def prepared(denoise: Denoise, timesteps: Tensor, end_timesteps: Tensor | None = None) -> DenoiseStep:
    """Prepare ``denoise`` for the times that a sampler will visit, if it knows them beforehand.

    Where ``denoise`` has a method ``prepare(timesteps) -> DenoiseStep``, as that of a policy has, all that does not
    depend on the sample is computed once for all steps.

    Args:
        timesteps: (N,), in the order of the steps.
        end_timesteps: (N,), where each of them leads; for schedulers that need a second time, and handed on to
            ``prepare`` only then.
    """
    ends = {} if end_timesteps is None else {"end_timesteps": end_timesteps}
    prepare: Callable[..., DenoiseStep] | None = getattr(denoise, "prepare", None)
    if prepare is not None:
        return prepare(timesteps, **ends)
    if end_timesteps is None:
        return lambda sample, i: denoise(sample, timesteps[i])
    return lambda sample, i: denoise(sample, timesteps[i], end_timesteps[i])


class Inpaint(NamedTuple):
    """Entries of the trajectory that are known: kept at their value at every step of the sampling."""

    mask: Tensor
    """(B, T, D), bool, True where the value is known."""
    values: Tensor
    """(B, T, D), clean values; ignored where the mask is False."""


class BaseScheduler(ABC):
    """A noise process and the sampler that reverses it. Holds no weights; draws only from the generator it is given.

    The process (what training sees) and the sampler (its number of steps included) are separate, so that the sampler
    can be exchanged at evaluation without training again.

    A method whose network learns whole steps, from one time to another, says so in its config class::

        needs: ClassVar[tuple[str, ...]] = ("end_timestep",)

    Its denoiser is then one that takes the second time (`BaseDenoiser`); any other is refused when the config is
    checked.

    A method whose target needs the network overrides `loss`, which may call ``denoise`` as often as it likes, with and
    without gradients, and differentiate through it.
    """

    @property
    def largest_sample(self) -> float | None:
        """Largest magnitude, in normalised units, of what `sample` gives; None, the default: there is no limit.

        Override it in a sampler that clips: a run whose demonstrations are beyond it warns when it starts.
        """
        return None

    @property
    def waits_for_device(self) -> bool:
        """Whether `sample` needs values from the device on its way; False, the default: policies make one graph of it.

        Override it in a sampler that calls ``item()``, compares tensors, or brings numbers from the host to a GPU.
        """
        return False

    @abstractmethod
    def sample_timesteps(
        self, batch_size: int, device: torch.device, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw the times at which training corrupts.

        Args:
            generator: on ``device``; None for torch's global state.

        Returns:
            (B,), on ``device``, int64 for discrete processes, float32 for continuous ones. The range is the scheduler's
            own; networks tell whole numbers apart, and expect about 0 (data) to 100 (noise).
        """

    @abstractmethod
    def add_noise(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Corrupt clean trajectories.

        Args:
            x0: (B, T, D), normalised, floating point.
            noise: (B, T, D), of the same dtype, standard normal.
            timesteps: (B,), as from `sample_timesteps`, on the device of ``x0``.

        Returns:
            (B, T, D), in the dtype of ``x0``.
        """

    @abstractmethod
    def target(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return what the network has to predict, (B, T, D), in the dtype of ``x0``; arguments as in `add_noise`."""

    def loss(
        self,
        denoise: Denoise,
        x0: Tensor,
        generator: torch.Generator | None = None,
        known: Inpaint | None = None,
        *,
        input_perturbation: float = 0.0,
    ) -> Tensor:
        """Return the loss of a batch of clean trajectories, a scalar.

        This one is the mean squared error between what the denoiser predicts and `target`. Methods whose target needs
        the network itself override it. Draws noise, what perturbs it, and times, in this order.

        Args:
            denoise: in training mode, with gradients.
            x0: (B, T, D), normalised, floating point.
            generator: on the device of ``x0``; None for torch's global state.
            known: entries that the network is shown as they are. They contribute zero, and still count in the mean.
            input_perturbation: share of further noise that the network sees and the target does not tell of (Ning et
                al. 2023).
        """
        noise = torch.randn(x0.shape, generator=generator, device=x0.device, dtype=x0.dtype)
        added = noise
        if input_perturbation:
            added = noise + input_perturbation * torch.empty_like(noise).normal_(generator=generator)
        timesteps = self.sample_timesteps(len(x0), x0.device, generator)
        noisy = self.add_noise(x0, added, timesteps)
        if known is not None:
            noisy = torch.where(known.mask, known.values, noisy)
        error = (denoise(noisy, timesteps) - self.target(x0, noise, timesteps)).square()
        if known is not None:
            error = error.masked_fill(known.mask, 0)
        return error.mean()

    @abstractmethod
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
        """Generate trajectories from noise.

        Args:
            denoise: see `Denoise`.
            shape: (B, T, D).
            num_inference_steps: at least 1; None for the configured number.
            generator: on ``device``: a single one for the batch, or a sequence of B, one for each row, whose noise is
                then the same as if it were alone. `draw_noise` takes either.
            inpaint: known entries, which are also exact in the result.

        Returns:
            (B, T, D), normalised, on ``device`` and of ``dtype``.
        """
