"""What the network predicts, and how x0 and the noise follow from what it returns, its output.

With a_t = alphas_cumprod[t], signal = sqrt(a_t), sigma = sqrt(1 - a_t) and x_t = signal x0 + sigma noise::

    prediction_type  target                     x0                             noise
    epsilon          noise                      (x_t - sigma output) / signal  output
    sample           x0                         output                         (x_t - signal output) / sigma
    v_prediction     signal noise - sigma x0    signal x_t - sigma output      sigma x_t + signal output

The velocity v is that of Salimans and Ho 2022, section 4. Options are checked with this file, so it imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

PredictionType = Literal["epsilon", "sample", "v_prediction"]


def target(
    prediction_type: PredictionType, x0: Tensor, noise: Tensor, rates: Callable[[], tuple[Tensor, Tensor]]
) -> Tensor:
    """Return what the network has to predict, (B, T, D).

    Args:
        x0: (B, T, D), normalised; ``noise`` has the same shape.
        rates: gives signal and sigma, each (B, 1, 1). Called for v alone: nothing else depends on the time.
    """
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "sample":
        return x0
    signal, sigma = rates()
    return signal * noise - sigma * x0


def x0_weights(prediction_type: PredictionType, a_t: float) -> tuple[float, float]:
    """Return the weights of x_t and of the output in x0."""
    signal, sigma = a_t**0.5, (1 - a_t) ** 0.5
    return {"epsilon": (1 / signal, -sigma / signal), "sample": (0.0, 1.0), "v_prediction": (signal, -sigma)}[
        prediction_type
    ]


def noise_weights(prediction_type: PredictionType, a_t: float) -> tuple[float, float]:
    """Return the weights of x_t and of the output in the noise."""
    signal, sigma = a_t**0.5, (1 - a_t) ** 0.5
    return {"epsilon": (0.0, 1.0), "sample": (1 / sigma, -signal / sigma), "v_prediction": (sigma, signal)}[
        prediction_type
    ]
