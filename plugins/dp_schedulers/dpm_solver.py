"""`DPMSolver`: DPM-Solver++ (Lu et al. 2022), an ordinary differential equation solved from several past steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dp_schedulers.discrete import DiscreteScheduler, Step
from dp_schedulers.prediction import x0_weights

if TYPE_CHECKING:
    from dp_schedulers.config import DPMSolverConfig

_FEW_STEPS = 15
"""With fewer, the order falls again towards the end, as in diffusers: extrapolating over long steps is not stable."""


class DPMSolver(DiscreteScheduler):
    """Sample a network trained for `DDPM` in very few steps, without fresh noise.

    The equation is solved in lambda, the logarithm of the ratio of signal to noise, and the times visited are evenly
    spaced in it, from the noisiest at which the signal is not too faint (``FAINTEST_SIGNAL``) to time 0. The last step
    arrives at x0.
    """

    config: DPMSolverConfig

    def times(self, count: int) -> Tensor:
        """Choose the times nearest to an even spacing in lambda, none of them twice, (count,), int64, falling."""
        lambdas = self._lambdas()
        noisiest = self.config.first_time(count)
        wanted = torch.linspace(float(lambdas[noisiest]), float(lambdas[0]), count, dtype=lambdas.dtype).flip(0)
        nearest = (lambdas - wanted[:, None]).abs().argmin(dim=1)
        # Rising by at least one at every step, with enough times left for the steps to come.
        rank = torch.arange(count)
        times = torch.cummax(nearest - rank, dim=0).values + rank
        return torch.minimum(times, noisiest + 1 - count + rank).flip(0)

    def steps(self, times: Tensor) -> list[Step]:
        """Compute a step of the multistep solver at each of ``times`` (Lu et al. 2022, proposition 4.1, algorithm 2).

        From t to the next time that is visited, s, with a_t = alphas_cumprod[t] and lambda from t to s::

            x_s = sqrt(1 - a_s) / sqrt(1 - a_t) x_t + sqrt(1 - a_s) * integral of exp(lambda) x0(lambda) d lambda

        What the network means by x0, clipped, is known at t and at the times before, and extrapolated from there
        (`_extrapolated`). The last step arrives at a_s = 1, where lambda is infinite: at x0.
        """
        count = len(times)
        a = [*self.alphas_cumprod[times].tolist(), 1.0]
        lambdas = [*self._lambdas()[times].tolist(), math.inf]
        steps = []
        for i in range(count):
            weights = _extrapolated(lambdas[: i + 2], self._order(i, count))
            steps.append(
                Step(
                    x0_weights=x0_weights(self.config.prediction_type, a[i]),
                    of_x0=tuple(a[i + 1] ** 0.5 * weight for weight in weights),
                    of_x_t=((1 - a[i + 1]) / (1 - a[i])) ** 0.5,
                )
            )
        return steps

    def _order(self, index: int, count: int) -> int:
        """As many past predictions as there are; the last step is of first order."""
        order = min(self.config.solver_order, index + 1)
        left = count - index
        return min(order, left) if count < _FEW_STEPS or left == 1 else order

    def _lambdas(self) -> Tensor:
        """Compute log(sqrt(a_t) / sqrt(1 - a_t)), (num_train_timesteps,), float64, falling."""
        return (self.alphas_cumprod.log() - (1 - self.alphas_cumprod).log()) / 2


def _extrapolated(lambdas: Sequence[float], order: int) -> tuple[float, ...]:
    """Compute the weights of x0, x0' and x0'', latest first, in the integral over one step divided by sqrt(a_s).

    With h the length of the step in lambda, r h and r' h those of the two before, D = (x0 - x0') / r,
    D' = (x0' - x0'') / r', E = (D - D') / (r + r') and g = (1 - exp(-h)) / h, the integral is::

        order 1  h g x0, which is DDIM
        order 2  h g (x0 + D / 2), the midpoint rule
        order 3  h g x0 + (1 - g) (D + r E) - ((1 - g) / h - 1 / 2) E

    D + r E estimates h times the first derivative of x0, and E half of h**2 times the second. A Taylor series would
    take twice as much of the last term; diffusers does not, whose numbers these are.

    Args:
        lambdas: at the times of the past steps, at t, and at s.
    """
    *before, now, following = lambdas
    h = following - now
    total = -math.expm1(-h)  # h g, which is 1 in the last step, where h is infinite
    if order == 1:
        return (total,)
    r = (now - before[-1]) / h
    if order == 2:
        slope = total / (2 * r)
        return total + slope, -slope
    r_before = (before[-1] - before[-2]) / h
    of_slope = 1 - total / h
    of_curvature = (h - total) / h**2 - 0.5
    of_d = of_slope + (of_slope * r - of_curvature) / (r + r_before)
    of_d_before = of_slope - of_d
    return total + of_d / r, of_d_before / r_before - of_d / r, -of_d_before / r_before
