"""`BaseScheduler`: how training corrupts actions, what the network has to predict, how sampling goes back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from dp_core.interfaces.noise import Generators

Denoise = Callable[[Tensor, Tensor], Tensor]
"""``denoise(sample (B, T, D), timestep ()) -> (B, T, D)``: the denoiser with its conditioning bound.

It may have a method ``prepare``, see `prepared`.
"""
DenoiseStep = Callable[[Tensor, int], Tensor]
"""``denoise(sample (B, T, D), i) -> (B, T, D)``: the same at the i-th of the times that `prepared` received."""


def prepared(denoise: Denoise, timesteps: Tensor) -> DenoiseStep:
    """Prepare ``denoise`` for the times that a sampler will visit, if it knows them beforehand.

    Where ``denoise`` has a method ``prepare(timesteps) -> DenoiseStep``, as that of a policy has, all that does not
    depend on the sample is computed once for all steps.

    Args:
        timesteps: (N,), in the order of the steps.
    """
    prepare: Callable[[Tensor], DenoiseStep] | None = getattr(denoise, "prepare", None)
    if prepare is not None:
        return prepare(timesteps)
    return lambda sample, i: denoise(sample, timesteps[i])


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
    """

    @property
    def largest_sample(self) -> float | None:
        """Largest magnitude, in normalised units, of what `sample` gives; None, the default: there is no limit.

        Override it in a sampler that clips: a run whose demonstrations are beyond it warns when it starts.
        """
        return None

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
