"""`Step`: one step of a sampler, as a sum with known coefficients; and the coefficients that samplers share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs
import torch
from torch import Tensor

from dp_core.errors import InputError

PredictionType = Literal["epsilon", "sample", "v_prediction"]


@attrs.frozen(kw_only=True)
class Step:
    """From a noisy trajectory and what the network predicts of it to the next, less noisy one.

    First the clean trajectory that the network means is told, and perhaps clipped; the next trajectory is a sum of it,
    of those of earlier steps, of the present trajectory, of the prediction and of fresh noise.
    """

    mean: tuple[float, float]
    """Shares of the trajectory and of the prediction in the clean trajectory."""
    clean: tuple[float, ...]
    """Shares in the next trajectory of the clean one, and of those of the steps before, latest first."""
    sample: float
    """Share of the present trajectory."""
    prediction: float = 0.0
    """Share of what the network predicts."""
    noise: float | None = None
    """Standard deviation of fresh noise; None where none is drawn."""

    def clean_from(self, sample: Tensor, prediction: Tensor) -> Tensor:
        """The clean trajectory that the network means, a new tensor (B, T, D)."""
        of_sample, of_prediction = self.mean
        return (sample * of_sample).add_(prediction, alpha=of_prediction)

    def advance(
        self, sample: Tensor, prediction: Tensor, clean: Sequence[Tensor], generator: torch.Generator | None
    ) -> Tensor:
        """The next trajectory, a new tensor (B, T, D).

        Args:
            clean: clean trajectories (B, T, D) of this step and of those before, latest first.
        """
        following = sample * self.sample
        for share, trajectory in zip(self.clean, clean, strict=False):
            following.add_(trajectory, alpha=share)
        if self.prediction:
            following.add_(prediction, alpha=self.prediction)
        if self.noise is not None:
            noise = torch.randn(sample.shape, generator=generator, device=sample.device, dtype=sample.dtype)
            following.add_(noise, alpha=self.noise)
        return following


def number_of_steps(asked: int | None, configured: int) -> int:
    """Choose how many steps a call takes: as many as it is asked for, else as many as are configured.

    Raises:
        InputError: less than one.
    """
    if asked is not None and asked < 1:
        raise InputError(f"num_inference_steps: {asked} is less than 1; choose at least 1, or None for the configured")
    return configured if asked is None else asked


def clean_shares(prediction_type: PredictionType, alpha: float) -> tuple[float, float]:
    """Shares of trajectory and prediction in the clean trajectory, where the data's share of the variance is alpha."""
    signal, sigma = alpha**0.5, (1 - alpha) ** 0.5
    return {"epsilon": (1 / signal, -sigma / signal), "sample": (0.0, 1.0), "v_prediction": (signal, -sigma)}[
        prediction_type
    ]


def noise_shares(prediction_type: PredictionType, alpha: float) -> tuple[float, float]:
    """Shares of trajectory and prediction in the noise that the network means."""
    signal, sigma = alpha**0.5, (1 - alpha) ** 0.5
    return {"epsilon": (0.0, 1.0), "sample": (1 / sigma, -signal / sigma), "v_prediction": (sigma, signal)}[
        prediction_type
    ]
