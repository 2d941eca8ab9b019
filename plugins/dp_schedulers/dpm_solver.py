"""`DPMSolver`: DPM-Solver++ (Lu et al. 2022), an ordinary differential equation solved from several past steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dp_schedulers.discrete import DiscreteScheduler
from dp_schedulers.steps import Step, clean_shares

if TYPE_CHECKING:
    from dp_schedulers.config import DPMSolverConfig

_FEW_STEPS = 15
"""With fewer, the order falls again towards the end, as in diffusers: extrapolating over long steps is not stable."""


class DPMSolver(DiscreteScheduler):
    """Samples a network trained for `DDPM` in very few steps, without fresh noise.

    The equation is solved in the logarithm of the signal-to-noise ratio, and the times visited are evenly spaced in it,
    from the noisiest at which the signal is not too faint (``FAINTEST_SIGNAL``) to time 0. The last step arrives at
    the clean trajectory.
    """

    config: DPMSolverConfig

    def times(self, count: int) -> Tensor:
        """Times nearest to an even spacing, none of them twice."""
        ratios = self._log_ratios()
        noisiest = self.config.first_time(count)
        wanted = torch.linspace(float(ratios[noisiest]), float(ratios[0]), count, dtype=ratios.dtype).flip(0)
        nearest = (ratios - wanted[:, None]).abs().argmin(dim=1)
        # Rising by at least one at every step, with enough times left for the steps to come.
        rank = torch.arange(count)
        times = torch.cummax(nearest - rank, dim=0).values + rank
        return torch.minimum(times, noisiest + 1 - count + rank).flip(0)

    def steps(self, times: Tensor) -> list[Step]:
        """Multistep DPM-Solver++ for the predicted data, second order by the midpoint rule."""
        count = len(times)
        alphas = [*self.alphas[times].tolist(), 1.0]
        ratios = [*self._log_ratios()[times].tolist(), math.inf]
        steps = []
        for i in range(count):
            shares = _extrapolated(ratios[: i + 2], self._order(i, count))
            steps.append(
                Step(
                    mean=clean_shares(self.config.prediction_type, alphas[i]),
                    clean=tuple(alphas[i + 1] ** 0.5 * share for share in shares),
                    sample=((1 - alphas[i + 1]) / (1 - alphas[i])) ** 0.5,
                )
            )
        return steps

    def _order(self, index: int, count: int) -> int:
        """As many past predictions as there are; the last step is of first order."""
        order = min(self.config.solver_order, index + 1)
        left = count - index
        return min(order, left) if count < _FEW_STEPS or left == 1 else order

    def _log_ratios(self) -> Tensor:
        """Logarithms of the ratio of signal to noise, (num_train_timesteps,), float64, falling."""
        return (self.alphas.log() - (1 - self.alphas).log()) / 2


def _extrapolated(ratios: Sequence[float], order: int) -> tuple[float, ...]:
    """Shares of the latest clean trajectories, latest first, in the integral over one step.

    Args:
        ratios: logarithms of the ratio of signal to noise at the times of the past steps, now, and next.
    """
    *before, now, following = ratios
    length = following - now
    total = -math.expm1(-length)
    if order == 1:
        return (total,)
    first = (now - before[-1]) / length
    if order == 2:
        slope = total / (2 * first)
        return total + slope, -slope
    second = (before[-1] - before[-2]) / length
    # Integrals of the first and second derivative, which differences of the three trajectories estimate.
    of_slope = 1 - total / length
    of_curvature = (length - total) / length**2 - 0.5
    late = of_slope + (of_slope * first - of_curvature) / (first + second)
    early = of_slope - late
    return total + late / first, early / second - late / first, -early / second
